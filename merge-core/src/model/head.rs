//! The output head of a language model: its own tensor, or the input embedding.

use super::{
    Weights, WeightsView,
    layers::{embeddings, is_numbered},
};
use crate::error::{Error, Result};
use std::sync::Arc;

/// The model with a head of its own: as it is if it has one, else with its embedding as head.
pub(crate) fn untied(model: Arc<dyn Weights>) -> Result<Arc<dyn Weights>> {
    if !is_tied(&*model)? {
        return Ok(model);
    }
    Ok(Arc::new(headed(model, "lm_head.weight", false)?))
}

/// True if a model's head is its embedding. A model without an embedding has no head to tie.
pub(crate) fn is_tied(model: &dyn Weights) -> Result<bool> {
    // Some tied models leave the key out. A model that is not a language model has no embedding either.
    let said = model.config().ties().map_err(|e| e.at(model.place()))?;
    let embeds = !embeddings(model.index()).is_empty();
    let tied = if said.is_empty() { embeds && !model.config().0.is_empty() } else { said.contains(&true) };
    Ok(tied && head_of(model.index().keys()).is_none())
}

/// Name of the tensor that is the output head.
pub(crate) fn head_of<'n>(mut names: impl Iterator<Item = &'n String>) -> Option<&'n str> {
    let heads = ["lm_head.weight", "embed_out.weight", "output.weight"];
    let is_head = |name: &&String| {
        let named =
            |head: &&str| name.strip_suffix(*head).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        heads.iter().any(named) && !is_numbered(name)
    };
    names.find(is_head).map(String::as_str)
}

/// The model without its own head (`tie`), or with its embedding as a head named `head`.
pub(crate) fn headed(model: Arc<dyn Weights>, head: &str, tie: bool) -> Result<WeightsView> {
    let mut config = model.config().clone();
    config.tie(tie);
    if tie {
        let own = head_of(model.index().keys()).map(str::to_owned);
        return Ok(WeightsView::without(model, |name| Some(name) == own.as_deref()).with_config(config));
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
    Ok(WeightsView::new(model, names).with_config(config))
}
