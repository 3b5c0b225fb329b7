//! Finds the language model in a configuration: at its top, or in a block of a model with more parts.

use super::by_layer::is_no_list_of_layers;
use crate::{
    error::{Error, Result},
    model::Config,
};
use serde_json::{Map, Value};

/// Blocks of a language model, as transformers and models with code of their own nest them.
const BLOCKS: [&str; 10] = [
    "thinker_config",
    "text_config",
    "llm_config",
    "language_config",
    "language_model_config",
    "lm_config",
    "text_model_config",
    "vlm_config",
    "decoder",
    "generator",
];

/// Keys that count a decoder's layers beside an encoder's, which `num_hidden_layers` and `num_layers` then count.
const OF_DECODERS: [&str; 3] = ["num_decoder_layers", "decoder_layers", "decoder_num_hidden_layers"];

/// Keys that count layers.
const COUNTS: [&str; 7] =
    ["num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_transformer_layers", "layers", "num_blocks"];

/// Keys that count layers behind the last one, which predict tokens further ahead.
const AHEAD: [&str; 3] = ["num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers"];

impl Config {
    /// The block of the language model in a model with more parts, else the whole configuration.
    pub fn language(&self) -> &Map<String, Value> {
        self.blocks().pop().map_or(&self.0, |(_, block)| block)
    }

    /// The top and the blocks down to the language model's, each with the prefix of its keys, such as `text_config.`.
    pub(crate) fn blocks(&self) -> Vec<(String, &Map<String, Value>)> {
        let mut blocks = vec![(String::new(), &self.0)];
        loop {
            let (prefix, here) = &blocks[blocks.len() - 1];
            let Some((name, within)) = inner(here) else { return blocks };
            blocks.push((format!("{prefix}{name}."), within));
        }
    }

    /// One of [`Config::blocks`], to be changed.
    pub(crate) fn block_mut(&mut self, depth: usize) -> &mut Map<String, Value> {
        let mut here = &mut self.0;
        for _ in 0..depth {
            let name = inner(here).expect("there are so many blocks").0;
            here = here.get_mut(name).and_then(Value::as_object_mut).expect("it was just seen");
        }
        here
    }

    /// Keys that count the language model's layers, with their values, the likeliest first.
    pub(crate) fn counts(&self) -> Vec<(String, usize)> {
        let blocks = self.blocks();
        let count = |(prefix, block): &(String, &Map<String, Value>), key: &str| {
            let count = usize::try_from(block.get(key)?.as_u64()?).ok().filter(|count| *count > 0)?;
            Some((format!("{prefix}{key}"), count))
        };
        let of_block = |block| OF_DECODERS.iter().chain(&COUNTS).filter_map(move |key| count(block, key));
        blocks.iter().rev().flat_map(of_block).collect()
    }

    /// Values of `tie_word_embeddings` (the output head is the embedding), at the top and of the language model.
    pub(crate) fn ties(&self) -> Result<Vec<bool>> {
        let said = |(prefix, block): (String, &Map<String, Value>)| match block.get("tie_word_embeddings")? {
            Value::Null => None,
            Value::Bool(tied) => Some(Ok(*tied)),
            other => {
                let message = format!("config.json: {prefix}tie_word_embeddings: {other} is not true or false");
                Some(Err(Error::user(message)))
            }
        };
        self.blocks().into_iter().filter_map(said).collect()
    }

    /// Sets `tie_word_embeddings` at the top, and in each block that has it.
    pub(crate) fn tie(&mut self, tied: bool) {
        for depth in 0..self.blocks().len() {
            let block = self.block_mut(depth);
            if depth == 0 || block.contains_key("tie_word_embeddings") {
                block.insert("tie_word_embeddings".to_owned(), tied.into());
            }
        }
    }

    /// Number of layers behind the last one.
    pub(crate) fn ahead(&self) -> usize {
        let said = AHEAD.iter().find_map(|key| self.language().get(*key)?.as_u64());
        said.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// Removes what the configuration of a model with `count` layers says of layers behind the last one.
    pub(crate) fn leave_out_ahead(&mut self, count: usize) {
        let (ahead, depth) = (self.ahead(), self.blocks().len() - 1);
        for (key, value) in self.block_mut(depth).iter_mut() {
            match value {
                Value::Number(_) if AHEAD.contains(&key.as_str()) => *value = 0.into(),
                Value::Array(list)
                    if ahead > 0 && list.len() == count.saturating_add(ahead) && !is_no_list_of_layers(key) =>
                {
                    list.truncate(count);
                }
                _ => {}
            }
        }
    }

    /// Kinds of model in `model_type`: the language model's first, the whole's last.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.blocks().into_iter().rev().filter_map(|(_, block)| block.get("model_type")?.as_str())
    }
}

/// True if a key counts layers.
pub(super) fn counts(key: &str) -> bool {
    OF_DECODERS.contains(&key) || COUNTS.contains(&key)
}

/// Keys of a block that count the layers of a decoder, not of the encoder beside it.
pub(super) fn counters(block: &Map<String, Value>) -> &'static [&'static str] {
    if OF_DECODERS.iter().any(|key| block.get(*key).is_some_and(Value::is_u64)) {
        &OF_DECODERS
    } else if block.get("is_encoder_decoder") == Some(&Value::Bool(true)) {
        &[]
    } else {
        &COUNTS
    }
}

/// Adds the number of layers to a language model's block that leaves it to its class; false if
/// there is no such block. (A plain model gives the number.)
pub(super) fn say_count(config: &mut Config, count: usize) -> bool {
    let depth = config.blocks().len() - 1;
    let block = config.block_mut(depth);
    let is_said = COUNTS.iter().chain(&OF_DECODERS).any(|key| block.get(*key).is_some_and(|value| !value.is_null()));
    let leaves_it_out = depth > 0 && !is_said && !counters(block).is_empty();
    if leaves_it_out {
        block.insert(COUNTS[0].to_owned(), count.into());
    }
    leaves_it_out
}

fn inner(block: &Map<String, Value>) -> Option<(&'static str, &Map<String, Value>)> {
    BLOCKS.iter().find_map(|name| Some((*name, block.get(*name)?.as_object()?)))
}

#[cfg(test)]
mod tests {
    use crate::model::Config;
    use serde_json::{Value, json};

    #[test]
    fn the_language_model_is_found_in_what_is_nested() {
        let check = |config: Value, expected: &[(&str, usize)]| {
            let Value::Object(keys) = config else { panic!("a block of keys") };
            let expected: Vec<_> = expected.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
            assert_eq!(Config(keys).counts(), expected);
        };
        check(json!({}), &[]);
        check(json!({"num_hidden_layers": 4, "vision_config": {"num_hidden_layers": 3}}), &[("num_hidden_layers", 4)]);
        check(json!({"n_layer": 4, "num_layers": null}), &[("n_layer", 4)]);
        check(
            json!({"text_config": {"num_hidden_layers": 4}, "num_hidden_layers": 3}),
            &[("text_config.num_hidden_layers", 4), ("num_hidden_layers", 3)],
        );
        check(
            json!({"thinker_config": {"text_config": {"num_hidden_layers": 4}}, "talker_config": {"num_layers": 2}}),
            &[("thinker_config.text_config.num_hidden_layers", 4)],
        );
        check(json!({"llm_config": {"n_layers": 5}}), &[("llm_config.n_layers", 5)]);
        check(json!({"num_layers": 6, "num_decoder_layers": 4}), &[("num_decoder_layers", 4), ("num_layers", 6)]);
        check(json!({"encoder": {"num_hidden_layers": 6}, "decoder": {"n_layer": 4}}), &[("decoder.n_layer", 4)]);
    }
}
