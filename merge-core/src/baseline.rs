//! Baselines: merges of the searched models that a search must beat.

#[cfg(test)]
mod tests;

use crate::{
    method::{self, Base},
    recipe::{Model, Parameters, Recipe, Setting},
    template::{Dimension, DimensionKind, Space, Template},
    yaml::At,
};

/// The uniform average of the models, without the base if the template's method takes differences
/// from it. `None` if the template stacks slices or merges modules, which have no single mean.
pub fn uniform(template: &Template) -> Option<Recipe> {
    merge(template, "linear", None, &[("weight", 1.0)])
}

/// DARE-TIES without tuning: every weight and density 0.5, where the search of Sakana's paper
/// starts (<https://arxiv.org/abs/2403.13187>). `None` without a base, or if the template stacks
/// slices or merges modules.
pub fn untuned_dare_ties(template: &Template) -> Option<Recipe> {
    let base = template.first().base_model.clone()?;
    merge(template, "dare_ties", Some(base), &[("weight", 0.5), ("density", 0.5)])
}

/// Names of the models in the [`uniform`] average; empty if that average is `None`.
pub fn members(template: &Template) -> Vec<String> {
    let recipe = template.first();
    let needs_base = method::method(&recipe.merge_method).is_some_and(|method| method.base() != Base::Merged);
    let is_base = |model: &At<String>| needs_base && recipe.base_model.as_ref() == Some(model);
    recipe
        .models
        .iter()
        .map(|model| &model.model)
        .filter(|model| !is_base(model))
        .map(|name| name.value.clone())
        .collect()
}

/// Average of the models in `names`; `None` as for [`uniform`].
pub fn average(template: &Template, names: &[String]) -> Option<Recipe> {
    let mut recipe = uniform(template)?;
    recipe.models.value.retain(|model| names.contains(&model.model.value));
    Some(recipe)
}

/// All layers of a search among layers, stacked at full scale: the result of stacking without a
/// search. `None` for any other search.
pub fn stacked(template: &Template, space: &Space) -> Option<Recipe> {
    let is_path = template.first().is_path();
    let whole = |dimension: &Dimension| match &dimension.kind {
        DimensionKind::Choice { .. } => 1.0,
        kind => kind.nearest(1.0),
    };
    is_path.then(|| template.fill(space, &space.dimensions.iter().map(whole).collect::<Vec<_>>()))
}

fn merge(
    template: &Template,
    name: &str,
    base_model: Option<At<String>>,
    all: &[(&'static str, f64)],
) -> Option<Recipe> {
    let models = members(template).into_iter().map(At::nowhere);
    let models: Vec<_> = models.map(|model| Model { model, parameters: Parameters::default() }).collect();
    (!models.is_empty()).then(|| Recipe {
        merge_method: At::nowhere(name.to_owned()),
        base_model,
        models: At::nowhere(models),
        parameters: all.iter().map(|(name, value)| (*name, Setting::number(*value))).collect(),
        // Element types, the vocabulary and the other settings are the template's.
        ..template.first().map(|_| Setting::number(0.0))
    })
}
