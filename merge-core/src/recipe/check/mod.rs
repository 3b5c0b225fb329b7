//! Refuses a recipe that cannot be done exactly as written. The plan of the merge does the checks that need tensors.

mod parameters;
mod path;
mod tokens;
mod view;

use super::{Fix, Model, Parameters, Recipe, Slice, setting::CheckDomain};
use crate::{
    method::{self, Base, METHODS, Method},
    words::did_you_mean,
    yaml::{At, Mistake},
};

/// One part of the result, or all of it: its models, and the method, base and parameters in force there.
struct CheckedView<'r, S> {
    /// Path of the keys above, with its last dot: `slices[0].` or `modules.vision.`.
    inside: String,
    /// Key of the members: `models` or `sources`.
    list: &'static str,
    method: &'static dyn Method,
    /// A slice's own method if it is ignored, as in mergekit: without `fixes: [slice_method]`.
    ignored_method: Option<&'static dyn Method>,
    /// Name of the method, with its place.
    method_name: &'r At<String>,
    base: Option<&'r At<String>>,
    /// True if an unlisted base is one more member for a method that merges the base like any model.
    appends_base: bool,
    members: Vec<(&'r At<String>, &'r Parameters<S>)>,
    /// Parameters for all members, innermost first.
    levels: Vec<&'r Parameters<S>>,
}

impl<S> CheckedView<'_, S> {
    /// True if the member is the base that others are compared with: its own parameters have no effect.
    fn is_base(&self, member: usize) -> bool {
        self.method.base() != Base::Merged && self.base.is_some_and(|base| base == self.members[member].0)
    }

    /// The base, if it is merged although it is not listed.
    fn appended(&self) -> Option<&At<String>> {
        let listed = |base: &At<String>| self.members.iter().any(|(model, _)| *model == base);
        self.base.filter(|base| self.appends_base && self.method.base() == Base::Merged && !listed(base))
    }

    /// Path of a member's keys.
    fn member(&self, member: usize) -> String {
        format!("{}{}[{member}]", self.inside, self.list)
    }
}

/// Checks a recipe against its methods.
pub(super) fn check<S: CheckDomain>(recipe: &Recipe<S>) -> Result<(), Mistake> {
    let method = find(&recipe.merge_method)?;
    let forms = [
        ("models", recipe.models.place, !recipe.models.is_empty()),
        ("slices", recipe.slices.place, !recipe.slices.is_empty()),
        ("modules", recipe.modules.place, !recipe.modules.is_empty()),
        ("path", recipe.path.place, !recipe.path.is_empty()),
    ];
    view::only_one(&forms, recipe.merge_method.place)?;
    path::check(recipe)?;
    let context = CheckContext { recipe, method };
    let mut views = Vec::new();
    context.views(&mut views, "", &recipe.models, &recipe.slices, &[&recipe.parameters])?;
    for (name, module) in recipe.modules.iter() {
        let inside = format!("modules.{}.", name.value);
        let forms = [
            ("models", module.models.place, !module.models.is_empty()),
            ("slices", module.slices.place, !module.slices.is_empty()),
        ];
        view::only_one(&forms, name.place).map_err(|mistake| mistake.under(inside.trim_end_matches('.')))?;
        context.views(
            &mut views,
            &inside,
            &module.models,
            &module.slices,
            &[&module.parameters, &recipe.parameters],
        )?;
    }
    views.iter().try_for_each(view::check)?;
    parameters::check(recipe, &views)?;
    tokens::check(recipe)
}

/// The parts that all views of a recipe share.
struct CheckContext<'r, S> {
    recipe: &'r Recipe<S>,
    method: &'static dyn Method,
}

impl<'r, S> CheckContext<'r, S> {
    /// Adds the views of the recipe or of a module: one for all its models, or one for each slice.
    fn views(
        &self,
        views: &mut Vec<CheckedView<'r, S>>,
        inside: &str,
        models: &'r [Model<S>],
        slices: &'r At<Vec<Slice<S>>>,
        levels: &[&'r Parameters<S>],
    ) -> Result<(), Mistake> {
        let recipe = self.recipe;
        let whole = CheckedView {
            inside: inside.to_owned(),
            list: "models",
            method: self.method,
            ignored_method: None,
            method_name: &recipe.merge_method,
            base: recipe.base_model.as_ref(),
            appends_base: recipe.fixes.iter().all(|fix| fix.value != Fix::ListedOnly),
            members: models.iter().map(|model| (&model.model, &model.parameters)).collect(),
            levels: levels.to_vec(),
        };
        if !models.is_empty() {
            views.push(whole);
            return Ok(());
        }
        for (index, slice) in slices.iter().enumerate() {
            let inside = format!("{inside}slices[{index}].");
            let under = |mistake: Mistake| mistake.under(inside.trim_end_matches('.'));
            view::check_ranges(slice, index > 0 && index + 1 == slices.len()).map_err(under)?;
            let method = slice.merge_method.as_ref().map(find).transpose().map_err(under)?;
            let fixed = recipe.fixes.iter().any(|fix| fix.value == Fix::SliceMethod);
            views.push(CheckedView {
                inside,
                list: "sources",
                method: method.filter(|_| fixed).unwrap_or(self.method),
                ignored_method: method.filter(|_| !fixed),
                method_name: slice.merge_method.as_ref().filter(|_| fixed).unwrap_or(&recipe.merge_method),
                base: slice.base_model.as_ref().or(whole.base),
                appends_base: whole.appends_base,
                members: slice.sources.iter().map(|source| (&source.model, &source.parameters)).collect(),
                levels: std::iter::once(&slice.parameters).chain(levels.iter().copied()).collect(),
            });
        }
        Ok(())
    }
}

fn find(name: &At<String>) -> Result<&'static dyn Method, Mistake> {
    method::method(name).ok_or_else(|| {
        let hint = match did_you_mean(name, METHODS.iter().map(|method| method.name())) {
            Some(near) => format!("did you mean `{near}`? `evomerge methods` lists them all"),
            None => "`evomerge methods` lists them all".to_string(),
        };
        Mistake::new(format!("there is no method `{}`", name.value)).hint(hint).at(name.place)
    })
}
