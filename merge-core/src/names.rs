//! What tensor names tell: which layer a tensor belongs to, and which tensors are the input embedding.

use crate::weights::Index;
use std::collections::{BTreeMap, BTreeSet};

/// The layers of a model, read off its tensor names: `model.layers.3.mlp.up_proj.weight` is in layer 3 of `model.layers.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// How many there are.
    pub count: usize,
    /// What comes before the layer's number, with its dot.
    pub prefix: String,
    /// The names of the tensors that embed the input, which come before the first layer.
    pub embeddings: Vec<String>,
    /// The names of the tensors within a layer, behind its number and dot, in order.
    pub inside: BTreeSet<String>,
    /// How many layers other stacks have, such as those of a vision tower, by their prefix.
    pub others: BTreeMap<String, usize>,
}

impl Layers {
    /// Reads them off an index. A model without numbered layers has none, and an empty prefix.
    pub fn of(index: &Index) -> Self {
        Self::within(index, &|_| true)
    }

    /// Reads them off a part of an index: the tensors that `names` takes.
    pub fn within(index: &Index, names: &dyn Fn(&str) -> bool) -> Self {
        let mut numbered: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for name in index.keys().filter(|name| names(name)) {
            if let Some((prefix, layer)) = split(name) {
                let (tensors, count) = numbered.entry(prefix).or_default();
                *tensors += 1;
                *count = (*count).max(layer + 1);
            }
        }
        // The decoder's blocks hold the most tensors; a numbered list inside one (experts) is behind their number.
        let (prefix, count) = numbered
            .iter()
            .max_by_key(|(_, (tensors, _))| *tensors)
            .map_or((String::new(), 0), |(prefix, (_, count))| ((*prefix).to_owned(), *count));
        let embeddings = index
            .keys()
            .filter(|name| names(name))
            .filter(|name| {
                split(name).is_none()
                    && ["embed", "wte", "wpe"].iter().any(|part| name.contains(part))
                    && !name.contains("embed_out")
            })
            .cloned()
            .collect();
        let inside = index.keys().filter(|name| names(name)).filter_map(|name| {
            let (_, layer) = split(name).filter(|(own, _)| *own == prefix)?;
            name.strip_prefix(&format!("{prefix}{layer}.")).map(str::to_owned)
        });
        let inside = inside.collect();
        let others = numbered
            .iter()
            .filter(|(other, _)| **other != prefix)
            .map(|(other, (_, count))| ((*other).to_owned(), *count))
            .collect();
        Self { count, prefix, embeddings, inside, others }
    }

    /// The layer a tensor belongs to, or `None` if it comes before or after them all.
    pub fn of_tensor(&self, name: &str) -> Option<usize> {
        split(name).filter(|(prefix, _)| *prefix == self.prefix).map(|(_, layer)| layer)
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

    /// mergekit's place in a gradient, from 0 in the first layer of a stack to 1 in its last; 0 outside the layers.
    pub fn depth(&self, name: &str) -> f64 {
        let Some((prefix, layer)) = split(name) else { return 0.0 };
        let count = if prefix == self.prefix { self.count } else { self.others.get(prefix).copied().unwrap_or(1) };
        if count > 1 { layer as f64 / (count - 1) as f64 } else { 1.0 }
    }
}

/// `model.layers.3.mlp` → (`model.layers.`, 3): up to the first part that is a number.
fn split(name: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for part in name.split('.') {
        if let Ok(number) = part.parse() {
            return Some((&name[..start], number));
        }
        start += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Layers;
    use crate::{
        dtype::Dtype,
        weights::{Index, Meta},
    };

    fn layers(names: &[&str]) -> Layers {
        let meta = Meta { dtype: Dtype::F32, shape: vec![1] };
        Layers::of(&names.iter().map(|name| ((*name).to_owned(), meta.clone())).collect::<Index>())
    }

    #[test]
    fn finds_the_blocks_and_what_is_around_them() {
        let names = [
            "lm_head.weight",
            "model.embed_tokens.weight",
            "model.layers.0.mlp.experts.7.w1.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.10.mlp.up_proj.weight",
            "model.norm.weight",
        ];
        let found = layers(&names);
        assert_eq!((found.count, found.prefix.as_str()), (11, "model.layers."));
        assert_eq!(found.embeddings, ["model.embed_tokens.weight"]);
        let of: Vec<_> = names.iter().map(|name| found.of_tensor(name)).collect();
        assert_eq!(of, [None, None, Some(0), Some(0), Some(10), None]);
        let depth: Vec<_> = names.iter().map(|name| found.depth(name)).collect();
        assert_eq!(depth, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_single_layer_is_at_the_end_of_a_gradient_and_no_layer_is_no_panic() {
        assert!(layers(&["h.0.attn.weight", "wte.weight"]).depth("h.0.attn.weight") > 0.99);
        assert_eq!(layers(&["encoder.weight"]).count, 0);
    }
}
