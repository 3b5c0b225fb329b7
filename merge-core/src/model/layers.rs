//! Which tensors are a model's layers, by their names and by how many layers its configuration counts.

#[cfg(test)]
mod tests;

use crate::model::{Config, Index, Weights};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The layers of a model: `model.layers.3.mlp.up_proj.weight` is in layer 3 of `model.layers.`.
///
/// Of several stacks of layers these are the language model's, of which `num_hidden_layers` (or another spelling, or within
/// `text_config`, `llm_config` and the like) says how many there are. Vision towers, audio encoders, the encoder beside a
/// decoder, and what predicts tokens further ahead are other stacks. Without a configuration it is the stack with most tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// How many there are.
    pub count: usize,
    /// What comes before the layer's number, with its dot.
    pub prefix: String,
    /// How many more are behind the last one under the same names: those that predict tokens further ahead.
    pub behind: usize,
    /// The names of the tensors that embed the input, which come before the first layer.
    pub embeddings: Vec<String>,
    /// The names of the tensors within a layer, behind its number and dot, in order.
    pub inside: BTreeSet<String>,
    /// Other stacks, such as that of a vision tower, by what comes before their layers' numbers.
    pub others: BTreeMap<String, Stack>,
    /// Which key of the configuration counts layers, and how many; no stack has so many if that is not `count`.
    pub said: Option<(String, usize)>,
    /// Other stacks that are as good a choice.
    pub rivals: Vec<String>,
}

/// Tensors with a number in their names, behind the same prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// One more than the largest number.
    pub layers: usize,
    /// How many tensors there are.
    pub tensors: usize,
}

impl Stack {
    /// Whether it is made of layers, and not of a few tensors with numbers.
    fn is_of_layers(&self) -> bool {
        self.tensors >= LEAST_OF_A_LAYER.saturating_mul(self.layers)
    }
}

impl Layers {
    /// The layers of a model. One without numbered tensors has none, and an empty prefix.
    pub fn of(model: &dyn Weights) -> Self {
        Self::within(model.index(), model.config(), &|_| true)
    }

    /// The layers of a part of a model, whose tensors `names` takes: of a part without any of the language model's layers,
    /// its own stack with most tensors.
    pub fn within(index: &Index, config: &Config, names: &dyn Fn(&str) -> bool) -> Self {
        let all = stacks(index.keys().map(String::as_str));
        let mine = stacks(index.keys().map(String::as_str).filter(|name| names(name)));
        let found = if config.0.is_empty() { None } else { decoder(&all, &config.counts()) };
        let found = found.filter(|found| mine.contains_key(found.prefix));
        let largest = || {
            let (prefix, stack) = mine.iter().max_by_key(|(_, stack)| stack.tensors)?;
            Some(DecoderStack { prefix, count: stack.layers, said: None, rivals: Vec::new() })
        };
        let DecoderStack { prefix, count, said, rivals } = found.or_else(largest).unwrap_or_default();
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
            said,
            rivals: rivals.into_iter().filter(|rival| mine.contains_key(rival)).map(str::to_owned).collect(),
        }
    }

    /// The layer a tensor belongs to, or `None` if it comes before or after them all.
    pub fn of_tensor(&self, name: &str) -> Option<usize> {
        split(name).filter(|(prefix, layer)| *prefix == self.prefix && *layer < self.count).map(|(_, layer)| layer)
    }

    /// What follows the layer's number in a tensor's name, with its dot.
    pub fn rest<'n>(&self, name: &'n str) -> &'n str {
        let numbered = name.strip_prefix(&self.prefix).unwrap_or(name);
        numbered.find('.').map_or("", |dot| &numbered[dot..])
    }

    /// Whether a tensor outside the layers comes before them: an embedding, or a part of another stack.
    pub fn is_before(&self, name: &str) -> bool {
        split(name).is_some_and(|(prefix, _)| prefix != self.prefix)
            || self.embeddings.iter().any(|known| known == name)
    }

    /// What a tensor outside the layers is called in a model that has `count` of them: what is behind the last stays there.
    pub fn outside(&self, name: &str, count: usize) -> String {
        match split(name).filter(|(prefix, layer)| *prefix == self.prefix && *layer >= self.count) {
            Some((prefix, layer)) => format!("{prefix}{}{}", layer - self.count + count, self.rest(name)),
            None => name.to_owned(),
        }
    }

    /// mergekit's place in a gradient, from 0 in the first layer of a stack to 1 in its last; 0 outside all stacks.
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

    /// Whether a tensor is of what predicts tokens further ahead: it is behind the last layer, or called so.
    pub fn is_ahead(&self, name: &str) -> bool {
        let is_behind = split(name).is_some_and(|(prefix, layer)| prefix == self.prefix && layer >= self.count);
        is_behind || name.split(['.', '_']).any(|word| ["mtp", "nextn"].contains(&word))
    }

    /// Whether a tensor belongs to another stack, or is behind the last layer.
    pub fn is_in_other(&self, name: &str) -> bool {
        split(name).is_some() && self.of_tensor(name).is_none()
    }

    /// The other stacks that are made of layers, and not of a few tensors with numbers: their prefixes, and how many layers.
    pub fn other_stacks(&self) -> Vec<(&str, usize)> {
        let behind = (self.behind > 0).then_some((self.prefix.as_str(), self.behind));
        let others = self.others.iter().filter(|(_, stack)| stack.is_of_layers());
        behind.into_iter().chain(others.map(|(prefix, stack)| (prefix.as_str(), stack.layers))).collect()
    }
}

/// Nobody has so many.
const MOST_LAYERS: usize = 1 << 16;

/// With fewer tensors for each number it is not a stack of layers: attention and MLP have four matrices at least.
const LEAST_OF_A_LAYER: usize = 4;

/// The names of the tensors that embed the input.
pub fn embeddings(index: &Index) -> Vec<String> {
    index.keys().filter(|name| is_embedding(name)).cloned().collect()
}

/// Whether a tensor is one of several that differ in a number: of a layer, whichever stack that is in.
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
        // The decoder's blocks hold the most tensors; a numbered list inside one (experts) is behind their number.
        let stack = stacks.entry(prefix).or_default();
        stack.tensors += 1;
        stack.layers = stack.layers.max(layer + 1);
    }
    stacks
}

/// A stack that was chosen, and why.
#[derive(Default)]
struct DecoderStack<'n> {
    prefix: &'n str,
    count: usize,
    said: Option<(String, usize)>,
    rivals: Vec<&'n str>,
}

/// Words in names of what is not the decoder of a language model. (An encoder that is alone is all the same.)
const ELSE: [&str; 37] = [
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

/// The stack that has as many layers as the configuration counts, or has them and more behind them: first among those that are
/// made of layers and whose names say nothing of images, sound or encoders. Of several the one with most tensors; if none has
/// so many, that too.
fn decoder<'n>(stacks: &BTreeMap<&'n str, Stack>, counts: &[(String, usize)]) -> Option<DecoderStack<'n>> {
    let words = |prefix: &str| prefix.split(['.', '_']).filter(|word| ELSE.contains(word)).count();
    // How unlike a decoder's: a few convolutions or the parts of a classifier may be as many as there are layers, or more.
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
            return Some(DecoderStack { prefix, count: said.1, said: Some(said), rivals });
        }
        if let Some((prefix, said)) = chosen(|layers, count| layers > count) {
            return Some(DecoderStack { prefix, count: said.1, said: Some(said), rivals: Vec::new() });
        }
    }
    let (_, prefix, stack) = ranked.first()?;
    Some(DecoderStack { prefix, count: stack.layers, said: counts.first().cloned(), rivals: Vec::new() })
}

/// `model.layers.3.mlp` → (`model.layers.`, 3): up to the first part that is a number.
fn split(name: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for part in name.split('.') {
        // A larger one is no layer's, whoever wrote it.
        if let Some(number) = part.parse().ok().filter(|number| *number < MOST_LAYERS) {
            return Some((&name[..start], number));
        }
        start += part.len() + 1;
    }
    None
}
