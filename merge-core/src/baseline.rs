//! The merges that a search must beat, made of the models it searches over.

#[cfg(test)]
mod tests;

use crate::{
    method::{self, Base},
    recipe::{Model, Parameters, Recipe, Setting},
    template::{Dimension, DimensionKind, Space, Template},
    yaml::At,
};

/// The mean of the models, the base left out if the template's method takes differences from it. `None` if the template
/// stacks slices or merges modules, which have no one mean.
pub fn uniform(template: &Template) -> Option<Recipe> {
    merge(template, "linear", None, &[("weight", 1.0)])
}

/// DARE-TIES as someone would write it who has not tuned it: every weight and density 0.5, which is where the search of
/// Sakana's paper begins (<https://arxiv.org/abs/2403.13187>). `None` without a base to take differences from, or if the
/// template stacks slices or merges modules.
pub fn untuned_dare_ties(template: &Template) -> Option<Recipe> {
    let base = template.first().base_model.clone()?;
    merge(template, "dare_ties", Some(base), &[("weight", 0.5), ("density", 0.5)])
}

/// The models that have a uniform average, by name; none if the template stacks slices or merges modules.
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

/// The mean of some of the models; `None` as for [`uniform`].
pub fn average(template: &Template, names: &[String]) -> Option<Recipe> {
    let mut recipe = uniform(template)?;
    recipe.models.value.retain(|model| names.contains(&model.model.value));
    Some(recipe)
}

/// Every layer of a search among layers, one upon the other, at its full scale: what stacking gives without a search. `None` for
/// any other search.
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
        // The types, the vocabulary and the rest are the template's.
        ..template.first().map(|_| Setting::number(0.0))
    })
}
