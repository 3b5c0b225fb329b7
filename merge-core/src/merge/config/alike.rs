//! What two configurations say otherwise of how the same tensors compute.
//!
//! Every key is compared, in all blocks, but for those of which [`super::effect`] says that they change nothing.

use super::{
    by_layer,
    by_number::{is_in_other_words, lacks_what_it_needs},
    defaults::{is_known, is_none_if_null, of_class},
    effect::{Effect, Word, effect, effect_of_kinds, last},
};
use crate::{merge::evomistral, model::Config};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A key that two configurations have otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) effect: Effect,
    pub(crate) key: String,
    /// The values; nothing where one does not say, and its class is not known to take one.
    pub(crate) values: [Option<Value>; 2],
    /// Whether a value is not said, but what its class takes.
    pub(crate) by_default: [bool; 2],
}

/// What two configurations say otherwise, the worst first.
pub(crate) fn differences(a: &Config, b: &Config) -> Vec<Difference> {
    let [a, b] = [a, b].map(Flat::of);
    let mut differences = Vec::new();
    let mut compare = |key: &str, values: [Option<&Value>; 2]| {
        let words = [(&a, values[0]), (&b, values[1])].map(|(flat, value)| flat.word(key, value));
        let is_kind = [&a, &b].iter().any(|flat| flat.name(key) == Some("model_type"));
        if let Some(effect) = effect(key, &words) {
            let effect = if is_kind { effect_of_kinds(&values) } else { effect };
            differences.push(Difference::new(effect, key, words));
        }
    };
    for key in a.keys.keys().chain(b.keys.keys().filter(|key| !a.keys.contains_key(*key))) {
        match [&a, &b].map(|flat| flat.keys.get(key)) {
            [Some(Value::Object(x)), Some(Value::Object(y))] => {
                for inner in x.keys().chain(y.keys().filter(|inner| !x.contains_key(*inner))) {
                    compare(&format!("{key}.{inner}"), [x, y].map(|block| block.get(inner)));
                }
            }
            values => compare(key, values),
        }
    }
    let is_block = |difference: &Difference| difference.values.iter().flatten().any(Value::is_object);
    differences.sort_by_key(|difference| (difference.effect, is_block(difference)));
    differences
}

/// Whether two models with so many layers may differ so where their layers are stacked, as each layer keeps what its model says.
pub(crate) fn is_carried(difference: &Difference, configs: [&Config; 2], counts: [usize; 2]) -> bool {
    match &difference.values {
        [Some(x), Some(y)] if difference.by_default == [false; 2] => {
            by_layer::is_carried(&difference.key, [x, y], configs, counts)
        }
        _ => false,
    }
}

impl Difference {
    fn new(effect: Effect, key: &str, words: [Word; 2]) -> Self {
        let by_default = words.each_ref().map(|word| matches!(word, Word::Default(_)));
        let values = words.map(|word| match word {
            Word::Said(value) | Word::Default(value) => Some(value),
            Word::Null => Some(Value::Null),
            Word::Elsewhere | Word::Off | Word::Unknown => None,
        });
        Self { effect, key: key.to_owned(), values, by_default }
    }

    /// `rope_theta is 10000 and 500000`.
    pub(crate) fn both(&self) -> String {
        let (key, [x, y]) = self.shown();
        format!("{key} is {x} and {y}")
    }

    /// `rope_theta is 500000, not 10000`: what the second says, and the first.
    pub(crate) fn not(&self) -> String {
        let (key, [x, y]) = self.shown();
        match self.values[0] {
            Some(_) => format!("{key} is {y}, not {x}"),
            None => format!("{key} is {y}, which the other does not say"),
        }
    }

    /// The key and the values; of lists that begin alike, the first entry that is not.
    fn shown(&self) -> (String, [String; 2]) {
        let mut values = self.values.each_ref().map(|value| shown(value.as_ref()));
        for (value, by_default) in values.iter_mut().zip(self.by_default) {
            value.push_str(if by_default { " by default" } else { "" });
        }
        if let ([Some(Value::Array(x)), Some(Value::Array(y))], true) = (&self.values, values[0] == values[1])
            && let Some(at) = (0..x.len().max(y.len())).find(|at| x.get(*at) != y.get(*at))
        {
            return (format!("{}[{at}]", self.key), [x, y].map(|list| shown(list.get(at))));
        }
        (self.key.clone(), values)
    }
}

/// A value in few characters.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "not said".to_owned() };
    let text = match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        value => value.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A configuration as it is compared.
struct Flat {
    /// All keys with their values, those within blocks with dots; the language model's rotary settings in one spelling.
    keys: BTreeMap<String, Value>,
    /// What the keys of the language model begin with.
    prefix: String,
    /// What kind of model that is.
    class: Option<String>,
}

impl Flat {
    fn of(config: &Config) -> Self {
        let mut keys = BTreeMap::new();
        let depth = config.blocks().len() - 1;
        let prefix = config.blocks().swap_remove(depth).0;
        // The layers of one are those of the other.
        let kind = |kind: &str| if kind == evomistral::TYPES[0] { evomistral::TYPES[1] } else { kind }.to_owned();
        let class = config.kinds().next().map(kind);
        let mut config = config.clone();
        let rotary = take_rotary(config.block_mut(depth), class.as_deref());
        flatten("", &config.0, &mut keys);
        if let Some(Value::String(own)) = keys.get_mut("model_type") {
            *own = kind(own);
        }
        keys.extend(rotary.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
        Self { keys, prefix, class }
    }

    /// How a key is called in the block of the language model; `None` of those that are not in it, or further within.
    fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix).filter(|name| !name.contains('.'))
    }

    /// What it says with a key that has this value.
    fn word(&self, key: &str, value: Option<&Value>) -> Word {
        let (name, class) = (self.name(key), self.class.as_deref());
        let beside = &key[..key.len() - last(key).len()];
        let said = |other: &str| self.keys.get(&format!("{beside}{other}"));
        match value {
            Some(_) if lacks_what_it_needs(last(key), &said) => return Word::Null,
            Some(Value::Null) if is_none_if_null(last(key)) => return Word::Null,
            None | Some(Value::Null) => {}
            Some(value) => return Word::Said(value.clone()),
        }
        let class = class.filter(|_| name.is_some());
        if is_in_other_words(last(key), &said, class) {
            return Word::Elsewhere;
        }
        let default = of_class(class, last(key));
        match (default, value) {
            (Some(default), _) => Word::Default(default),
            (None, Some(_)) => Word::Null,
            _ if class.is_some_and(is_known) => Word::Off,
            _ => Word::Unknown,
        }
    }
}

fn flatten(prefix: &str, block: &Map<String, Value>, keys: &mut BTreeMap<String, Value>) {
    for (key, value) in block {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(within) => flatten(&format!("{key}."), within, keys),
            value => drop(keys.insert(key, value.clone())),
        }
    }
}

/// Takes out what says how positions turn queries and keys, in one spelling: the base, the part of a head, and how it is
/// stretched; of layers with a window too, where these have their own. And the window, where a switch says that there is none.
fn take_rotary(block: &mut Map<String, Value>, class: Option<&str>) -> Map<String, Value> {
    let mut rotary = Map::new();
    let switch = block.get("use_sliding_window").filter(|said| !said.is_null()).cloned();
    if switch.or_else(|| of_class(class, "use_sliding_window")) == Some(Value::Bool(false)) {
        for key in ["sliding_window", "max_window_layers"] {
            block.insert(key.to_owned(), Value::Null);
        }
    }
    let written = ["rope_parameters", "rope_scaling"].map(|key| block.remove(key));
    let written = written.into_iter().flatten().find_map(|value| match value {
        Value::Object(keys) => Some(keys),
        _ => None,
    });
    let mut all = written.unwrap_or_default();
    // By type of layer, if every entry is a block.
    let by_type = !all.is_empty() && all.values().all(Value::is_object);
    let mut parts: Vec<(&str, Map<String, Value>)> = Vec::new();
    if by_type {
        for (kind, name) in [("full_attention", ""), ("sliding_attention", "local_")] {
            if let Some(Value::Object(keys)) = all.remove(kind) {
                parts.push((name, keys));
            }
        }
        rotary.extend(all);
    } else {
        parts.push(("", all));
    }
    let original = block.get("original_max_position_embeddings").cloned();
    for (name, mut keys) in parts {
        let [theta, part, scaling] = match name {
            "" => ["rope_theta", "partial_rotary_factor", "rope_scaling"],
            _ => ["rope_local_base_freq", "rope_local_partial_rotary_factor", "rope_local_scaling"],
        };
        for (from, to) in [("rope_theta", theta), ("partial_rotary_factor", part)] {
            if let Some(value) = keys.remove(from).filter(|value| !value.is_null()) {
                rotary.insert(to.to_owned(), value);
            }
        }
        if let Some(kind) = keys.remove("type") {
            keys.entry("rope_type").or_insert(kind);
        }
        if keys.get("original_max_position_embeddings") == original.as_ref() {
            keys.remove("original_max_position_embeddings");
        }
        // As Qwen2-VL and Phi-3 called them first. What mrope has more is beside it.
        for (first, now) in [("mrope", "default"), ("su", "longrope")] {
            if let Some(kind) = keys.get_mut("rope_type").filter(|kind| *kind == first) {
                *kind = now.into();
            }
        }
        if keys.get("rope_type").is_none_or(|kind| kind == "default") {
            keys.remove("rope_type");
        }
        if !keys.is_empty() {
            rotary.insert(scaling.to_owned(), keys.into());
        }
    }
    let spellings = [
        ("rope_theta", "rope_theta"),
        ("rotary_emb_base", "rope_theta"),
        ("rotary_embedding_base", "rope_theta"),
        ("global_rope_theta", "rope_theta"),
        ("rope_local_base_freq", "rope_local_base_freq"),
        ("local_rope_theta", "rope_local_base_freq"),
        ("partial_rotary_factor", "partial_rotary_factor"),
        ("rotary_pct", "partial_rotary_factor"),
    ];
    for (from, to) in spellings {
        if let Some(value) = block.remove(from).filter(|value| !value.is_null()) {
            rotary.entry(to).or_insert(value);
        }
    }
    rotary
}
