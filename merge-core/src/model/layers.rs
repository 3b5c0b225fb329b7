//! Finds a model's layers by the names of its tensors and the number that its configuration gives.

#[cfg(test)]
mod tests;

use crate::model::{Config, Index, Weights};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The layers of a model: `model.layers.3.mlp.up_proj.weight` is in layer 3 of `model.layers.`.
///
/// Of several stacks, these are the language model's layers, counted by `num_hidden_layers` (or another spelling, or
/// within `text_config`, `llm_config` and so on). Vision towers, audio encoders, encoders beside decoders, and layers
/// that predict tokens further ahead are other stacks. Without a configuration, it is the stack with most tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Number of layers.
    pub count: usize,
    /// Part of a name before the layer's number, with its dot.
    pub prefix: String,
    /// Number of layers behind the last one under the same prefix: they predict tokens further ahead.
    pub behind: usize,
    /// Names of the tensors that embed the input, before the first layer.
    pub embeddings: Vec<String>,
    /// Names of the tensors in a layer, after its number and dot, in order.
    pub inside: BTreeSet<String>,
    /// Other stacks, such as a vision tower's, by their prefixes.
    pub others: BTreeMap<String, Stack>,
    /// Key of the configuration that counts layers, and its value; no stack has that many if it is not `count`.
    pub stated_count: Option<(String, usize)>,
    /// Prefixes of other stacks that are an equally good choice.
    pub rivals: Vec<String>,
}

/// Tensors with a number after the same prefix in their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// One more than the largest number.
    pub layers: usize,
    /// Number of tensors.
    pub tensors: usize,
}

impl Stack {
    /// True if the stack is made of layers, not of a few numbered tensors.
    fn is_of_layers(&self) -> bool {
        self.tensors >= MIN_TENSORS_PER_LAYER.saturating_mul(self.layers)
    }
}

impl Layers {
    /// The layers of a model. A model without numbered tensors has none, and an empty prefix.
    pub fn of(model: &dyn Weights) -> Self {
        Self::within(model.index(), model.config(), &|_| true)
    }

    /// The layers of the part of a model whose tensor names `names` accepts. If the part has none
    /// of the language model's layers, these are its own stack with most tensors.
    pub fn within(index: &Index, config: &Config, names: &dyn Fn(&str) -> bool) -> Self {
        let all = stacks(index.keys().map(String::as_str));
        let mine = stacks(index.keys().map(String::as_str).filter(|name| names(name)));
        let found = if config.0.is_empty() { None } else { decoder(&all, &config.counts()) };
        let found = found.filter(|found| mine.contains_key(found.prefix));
        let largest = || {
            let (prefix, stack) = mine.iter().max_by_key(|(_, stack)| stack.tensors)?;
            Some(DecoderStack { prefix, count: stack.layers, stated_count: None, rivals: Vec::new() })
        };
        let DecoderStack { prefix, count, stated_count, rivals } = found.or_else(largest).unwrap_or_default();
        let mine_of = || index.keys().filter(|name| names(name));
        let inside = mine_of().filter_map(|name| {
            let (own, layer) = split(name)?;
            let is_inside = own == prefix && layer < count;
            is_inside.then(|| name[prefix.len()..].split_once('.').map_or("", |(_, rest)| rest).to_owned())
        });
        Self {
            count,
            prefix: prefix.to_owned(),
            behind: mine.get(prefix).map_or(0, |stack| stack.layers - count.min(stack.layers)),
            embeddings: mine_of().filter(|name| is_embedding(name)).cloned().collect(),
            inside: inside.collect(),
            others: mine.iter().filter(|(other, _)| **other != prefix).map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            stated_count,
            rivals: rivals.into_iter().filter(|rival| mine.contains_key(rival)).map(str::to_owned).collect(),
        }
    }

    /// Number of the layer that a tensor belongs to; `None` if it is in none of these layers.
    pub fn of_tensor(&self, name: &str) -> Option<usize> {
        split(name).filter(|(prefix, layer)| *prefix == self.prefix && *layer < self.count).map(|(_, layer)| layer)
    }

    /// The part of a tensor's name after the layer's number, with its dot.
    pub fn rest<'n>(&self, name: &'n str) -> &'n str {
        let numbered = name.strip_prefix(&self.prefix).unwrap_or(name);
        numbered.find('.').map_or("", |dot| &numbered[dot..])
    }

    /// True if a tensor outside the layers comes before them: an embedding, or a part of another stack.
    pub fn is_before(&self, name: &str) -> bool {
        split(name).is_some_and(|(prefix, _)| prefix != self.prefix)
            || self.embeddings.iter().any(|known| known == name)
    }

    /// Name of a tensor outside the layers in a model with `count` layers; those behind the last stay behind it.
    pub fn outside(&self, name: &str, count: usize) -> String {
        match split(name).filter(|(prefix, layer)| *prefix == self.prefix && *layer >= self.count) {
            Some((prefix, layer)) => format!("{prefix}{}{}", layer - self.count + count, self.rest(name)),
            None => name.to_owned(),
        }
    }

    /// Position in mergekit's gradients: from 0 in the first layer of a stack to 1 in its last; 0 outside all stacks.
    pub fn depth(&self, name: &str) -> f64 {
        let Some((prefix, number)) = split(name) else { return 0.0 };
        let (layer, count) = match self.others.get(prefix) {
            Some(other) => (number, other.layers),
            None if prefix != self.prefix => (number, 1),
            None if number < self.count => (number, self.count),
            None => (number - self.count, self.behind),
        };
        if count > 1 { layer as f64 / (count - 1) as f64 } else { 1.0 }
    }

    /// True if a tensor helps to predict tokens further ahead: it is behind the last layer, or its name says so.
    pub fn is_ahead(&self, name: &str) -> bool {
        let is_behind = split(name).is_some_and(|(prefix, layer)| prefix == self.prefix && layer >= self.count);
        is_behind || name.split(['.', '_']).any(|word| ["mtp", "nextn"].contains(&word))
    }

    /// True if a tensor belongs to another stack, or is behind the last layer.
    pub fn is_in_other(&self, name: &str) -> bool {
        split(name).is_some() && self.of_tensor(name).is_none()
    }

    /// Prefix and number of layers of each other stack that is made of layers, and of those behind the last layer.
    pub fn other_stacks(&self) -> Vec<(&str, usize)> {
        let behind = (self.behind > 0).then_some((self.prefix.as_str(), self.behind));
        let others = self.others.iter().filter(|(_, stack)| stack.is_of_layers());
        behind.into_iter().chain(others.map(|(prefix, stack)| (prefix.as_str(), stack.layers))).collect()
    }
}

/// More layers than any model has.
const MOST_LAYERS: usize = 1 << 16;

/// Fewest tensors for each number in a stack of layers: attention and MLP have at least four matrices.
const MIN_TENSORS_PER_LAYER: usize = 4;

/// Names of the tensors that embed the input.
pub fn embeddings(index: &Index) -> Vec<String> {
    index.keys().filter(|name| is_embedding(name)).cloned().collect()
}

/// True if a tensor's name has a number, as that of a layer in any stack.
pub fn is_numbered(name: &str) -> bool {
    split(name).is_some()
}

fn is_embedding(name: &str) -> bool {
    split(name).is_none()
        && ["embed", "wte", "wpe"].iter().any(|part| name.contains(part))
        && !name.contains("embed_out")
}

fn stacks<'n>(names: impl Iterator<Item = &'n str>) -> BTreeMap<&'n str, Stack> {
    let mut stacks: BTreeMap<&str, Stack> = BTreeMap::new();
    for (prefix, layer) in names.filter_map(split) {
        // Only the first number counts: a numbered list within a layer (experts) belongs to the layer.
        let stack = stacks.entry(prefix).or_default();
        stack.tensors += 1;
        stack.layers = stack.layers.max(layer + 1);
    }
    stacks
}

/// The chosen stack, and the reason.
#[derive(Default)]
struct DecoderStack<'n> {
    prefix: &'n str,
    count: usize,
    stated_count: Option<(String, usize)>,
    rivals: Vec<&'n str>,
}

/// Words in names of stacks that are not a language model's decoder. (A lone encoder is found all the same.)
const NOT_DECODER_WORDS: [&str; 37] = [
    "adapter",
    "aligner",
    "apm",
    "audio",
    "clip",
    "codec",
    "connector",
    "depth",
    "dit",
    "draft",
    "eagle",
    "encoder",
    "extractor",
    "flow",
    "image",
    "img",
    "medusa",
    "merger",
    "mtp",
    "nextn",
    "patch",
    "perceiver",
    "projector",
    "qformer",
    "resampler",
    "sam",
    "siglip",
    "speech",
    "talker",
    "token2wav",
    "tts",
    "video",
    "vision",
    "visual",
    "vit",
    "vpm",
    "whisper",
];

/// The stack that has as many layers as the configuration counts, or else more. Stacks made of
/// layers are tried first, and among them those with fewest words of [`NOT_DECODER_WORDS`] in their names; then
/// the one with most tensors. If none has enough layers, the first in this order is taken.
fn decoder<'n>(stacks: &BTreeMap<&'n str, Stack>, counts: &[(String, usize)]) -> Option<DecoderStack<'n>> {
    let words = |prefix: &str| prefix.split(['.', '_']).filter(|word| NOT_DECODER_WORDS.contains(word)).count();
    // Unlikeness to a decoder: convolutions or parts of a classifier may be as many as the layers, or more.
    let unlike = |prefix: &str, stack: &Stack| (!stack.is_of_layers(), words(prefix));
    let mut ranked: Vec<_> = stacks.iter().map(|(k, v)| (unlike(k, v), *k, *v)).collect();
    ranked.sort_by_key(|(unlike, _, stack)| (*unlike, Reverse(stack.tensors)));
    for alike in ranked.chunk_by(|(a, ..), (b, ..)| a == b) {
        let chosen = |fits: fn(usize, usize) -> bool| {
            counts.iter().find_map(|said| {
                let (_, prefix, _) = alike.iter().find(|(_, _, stack)| fits(stack.layers, said.1))?;
                Some((*prefix, said.clone()))
            })
        };
        if let Some((prefix, said)) = chosen(|layers, count| layers == count) {
            let is_rival = |(_, other, stack): &&((bool, usize), &'n str, Stack)| {
                *other != prefix && words(other) == words(prefix) && stack.layers == said.1
            };
            let rivals = ranked.iter().filter(is_rival).map(|(_, name, _)| *name).collect();
            return Some(DecoderStack { prefix, count: said.1, stated_count: Some(said), rivals });
        }
        if let Some((prefix, said)) = chosen(|layers, count| layers > count) {
            return Some(DecoderStack { prefix, count: said.1, stated_count: Some(said), rivals: Vec::new() });
        }
    }
    let (_, prefix, stack) = ranked.first()?;
    Some(DecoderStack { prefix, count: stack.layers, stated_count: counts.first().cloned(), rivals: Vec::new() })
}

/// Splits a name at its first number: `model.layers.3.mlp` → (`model.layers.`, 3).
fn split(name: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for part in name.split('.') {
        // A larger number is not a layer's.
        if let Some(number) = part.parse().ok().filter(|number| *number < MOST_LAYERS) {
            return Some((&name[..start], number));
        }
        start += part.len() + 1;
    }
    None
}
