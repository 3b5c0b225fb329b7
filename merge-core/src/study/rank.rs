//! Ranks candidates by fitness, penalty for costs, and violated constraints.

use super::{
    CandidateRecord, Goal,
    anchors::AnchorSet,
    candidate::Size,
    goal::{GoalItems, weighted},
    race::Runner,
    score::{Scorer, Scores},
};
use crate::{
    error::Result,
    item::{ItemScore, mean},
    search::{Cost, Search},
};

/// Record of a candidate; its costs are divided by `references`.
pub(super) fn rank(
    search: &Search,
    goals: &[Goal],
    runner: &Runner<'_>,
    references: &[f64],
    anchors: Option<&AnchorSet>,
) -> CandidateRecord {
    let size = if search.minimise.is_empty() { None } else { runner.candidate.size().ok() };
    let costs =
        size.map_or_else(|| vec![0.0; search.minimise.len()], |size| costs(search, size, runner.scores.as_ref()));
    let scores = runner.sound();
    let of_goal = |number: usize| {
        let scores = &scores?.goals[number];
        anchors.and_then(|anchors| anchors.estimate(number, scores)).or_else(|| mean(scores))
    };
    let means: Vec<Option<f64>> = (0..goals.len()).map(of_goal).collect();
    let fitness = scores.map(|_| weighted(goals, means.iter().copied()) - penalty(search, &costs, references));
    CandidateRecord {
        genome: runner.genome.clone(),
        state: runner.state.clone(),
        fitness: fitness.filter(|fitness| fitness.is_finite()),
        goals: means,
        costs,
    }
}

/// Costs of a model of this size with these scores, in the order of `minimise`.
pub(super) fn costs(search: &Search, size: Size, scores: Option<&Scores>) -> Vec<f64> {
    let tokens = || scores.map_or(0.0, Scores::mean_tokens);
    search.minimise.iter().map(|cost| size.cost(cost.what.value, tokens)).collect()
}

/// Penalty for costs, to be taken off the fitness.
pub(super) fn penalty(search: &Search, costs: &[f64], references: &[f64]) -> f64 {
    let minimise = search.minimise.iter().zip(costs).zip(references);
    minimise.map(|((cost, value), reference)| cost.weight.value * value / reference).sum()
}

/// Divisors of the costs: the costs of the first model on the same items.
pub(super) fn references(scorer: &Scorer<'_>, items: &GoalItems) -> Result<Vec<f64>> {
    let study = scorer.study;
    let minimise = &study.search.minimise;
    let needs_tokens = minimise.iter().any(|cost| cost.what.value == Cost::Tokens && cost.weight.value > 0.0);
    let (_, first) = study.sources.iter().next().expect("a recipe names a model");
    let size = Size::of(&**first);
    let mut tokens = 1.0;
    if needs_tokens {
        let parents = study.parents();
        tokens = scorer.score_beside(&[&parents[0]], items)?[0].mean_tokens().max(1.0);
    }
    Ok(minimise.iter().map(|cost| size.cost(cost.what.value, || tokens)).collect())
}

/// Lowest mean score allowed for each goal: the best parent's less `within`, for a constraint.
pub(super) fn floors(scorer: &Scorer<'_>, items: &GoalItems) -> Result<Vec<Option<f64>>> {
    let goals = scorer.study.objective.goals();
    if goals.iter().all(|goal| goal.within.is_none()) {
        return Ok(vec![None; goals.len()]);
    }
    let only = |(goal, items): (&Goal, &Vec<_>)| if goal.within.is_some() { items.clone() } else { Vec::new() };
    let items: GoalItems = goals.iter().zip(items).map(only).collect();
    let parents = scorer.study.parents();
    let scores = scorer.score_beside(&parents.iter().collect::<Vec<_>>(), &items)?;
    let floor = |(number, goal): (usize, &Goal)| {
        let means = scores.iter().filter_map(|parent| mean(&parent.goals[number]));
        Some(means.fold(f64::NEG_INFINITY, f64::max) - goal.within?)
    };
    Ok(goals.iter().enumerate().map(floor).collect())
}

/// Amount by which a candidate is below the floors, over all constraints; 0 if it keeps them.
pub(super) fn violation(scores: &[Vec<ItemScore>], floors: &[Option<f64>]) -> f64 {
    let below = floors.iter().zip(scores).filter_map(|(floor, scores)| Some((*floor)? - mean(scores)?));
    below.map(|below| below.max(0.0)).sum()
}
