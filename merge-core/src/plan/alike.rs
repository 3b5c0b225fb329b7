//! Refuses models and slices that do not fit together, before a weight is read.

use super::{Key, Member, Planner, View};
use crate::{
    error::{Error, Result},
    names::Layers,
    weights::{Config, Weights},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of `config.json` that say how a layer computes, and of which a model has one for all layers.
const ALIKE: [&str; 21] = [
    "hidden_size",
    "hidden_act",
    "hidden_activation",
    "activation_function",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "rotary_emb_base",
    "rotary_pct",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "sliding_window",
    "use_sliding_window",
    "use_parallel_residual",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "num_experts_per_tok",
];

/// What two configurations say of layers, where both say it and not the same.
pub(super) fn unlike(a: &Config, b: &Config) -> Option<String> {
    let text = |config: &Config| config.0.get("text_config").and_then(Value::as_object).cloned();
    let [a, b] = [a, b].map(|config| text(config).unwrap_or_else(|| config.0.clone()));
    for key in ALIKE {
        if let Some((x, y)) = a.get(key).zip(b.get(key)).filter(|(x, y)| x != y) {
            return Some(format!("{key} is {x} and {y}"));
        }
    }
    let ((theta_a, scaling_a), (theta_b, scaling_b)) = (rope(&a), rope(&b));
    if let Some((x, y)) = theta_a.zip(theta_b).filter(|(x, y)| (x - y).abs() > 0.0) {
        return Some(format!("rope_theta is {x} and {y}"));
    }
    let shown = |scaling: &Map<String, Value>| Value::from(scaling.clone());
    (scaling_a != scaling_b).then(|| format!("rope_scaling is {} and {}", shown(&scaling_a), shown(&scaling_b)))
}

/// The base of the rotary embedding, and how it is stretched; in either of the spellings that configurations have.
fn rope(config: &Map<String, Value>) -> (Option<f64>, Map<String, Value>) {
    let written = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| config.get(key)?.as_object());
    let mut scaling = written.cloned().unwrap_or_default();
    let theta = scaling.remove("rope_theta").or_else(|| config.get("rope_theta").cloned());
    if let Some(kind) = scaling.remove("type") {
        scaling.insert("rope_type".to_owned(), kind);
    }
    if scaling.get("rope_type").is_some_and(|kind| kind == "default") {
        scaling.clear();
    }
    (theta.and_then(|theta| theta.as_f64()), scaling)
}

impl<'r> Planner<'r> {
    /// Refuses slices that cannot stand upon each other: the layers of their models have to be alike, and what is before
    /// the first has to fit what is after the last.
    pub(super) fn check_stack(&self, views: &[View<'r>], names: &dyn Fn(&str) -> bool) -> Result<()> {
        let first = &views[0].members[0];
        for (number, view) in views.iter().enumerate().skip(1) {
            let member = &view.members[0];
            let is_last = number + 1 == views.len();
            for outside in [false, true].into_iter().filter(|outside| !outside || is_last) {
                let (ours, theirs) = [first, member].map(|member| self.shapes(member.source, outside, names)).into();
                let Some((name, shape)) = ours.symmetric_difference(&theirs).next() else { continue };
                let [a, b] = [first, member].map(|member| self.models[member.source].1.place());
                let name = name.trim_start_matches('.');
                return Err(Error::user(format!("{a} and {b}: `{name}` of shape {shape:?} is not in both"))
                    .at(&member.place)
                    .hint("only layers of one architecture, size and vocabulary can stand upon each other; `tokenizer` makes vocabularies the same"));
            }
        }
        Ok(())
    }

    /// Names and shapes of a model's tensors: of those of layers, what follows the number; or of those `outside` of them.
    pub(super) fn shapes(
        &self,
        source: usize,
        outside: bool,
        names: &dyn Fn(&str) -> bool,
    ) -> BTreeSet<(String, Vec<usize>)> {
        let index = self.models[source].1.index();
        let layers = Layers::within(index, names);
        let mut shapes = BTreeSet::new();
        for (name, meta) in index.iter().filter(|(name, _)| names(name)) {
            match layers.of_tensor(name) {
                Some(_) if !outside => drop(shapes.insert((layers.rest(name).to_owned(), meta.shape.clone()))),
                None if outside => drop(shapes.insert((name.clone(), meta.shape.clone()))),
                _ => {}
            }
        }
        shapes
    }

    /// Refuses a model whose part of a view is not the first one's, in names and shapes.
    pub(super) fn comparable(
        &self,
        first: &Member<'_>,
        firsts: &BTreeMap<Key, &str>,
        member: &Member<'_>,
        theirs: &BTreeMap<Key, &str>,
    ) -> Result<()> {
        let [donor, model] = [first, member].map(|member| &self.models[member.source].1);
        let lacks =
            |one: &dyn Weights, has: &BTreeMap<Key, &str>, other: &dyn Weights, wanted: &BTreeMap<Key, &str>| {
                let missing: Vec<&str> =
                    wanted.iter().filter(|(key, _)| !has.contains_key(*key)).map(|(_, name)| *name).collect();
                let (name, more) = (missing.first()?, missing.len() - 1);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let message = format!("{} lacks `{name}`{more}, which {} has", one.place(), other.place());
                Some(Error::user(message).hint("only models of one architecture and size can be merged"))
            };
        if let Some(error) =
            lacks(&**model, theirs, &**donor, firsts).or_else(|| lacks(&**donor, firsts, &**model, theirs))
        {
            return Err(error);
        }
        for (key, name) in firsts {
            let (shape, other) = (&donor.index()[*name].shape, &model.index()[theirs[key]].shape);
            if shape != other {
                let (a, b) = (donor.place(), model.place());
                let message = format!("{a} and {b}: the shapes of `{name}` differ: {shape:?} and {other:?}");
                return Err(Error::user(message).hint(if key.0.is_none() && shape.get(1..) == other.get(1..) {
                    "their vocabularies differ: `tokenizer: {source: union}` merges them by token, and `{source: base}` keeps the base's"
                } else {
                    "only models of one architecture and size can be merged"
                }));
            }
        }
        Ok(())
    }
}
