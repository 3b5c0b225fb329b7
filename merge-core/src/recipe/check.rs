//! Refuses a recipe that its method cannot do exactly as written.

use super::{
    Parameters, Recipe,
    place::{At, Mistake, known_names},
    setting::Fit,
};
use crate::{
    error::did_you_mean,
    method::{Base, METHODS, Method, Param, Scope},
};

/// What a recipe needs to know of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodInfo {
    /// Its name in a recipe.
    pub(crate) name: &'static str,
    /// Its parameters.
    pub(crate) params: &'static [Param],
    /// What it does with a base model.
    pub(crate) base: Base,
}

impl MethodInfo {
    /// Of every method there is.
    pub(crate) fn all() -> Vec<Self> {
        let info = |m: &&dyn Method| Self { name: m.name(), params: m.params(), base: m.base() };
        METHODS.iter().map(info).collect()
    }
}

/// Checks a recipe against its method; what depends on the models' tensors is left to the plan of the merge.
pub(super) fn check<S: Fit>(recipe: &Recipe<S>, methods: &[MethodInfo]) -> Result<(), Mistake> {
    let method = find(&recipe.merge_method, methods)?;
    if recipe.models.value.is_empty() {
        return Err(Mistake::new("a merge needs a model").under("models").at(recipe.models.place));
    }
    check_base(recipe, method)?;
    check_parameters(&recipe.parameters, method, Scope::Merge).map_err(|mistake| mistake.under("parameters"))?;
    for (index, model) in recipe.models.iter().enumerate() {
        let under = |mistake: Mistake| mistake.under("parameters").under(&format!("models[{index}]"));
        check_parameters(&model.parameters, method, Scope::Model).map_err(under)?;
        let hole = model.parameters.iter().find(|(_, setting)| setting.is_hole());
        if let Some((key, setting)) = hole.filter(|_| method.base == Base::Required && recipe.is_base(index)) {
            let mistake = Mistake::new("a parameter of the base model has no effect, so there is nothing to search");
            return Err(under(mistake.hint("remove the hole").under(key).at(setting.place)));
        }
    }
    check_missing(recipe, method)
}

fn find<'a>(name: &At<String>, methods: &'a [MethodInfo]) -> Result<&'a MethodInfo, Mistake> {
    methods.iter().find(|method| method.name == name.value).ok_or_else(|| {
        let hint = match did_you_mean(name, methods.iter().map(|method| method.name)) {
            Some(near) => format!("did you mean `{near}`? `evomerge methods` lists them all"),
            None => "`evomerge methods` lists them all".to_string(),
        };
        Mistake::new(format!("there is no method `{}`", name.value)).hint(hint).at(name.place)
    })
}

fn check_base<S>(recipe: &Recipe<S>, method: &MethodInfo) -> Result<(), Mistake> {
    match (&recipe.base_model, method.base) {
        (None, Base::Required) => Err(Mistake::new(format!("`{}` needs a `base_model`", method.name))
            .hint("name the model that the others were trained from")
            .at(recipe.merge_method.place)),
        _ => Ok(()),
    }
}

fn check_missing<S>(recipe: &Recipe<S>, method: &MethodInfo) -> Result<(), Mistake> {
    let required = method.params.iter().filter(|param| param.default.is_none());
    for param in required.filter(|param| recipe.parameters.get(param.name).is_none()) {
        let missing = Mistake::new(format!("`{}` needs `{}`: {}", method.name, param.name, param.help));
        if param.scope == Scope::Merge {
            return Err(missing.hint("set it under `parameters`").at(recipe.merge_method.place));
        }
        for (index, model) in recipe.models.iter().enumerate() {
            let exempt = method.base == Base::Required && recipe.is_base(index);
            if !exempt && model.parameters.get(param.name).is_none() {
                return Err(missing
                    .hint("set it under this model's `parameters`, or for all models under the recipe's own")
                    .under(&format!("models[{index}]"))
                    .at(model.model.place));
            }
        }
    }
    Ok(())
}

/// Checks names and values of a block of parameters that stands at the merge's or at a model's level.
fn check_parameters<S: Fit>(parameters: &Parameters<S>, method: &MethodInfo, level: Scope) -> Result<(), Mistake> {
    parameters.iter().try_for_each(|(key, setting)| {
        let Some(param) = method.params.iter().find(|param| param.name == key.value) else {
            let mistake = Mistake::new(format!("`{}` has no parameter `{}`", method.name, key.value)).at(key.place);
            return Err(match method.params {
                [] => mistake.hint("it has none at all: remove the key"),
                params => mistake.hint(known_names(key, "its parameters", params.iter().map(|param| param.name))),
            });
        };
        if level == Scope::Model && param.scope == Scope::Merge {
            return Err(Mistake::new("this parameter is the merge's, not a model's")
                .hint("move it to the recipe's own `parameters`")
                .under(key)
                .at(key.place));
        }
        if param.unused && setting.is_hole() {
            return Err(Mistake::new(format!("it has no effect in `{}`, so there is nothing to search", method.name))
                .hint("remove the hole")
                .under(key)
                .at(setting.place));
        }
        setting.value.fit(param.domain).map_err(|mistake| mistake.under(key).at(setting.place))
    })
}
