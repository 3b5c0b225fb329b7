//! Sorts tensors by the part of a model that they are: the layer, and the component in it.

use super::{Sums, total};
use crate::model::layers::Layers;
use std::collections::BTreeMap;

/// Sums by component and place; the rows are in the order in which a model computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// One row for each component.
    pub rows: Vec<ComponentRow>,
    /// Number of layers of the model.
    pub layers: usize,
}

/// A component at all its places.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentRow {
    /// Short name of the component, such as `attn q`.
    pub component: String,
    /// Sums at each place that has the component.
    pub places: BTreeMap<ComponentPlace, Sums>,
    /// Sums over all places.
    pub total: Sums,
}

/// Place of a tensor in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentPlace {
    /// Before the layers.
    Before,
    /// In a layer.
    Layer(usize),
    /// After the layers.
    After,
}

impl Grid {
    pub(super) fn new(tensors: &BTreeMap<String, Sums>, layers: &Layers) -> Self {
        let mut rows: BTreeMap<(usize, String), BTreeMap<ComponentPlace, Sums>> = BTreeMap::new();
        for (name, sums) in tensors {
            let (place, component) = part(name, layers);
            *rows.entry((rank(place, &component), component)).or_default().entry(place).or_default() += *sums;
        }
        let row = |((_, component), places): (_, BTreeMap<ComponentPlace, Sums>)| {
            let total = total(places.values());
            ComponentRow { component, places, total }
        };
        Self { rows: rows.into_iter().map(row).collect(), layers: layers.count }
    }
}

/// Labels of modules in each layer, with the last parts of their names in many families, in layer order.
const MODULES: &[(&str, &[&str])] = &[
    ("attn q", &["q_proj", "wq", "query", "to_q"]),
    ("attn k", &["k_proj", "wk", "key", "to_k"]),
    ("attn v", &["v_proj", "wv", "value", "to_v"]),
    ("attn qkv", &["qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv"]),
    ("attn o", &["o_proj", "wo"]),
    ("mlp gate", &["gate_proj", "w1"]),
    ("mlp up", &["up_proj", "w3", "c_fc", "fc1", "dense_h_to_4h"]),
    ("mlp gate+up", &["gate_up_proj"]),
    ("mlp down", &["down_proj", "w2", "fc2", "dense_4h_to_h"]),
    ("router", &["gate", "router"]),
    ("norms", &[]),
];

/// Place and component of a tensor: a label such as those of [`MODULES`], or its own name without numbers.
fn part(name: &str, layers: &Layers) -> (ComponentPlace, String) {
    match layers.of_tensor(name) {
        Some(layer) => {
            let rest = &name[layers.prefix.len()..];
            (ComponentPlace::Layer(layer), in_layer(rest.split_once('.').map_or(rest, |(_, rest)| rest)))
        }
        None if ["lm_head.weight", "embed_out.weight", "output.weight"].contains(&name) => {
            (ComponentPlace::After, "head".to_owned())
        }
        None if layers.embeddings.iter().any(|embedding| embedding == name) => {
            let plain = ["embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in"];
            let is_plain = plain.iter().any(|plain| name.ends_with(&format!("{plain}.weight")));
            (ComponentPlace::Before, if is_plain { "embedding".to_owned() } else { unnumbered(name) })
        }
        None if layers.is_in_other(name) && !layers.is_before(name) => (ComponentPlace::After, unnumbered(name)),
        // Another stack of layers, such as a vision tower, comes before the decoder's.
        None if name.split('.').any(is_number) => (ComponentPlace::Before, unnumbered(name)),
        None if is_norm(stem(name).0) => (ComponentPlace::After, "final norm".to_owned()),
        None => (ComponentPlace::After, unnumbered(name)),
    }
}

fn in_layer(name: &str) -> String {
    let (stem, suffix) = stem(name);
    if is_norm(stem) {
        return "norms".to_owned();
    }
    let module = stem.rsplit('.').next().unwrap_or(stem);
    let attention = stem.contains("attn") || stem.contains("attention");
    let known = match module {
        "c_proj" | "out_proj" | "dense" if attention => Some("attn o"),
        "c_proj" => Some("mlp down"),
        _ => MODULES.iter().find(|(_, modules)| modules.contains(&module)).map(|(label, _)| *label),
    };
    let Some(label) = known.filter(|label| attention == label.starts_with("attn")) else { return unnumbered(name) };
    let mut label = label.to_owned();
    if stem.contains("shared_expert") {
        label = label.replace("mlp", "shared expert");
    } else if stem.contains("experts") {
        label = label.replace("mlp", "experts");
    }
    label + suffix
}

/// A tensor's name without `.weight` or `.bias`, and the text to add to its label.
fn stem(name: &str) -> (&str, &'static str) {
    match name.strip_suffix(".bias") {
        Some(stem) => (stem, " bias"),
        None => (name.strip_suffix(".weight").unwrap_or(name), ""),
    }
}

fn is_norm(stem: &str) -> bool {
    let module = stem.rsplit('.').next().unwrap_or(stem);
    module.contains("norm") || module.starts_with("ln_")
}

/// A name without `.weight`, and with `*` for each number.
fn unnumbered(name: &str) -> String {
    let (stem, suffix) = stem(name);
    let parts: Vec<&str> = stem.split('.').map(|part| if is_number(part) { "*" } else { part }).collect();
    parts.join(".") + suffix
}

fn is_number(part: &str) -> bool {
    part.parse::<usize>().is_ok()
}

/// Order of rows: before the layers, modules in the order of a layer, unknown names, after the layers.
fn rank(place: ComponentPlace, component: &str) -> usize {
    match place {
        ComponentPlace::Before => 0,
        ComponentPlace::After if component == "head" => usize::MAX,
        ComponentPlace::After => usize::MAX - 1,
        ComponentPlace::Layer(_) => {
            let general = component.replace("shared expert", "mlp").replace("experts", "mlp");
            let general = general.trim_end_matches(" bias");
            1 + MODULES.iter().position(|(label, _)| *label == general).unwrap_or(MODULES.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ComponentPlace, part};
    use crate::model::{Config, Meta, dtype::Dtype, layers::Layers};

    /// Names of tensors in real models, with their place and component.
    #[test]
    fn knows_the_parts_of_many_families() {
        let families: [&[(&str, ComponentPlace, &str)]; 4] = [
            &[
                ("model.embed_tokens.weight", ComponentPlace::Before, "embedding"),
                ("model.layers.3.self_attn.q_proj.weight", ComponentPlace::Layer(3), "attn q"),
                ("model.layers.3.self_attn.k_proj.bias", ComponentPlace::Layer(3), "attn k bias"),
                ("model.layers.3.self_attn.q_norm.weight", ComponentPlace::Layer(3), "norms"),
                ("model.layers.3.mlp.down_proj.weight", ComponentPlace::Layer(3), "mlp down"),
                ("model.layers.10.post_attention_layernorm.weight", ComponentPlace::Layer(10), "norms"),
                ("model.norm.weight", ComponentPlace::After, "final norm"),
                ("lm_head.weight", ComponentPlace::After, "head"),
            ],
            &[
                ("model.layers.0.block_sparse_moe.experts.7.w1.weight", ComponentPlace::Layer(0), "experts gate"),
                ("model.layers.0.block_sparse_moe.gate.weight", ComponentPlace::Layer(0), "router"),
                ("model.layers.0.mlp.shared_expert.up_proj.weight", ComponentPlace::Layer(0), "shared expert up"),
                ("model.layers.0.self_attn.kv_b_proj.weight", ComponentPlace::Layer(0), "self_attn.kv_b_proj"),
                ("visual.blocks.2.attn.qkv.weight", ComponentPlace::Before, "visual.blocks.*.attn.qkv"),
            ],
            &[
                ("transformer.wte.weight", ComponentPlace::Before, "embedding"),
                ("transformer.wpe.weight", ComponentPlace::Before, "transformer.wpe"),
                ("transformer.h.1.attn.c_attn.weight", ComponentPlace::Layer(1), "attn qkv"),
                ("transformer.h.1.attn.c_proj.bias", ComponentPlace::Layer(1), "attn o bias"),
                ("transformer.h.1.mlp.c_proj.weight", ComponentPlace::Layer(1), "mlp down"),
                ("transformer.h.1.ln_2.bias", ComponentPlace::Layer(1), "norms"),
                ("transformer.ln_f.weight", ComponentPlace::After, "final norm"),
            ],
            &[
                ("gpt_neox.layers.0.attention.query_key_value.weight", ComponentPlace::Layer(0), "attn qkv"),
                ("gpt_neox.layers.0.attention.dense.weight", ComponentPlace::Layer(0), "attn o"),
                ("gpt_neox.layers.0.mlp.dense_4h_to_h.weight", ComponentPlace::Layer(0), "mlp down"),
                ("embed_out.weight", ComponentPlace::After, "head"),
            ],
        ];
        for family in families {
            let meta = Meta { dtype: Dtype::BF16, shape: vec![1] };
            let index = family.iter().map(|(name, ..)| ((*name).to_owned(), meta.clone())).collect();
            let layers = Layers::within(&index, &Config::default(), &|_| true);
            for (name, place, component) in family {
                assert_eq!(part(name, &layers), (*place, (*component).to_owned()), "{name}");
            }
        }
    }
}
