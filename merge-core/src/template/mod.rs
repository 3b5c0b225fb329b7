//! A template is a recipe with holes: its space is what a search explores, and a genome fills it to an ordinary recipe.
//!
//! Two things can be left open. A *hole* stands where a number or a flag would, and is spread over layers and components. A
//! *choice*, `{choose: [ties, dare_ties]}`, stands anywhere: for a method, a model, a list of models. Each combination of
//! choices is a recipe with holes of its own; holes that are the same in several of them share their numbers.

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

/// A recipe with holes, or several to choose from.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The file it came from, against which its paths are resolved.
    pub file: PathBuf,
    choices: Vec<Choice>,
    /// One for each combination of choices, in the order of their options, the last choice turning fastest.
    variants: Vec<Recipe<Slot>>,
}

/// A part of the recipe that is chosen whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Where it stands, as in `models[1].model`.
    label: String,
    /// What there is to choose from, as it is written.
    options: Vec<String>,
}

/// What a search explores: one dimension for each number to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// In the order of a genome.
    pub dimensions: Vec<Dimension>,
    /// For each variant its holes, in the order of its settings: how each spreads, and the dimensions it takes.
    holes: Vec<Vec<(Spread, Vec<usize>)>>,
}

/// A number to be found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// What it is, as in `models[1].weight[layer 3]`.
    pub label: String,
    /// What it may be.
    #[serde(flatten)]
    pub kind: DimensionKind,
}

/// What a number may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DimensionKind {
    /// Any number of a range.
    Number {
        /// The least and the most.
        range: RangeInclusive<f64>,
        /// Whether steps are of equal ratio, not of equal difference.
        log: bool,
        /// Where the search begins.
        init: f64,
    },
    /// A whole number.
    Whole {
        /// The least and the most.
        range: RangeInclusive<i64>,
        /// Where the search begins.
        init: i64,
    },
    /// One of several options, by its place among them.
    Choice {
        /// How they are written.
        options: Vec<String>,
        /// How probable each is at first.
        init: Vec<f64>,
    },
}

impl DimensionKind {
    /// The value of a coordinate: real ones are folded into their range, whole ones cut to it.
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

    /// The coordinate of the value nearest to a number.
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

    /// As an optimizer sees it.
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

    /// A coordinate as people read it.
    pub fn show(&self, x: f64) -> String {
        match (self, self.value(x)) {
            (Self::Choice { options, .. }, _) => options[option(x, options.len())].clone(),
            (_, Value::Number(value)) => value.to_string(),
            (_, Value::Flag(value)) => value.to_string(),
        }
    }
}

impl Space {
    /// The dimensions as an optimizer sees them.
    pub fn coordinates(&self) -> Vec<Coordinate> {
        self.dimensions.iter().map(|dimension| dimension.kind.coordinate()).collect()
    }

    /// The genome whose recipe has every `init`, and of options the most probable.
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
    /// The recipe with holes of each combination of choices; there is at least one.
    pub fn variants(&self) -> &[Recipe<Slot>] {
        &self.variants
    }

    /// The recipe with holes of the first combination of choices.
    pub fn first(&self) -> &Recipe<Slot> {
        &self.variants[0]
    }

    /// What other documents call its answer.
    pub fn name(&self) -> Option<String> {
        self.first().name.as_ref().map(|name| name.value.clone())
    }

    /// Says what the other documents of its file are called.
    pub(crate) fn name_siblings(&mut self, names: &[String]) {
        self.variants.iter_mut().for_each(|variant| variant.siblings = names.to_vec());
    }

    /// The dimensions of the search; refuses more groups than there are layers.
    pub fn space(&self, sources: &Sources) -> Result<Space> {
        let layers: Vec<Layers> = self.variants.iter().map(|variant| sources.layers(variant)).collect();
        self.space_over(&layers)
    }

    /// The dimensions of the search if these are the layers of each variant.
    pub(crate) fn space_over(&self, layers: &[Layers]) -> Result<Space> {
        let chosen = self.choices.iter().map(|Choice { label, options }| {
            let init = vec![1.0 / options.len() as f64; options.len()];
            Dimension { label: label.clone(), kind: DimensionKind::Choice { options: options.clone(), init } }
        });
        let mut space = Space { dimensions: chosen.collect(), holes: Vec::new() };
        for (variant, layers) in self.variants.iter().zip(layers) {
            let mut holes = Vec::new();
            // A hole of a hop has a number for each of its layers.
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
                let places = spread.labels.iter().map(|part| space.place(format!("{label}{part}"), &kind)).collect();
                holes.push((spread, places));
            }
            space.holes.push(holes);
        }
        Ok(space)
    }

    /// The recipe of a genome, which may be any finite numbers: real coordinates outside 0..=1 are folded back, smoothly.
    ///
    /// # Panics
    /// If the genome does not have the length of the space, which is [`Template::space`]'s.
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
        // What a layer that is left out would be scaled by makes no other recipe.
        recipe.path.value.iter_mut().for_each(Hop::forget_unused);
        recipe
    }

    /// The genome of a combination of choices, by its number, with everything else where it begins.
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
    /// The dimension of this label and kind, which is added if there is none.
    fn place(&mut self, label: String, kind: &DimensionKind) -> usize {
        let known = self.dimensions.iter().position(|known| known.label == label && known.kind == *kind);
        known.unwrap_or_else(|| {
            self.dimensions.push(Dimension { label, kind: kind.clone() });
            self.dimensions.len() - 1
        })
    }
}

/// The option that a coordinate stands for.
fn option(x: f64, count: usize) -> usize {
    (x.round().max(0.0) as usize).min(count - 1)
}

/// Rounds to 6 significant decimals, so that people can read the recipe that is then the truth.
fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("a float prints as a float")
}
