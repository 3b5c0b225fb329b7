//! What a recipe asks of the result's tokenizer and chat template, done to its models.

use crate::{
    error::{Error, Result},
    recipe::{Recipe, TokenName, TokenSource},
    tokenizer::{self, Named, Rule, Sidecars, Source, Spec, Unified, chat},
    weights::Weights,
};
use std::sync::Arc;

/// Models, by what the recipe calls them.
type Models = Vec<(String, Arc<dyn Weights>)>;

/// The models with the vocabulary that the recipe asks for, and what the user should know of it; as they are if it does not
/// ask.
pub(crate) fn unified(recipe: &Recipe, models: Models, donor: usize) -> Result<(Models, Vec<String>)> {
    let Some(asked) = recipe.tokenizer() else { return Ok((models, Vec::new())) };
    let position = |name: &str| {
        models.iter().position(|(known, _)| known == name).ok_or_else(|| {
            Error::user(format!("tokenizer: `{name}` is not a model of this merge"))
                .hint("name it as it is named under `models`")
        })
    };
    let source = match asked.source.as_str() {
        "union" => Source::Union,
        "base" => Source::Base,
        name => Source::Model(position(name)?),
    };
    let mut rules = Vec::new();
    for (token, rule) in &asked.tokens {
        let source = match rule.source.as_ref().map(|source| &source.value) {
            None => None,
            Some(TokenSource::Zero) => Some(tokenizer::TokenSource::Zero),
            Some(TokenSource::Model(name)) => Some(tokenizer::TokenSource::Model(position(name)?)),
            Some(TokenSource::Token { model, token }) => {
                let token = match token {
                    TokenName::Id(id) => Named::Id(*id),
                    TokenName::Text(text) => Named::Text(text),
                };
                Some(tokenizer::TokenSource::Token { model: position(model)?, token })
            }
        };
        rules.push(Rule { token, source, force: rule.force });
    }
    let spec = Spec { source, base: donor, rules, pad_to_multiple_of: asked.pad_to_multiple_of.map(|at| at.value) };
    let given: Vec<_> = models.iter().map(|(name, weights)| (name.as_str(), Arc::clone(weights))).collect();
    let Unified { models: changed, notes } = tokenizer::unify(&spec, &given).map_err(|e| {
        let place =
            recipe.tokenizer.as_ref().map(|at| at.place).or(recipe.tokenizer_source.as_ref().map(|at| at.place));
        e.at(place.unwrap_or_default().of(&recipe.file))
    })?;
    Ok((models.into_iter().map(|(name, _)| name).zip(changed).collect(), notes))
}

/// The donor's files that change with the chat template that the recipe asks for.
pub(crate) fn chat_template(
    recipe: &Recipe,
    models: &[(String, Arc<dyn Weights>)],
    donor: usize,
    notes: &mut Vec<String>,
) -> Result<Sidecars> {
    let Some(asked) = &recipe.chat_template else { return Ok(Sidecars::default()) };
    let all: Vec<&dyn Weights> = models.iter().map(|(_, weights)| &**weights).collect();
    let chosen = chat::choose(asked, &all).map_err(|e| e.at(asked.place.of(&recipe.file)))?;
    let Some(template) = chosen else {
        notes.push("chat_template: auto: no model has a chat template, and neither has the result".to_owned());
        return Ok(Sidecars::default());
    };
    chat::sidecars(&template, all[donor])
}
