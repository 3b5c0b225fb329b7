//! Makes a configuration true of layers that have other numbers than before, or refuses.
//!
//! A list with an entry for each layer, such as `layer_types`, is stacked as the layers are. Keys
//! of [`super::by_number`] name layers by a number or a pattern: a key that is still true stays,
//! and one that another number or list can express exactly is rewritten. Anything else is refused.

use super::{
    by_number::{KEYS, LayerKey, NO_LAYERS, Says, is_held},
    language,
};
use crate::model::Config;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Origin of a layer of the result: the configuration that describes it, and its number there.
#[derive(Clone, Copy)]
pub(crate) struct LayerOrigin<'m> {
    pub(crate) config: &'m Config,
    pub(crate) layer: usize,
}

/// A key that would be untrue of the result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// The key, or the key and its value, as in `config.json`.
    pub(crate) said: String,
    /// First layer that it is untrue of; `None` if it is about the number of layers.
    pub(crate) layer: Option<usize>,
}

/// Makes the configuration of a model with `count` layers true of one with the layers of `origins`.
pub(super) fn restack(config: &mut Config, count: usize, origins: &[LayerOrigin<'_>]) -> Result<(), Contradiction> {
    let donor = config.clone();
    let (kinds, ahead): (Vec<&str>, _) = (donor.kinds().collect(), donor.ahead());
    let blocks: Vec<_> = origins.iter().map(|origin| origin.config.blocks()).collect();
    let depths = donor.blocks();
    for (depth, (prefix, donors)) in depths.iter().enumerate() {
        // A kind's value for an absent key applies to the language model.
        let is_language = depth + 1 == depths.len();
        let kinds = if is_language { &kinds[..] } else { &[] };
        let own = |(blocks, origin): (&Vec<(String, _)>, &LayerOrigin<'_>)| OwnLayer {
            block: blocks.get(depth).map_or(donors, |(_, block)| *block),
            layer: origin.layer,
        };
        let stack = StackedLayers { kinds, donors, count, layers: blocks.iter().zip(origins).map(own).collect() };
        let (block, counters) = (config.block_mut(depth), language::counters(donors));
        for (key, value) in block.iter_mut() {
            if counters.contains(&key.as_str())
                && let Some(number) = value.as_u64().filter(|number| *number > 0)
            {
                match recounted(number, count, origins.len()).filter(|_| is_language || number == count as u64) {
                    Some(number) => *value = number.into(),
                    None if is_language && origins.len() != count => {
                        return Err(Contradiction { said: format!("{prefix}{key}: {number}"), layer: None });
                    }
                    None => {}
                }
            } else if let Value::Array(list) = value
                && has_each_layer(key, list, count, ahead)
            {
                // Entries for layers behind the last one stay there.
                let behind = list.split_off(count);
                let entry = |own: &OwnLayer<'_>| {
                    let entry = own.block.get(key).and_then(|list| list.get(own.layer)).or_else(|| list.get(own.layer));
                    entry.cloned().unwrap_or_default()
                };
                *list = stack.layers.iter().map(entry).chain(behind).collect();
            }
        }
        for key in KEYS {
            key.hold(block, &stack)
                .map_err(|found| Contradiction { said: format!("{prefix}{}", found.said), ..found })?;
        }
    }
    Ok(())
}

/// New value of a key that counts layers: the new number, or the same multiple of it as before (LongCat-Flash has two
/// attentions in each of its `num_layers`, and counts them in `num_hidden_layers`).
fn recounted(number: u64, count: usize, total: usize) -> Option<u64> {
    let count = count as u64;
    let is_multiple = number.checked_rem(count) == Some(0);
    is_multiple.then(|| (number / count).saturating_mul(total as u64))
}

/// First difference between configurations of the same layers: key, and first layer if it has an entry for each.
pub(super) fn first_difference(prefix: &str, a: &Map<String, Value>, b: &Map<String, Value>) -> Option<Contradiction> {
    let mut keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
    keys.find_map(|key| match (a.get(key), b.get(key)) {
        (x, y) if x == y => None,
        (Some(Value::Object(x)), Some(Value::Object(y))) => first_difference(&format!("{prefix}{key}."), x, y),
        (Some(Value::Array(x)), Some(Value::Array(y))) if x.len() == y.len() => {
            Some(Contradiction { said: format!("{prefix}{key}"), layer: x.iter().zip(y).position(|(x, y)| x != y) })
        }
        _ => Some(Contradiction { said: format!("{prefix}{key}"), layer: None }),
    })
}

/// Layers of the result, for one block of its configuration.
struct StackedLayers<'m> {
    /// Kinds of model that the donor is.
    kinds: &'m [&'m str],
    /// The donor's block as it was, and its number of layers.
    donors: &'m Map<String, Value>,
    count: usize,
    layers: Vec<OwnLayer<'m>>,
}

/// A layer of the result: the block of its own model, and its number there.
struct OwnLayer<'m> {
    block: &'m Map<String, Value>,
    layer: usize,
}

/// True if a list has an entry for each of `count` layers, and perhaps for `ahead` layers behind the last.
fn has_each_layer(key: &str, list: &[Value], count: usize, ahead: usize) -> bool {
    let lengths = [count, count.saturating_add(ahead)];
    count > 1 && lengths.contains(&list.len()) && !is_no_list_of_layers(key)
}

/// True if each layer of a stack keeps its own model's value of a key, so that two models may
/// differ: the value is a list that is stacked as the layers are, or is checked layer by layer.
pub(super) fn is_carried(key: &str, values: [&Value; 2], configs: [&Config; 2], counts: [usize; 2]) -> bool {
    let [ours, theirs] = configs.map(Config::blocks);
    let in_block = |((prefix, _), (other, _)): (&(String, _), &(String, _))| {
        let Some(name) = key.strip_prefix(prefix).filter(|_| prefix == other) else { return false };
        let is_list = |at: usize| {
            let list = values[at].as_array().filter(|_| !name.contains('.'));
            list.is_some_and(|list| has_each_layer(name, list, counts[at], configs[at].ahead()))
        };
        is_held(name, values) || is_list(0) && is_list(1)
    };
    ours.iter().zip(&theirs).any(in_block)
}

/// True if lists of this key have no entry for each layer, whatever their length.
pub(super) fn is_no_list_of_layers(key: &str) -> bool {
    let is_token = ["_token_id", "_token_ids", "_token_index", "_tokens"].iter().any(|end| key.ends_with(end));
    let speaks_of_numbers =
        |known: &LayerKey| known.key == key && !matches!(known.says, Says::Every { .. } | Says::Map);
    is_token || NO_LAYERS.contains(&key) || KEYS.iter().any(speaks_of_numbers)
}

impl LayerKey {
    /// Checks one key against the layers of the result: keeps it, rewrites it, or returns what would be untrue.
    fn hold(&self, block: &mut Map<String, Value>, stack: &StackedLayers<'_>) -> Result<(), Contradiction> {
        let value = self.value(block, stack.kinds).into_owned();
        let is_of_class = self.kinds.iter().any(|(kind, _)| stack.kinds.contains(kind));
        // Meaning for each layer according to its own model or class; to the donor, if neither says anything.
        let was = |own: &OwnLayer<'_>| {
            let block = if is_of_class || self.lookup(own.block).is_some() { own.block } else { stack.donors };
            self.says.of(&self.value(block, stack.kinds), own.layer, stack.count, block)
        };
        let was: Vec<Value> = stack.layers.iter().map(was).collect();
        let total = was.len();
        let untrue = |(layer, was): (usize, &Value)| self.says.of(&value, layer, total, block) != *was;
        let first = was.iter().enumerate().position(untrue);
        let is_recounted = !value.is_null() && total != stack.count;
        // Keys with an entry for each layer, or with numbers of layers, have to end where the layers end.
        let lists = matches!(self.says, Says::Letters | Says::Repeats | Says::Numbers { .. } | Says::Map);
        let depends_on_all = matches!(self.says, Says::NumberAndTotal | Says::Total) && is_recounted;
        if first.is_none() && !depends_on_all && !(lists && is_recounted) {
            return Ok(());
        }
        let is_written = self.key != "model_type";
        if let Some(rewritten) = self.says.rewritten(&value, &was).filter(|_| is_written && !depends_on_all) {
            self.write(block, rewritten);
            return Ok(());
        }
        if first.is_none() && !depends_on_all {
            return Ok(());
        }
        if self.unless.iter().any(|list| block.get(*list).is_some_and(|list| !is_nothing(list))) {
            // The list counts; a loader that reads this key instead would be misled.
            if is_written {
                block.shift_remove(self.key);
            }
            return Ok(());
        }
        let kind = || self.kinds.iter().find(|(kind, _)| stack.kinds.contains(kind)).map_or("", |(kind, _)| kind);
        let value = if self.key == "model_type" { kind().into() } else { value };
        Err(Contradiction { said: format!("{}: {value}", self.key), layer: first })
    }

    /// The key's value, or the default of these kinds of models; null if it has no effect.
    fn value<'b>(&self, block: &'b Map<String, Value>, kinds: &[&str]) -> Cow<'b, Value> {
        if !self.needs.is_empty() && block.get(self.needs).is_none_or(is_nothing) {
            return Cow::Owned(Value::Null);
        }
        let of_kind = || {
            self.kinds.iter().find(|(kind, _)| kinds.contains(kind)).map(|(_, value)| Cow::Owned(Value::from(*value)))
        };
        let value = self.lookup(block).map(Cow::Borrowed).or_else(of_kind);
        value.filter(|value| !is_nothing(value)).unwrap_or(Cow::Owned(Value::Null))
    }

    fn lookup<'b>(&self, block: &'b Map<String, Value>) -> Option<&'b Value> {
        match self.key.split_once('.') {
            Some((outer, inner)) => block.get(outer)?.get(inner),
            None => block.get(self.key).filter(|_| self.key != "model_type"),
        }
    }

    fn write(&self, block: &mut Map<String, Value>, value: Value) {
        match self.key.split_once('.') {
            Some((outer, inner)) => block[outer][inner] = value,
            None => drop(block.insert(self.key.to_owned(), value)),
        }
    }
}

/// True for null, false, an empty value, and a number of 0 or less.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64().is_some_and(|number| number <= 0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

impl Says {
    /// Meaning of a key with this value for one of `count` layers.
    fn of(self, value: &Value, layer: usize, count: usize, block: &Map<String, Value>) -> Value {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        let at = |list: &[Value], layer: usize| list.get(layer).cloned().unwrap_or_default();
        match (self, value) {
            (Self::First { more: 0 } | Self::Numbers { .. }, Value::Null) => false.into(),
            (_, Value::Null) | (Self::Total, _) => Value::Null,
            (Self::First { more }, _) if number.is_some() => (layer < number.unwrap_or(0).saturating_add(more)).into(),
            (Self::First { .. }, Value::Array(list)) => (layer < list.len()).into(),
            (Self::Every { ahead }, Value::Number(_)) => {
                ((layer + ahead).checked_rem(number.unwrap_or(0)) == Some(0)).into()
            }
            (Self::Every { .. } | Self::Turn | Self::Letters, Value::String(text)) => {
                let letters = text.chars().count();
                let is_repeated = self != Self::Letters;
                let letter = text.chars().nth(if is_repeated { layer % letters.max(1) } else { layer });
                letter.map_or(Value::Null, |letter| letter.to_string().into())
            }
            (Self::Every { .. } | Self::Turn, Value::Array(list)) => at(list, layer % list.len().max(1)),
            (Self::Turn, Value::Number(_)) => layer.checked_rem(number.unwrap_or(0)).into(),
            (Self::EveryFrom { offset, default }, _) => {
                let offset = block.get(offset).and_then(Value::as_u64).unwrap_or(default);
                (layer.checked_rem(number.unwrap_or(0)) == usize::try_from(offset).ok()).into()
            }
            (Self::Numbers { from }, _) => numbers(value).contains(&(layer + from)).into(),
            (Self::Last, _) => (layer + 1 == count).into(),
            (Self::Repeats, _) => repeated(value, layer),
            (Self::Map, _) => value.get(layer.to_string()).cloned().unwrap_or_default(),
            _ => layer.into(),
        }
    }

    /// The value with these meanings for the layers, if there is one.
    fn rewritten(self, value: &Value, layers: &[Value]) -> Option<Value> {
        let holds = |layer: &Value| layer == &Value::Bool(true);
        match (self, value) {
            (Self::First { more }, Value::Number(_)) => {
                let first = layers.iter().take_while(|layer| holds(layer)).count();
                let is_leading = !layers[first..].iter().any(holds);
                is_leading.then(|| first.checked_sub(more)).flatten().map(Value::from)
            }
            (Self::Numbers { from }, Value::String(_) | Value::Array(_)) => {
                let wanted =
                    layers.iter().enumerate().filter(|(_, layer)| holds(layer)).map(|(number, _)| number + from);
                Some(match value {
                    Value::String(_) => wanted.map(|number| number.to_string()).collect::<Vec<_>>().join(",").into(),
                    _ => wanted.collect(),
                })
            }
            (Self::Letters, Value::String(_)) => {
                layers.iter().map(Value::as_str).collect::<Option<String>>().map(Value::from)
            }
            (Self::Turn, Value::Array(_)) => Some(layers.into()),
            (Self::Repeats, Value::Array(_)) => Some(serde_json::json!([[layers, 1]])),
            (Self::Map, Value::Object(_)) => {
                let entries = layers.iter().enumerate().filter(|(_, entry)| !entry.is_null());
                Some(entries.map(|(layer, entry)| (layer.to_string(), entry.clone())).collect::<Map<_, _>>().into())
            }
            _ => None,
        }
    }
}

/// Numbers of layers, from `[0, 3]` or `"0,3"`.
fn numbers(value: &Value) -> Vec<usize> {
    let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
    match value {
        Value::Array(list) => list.iter().filter_map(number).collect(),
        Value::String(text) => text.split(',').filter_map(|part| part.trim().parse().ok()).collect(),
        _ => Vec::new(),
    }
}

/// One layer's entry; `[[["global", "local"], 2]]` means global, local, global, local.
fn repeated(value: &Value, layer: usize) -> Value {
    let mut left = layer;
    for group in value.as_array().into_iter().flatten() {
        let list = group.get(0).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let times =
            group.get(1).and_then(Value::as_u64).map_or(0, |times| usize::try_from(times).unwrap_or(usize::MAX));
        let entries = list.len().saturating_mul(times);
        if left < entries {
            return list[left % list.len()].clone();
        }
        left -= entries;
    }
    Value::Null
}
