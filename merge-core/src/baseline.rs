//! The merges that a search must beat, made of the models it searches over.

#[cfg(test)]
mod tests;

use crate::{
    method::{self, Base},
    recipe::{At, Model, Parameters, Recipe, Setting},
    template::Template,
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
    let base = template.base_model.clone()?;
    merge(template, "dare_ties", Some(base), &[("weight", 0.5), ("density", 0.5)])
}

fn merge(
    template: &Template,
    name: &str,
    base_model: Option<At<String>>,
    all: &[(&'static str, f64)],
) -> Option<Recipe> {
    let needs_base = method::method(&template.merge_method).is_some_and(|method| method.base() != Base::Merged);
    let is_base = |model: &At<String>| needs_base && template.base_model.as_ref() == Some(model);
    let models = template.models.iter().map(|model| &model.model).filter(|model| !is_base(model));
    let models: Vec<_> =
        models.map(|model| Model { model: model.clone(), parameters: Parameters::default() }).collect();
    (!models.is_empty()).then(|| Recipe {
        merge_method: At::nowhere(name.to_owned()),
        base_model,
        models: At::nowhere(models),
        parameters: all.iter().map(|(name, value)| (*name, Setting::number(*value))).collect(),
        // The types, the vocabulary and the rest are the template's.
        ..template.map(|_| Setting::number(0.0))
    })
}
