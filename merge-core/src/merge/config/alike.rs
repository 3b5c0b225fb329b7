//! Finds where two configurations differ in how the same tensors compute.
//!
//! Every key in every block is compared, except those without effect according to [`super::effect`].

use super::{
    by_layer,
    by_number::{is_in_other_words, lacks_what_it_needs},
    defaults::{is_known, is_none_if_null, of_class},
    effect::{Effect, KeyMeaning, effect, effect_of_kinds, last},
};
use crate::{merge::evomistral, model::Config};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A key with different meanings in two configurations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) effect: Effect,
    pub(crate) key: String,
    /// Values, given or taken by default; `None` where there is neither.
    pub(crate) values: [Option<Value>; 2],
    /// True where the value is the default of the class.
    pub(crate) by_default: [bool; 2],
}

/// Differences between two configurations, the worst first.
pub(crate) fn differences(a: &Config, b: &Config) -> Vec<Difference> {
    let [a, b] = [a, b].map(ComparableConfig::of);
    let mut differences = Vec::new();
    let mut compare = |key: &str, values: [Option<&Value>; 2]| {
        let meanings = [(&a, values[0]), (&b, values[1])].map(|(flat, value)| flat.meaning(key, value));
        let is_kind = [&a, &b].iter().any(|flat| flat.name(key) == Some("model_type"));
        if let Some(effect) = effect(key, &meanings) {
            let effect = if is_kind { effect_of_kinds(&values) } else { effect };
            differences.push(Difference::new(effect, key, meanings));
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

/// True if rotary embeddings are scaled, which may depend on the length of the context.
pub(super) fn scales_rotary(config: &Config) -> bool {
    let flat = ComparableConfig::of(config);
    flat.keys.contains_key(&format!("{}rope_scaling", flat.prefix))
}

/// True if stacked models may differ in this way, since each layer keeps its own model's value.
pub(crate) fn is_carried(difference: &Difference, configs: [&Config; 2], counts: [usize; 2]) -> bool {
    match &difference.values {
        [Some(x), Some(y)] if difference.by_default == [false; 2] => {
            by_layer::is_carried(&difference.key, [x, y], configs, counts)
        }
        _ => false,
    }
}

impl Difference {
    fn new(effect: Effect, key: &str, meanings: [KeyMeaning; 2]) -> Self {
        let by_default = meanings.each_ref().map(|meaning| matches!(meaning, KeyMeaning::Default(_)));
        let values = meanings.map(|meaning| match meaning {
            KeyMeaning::Said(value) | KeyMeaning::Default(value) => Some(value),
            KeyMeaning::Null => Some(Value::Null),
            KeyMeaning::Elsewhere | KeyMeaning::Off | KeyMeaning::Unknown => None,
        });
        Self { effect, key: key.to_owned(), values, by_default }
    }

    /// The difference as a text: `rope_theta is 10000 and 500000`.
    pub(crate) fn both(&self) -> String {
        let (key, [x, y]) = self.shown();
        format!("{key} is {x} and {y}")
    }

    /// The second value against the first: `rope_theta is 500000, not 10000`.
    pub(crate) fn not(&self) -> String {
        let (key, [x, y]) = self.shown();
        match self.values[0] {
            Some(_) => format!("{key} is {y}, not {x}"),
            None => format!("{key} is {y}, which the other does not set"),
        }
    }

    /// The key and the values as texts; for lists that look the same, their first entries that differ.
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

/// A value as a short text.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "not set".to_owned() };
    let text = match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        value => value.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A configuration in the form for comparing.
struct ComparableConfig {
    /// All keys with their values; keys in blocks have dots, and the language model's rotary settings one spelling.
    keys: BTreeMap<String, Value>,
    /// Prefix of the language model's keys.
    prefix: String,
    /// Kind of the language model.
    class: Option<String>,
}

impl ComparableConfig {
    fn of(config: &Config) -> Self {
        let mut keys = BTreeMap::new();
        let depth = config.blocks().len() - 1;
        let prefix = config.blocks().swap_remove(depth).0;
        // Layers of both kinds are the same.
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

    /// Name of a key within the language model's block; `None` for keys outside it or nested deeper.
    fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix).filter(|name| !name.contains('.'))
    }

    /// Meaning of a key with this value.
    fn meaning(&self, key: &str, value: Option<&Value>) -> KeyMeaning {
        let (name, class) = (self.name(key), self.class.as_deref());
        let beside = &key[..key.len() - last(key).len()];
        let said = |other: &str| self.keys.get(&format!("{beside}{other}"));
        match value {
            Some(_) if lacks_what_it_needs(last(key), &said) => return KeyMeaning::Null,
            Some(Value::Null) if is_none_if_null(last(key)) => return KeyMeaning::Null,
            None | Some(Value::Null) => {}
            Some(value) => return KeyMeaning::Said(value.clone()),
        }
        let class = class.filter(|_| name.is_some());
        if is_in_other_words(last(key), &said, class) {
            return KeyMeaning::Elsewhere;
        }
        let default = of_class(class, last(key));
        match (default, value) {
            (Some(default), _) => KeyMeaning::Default(default),
            (None, Some(_)) => KeyMeaning::Null,
            _ if class.is_some_and(is_known) => KeyMeaning::Off,
            _ => KeyMeaning::Unknown,
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

/// Removes the rotary settings from a block and returns them in one spelling: base, rotated part of a head, and
/// scaling; for layers with a window too, if they have their own. Clears the window if a switch turns it off.
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
    // Settings are by type of layer if every entry is a block.
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
        // Earlier names in Qwen2-VL and Phi-3. Further settings of mrope are beside the type.
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
