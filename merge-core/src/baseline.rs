//! The merges that a search must beat, made of the models it searches over.

#[cfg(test)]
mod tests;

use crate::{
    method::{self, Base},
    recipe::{At, Model, Parameters, Recipe, Setting},
    template::Template,
};

/// The mean of the models, the base left out if the template's method takes differences from it.
pub fn uniform(template: &Template) -> Recipe {
    merge(template, "linear", None, &[("weight", 1.0)])
}

/// DARE-TIES as someone would write it who has not tuned it: every weight and density 0.5, which is where the search of
/// Sakana's paper begins (<https://arxiv.org/abs/2403.13187>). `None` without a base to take differences from.
pub fn untuned_dare_ties(template: &Template) -> Option<Recipe> {
    let base = template.base_model.clone()?;
    Some(merge(template, "dare_ties", Some(base), &[("weight", 0.5), ("density", 0.5)]))
}

fn merge(template: &Template, name: &str, base_model: Option<At<String>>, all: &[(&'static str, f64)]) -> Recipe {
    let needs_base = method::method(&template.merge_method).is_some_and(|method| method.base() == Base::Required);
    let is_base = |model: &At<String>| needs_base && template.base_model.as_ref() == Some(model);
    let models = template.models.iter().map(|model| &model.model).filter(|model| !is_base(model));
    let models = models.map(|model| Model { model: model.clone(), parameters: Parameters::default() }).collect();
    let parameters = all.iter().map(|(name, value)| (*name, Setting::number(*value))).collect();
    Recipe {
        merge_method: At::nowhere(name.to_owned()),
        models: At::nowhere(models),
        base_model,
        parameters,
        dtype: template.dtype,
        out_dtype: template.out_dtype,
        random: template.random.clone(),
        file: template.file.clone(),
    }
}
