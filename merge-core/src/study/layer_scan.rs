//! Chooses where a search among layers starts: leaves each layer out of the first path once.
//!
//! In Sakana's paper, a layer that the search left out of a 13B model could also be left out of its
//! parent, which got better (<https://arxiv.org/abs/2403.13187>). So this is a cheap first stage.

use super::{
    Candidate, Goal, Phase,
    goal::{GoalItems, fitness, n_items},
    score::{Scorer, Scores},
};
use crate::{
    error::Result,
    item::ItemScore,
    search::Search,
    template::{DimensionKind, Space},
};

/// Lowest starting probability: no layer is taken for certain to be wanted or not.
const MIN_PROBABILITY: f64 = 0.05;

/// The space with choices that start as a scan finds them, if asked for, and the scan's cost.
///
/// Each flag that starts as true is set to false once. Its starting probability of true is then the
/// logistic function of the model's decline, in standard errors of the paired difference.
pub(super) fn scan_layers(scorer: &Scorer<'_>, mut space: Space) -> Result<(Space, u64)> {
    let study = scorer.study;
    let goals = study.objective.goals();
    if study.search.layer_scan.is_none_or(|scan| !scan.value) {
        return Ok((space, 0));
    }
    let whole = space.init();
    let scanned = scanned(&space);
    let without = scanned.iter().map(|place| {
        let mut genome = whole.clone();
        genome[*place] = 0.0;
        genome
    });
    let genomes: Vec<Vec<f64>> = [whole.clone()].into_iter().chain(without).collect();
    let candidates: Vec<Candidate<'_>> = genomes.iter().map(|genome| study.candidate(&space, genome)).collect();
    // As many items as a generation takes, always the first: the scan is compared with nothing.
    let first_ones = |goal: &Goal| goal.search[..goal.items.from.min(goal.search.len())].to_vec();
    let items: GoalItems = goals.iter().map(first_ones).collect();
    scorer.tracker.begin(Phase::LayerScan, candidates.len() * n_items(&items), None);
    let scored = scorer.score(&candidates.iter().collect::<Vec<_>>(), &items)?;
    let all = fitness(goals, &scored[0].goals);
    for (place, one) in scanned.into_iter().zip(&scored[1..]) {
        let missed = all - fitness(goals, &one.goals);
        let error = standard_error(goals, &scored[0].goals, &one.goals);
        let z = if error > 0.0 { missed / error } else { missed.signum() * f64::from(missed != 0.0) };
        let yes = (1.0 / (1.0 + (-z).exp())).clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY);
        if let DimensionKind::Choice { init, .. } = &mut space.dimensions[place].kind {
            *init = vec![1.0 - yes, yes];
        }
    }
    let evaluations: usize = scored.iter().map(Scores::n_items).sum();
    Ok((space, evaluations as u64))
}

/// Standard error of the difference of two models' fitness on the same items.
fn standard_error(goals: &[Goal], a: &[Vec<ItemScore>], b: &[Vec<ItemScore>]) -> f64 {
    let weights: f64 = goals.iter().zip(a).filter(|(_, scores)| !scores.is_empty()).map(|(g, _)| g.weight).sum();
    let of_goal = |((goal, a), b): ((&Goal, &Vec<ItemScore>), &Vec<ItemScore>)| {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.value - b.value).collect();
        let n = differences.len() as f64;
        if differences.len() < 2 {
            return 0.0;
        }
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (goal.weight / weights).powi(2) * variance / n
    };
    goals.iter().zip(a).zip(b).map(of_goal).sum::<f64>().sqrt()
}

/// Positions of the flags that start as true; each is left out once.
fn scanned(space: &Space) -> Vec<usize> {
    let is_flag =
        |kind: &DimensionKind| matches!(kind, DimensionKind::Choice { options, .. } if options == &["false", "true"]);
    let init = space.init();
    (0..init.len()).filter(|place| is_flag(&space.dimensions[*place].kind) && init[*place] > 0.5).collect()
}

/// Number of models that a scan scores; 0 if none is asked for.
pub(super) fn count(space: &Space, search: &Search) -> usize {
    if search.layer_scan.is_some_and(|scan| scan.value) { 1 + scanned(space).len() } else { 0 }
}
