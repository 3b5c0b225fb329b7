//! Checks parameters: each is known to a method in force there and in its domain, and the required ones are set.

use super::CheckedView;
use crate::{
    method::{METHODS, Method, Param, Scope},
    recipe::{Parameters, Recipe, foreign::without_effect, setting::CheckDomain},
    yaml::{At, Mistake, known_names},
};

pub(super) fn check<S: CheckDomain>(recipe: &Recipe<S>, views: &[CheckedView<'_, S>]) -> Result<(), Mistake> {
    check_levels(recipe, views)?;
    for view in views {
        check_members(view)?;
        check_required(view)?;
    }
    if recipe.models.is_empty()
        && let Some((label, setting)) = recipe.settings().find(|(_, setting)| setting.is_by_layer())
    {
        let hint = if recipe.is_path() {
            "remove them: a hole in a hop has a number for each of its layers anyway"
        } else {
            "give each slice its own hole"
        };
        return Err(Mistake::new("`per`, `groups`, `knots` and `filters` need a recipe with `models`")
            .hint(hint)
            .under(&label)
            .at(setting.place));
    }
    Ok(())
}

/// Checks the blocks for all members: the recipe's own, the modules' and the slices'.
fn check_levels<S: CheckDomain>(recipe: &Recipe<S>, views: &[CheckedView<'_, S>]) -> Result<(), Mistake> {
    let methods = |block: &Parameters<S>| {
        let mut methods: Vec<&dyn Method> = Vec::new();
        for view in views.iter().filter(|view| view.levels.iter().any(|level| std::ptr::eq(*level, block))) {
            for known in [Some(view.method), view.ignored_method].into_iter().flatten() {
                if methods.iter().all(|method| method.name() != known.name()) {
                    methods.push(known);
                }
            }
        }
        methods
    };
    let check = |block: &Parameters<S>, inside: &str| {
        let checked = check_block(block, &methods(block), Scope::Merge);
        checked.map_err(|mistake| mistake.under(&format!("{inside}parameters")))
    };
    check(&recipe.parameters, "")?;
    recipe.modules.iter().try_for_each(|(name, module)| {
        let inside = format!("modules.{}.", name.value);
        check(&module.parameters, &inside)
    })?;
    let slices = views.iter().filter(|view| view.list == "sources");
    slices.into_iter().try_for_each(|view| check(view.levels[0], &view.inside))
}

fn check_members<S: CheckDomain>(view: &CheckedView<'_, S>) -> Result<(), Mistake> {
    for (index, (_, parameters)) in view.members.iter().enumerate() {
        let under = |mistake: Mistake| mistake.under("parameters").under(&view.member(index));
        let methods: Vec<&dyn Method> = [Some(view.method), view.ignored_method].into_iter().flatten().collect();
        check_block(parameters, &methods, Scope::Model).map_err(under)?;
        let hole = parameters.iter().find(|(_, setting)| setting.is_hole());
        if let Some((key, setting)) = hole.filter(|_| view.is_base(index)) {
            let mistake = Mistake::new("a parameter of the base model has no effect, so there is nothing to search");
            return Err(under(mistake.hint("remove the hole").under(key).at(setting.place)));
        }
    }
    Ok(())
}

/// Refuses a view in which a required parameter is set at no level.
fn check_required<S>(view: &CheckedView<'_, S>) -> Result<(), Mistake> {
    let is_open =
        |param: &&Param| param.default.is_none() && view.levels.iter().all(|level| level.get(param.name).is_none());
    for param in view.method.params().iter().filter(is_open) {
        let missing = Mistake::new(format!("`{}` needs `{}`: {}", view.method.name(), param.name, param.help));
        if param.scope == Scope::Merge {
            let inside = view.inside.trim_end_matches('.');
            let missing = missing.hint("set it under `parameters`").at(view.method_name.place);
            return Err(if inside.is_empty() { missing } else { missing.under(inside) });
        }
        for (index, (model, parameters)) in view.members.iter().enumerate() {
            if !view.is_base(index) && parameters.get(param.name).is_none() {
                return Err(missing
                    .hint("set it under this model's `parameters`, or for all models under the recipe's own")
                    .under(&view.member(index))
                    .at(model.place));
            }
        }
        if let Some(base) = view.appended() {
            return Err(missing
                .hint("a base that is not listed is merged as one more model, as in mergekit: list it with a value of its own, or write `fixes: [listed_only]`")
                .under("base_model")
                .at(base.place));
        }
    }
    Ok(())
}

/// Checks names and values of a block of parameters at a model's level or above.
fn check_block<S: CheckDomain>(
    parameters: &Parameters<S>,
    methods: &[&dyn Method],
    level: Scope,
) -> Result<(), Mistake> {
    parameters.iter().try_for_each(|(key, setting)| {
        let of = |method: &dyn Method| method.params().iter().find(|param| param.name == key.value);
        let known: Vec<(&str, &Param)> =
            methods.iter().filter_map(|method| Some((method.name(), of(*method)?))).collect();
        if let Some(why) = without_effect(key) {
            if !setting.is_hole() {
                return Ok(());
            }
            let mistake = Mistake::new(format!("it has no effect, so there is nothing to search: {why}"));
            return Err(mistake.hint("remove the hole").under(key).at(setting.place));
        }
        let Some((name, _)) = known.first() else { return Err(unknown(key, methods)) };
        if level == Scope::Model && known.iter().all(|(_, param)| param.scope == Scope::Merge) {
            return Err(Mistake::new("this parameter is the merge's, not a model's")
                .hint("move it to the recipe's own `parameters`")
                .under(key)
                .at(key.place));
        }
        if setting.is_hole() && known.iter().all(|(_, param)| param.unused) {
            return Err(Mistake::new(format!("it has no effect in `{name}`, so there is nothing to search"))
                .hint("remove the hole")
                .under(key)
                .at(setting.place));
        }
        let fit = |(_, param): &(&str, &Param)| setting.value.check_domain(param.domain);
        known.iter().try_for_each(fit).map_err(|mistake| mistake.under(key).at(setting.place))
    })
}

fn unknown(key: &At<String>, methods: &[&dyn Method]) -> Mistake {
    let mut names: Vec<&str> = Vec::new();
    for param in methods.iter().flat_map(|method| method.params()) {
        if !names.contains(&param.name) {
            names.push(param.name);
        }
    }
    let (what, whose) = match methods {
        [method] => (format!("`{}` has no parameter `{}`", method.name(), key.value), "its parameters"),
        methods => {
            let methods: Vec<String> = methods.iter().map(|method| format!("`{}`", method.name())).collect();
            (format!("none of {} has a parameter `{}`", methods.join(", "), key.value), "their parameters")
        }
    };
    let others = METHODS.iter().filter(|method| method.params().iter().any(|param| param.name == key.value));
    let others: Vec<String> = others.map(|method| format!("`{}`", method.name())).collect();
    Mistake::new(what).at(key.place).hint(match names[..] {
        _ if !others.is_empty() => {
            format!("it is a parameter of {}, and mergekit ignores it here: remove it", others.join(", "))
        }
        [] => "it has none at all: remove the key".to_owned(),
        _ => known_names(key, whose, names),
    })
}
