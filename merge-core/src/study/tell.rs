//! Feedback to the optimizer on the candidates of a generation.

use super::{CandidateRecord, CandidateState, Goal, race::Runner};
use crate::optimizer::Feedback;

/// Feedback on each candidate. Best are those that went furthest in the race, then those that break
/// constraints, then those that are too long; failed ones are worst.
pub(super) fn tell(goals: &[Goal], rungs: u32, records: &[CandidateRecord], runners: &[Runner<'_>]) -> Vec<Feedback> {
    let told = |((record, runner), fitness): ((&CandidateRecord, &Runner<'_>), f64)| {
        let n = goals.iter().filter(|goal| goal.ranks()).count() + record.costs.len();
        let objectives = record.objectives(goals).unwrap_or_else(|| vec![f64::NEG_INFINITY; n]);
        let scores = runner.scores.iter().flat_map(|scores| goals.iter().zip(&scores.goals));
        let items = scores.filter(|(goal, _)| goal.ranks()).flat_map(|(_, scores)| scores);
        Feedback { fitness, objectives, items: items.map(|score| score.value).collect() }
    };
    records.iter().zip(runners).zip(tiered(rungs as usize, records)).map(told).collect()
}

/// Fitness of each candidate, with every tier below the tier before.
fn tiered(rungs: usize, records: &[CandidateRecord]) -> Vec<f64> {
    let tier = |record: &CandidateRecord| match record.state {
        CandidateState::Ranked { rung } => rungs - 1 - rung,
        CandidateState::Infeasible { .. } => rungs,
        CandidateState::TooLong { .. } => rungs + 1,
        CandidateState::Failed { .. } => rungs + 2,
    };
    let raw = |record: &CandidateRecord| match record.state {
        CandidateState::Ranked { .. } => record.fitness.unwrap_or(f64::NEG_INFINITY),
        CandidateState::Infeasible { by } => -by,
        CandidateState::TooLong { layers } => -(layers as f64),
        CandidateState::Failed { .. } => f64::NEG_INFINITY,
    };
    let mut fitness = vec![f64::NEG_INFINITY; records.len()];
    let mut floor = f64::INFINITY;
    for wanted in 0..rungs + 2 {
        let of_tier: Vec<usize> = (0..records.len()).filter(|number| tier(&records[*number]) == wanted).collect();
        let best = of_tier.iter().map(|number| raw(&records[*number])).fold(f64::NEG_INFINITY, f64::max);
        if !best.is_finite() {
            continue;
        }
        // The whole tier is moved below the one before, unless it is there already.
        let step = 1e-6 * best.abs().max(1.0);
        let down = (best + step - floor).max(0.0);
        for number in of_tier {
            fitness[number] = raw(&records[number]) - down;
            if fitness[number].is_finite() {
                floor = floor.min(fitness[number]);
            }
        }
    }
    fitness
}
