//! Output heads: models that tie theirs to the input embedding beside models that have one of their own.

use crate::{
    error::{Error, Result},
    model::{
        View, Weights,
        layers::{embeddings, is_numbered},
    },
    recipe::Recipe,
};
use std::sync::Arc;

/// The models with heads of one kind: as the recipe's `tie_word_embeddings` asks, else as they are.
///
/// With `false`, a tied model lends its embedding as a head. With `true`, a head is left out, as `tie_word_embeddings` in
/// `config.json` would have it. Fails if the models differ and the recipe does not ask.
pub(crate) fn settle(
    recipe: &Recipe,
    models: Vec<(String, Arc<dyn Weights>)>,
) -> Result<Vec<(String, Arc<dyn Weights>)>> {
    let tied: Vec<bool> = models.iter().map(|(_, model)| is_tied(&**model)).collect::<Result<_>>()?;
    let Some(wanted) = recipe.tie_word_embeddings else {
        if !recipe.path.is_empty() {
            // Embedding and head are one model's.
            return Ok(models);
        }
        // A model that only lends its tokenizer has no head in the matter.
        let merged = recipe.merged();
        let is_merged = |position: &usize| merged.iter().any(|one| one.as_str() == models[*position].0);
        let other = (0..models.len()).filter(is_merged).find(|position| Some(&tied[*position]) != tied.first());
        let Some(other) = other else { return Ok(models) };
        let [a, b] = [0, other].map(|model| models[model].1.place());
        let message = format!("{a} and {b}: one ties its output head to the embedding, the other does not");
        let place = recipe.references().iter().find(|one| one.as_str() == models[other].0).map(|one| one.place);
        return Err(Error::user(message).at(place.unwrap_or_default().of(&recipe.file)).hint(
            "`tie_word_embeddings: false` gives the result a head, for which a tied model lends its embedding; \
             `true` leaves the heads out",
        ));
    };
    let head =
        models.iter().find_map(|(_, model)| head_of(model.index().keys())).unwrap_or("lm_head.weight").to_owned();
    let settled = models.into_iter().zip(tied).map(|((name, model), tied)| {
        if tied == wanted.value {
            return Ok((name, model));
        }
        let view = headed(model, &head, wanted.value).map_err(|e| e.at(wanted.place.of(&recipe.file)))?;
        Ok((name, Arc::new(view) as Arc<dyn Weights>))
    });
    settled.collect()
}

/// A model that has a head of its own: as it is if it has one, else with its embedding for it.
pub(crate) fn untied(model: Arc<dyn Weights>) -> Result<Arc<dyn Weights>> {
    if !is_tied(&*model)? {
        return Ok(model);
    }
    Ok(Arc::new(headed(model, "lm_head.weight", false)?))
}

/// Whether a model's head is its embedding. A model without an embedding has no head to tie.
pub(crate) fn is_tied(model: &dyn Weights) -> Result<bool> {
    // Some kinds of models leave the key out, and are tied; a model that is none of a language has neither.
    let said = model.config().ties().map_err(|e| e.at(model.place()))?;
    let embeds = !embeddings(model.index()).is_empty();
    let tied = if said.is_empty() { embeds && !model.config().0.is_empty() } else { said.contains(&true) };
    Ok(tied && head_of(model.index().keys()).is_none())
}

/// The tensor that is the output head.
pub(crate) fn head_of<'n>(mut names: impl Iterator<Item = &'n String>) -> Option<&'n str> {
    let heads = ["lm_head.weight", "embed_out.weight", "output.weight"];
    let is_head = |name: &&String| {
        let named =
            |head: &&str| name.strip_suffix(*head).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        heads.iter().any(named) && !is_numbered(name)
    };
    names.find(is_head).map(String::as_str)
}

/// A model without the head that it has, or with a head that is its embedding.
fn headed(model: Arc<dyn Weights>, head: &str, tie: bool) -> Result<View> {
    let mut config = model.config().clone();
    config.tie(tie);
    if tie {
        let own = head_of(model.index().keys()).map(str::to_owned);
        return Ok(View::without(model, |name| Some(name) == own.as_deref()).with_config(config));
    }
    let tokens = |name: &&String| {
        ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"].iter().any(|part| name.contains(part))
    };
    let embeddings = embeddings(model.index());
    let embedding = embeddings
        .iter()
        .find(tokens)
        .ok_or_else(|| Error::user(format!("{}: there is no embedding to make a head of", model.place())))?;
    let own = model.index().keys().map(|name| (name.clone(), name.clone()));
    let names = own.chain([(head.to_owned(), embedding.clone())]).collect();
    Ok(View::new(model, names).with_config(config))
}
