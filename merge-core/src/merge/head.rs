//! Makes output heads alike where some models tie theirs to the input embedding and others do not.

use crate::{
    error::{Error, Result},
    model::{
        Weights,
        head::{head_of, headed, is_tied},
    },
    recipe::Recipe,
};
use std::sync::Arc;

/// The models with heads of one kind: as the recipe's `tie_word_embeddings` asks, else unchanged.
///
/// With `false`, a tied model uses its embedding as a head. With `true`, heads are left out, as `tie_word_embeddings`
/// in `config.json` does. Fails if the models differ and the recipe does not ask.
pub(crate) fn make_heads_alike(
    recipe: &Recipe,
    models: Vec<(String, Arc<dyn Weights>)>,
) -> Result<Vec<(String, Arc<dyn Weights>)>> {
    let tied: Vec<bool> = models.iter().map(|(_, model)| is_tied(&**model)).collect::<Result<_>>()?;
    let Some(wanted) = recipe.tie_word_embeddings else {
        if !recipe.path.is_empty() {
            // Embedding and head come from one model.
            return Ok(models);
        }
        // A model that only provides its tokenizer does not count.
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
