//! Origin of an answer: when each finalist first appeared, and how the distribution drifted.

use super::{names, weights};
use crate::language::{Language, study as texts};
use merge_core::{
    study::{Ending, Generation},
    template::{Dimension, DimensionKind},
};
use serde::Serialize;
use std::fmt::Display;

/// Origin of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Origins {
    /// Origin of the answer in words.
    pub(crate) winner: Option<String>,
    /// Finalists, with the generations in which they were candidates.
    pub(crate) finalists: Vec<Life>,
    /// Drift of the distribution's mean, for each dimension; empty if the search has no
    /// distribution.
    pub(crate) drift: Vec<Drift>,
}

/// A finalist and its generations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) fitness: f64,
    pub(crate) on_front: bool,
    /// First and last generation in which it was a candidate, from 1; `None` if it never was one.
    pub(crate) generations: Option<[usize; 2]>,
}

/// Drift of the mean in one dimension: by generation, its position in the range, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Drift {
    pub(crate) label: String,
    pub(crate) places: Vec<Option<f64>>,
}

/// Origins of a study's finalists, if it has any, and the drift of its distribution.
pub(crate) fn origins(
    dimensions: &[Dimension],
    generations: &[Generation],
    ending: Option<&Ending>,
    language: Language,
) -> Origins {
    let finalists = ending.map(|ending| ending.finalists.as_slice()).unwrap_or_default();
    let lives = finalists.iter().map(|finalist| Life {
        name: finalist.name.clone(),
        fitness: finalist.fitness,
        on_front: finalist.on_front,
        generations: life(generations, &finalist.genome),
    });
    let lives: Vec<Life> = lives.collect();
    let winner = lives.first().zip(finalists.first()).map(|(life, finalist)| {
        let mean = generations.iter().position(|generation| generation.mean.as_ref() == Some(&finalist.genome));
        let [first, last] = life.generations.unwrap_or_default();
        let text = match (life.generations, mean) {
            (Some(_), _) if first == last => &texts::SEEN_ONCE,
            (Some(_), _) => &texts::SEEN_FROM_TO,
            (None, Some(_)) => &texts::MEAN_AFTER,
            (None, None) => &texts::NEVER_SEEN,
        };
        let (all, after) = (generations.len(), mean.map_or(0, |at| at + 1));
        let values: [(&str, &dyn Display); 5] = [
            ("name", &names::shown(&life.name, language)),
            ("first", &first),
            ("last", &last),
            ("all", &all),
            ("n", &after),
        ];
        language.fill(text, &values)
    });
    let has_mean = generations.iter().any(|generation| generation.mean.is_some());
    let drift = |(place, dimension): (usize, &Dimension)| Drift {
        label: dimension.label.clone(),
        places: generations.iter().map(|one| at(&dimension.kind, *one.mean.as_ref()?.get(place)?)).collect(),
    };
    Origins {
        winner,
        finalists: lives,
        drift: if has_mean { dimensions.iter().enumerate().map(drift).collect() } else { Vec::new() },
    }
}

fn life(generations: &[Generation], genome: &[f64]) -> Option<[usize; 2]> {
    let has = |generation: &Generation| generation.candidates.iter().any(|one| one.genome == genome);
    let first = generations.iter().position(has)?;
    let last = generations.iter().rposition(has)?;
    Some([first + 1, last + 1])
}

/// Position of a coordinate's value in its range, from 0 to 1.
fn at(kind: &DimensionKind, x: f64) -> Option<f64> {
    if let DimensionKind::Choice { options, .. } = kind {
        let most = options.len().saturating_sub(1).max(1) as f64;
        return Some(x.round().clamp(0.0, most) / most);
    }
    let ([low, high], value) = (weights::range(kind)?, weights::number(kind, x)?);
    (high > low).then(|| ((value - low) / (high - low)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use merge_core::study::{CandidateRecord, CandidateState};

    fn generation(genomes: &[f64], mean: f64) -> Generation {
        let candidate = |x: &f64| CandidateRecord {
            genome: vec![*x],
            state: CandidateState::Ranked { rung: 0 },
            fitness: Some(0.5),
            goals: Vec::new(),
            costs: Vec::new(),
        };
        Generation {
            candidates: genomes.iter().map(candidate).collect(),
            items: Vec::new(),
            level: 0,
            grows: false,
            evaluations: 0,
            tokens: 0,
            mean: Some(vec![mean]),
            sigma: None,
        }
    }

    #[test]
    fn lives_and_drift_are_read_from_the_generations() {
        let generations = [generation(&[0.1, 0.2], 0.25), generation(&[0.3, 0.4], 0.5), generation(&[0.3, 0.5], 0.75)];
        assert_eq!(life(&generations, &[0.3]), Some([2, 3]));
        assert_eq!(life(&generations, &[0.9]), None);
        let kind = DimensionKind::Number { range: 2.0..=4.0, log: false, init: 3.0 };
        let dimensions = [Dimension { label: "t".to_owned(), kind }];
        let origins = origins(&dimensions, &generations, None, Language::En);
        assert_eq!(origins.drift[0].places, [Some(0.25), Some(0.5), Some(0.75)]);
        assert!(origins.winner.is_none() && origins.finalists.is_empty());
    }
}
