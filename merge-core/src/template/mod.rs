//! A template is a recipe with holes: a search explores its space, and a genome fills it to an ordinary recipe.
//!
//! Two kinds of parts can be left open. A *hole* replaces a number or a flag, and is spread over layers and components.
//! A *choice*, `{choose: [ties, dare_ties]}`, replaces anything: a method, a model, a list of models. Each combination
//! of choices is a recipe with its own holes; equal holes of several combinations share their numbers.

mod choose;
mod fold;
mod hole;
mod spread;
#[cfg(test)]
mod tests;

use std::{ops::RangeInclusive, path::PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{
    fold::{fold, unfold},
    spread::Spread,
};
use crate::{
    error::Result,
    merge::sources::Sources,
    method::Value,
    model::layers::Layers,
    optimizer::{Coordinate, Genome},
    recipe::{Hop, Recipe, Slot},
};

/// A recipe with holes and choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// File that the template was read from, against which its paths are resolved.
    pub file: PathBuf,
    choices: Vec<Choice>,
    /// One recipe for each combination of choices, in the order of their options; the last choice varies fastest.
    variants: Vec<Recipe<Slot>>,
}

/// A part of the recipe for which the search takes one of several options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Place in the recipe, such as `models[1].model`.
    label: String,
    /// The options as they are written.
    options: Vec<String>,
}

/// Space that a search explores: one dimension for each number to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// The dimensions, in the order of a genome.
    pub dimensions: Vec<Dimension>,
    /// Holes of each variant, in the order of its settings: the spread of each, and the positions of its dimensions.
    holes: Vec<Vec<(Spread, Vec<usize>)>>,
}

/// A number to be found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// Name, such as `models[1].weight[layer 3]`.
    pub label: String,
    /// The values that it may take.
    #[serde(flatten)]
    pub kind: DimensionKind,
}

/// The values that a number may take, and its value at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DimensionKind {
    /// Any number in a range.
    Number {
        /// The smallest and the largest value.
        range: RangeInclusive<f64>,
        /// True if equal steps have an equal ratio, not an equal difference.
        log: bool,
        /// Value at which the search begins.
        init: f64,
    },
    /// A whole number.
    Whole {
        /// The smallest and the largest value.
        range: RangeInclusive<i64>,
        /// Value at which the search begins.
        init: i64,
    },
    /// One of several options, by its position.
    Choice {
        /// The options as they are written.
        options: Vec<String>,
        /// Probability of each option at first.
        init: Vec<f64>,
    },
}

impl DimensionKind {
    /// The value of a coordinate: real coordinates are folded into the range, whole ones clamped to it.
    pub(crate) fn value(&self, x: f64) -> Value {
        match self {
            Self::Number { range, log, .. } => {
                let (min, max) = (*range.start(), *range.end());
                let at = fold(x);
                let value = if *log { min * (max / min).powf(at) } else { min + at * (max - min) };
                Value::Number(round(value).clamp(min, max))
            }
            Self::Whole { range, .. } => {
                let most = (range.end() - range.start()) as f64;
                Value::Number(*range.start() as f64 + x.round().clamp(0.0, most))
            }
            Self::Choice { .. } => Value::Flag(x >= 0.5),
        }
    }

    /// The coordinate of the possible value nearest to `value`.
    pub(crate) fn nearest(&self, value: f64) -> f64 {
        let at = |init: f64| match self {
            Self::Number { range, log, .. } => Self::Number { range: range.clone(), log: *log, init },
            Self::Whole { range, .. } => Self::Whole { range: range.clone(), init: init as i64 },
            Self::Choice { .. } => self.clone(),
        };
        let (min, max) = match self {
            Self::Number { range, .. } => (*range.start(), *range.end()),
            Self::Whole { range, .. } => (*range.start() as f64, *range.end() as f64),
            Self::Choice { options, .. } => return value.clamp(0.0, options.len() as f64 - 1.0).round(),
        };
        match at(value.clamp(min, max)).coordinate() {
            Coordinate::Real { start } => start,
            Coordinate::Integer { start, .. } => start as f64,
            Coordinate::Choice { .. } => value,
        }
    }

    /// The coordinate that an optimizer sees.
    fn coordinate(&self) -> Coordinate {
        match self {
            Self::Number { range, log, init } => {
                let (min, max) = (*range.start(), *range.end());
                let at = if *log { (init / min).ln() / (max / min).ln() } else { (init - min) / (max - min) };
                Coordinate::Real { start: unfold(at.clamp(0.0, 1.0)) }
            }
            Self::Whole { range, init } => Coordinate::Integer {
                levels: (range.end() - range.start() + 1) as usize,
                start: (init - range.start()) as usize,
            },
            Self::Choice { init, .. } => Coordinate::Choice { start: init.clone() },
        }
    }

    /// The value of a coordinate, for people to read.
    pub fn show(&self, x: f64) -> String {
        match (self, self.value(x)) {
            (Self::Choice { options, .. }, _) => options[option(x, options.len())].clone(),
            (_, Value::Number(value)) => value.to_string(),
            (_, Value::Flag(value)) => value.to_string(),
        }
    }
}

impl Space {
    /// The coordinates that an optimizer sees.
    pub fn coordinates(&self) -> Vec<Coordinate> {
        self.dimensions.iter().map(|dimension| dimension.kind.coordinate()).collect()
    }

    /// The genome whose recipe has every `init`, and the most probable option of each choice.
    pub fn init(&self) -> Genome {
        let most = |start: &[f64]| (0..start.len()).rev().max_by(|a, b| start[*a].total_cmp(&start[*b])).unwrap_or(0);
        let start = |coordinate: Coordinate| match coordinate {
            Coordinate::Real { start } => start,
            Coordinate::Integer { start, .. } => start as f64,
            Coordinate::Choice { start } => most(&start) as f64,
        };
        self.coordinates().into_iter().map(start).collect()
    }
}

impl Template {
    /// The recipe with holes for each combination of choices; there is at least one.
    pub fn variants(&self) -> &[Recipe<Slot>] {
        &self.variants
    }

    /// The recipe with holes of the first combination of choices.
    pub fn first(&self) -> &Recipe<Slot> {
        &self.variants[0]
    }

    /// Name by which other documents refer to the answer.
    pub fn name(&self) -> Option<String> {
        self.first().name.as_ref().map(|name| name.value.clone())
    }

    /// Sets the names of the documents in the template's file.
    pub(crate) fn name_siblings(&mut self, names: &[String]) {
        self.variants.iter_mut().for_each(|variant| variant.siblings = names.to_vec());
    }

    /// The dimensions of the search. Refuses more groups or knots than there are layers.
    pub fn space(&self, sources: &Sources) -> Result<Space> {
        let layers: Vec<Layers> = self.variants.iter().map(|variant| sources.layers(variant)).collect();
        self.space_over(&layers)
    }

    /// The dimensions of the search, given the layers of each variant.
    pub(crate) fn space_over(&self, layers: &[Layers]) -> Result<Space> {
        let chosen = self.choices.iter().map(|Choice { label, options }| {
            let init = vec![1.0 / options.len() as f64; options.len()];
            Dimension { label: label.clone(), kind: DimensionKind::Choice { options: options.clone(), init } }
        });
        let mut space = Space { dimensions: chosen.collect(), holes: Vec::new() };
        for (variant, layers) in self.variants.iter().zip(layers) {
            let mut holes = Vec::new();
            // A hole in a hop has a number for each of the hop's layers.
            let of_hops = variant.path.iter().flat_map(|hop| {
                let [start, end] = hop.layer_range.value;
                hop.settings().map(move |(_, slot)| (std::ptr::from_ref(slot), start..end))
            });
            let of_hops: Vec<_> = of_hops.collect();
            for (label, slot) in variant.settings() {
                let Slot::Hole(hole) = &slot.value else { continue };
                let spread = match of_hops.iter().find(|(known, _)| std::ptr::eq(*known, slot)) {
                    Some((_, range)) => Spread::along(range.clone()),
                    None => hole
                        .spread(layers)
                        .map_err(|mistake| mistake.under(&label).at(slot.place).into_error(&self.file))?,
                };
                let kind = hole.kind();
                let places = spread
                    .labels
                    .iter()
                    .map(|part| space.find_or_add_dimension(format!("{label}{part}"), &kind))
                    .collect();
                holes.push((spread, places));
            }
            space.holes.push(holes);
        }
        Ok(space)
    }

    /// The recipe of a genome, which may hold any finite numbers: outside 0..=1 they are folded back, smoothly.
    ///
    /// # Panics
    /// If `genome` does not have the length of `space`, which must be this template's [`Template::space`].
    pub fn fill(&self, space: &Space, genome: &[f64]) -> Recipe {
        assert_eq!(genome.len(), space.dimensions.len(), "a genome has the length of its space");
        let choose = |number: usize, (choice, x): (&Choice, &f64)| {
            let count = choice.options.len();
            number * count + option(*x, count)
        };
        let number = self.choices.iter().zip(genome).fold(0, choose);
        let mut holes = space.holes[number].iter();
        let mut recipe = self.variants[number].map(|slot| match slot {
            Slot::Set(setting) => setting.clone(),
            Slot::Hole(hole) => {
                let (spread, places) = holes.next().expect("the space is this template's");
                let mine: Vec<f64> = places.iter().map(|place| genome[*place]).collect();
                hole.fill(spread, &mine)
            }
        });
        // The scale of an unused layer must not make a different recipe.
        recipe.path.value.iter_mut().for_each(Hop::reset_unused_scales);
        recipe
    }

    /// The genome of a combination of choices, by its number; all else is at its start.
    pub fn start_of(&self, space: &Space, number: usize) -> Genome {
        let mut genome = space.init();
        let mut rest = number;
        for (place, choice) in self.choices.iter().enumerate().rev() {
            genome[place] = (rest % choice.options.len()) as f64;
            rest /= choice.options.len();
        }
        genome
    }

    /// SHA-256 of the content, as [`Recipe::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        let hash = |hash: Sha256, variant: &Recipe<Slot>| hash.chain_update(variant.fingerprint());
        self.variants.iter().fold(Sha256::new(), hash).finalize().into()
    }
}

impl Space {
    /// The position of the dimension with this label and kind, which is added if missing.
    fn find_or_add_dimension(&mut self, label: String, kind: &DimensionKind) -> usize {
        let known = self.dimensions.iter().position(|known| known.label == label && known.kind == *kind);
        known.unwrap_or_else(|| {
            self.dimensions.push(Dimension { label, kind: kind.clone() });
            self.dimensions.len() - 1
        })
    }
}

/// The option at a coordinate.
fn option(x: f64, count: usize) -> usize {
    (x.round().max(0.0) as usize).min(count - 1)
}

/// Rounds to 6 significant digits, so that people can read the recipe. The rounded value is the one used.
fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("a float prints as a float")
}
