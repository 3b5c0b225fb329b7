//! Where a configuration speaks of the language model: at its top, or in a block of a model that has more parts.

use crate::weights::Config;
use serde_json::{Map, Value};

/// Blocks that hold what is said of a language model, as transformers and models with code of their own nest them.
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

/// Keys that count the layers of a decoder beside an encoder, of which `num_hidden_layers` and `num_layers` then speak.
const OF_DECODERS: [&str; 3] = ["num_decoder_layers", "decoder_layers", "decoder_num_hidden_layers"];

/// Keys that count layers.
const COUNTS: [&str; 6] =
    ["num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_transformer_layers", "layers"];

/// Keys that count layers behind the last one, which predict tokens further ahead.
const AHEAD: [&str; 3] = ["num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers"];

impl Config {
    /// What it says of the language model: a block of it in models that have more parts, else all of it.
    pub fn language(&self) -> &Map<String, Value> {
        self.blocks().pop().map_or(&self.0, |(_, block)| block)
    }

    /// Its top and the blocks down to the language model's, each with its keys' prefix, such as `text_config.`.
    pub(crate) fn blocks(&self) -> Vec<(String, &Map<String, Value>)> {
        let mut blocks = vec![(String::new(), &self.0)];
        loop {
            let (prefix, here) = &blocks[blocks.len() - 1];
            let Some((name, within)) = inner(here) else { return blocks };
            blocks.push((format!("{prefix}{name}."), within));
        }
    }

    /// As [`Config::blocks`], one at a time, to be changed.
    pub(crate) fn block_mut(&mut self, depth: usize) -> &mut Map<String, Value> {
        let mut here = &mut self.0;
        for _ in 0..depth {
            let name = inner(here).expect("there are so many blocks").0;
            here = here.get_mut(name).and_then(Value::as_object_mut).expect("it was just seen");
        }
        here
    }

    /// What it says of how many layers the language model has: keys and numbers, the likeliest first.
    pub(crate) fn counts(&self) -> Vec<(String, usize)> {
        let blocks = self.blocks();
        let count = |(prefix, block): &(String, &Map<String, Value>), key: &str| {
            let count = usize::try_from(block.get(key)?.as_u64()?).ok().filter(|count| *count > 0)?;
            Some((format!("{prefix}{key}"), count))
        };
        let of_block = |block| OF_DECODERS.iter().chain(&COUNTS).filter_map(move |key| count(block, key));
        blocks.iter().rev().flat_map(of_block).collect()
    }

    /// How many layers behind the last one it says that there are.
    pub(crate) fn ahead(&self) -> usize {
        let said = AHEAD.iter().find_map(|key| self.language().get(*key)?.as_u64());
        said.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// What kinds of model it says that this is: the language model's, and the whole's.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.blocks().into_iter().rev().filter_map(|(_, block)| block.get("model_type")?.as_str())
    }
}

/// Whether a key counts layers.
pub(super) fn counts(key: &str) -> bool {
    OF_DECODERS.contains(&key) || COUNTS.contains(&key)
}

/// The keys of a block that count the layers of a decoder, and not of the encoder beside it.
pub(super) fn counters(block: &Map<String, Value>) -> &'static [&'static str] {
    if OF_DECODERS.iter().any(|key| block.get(*key).is_some_and(Value::is_u64)) {
        &OF_DECODERS
    } else if block.get("is_encoder_decoder") == Some(&Value::Bool(true)) {
        &[]
    } else {
        &COUNTS
    }
}

fn inner(block: &Map<String, Value>) -> Option<(&'static str, &Map<String, Value>)> {
    BLOCKS.iter().find_map(|name| Some((*name, block.get(*name)?.as_object()?)))
}

#[cfg(test)]
mod tests {
    use crate::weights::Config;
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
