//! Item response theory: a model's score on all items, estimated from its answers to a few, as in
//! [MERGE³](https://arxiv.org/abs/2502.10436), after
//! [tinyBenchmarks](https://arxiv.org/abs/2402.14992).
//!
//! A model has an ability θ; an item has a discrimination a and a difficulty b. θ and a have a few
//! dimensions. The model answers correctly with probability σ(a·θ - b). An estimate ranks
//! candidates cheaply; it is no score to report.
//!
//! Searches that rank by estimates ([`Anchors`](crate::search::Anchors)) did not beat fresh items.
//! On the models of recipes/sansu, with 3,000, 6,000 and 12,000 item evaluations (mean of three
//! seeds), 20 anchors of 100 items reached 40.5, 48.9 and 51.8%, and growing subsets of fresh items
//! 47.8, 53.5 and 55.2% (benches/searches.py).

mod anchors;
mod logistic;
#[cfg(test)]
mod tests;

pub(crate) use anchors::anchors;

use logistic::{Observation, logistic};
use nalgebra::DMatrix;

/// Parameters of an item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IrtItem {
    /// Discrimination a: how much each dimension of the ability helps.
    pub(crate) discrimination: Vec<f64>,
    /// Difficulty b: mergenetic's Σ B over the dimensions.
    pub(crate) difficulty: f64,
}

impl IrtItem {
    /// Probability P(θ) that a model of this ability answers correctly.
    pub(crate) fn probability(&self, ability: &[f64]) -> f64 {
        let a_theta: f64 = self.discrimination.iter().zip(ability).map(|(a, theta)| a * theta).sum();
        logistic::sigmoid(a_theta - self.difficulty)
    }
}

/// A model's answer to one of the items asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ItemAnswer {
    /// Position of the item.
    pub(crate) item: usize,
    /// Score: 1 for right, 0 for wrong, or between.
    pub(crate) score: f64,
    /// Share of all items that this item stands for; the sum over the answers is 1.
    pub(crate) weight: f64,
}

/// Parameters of items and abilities of models, fitted to a table of answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IrtFit {
    /// One item for each column.
    pub(crate) items: Vec<IrtItem>,
    /// One ability for each row.
    pub(crate) abilities: Vec<Vec<f64>>,
}

/// Maximum number of rounds in [`fit`], each of which fits the items and then the abilities.
const ROUNDS: usize = 40;
/// [`fit`] stops when no ability moves by more than this; their standard deviation is 1.
const CONVERGED: f64 = 1e-3;

/// Fits items and abilities to scores in [0, 1]; a row for each model, a column for each item.
///
/// Maximises the likelihood with normal priors: abilities about 0 with variance 1, discriminations
/// and difficulties about 0 with variance 1 / `ridge`; 0.1 is a good value. Fits abilities and
/// items in turn, starting from the principal components of the table. Scores may be missing.
///
/// # Panics
///
/// If there are no rows, if rows differ in length, or if dimensions outnumber models or items.
pub(crate) fn fit(scores: &[Vec<Option<f64>>], dimensions: usize, ridge: f64) -> IrtFit {
    let mut abilities = principal_components(scores, dimensions);
    let mut items = Vec::new();
    for _ in 0..ROUNDS {
        items = (0..scores[0].len()).map(|j| fit_item(scores, &abilities, j, ridge)).collect();
        let answers = |row: &Vec<Option<f64>>| -> Vec<ItemAnswer> {
            let known = row.iter().enumerate().filter_map(|(item, score)| Some((item, (*score)?)));
            known.map(|(item, score)| ItemAnswer { item, score, weight: 0.0 }).collect()
        };
        let new: Vec<Vec<f64>> = scores.iter().map(|row| ability(&items, &answers(row), 1.0)).collect();
        let moved = new.iter().flatten().zip(abilities.iter().flatten()).any(|(a, b)| (a - b).abs() > CONVERGED);
        abilities = new;
        if !moved {
            break;
        }
    }
    IrtFit { items, abilities }
}

/// Fits one item to its column of scores, given the models' abilities.
fn fit_item(scores: &[Vec<Option<f64>>], abilities: &[Vec<f64>], item: usize, ridge: f64) -> IrtItem {
    let observe = |(row, ability): (&Vec<Option<f64>>, &Vec<f64>)| {
        // a·θ - b is linear in (a, b).
        let features = ability.iter().copied().chain([-1.0]).collect();
        Some(Observation { features, offset: 0.0, score: row[item]? })
    };
    let observations: Vec<Observation> = scores.iter().zip(abilities).filter_map(observe).collect();
    let mut discrimination = logistic(&observations, &vec![0.0; abilities[0].len() + 1], ridge);
    let difficulty = discrimination.pop().expect("the last is the difficulty");
    IrtItem { discrimination, difficulty }
}

/// Positions of the models along the table's main directions, scaled to variance 1 in each.
fn principal_components(scores: &[Vec<Option<f64>>], dimensions: usize) -> Vec<Vec<f64>> {
    let (n, m) = (scores.len(), scores[0].len());
    assert!(dimensions <= n.min(m), "there are as many models and items as dimensions");
    let mean = |j: usize| {
        let known: Vec<f64> = scores.iter().filter_map(|row| row[j]).collect();
        if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 }
    };
    let means: Vec<f64> = (0..m).map(mean).collect();
    // (models, items). A hole becomes the item's mean, which is 0 after centring.
    let centred = DMatrix::from_fn(n, m, |i, j| scores[i][j].map_or(0.0, |score| score - means[j]));
    let u = centred.svd(true, false).u.expect("it was asked for");
    let scale = (n as f64).sqrt();
    (0..n).map(|i| (0..dimensions).map(|d| u[(i, d)] * scale).collect()).collect()
}

/// The ability θ that makes the answers most likely; normal prior about 0 with variance 1 /
/// `ridge`. With `ridge` near 0 it is tinyBenchmarks' estimate, unbounded if all answers are right.
pub(crate) fn ability(items: &[IrtItem], answers: &[ItemAnswer], ridge: f64) -> Vec<f64> {
    let n_dimensions = items.first().map_or(0, |item| item.discrimination.len());
    let observe = |answer: &ItemAnswer| {
        let item = &items[answer.item];
        Observation { features: item.discrimination.clone(), offset: -item.difficulty, score: answer.score }
    };
    logistic(&answers.iter().map(observe).collect::<Vec<_>>(), &vec![0.0; n_dimensions], ridge)
}

/// Ability of a merge, as a mix Σ λ θ of its parents' abilities: the λ that make the answers most
/// likely, with a normal prior about equal shares.
pub(crate) fn merged_ability(items: &[IrtItem], answers: &[ItemAnswer], parents: &[Vec<f64>], ridge: f64) -> Vec<f64> {
    let observe = |answer: &ItemAnswer| {
        let item = &items[answer.item];
        let project = |theta: &Vec<f64>| item.discrimination.iter().zip(theta).map(|(a, theta)| a * theta).sum();
        let features = parents.iter().map(project).collect();
        Observation { features, offset: -item.difficulty, score: answer.score }
    };
    let equal = vec![1.0 / parents.len() as f64; parents.len()];
    let lambda = logistic(&answers.iter().map(observe).collect::<Vec<_>>(), &equal, ridge);
    let n_dimensions = parents.first().map_or(0, Vec::len);
    let mix = |d: usize| parents.iter().zip(&lambda).map(|(theta, lambda)| lambda * theta[d]).sum();
    (0..n_dimensions).map(mix).collect()
}

/// mp-IRT: (n/N) · weighted answers + (1 - n/N) · mean probability on the items that were not
/// asked, for an ability from [`merged_ability`].
pub(crate) fn mp_irt(items: &[IrtItem], answers: &[ItemAnswer], merged_ability: &[f64]) -> f64 {
    mixed(items, answers, merged_ability, weighted_mean(answers))
}

/// gmp-IRT: `delta` (½ in MERGE³) · weighted answers + (1 - `delta`) · `estimate` by [`mp_irt`].
pub(crate) fn generalised(answers: &[ItemAnswer], estimate: f64, delta: f64) -> f64 {
    delta * weighted_mean(answers) + (1.0 - delta) * estimate
}

/// Σ w y.
fn weighted_mean(answers: &[ItemAnswer]) -> f64 {
    answers.iter().map(|answer| answer.weight * answer.score).sum()
}

/// (n/N) `observed` + (1 - n/N) the mean of P(θ) over the items that were not asked.
fn mixed(items: &[IrtItem], answers: &[ItemAnswer], ability: &[f64], observed: f64) -> f64 {
    let mut asked = vec![false; items.len()];
    for answer in answers {
        asked[answer.item] = true;
    }
    let others = items.iter().zip(&asked).filter(|(_, asked)| !**asked).map(|(item, _)| item.probability(ability));
    let (sum, n_others) = others.fold((0.0, 0_usize), |(sum, n), p| (sum + p, n + 1));
    if n_others == 0 {
        return observed;
    }
    let share = 1.0 - n_others as f64 / items.len() as f64;
    share * observed + (1.0 - share) * sum / n_others as f64
}
