//! Spread of a hole's numbers over the tensors of a model: over its depth, over the parts of a layer, or both.

use std::ops::Range;

use crate::{
    method::Value,
    model::layers::Layers,
    recipe::{Conditional, Curve, Setting},
};

/// Division of a model's depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// One value for all layers.
    Whole,
    /// A value for each layer.
    Layers,
    /// A value for each of this many groups of neighbouring layers.
    Groups(usize),
    /// This many values, joined by straight lines.
    Knots(usize),
}

/// The tensors that each number of a hole applies to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spread {
    /// Label of each number, such as `[layer 3]`.
    pub(super) labels: Vec<String>,
    /// Filters, each with one number or with the values of a curve over depth. The first filter
    /// that a tensor's name contains applies. The last entry has no filter.
    entries: Vec<(Option<String>, Range<usize>)>,
}

impl Spread {
    /// The spread over a model's layers, with numbers of its own for each component (`components`) or filter.
    pub(super) fn over(layers: &Layers, depth: Depth, components: bool, filters: Option<&[String]>) -> Self {
        let mut spread = Self { labels: Vec::new(), entries: Vec::new() };
        let kinds = match filters {
            Some(filters) => filters
                .iter()
                .map(|filter| ComponentKind::named(filter, layers))
                .chain([ComponentKind::rest()])
                .collect(),
            None if components => ComponentKind::components(layers),
            None => vec![ComponentKind::whole()],
        };
        // Embeddings and head have numbers of their own if every layer or component has.
        let own_ends = filters.is_none() && (components || depth == Depth::Layers);
        let before = own_ends.then(|| spread.numbers("embedding", "", 1));
        let stretch = |group: usize, groups: usize| group * layers.count / groups..(group + 1) * layers.count / groups;
        let mut ends = None;
        match depth {
            Depth::Whole | Depth::Knots(_) => {
                let knots = if let Depth::Knots(knots) = depth { knots } else { 1 };
                for kind in &kinds {
                    let numbers = spread.numbers("", &kind.name, knots);
                    let name_parts = if kind.takes_all() && knots > 1 {
                        vec![layers.prefix.clone()]
                    } else {
                        kind.name_parts.clone()
                    };
                    spread.entries.extend(name_parts.into_iter().map(|filter| (Some(filter), numbers.clone())));
                    ends = Some((numbers.start, numbers.end - 1));
                }
            }
            Depth::Layers | Depth::Groups(_) => {
                let groups = if let Depth::Groups(groups) = depth { groups } else { layers.count };
                for group in 0..groups {
                    let range = stretch(group, groups);
                    let place = match depth {
                        Depth::Layers => format!("layer {group}"),
                        _ => format!("layers {}-{}", range.start, range.end.saturating_sub(1)),
                    };
                    for kind in &kinds {
                        let number = spread.numbers(&place, &kind.name, 1);
                        let names = range.clone().flat_map(|layer| {
                            kind.prefixes.iter().map(move |prefix| format!("{}{layer}.{prefix}", layers.prefix))
                        });
                        spread.entries.extend(names.map(|name| (Some(name), number.clone())));
                        let first = ends.map_or(number.start, |(first, _)| first);
                        ends = Some((if group == 0 { number.start } else { first }, number.start));
                    }
                }
            }
        }
        let after = own_ends.then(|| spread.numbers("head", "", 1));
        // The numbers of the last kind, which takes all tensors that no filter takes.
        let (first, last) = ends.unwrap_or_default();
        let (before, after) = (before.unwrap_or(first..first + 1), after.unwrap_or(last..last + 1));
        if before != after {
            let embeddings = layers.embeddings.iter().map(|name| (Some(name.clone()), before.clone()));
            spread.entries.splice(0..0, embeddings);
        }
        spread.entries.push((None, after));
        spread
    }

    /// The spread over the layers of a hop, each with a number of its own, as one list.
    pub(super) fn along(range: Range<usize>) -> Self {
        let labels: Vec<String> = match range.len() {
            1 => vec![String::new()],
            _ => range.map(|layer| format!("[layer {layer}]")).collect(),
        };
        Self { entries: vec![(None, 0..labels.len())], labels }
    }

    /// The parameter's setting, given the numbers of its hole.
    pub(super) fn setting(&self, values: &[Value]) -> Setting {
        let curve = |range: &Range<usize>| Curve::of(values[range.clone()].to_vec());
        if let [(None, range)] = &self.entries[..] {
            return Setting::Always(curve(range));
        }
        let entry = |(filter, range): &(Option<String>, Range<usize>)| Conditional {
            filter: filter.clone(),
            value: curve(range),
        };
        Setting::Conditional(self.entries.iter().map(entry).collect())
    }

    /// Adds numbers for a place and a kind of tensors; more than one are knots.
    fn numbers(&mut self, place: &str, kind: &str, count: usize) -> Range<usize> {
        let from = self.labels.len();
        for number in 0..count {
            let knot = if count > 1 { format!("knot {}", number + 1) } else { String::new() };
            let parts: Vec<&str> = [place, &knot, kind].into_iter().filter(|part| !part.is_empty()).collect();
            self.labels.push(if parts.is_empty() { String::new() } else { format!("[{}]", parts.join(", ")) });
        }
        from..self.labels.len()
    }
}

/// Tensors of a layer that share their numbers.
struct ComponentKind {
    name: String,
    /// Beginnings of their names after the layer's number and its dot; an empty text matches all.
    prefixes: Vec<String>,
    /// Parts of their names that no other tensor has, without the layer's number.
    name_parts: Vec<String>,
}

impl ComponentKind {
    /// All tensors.
    fn whole() -> Self {
        Self { name: String::new(), prefixes: vec![String::new()], name_parts: Vec::new() }
    }

    /// All tensors that no other kind takes.
    fn rest() -> Self {
        Self { name: "the rest".to_owned(), ..Self::whole() }
    }

    /// Tensors whose name contains `filter`.
    fn named(filter: &str, layers: &Layers) -> Self {
        let prefixes = beginnings(layers, |name| format!(".{name}").contains(filter));
        Self { name: filter.to_owned(), prefixes, name_parts: vec![filter.to_owned()] }
    }

    /// Attention, MLP and norms, if the model's layers have them.
    fn components(layers: &Layers) -> Vec<Self> {
        let component = |(name, is_component): (&str, Matches)| {
            let prefixes = beginnings(layers, is_component);
            let name_parts = prefixes.iter().map(|prefix| format!(".{prefix}")).collect();
            (!prefixes.is_empty()).then(|| Self { name: name.to_owned(), prefixes, name_parts })
        };
        let all: [(&str, Matches); 3] =
            [("attention", is_attention), ("mlp", |name| !is_attention(name) && !is_norm(name)), ("norms", is_norm)];
        all.into_iter().filter_map(component).collect()
    }

    fn takes_all(&self) -> bool {
        self.name_parts.is_empty()
    }
}

/// Test of the name of a tensor within a layer.
type Matches = fn(&str) -> bool;

/// True for a norm of a layer, false for one inside its attention.
fn is_norm(name: &str) -> bool {
    let part = first_part(name);
    part.contains("norm") || part.starts_with("ln")
}

fn is_attention(name: &str) -> bool {
    let part = first_part(name);
    part.contains("att") && !is_norm(name)
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Beginnings of the names of the wanted tensors within a layer: the first part, such as
/// `self_attn.`, if all tensors that begin with it are wanted, else the whole name.
fn beginnings(layers: &Layers, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in layers.inside.iter().filter(|name| wanted(name)) {
        let part = format!("{}.", first_part(name));
        let alike = layers.inside.iter().filter(|other| other.starts_with(&part));
        let beginning =
            if alike.clone().count() > 0 && alike.clone().all(|other| wanted(other)) { part } else { name.clone() };
        if !all.contains(&beginning) {
            all.push(beginning);
        }
    }
    all
}
