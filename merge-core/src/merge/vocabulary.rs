//! Applies what a recipe says of tokenizer and chat template to its models.

use crate::{
    error::{Error, Result},
    merge::{sources::Sources, tensor_plan::TensorPlan},
    model::{Index, Weights},
    recipe::{Recipe, TokenName, TokenSource},
    tokenizer::{self, Named, Spec, TokenRule, UnifiedModels, VocabularySource, chat},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Models with their names in the recipe.
type NamedModels = Vec<(String, Arc<dyn Weights>)>;

/// The models with the vocabulary that the recipe asks for, and notes for the user; unchanged if it does not ask.
pub(crate) fn unified(recipe: &Recipe, models: NamedModels, donor: usize) -> Result<(NamedModels, Vec<String>)> {
    let Some(asked) = recipe.tokenizer() else { return Ok((models, Vec::new())) };
    let position = |name: &str| {
        models.iter().position(|(known, _)| known == name).ok_or_else(|| {
            Error::user(format!("tokenizer: `{name}` is not a model of this merge"))
                .hint("name it as it is named under `models`")
        })
    };
    let source = match asked.source.as_str() {
        "union" => VocabularySource::Union,
        "base" => VocabularySource::Base,
        name => VocabularySource::Model(position(name)?),
    };
    let mut rules = Vec::new();
    for (token, rule) in &asked.tokens {
        let source = match rule.source.as_ref().map(|source| &source.value) {
            None => None,
            Some(TokenSource::Zero) => Some(tokenizer::RowSource::Zero),
            Some(TokenSource::Model(name)) => Some(tokenizer::RowSource::Model(position(name)?)),
            Some(TokenSource::Token { model, token }) => {
                let token = match token {
                    TokenName::Id(id) => Named::Id(*id),
                    TokenName::Text(text) => Named::Text(text),
                };
                Some(tokenizer::RowSource::Token { model: position(model)?, token })
            }
        };
        rules.push(TokenRule { token, source, force: rule.force });
    }
    let spec = Spec { source, base: donor, rules, pad_to_multiple_of: asked.pad_to_multiple_of.map(|at| at.value) };
    let given: Vec<_> = models.iter().map(|(name, weights)| (name.as_str(), Arc::clone(weights))).collect();
    let UnifiedModels { models: changed, notes } = tokenizer::unify(&spec, &given).map_err(|e| {
        let place =
            recipe.tokenizer.as_ref().map(|at| at.place).or(recipe.tokenizer_source.as_ref().map(|at| at.place));
        e.at(place.unwrap_or_default().of(&recipe.file))
    })?;
    Ok((models.into_iter().map(|(name, _)| name).zip(changed).collect(), notes))
}

/// The chat template that the recipe asks for, chosen from the models as they are on disk.
pub(crate) fn chat_template(
    recipe: &Recipe,
    models: &[(String, Arc<dyn Weights>)],
    notes: &mut Vec<String>,
) -> Result<Option<String>> {
    let Some(asked) = &recipe.chat_template else { return Ok(None) };
    let all: Vec<&dyn Weights> = models.iter().map(|(_, weights)| &**weights).collect();
    let chosen = chat::choose(asked, &all).map_err(|e| e.at(asked.place.of(&recipe.file)))?;
    if chosen.is_none() {
        notes.push("chat_template: auto: no model has a chat template, and neither has the result".to_owned());
    }
    Ok(chosen)
}

/// Refuses a merge if its embedding or head has rows of a model in which an id is another token
/// than in the donor, whose tokenizer the result has. Doubtful cases become notes.
pub(crate) fn check(
    recipe: &Recipe,
    sources: &Sources,
    donor: usize,
    index: &Index,
    plans: &BTreeMap<String, TensorPlan>,
) -> Result<Vec<String>> {
    let tensors = tokenizer::token_tensors(index);
    let read = tensors.iter().flat_map(|(name, _)| plans[*name].operands());
    let others: BTreeSet<usize> = read.map(|operand| operand.source).filter(|source| *source != donor).collect();
    let rows = tensors.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
    let mut notes = Vec::new();
    for other in others {
        let names: Vec<&str> = sources.iter().map(|(name, _)| name).collect();
        let compared = compare(sources, [donor, other], rows, &mut notes).map_err(|error| {
            let place = recipe.references().iter().find(|one| one.as_str() == names[other]).map(|one| one.place);
            error.at(place.unwrap_or_default().of(&recipe.file))
        });
        compared?;
    }
    Ok(notes)
}

/// Compares two models' tokens id by id.
fn compare(sources: &Sources, pair: [usize; 2], rows: usize, notes: &mut Vec<String>) -> Result<()> {
    let [a, b] = pair.map(|one| sources.place(one));
    let [first, second] = pair.map(|one| sources.tokens(one));
    match (first.digest()?, second.digest()?) {
        (None, None) => return Ok(()),
        (Some(one), Some(other)) if one == other => return Ok(()),
        (Some(_), Some(_)) => {}
        (one, _) => {
            let (with, without) = if one.is_some() { (&a, &b) } else { (&b, &a) };
            notes.push(format!("{without} has no tokenizer: it is not known whether its tokens are those of {with}"));
            return Ok(());
        }
    }
    let (first, second) = (first.table()?, second.table()?);
    if let Some(unread) = [(&a, first), (&b, second)].into_iter().find(|(_, table)| table.is_empty()) {
        notes.push(format!(
            "{}: its tokenizer is of a kind that is not read here, so tokens are not compared",
            unread.0
        ));
        return Ok(());
    }
    if !first.is_comparable(second) {
        notes.push(format!("{a} and {b}: their tokenizers are files of two kinds, so tokens are not compared"));
        return Ok(());
    }
    let what = first.numbers();
    let found = first.differences(second, rows);
    let more = |count: usize| if count > 0 { format!(", and {count} more") } else { String::new() };
    if !found.other.is_empty() {
        const SHOWN: usize = 3;
        let pair = |id: &usize| format!("{what}{id} is {} and {}", first.shown(*id), second.shown(*id));
        let list: Vec<String> = found.other.iter().take(SHOWN).map(pair).collect();
        let more = more(found.other.len().saturating_sub(SHOWN));
        return Err(Error::user(format!("{a} and {b}: their tokens differ: {}{more}", list.join(", ")))
            .hint(VOCABULARIES_DIFFER));
    }
    if let [id, rest @ ..] = &found.first[..] {
        let (token, more) = (first.shown(*id), more(rest.len()));
        notes.push(format!(
            "{b} has no token {what}{id}, which is {token} in {a}{more}: its rows there are merged like all others; \
             `tokenizer: {{source: union}}` takes them from models that have the token"
        ));
    }
    if let [id, rest @ ..] = &found.second[..] {
        let (token, more) = (second.shown(*id), more(rest.len()));
        notes.push(format!(
            "{a}, whose tokenizer the result has, has no token {what}{id}, which is {token} in {b}{more}: the result cannot \
             say it; `tokenizer: {{source: union}}` keeps it"
        ));
    }
    let parts = first.splitting_differences(second);
    if !parts.is_empty() {
        notes.push(format!(
            "{b} has the tokens of {a}, but splits texts differently ({parts}): the result splits them as {a} does"
        ));
    }
    Ok(())
}

/// Advice for models in which one row stands for different tokens.
pub(crate) const VOCABULARIES_DIFFER: &str = "their vocabularies differ: `tokenizer: {source: union}` merges them by token, and `{source: base}` keeps the base's";
