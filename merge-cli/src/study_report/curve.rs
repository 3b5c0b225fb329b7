//! Course of a search: a few numbers for each generation, its objectives, and the growth of its
//! front.

use crate::{draw::measure, study_report::figures};
use evaluator::statistics::{Estimate, normal_interval};
use merge_core::item::ItemScore;
use merge_core::study::{About, CandidateRecord, CandidateState, Finalist, Generation, Goal, front, hypervolume};
use serde::Serialize;

/// A few numbers of a generation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CurvePoint {
    /// Number of the generation, from 1.
    pub(crate) generation: usize,
    /// Item evaluations and tokens up to its end.
    pub(crate) evaluations: usize,
    pub(crate) tokens: u64,
    /// Number of items of each task, for the candidates that reached the last rung.
    pub(crate) items: Vec<usize>,
    pub(crate) ranked: usize,
    /// Best fitness among the candidates on the last rung, and its 95% interval, see [`interval`].
    /// An estimated fitness has no interval.
    pub(crate) best: Option<f64>,
    pub(crate) best_ci95: Option<[f64; 2]>,
    /// Mean, minimum and maximum fitness of all ranked candidates.
    pub(crate) mean: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    pub(crate) sigma: Option<f64>,
}

/// An objective of a search: a task or a cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlottedObjective {
    pub(crate) name: String,
    pub(crate) minimised: bool,
    /// Metric of the task; empty for a cost.
    #[serde(skip)]
    metric: String,
    /// True if its score is one number for a model.
    #[serde(skip)]
    whole: bool,
    #[serde(skip)]
    axis: Axis,
}

#[derive(Clone, Copy, Debug)]
enum Axis {
    Task(usize),
    Cost(usize),
}

/// Hypervolume of the front up to each generation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    /// Worst and best value of a ranked candidate, for each objective, in its own unit. The volume
    /// is measured from the worst.
    pub(crate) worst: Vec<f64>,
    pub(crate) best: Vec<f64>,
    /// Share of the box between worst and best, from 0 to 1, by generation.
    pub(crate) share: Vec<f64>,
}

/// Points of the curve, one for each generation. `prepared` is the number of item evaluations
/// before the first; `estimated` fitness has no interval.
pub(crate) fn steps(generations: &[Generation], goals: &[Goal], prepared: usize, estimated: bool) -> Vec<CurvePoint> {
    let (mut evaluations, mut tokens) = (prepared, 0);
    let step = |(number, generation): (usize, &Generation)| {
        evaluations += generation.evaluations;
        tokens += generation.tokens;
        let ranked = generation.candidates.iter().filter(|one| matches!(one.state, CandidateState::Ranked { .. }));
        let all: Vec<f64> = ranked.filter_map(|one| one.fitness).collect();
        let best = generation.best();
        CurvePoint {
            generation: number + 1,
            evaluations,
            tokens,
            items: generation.items.clone(),
            ranked: all.len(),
            best: best.and_then(|best| best.fitness),
            best_ci95: best.filter(|_| !estimated).and_then(|best| interval(best, &generation.items, goals)),
            mean: generation.mean_fitness(),
            least: all.iter().copied().reduce(f64::min),
            most: all.iter().copied().reduce(f64::max),
            sigma: generation.sigma,
        }
    };
    generations.iter().enumerate().map(step).collect()
}

/// The 95% interval of a candidate's fitness: A. Agresti and B. A. Coull (1998) for each task, with
/// the weights of the fitness.
///
/// Scores lie between 0 and 1, so the interval for right and wrong answers is the widest possible.
/// The costs in the fitness are known exactly.
fn interval(candidate: &CandidateRecord, items: &[usize], goals: &[Goal]) -> Option<[f64; 2]> {
    // Nothing is known of the spread of a whole model's number.
    let fitness = candidate.fitness.filter(|_| !goals.iter().any(|goal| goal.whole && goal.ranks()))?;
    let (mut weights, mut score, mut centre, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for ((goal, items), mean) in goals.iter().zip(items).zip(&candidate.goals) {
        let Some(mean) = mean.filter(|_| goal.weight > 0.0 && *items > 0) else { continue };
        let n = *items as f64 + 4.0;
        let p = (mean * *items as f64 + 2.0) / n;
        weights += goal.weight;
        score += goal.weight * mean;
        centre += goal.weight * p;
        variance += goal.weight.powi(2) * p * (1.0 - p) / n;
    }
    if weights <= 0.0 {
        return None;
    }
    // The part of the fitness that comes from costs.
    let taken = fitness - score / weights;
    let [low, high] = normal_interval(taken + centre / weights, variance.max(0.0).sqrt() / weights);
    Some([low.max(taken).min(fitness), high.min(taken + 1.0).max(fitness)])
}

/// Objectives of a study: the tasks that rank candidates, and the minimised costs.
pub(crate) fn objectives(about: &About) -> Vec<PlottedObjective> {
    let ranked = about.goals.iter().enumerate().filter(|(_, goal)| goal.ranks());
    let tasks = ranked.map(|(place, goal)| PlottedObjective::of_task(place, goal));
    let costs = about.costs.iter().enumerate().map(|(place, cost)| PlottedObjective {
        name: cost.name().to_owned(),
        minimised: true,
        metric: String::new(),
        whole: false,
        axis: Axis::Cost(place),
    });
    tasks.chain(costs).collect()
}

/// Objectives by which a finalist may be picked: the tasks of the choice, and the minimised costs.
pub(crate) fn choosable(about: &About) -> Vec<PlottedObjective> {
    let chosen = about.goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty());
    let tasks = chosen.map(|(place, goal)| PlottedObjective::of_task(place, goal));
    tasks.chain(objectives(about).into_iter().filter(|one| one.minimised)).collect()
}

impl PlottedObjective {
    fn of_task(place: usize, goal: &Goal) -> Self {
        let (name, metric) = (goal.name.clone(), goal.metric.clone());
        Self { name, minimised: false, metric, whole: goal.whole, axis: Axis::Task(place) }
    }

    /// A candidate's value, in the objective's own unit; `None` if the candidate was not ranked.
    pub(crate) fn of(&self, candidate: &CandidateRecord) -> Option<f64> {
        if !matches!(candidate.state, CandidateState::Ranked { .. }) {
            return None;
        }
        match self.axis {
            Axis::Task(place) => candidate.goals.get(place).copied().flatten(),
            Axis::Cost(place) => candidate.costs.get(place).copied(),
        }
    }

    /// A finalist's value; for a task, on select items.
    pub(crate) fn of_finalist(&self, finalist: &Finalist) -> Option<f64> {
        let mean = |scores: &Vec<ItemScore>| {
            let sum: f64 = scores.iter().map(|score| score.value).sum();
            (!scores.is_empty()).then(|| sum / scores.len() as f64)
        };
        match self.axis {
            Axis::Task(place) => finalist.scores.get(place).and_then(mean),
            Axis::Cost(place) => finalist.costs.get(place).copied(),
        }
    }

    /// A finalist's score on select items with its interval; `None` for a cost.
    pub(crate) fn estimate(&self, finalist: &Finalist) -> Option<Estimate> {
        match self.axis {
            Axis::Task(place) => match &finalist.scores.get(place)?[..] {
                [score] if self.whole => Some(Estimate::of_one(score.value)),
                scores => Estimate::of(&figures::values(scores)),
            },
            Axis::Cost(_) => None,
        }
    }

    /// Formats a value: shares in percent, all others as they are.
    pub(crate) fn show(&self, value: f64) -> String {
        match self.axis {
            Axis::Task(_) => measure::value(&self.metric, value),
            Axis::Cost(_) if value.fract() == 0.0 => crate::draw::screen::grouped(value as u64),
            Axis::Cost(_) => format!("{value:.1}"),
        }
    }

    /// Formats a task's score with its interval.
    pub(crate) fn show_with_interval(&self, estimate: &Estimate) -> String {
        measure::score(&self.metric, estimate)
    }
}

/// Growth of the front; `None` for a single objective, or if no candidate was ranked.
pub(crate) fn growth(generations: &[Generation], objectives: &[PlottedObjective]) -> Option<Growth> {
    if objectives.len() < 2 {
        return None;
    }
    // Greater is better.
    let point = |candidate: &CandidateRecord| -> Option<Vec<f64>> {
        let signed = |one: &PlottedObjective| one.of(candidate).map(|value| if one.minimised { -value } else { value });
        objectives.iter().map(signed).collect()
    };
    let points: Vec<Vec<Vec<f64>>> = generations
        .iter()
        .map(|generation| {
            generation.candidates.iter().filter_map(point).filter(|p| p.iter().all(|x| x.is_finite())).collect()
        })
        .collect();
    let end = |place: usize, worse: fn(f64, f64) -> f64| points.iter().flatten().map(|p| p[place]).reduce(worse);
    let worst: Vec<f64> = (0..objectives.len()).map(|place| end(place, f64::min)).collect::<Option<_>>()?;
    let best: Vec<f64> = (0..objectives.len()).map(|place| end(place, f64::max)).collect::<Option<_>>()?;
    // An objective in which all candidates are equal is left out.
    let differing: Vec<usize> = (0..objectives.len()).filter(|place| best[*place] > worst[*place]).collect();
    let scaled = |p: &Vec<f64>| -> Vec<f64> {
        differing.iter().map(|place| (p[*place] - worst[*place]) / (best[*place] - worst[*place])).collect()
    };
    let mut kept: Vec<Vec<f64>> = Vec::new();
    let share = points.iter().map(|generation| {
        kept.extend(generation.iter().map(scaled));
        kept = front(&kept).into_iter().map(|position| kept[position].clone()).collect();
        kept.dedup();
        hypervolume(&kept, &vec![0.0; differing.len()])
    });
    let share = share.collect();
    let natural = |values: Vec<f64>| -> Vec<f64> {
        values.into_iter().zip(objectives).map(|(x, one)| if one.minimised { -x } else { x }).collect()
    };
    Some(Growth { worst: natural(worst), best: natural(best), share })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use merge_core::search::{Cost, Items};

    /// A study of one task and one cost.
    pub(crate) fn about() -> About {
        let goal = Goal { name: "sums".to_owned(), weight: 2.0, items: Items { from: 8, to: 8 }, ..Goal::default() };
        About {
            engine: None,
            seed: 1,
            budget: 100,
            optimizer: "nsga2".to_owned(),
            dimensions: Vec::new(),
            goals: vec![goal],
            costs: vec![Cost::Layers],
            estimated: false,
            models: Vec::new(),
        }
    }

    fn generation(points: &[(f64, f64)]) -> Generation {
        let candidate = |(score, layers): &(f64, f64)| CandidateRecord {
            genome: Vec::new(),
            state: CandidateState::Ranked { rung: 0 },
            fitness: Some(score - 0.01 * layers),
            goals: vec![Some(*score)],
            costs: vec![*layers],
        };
        Generation {
            candidates: points.iter().map(candidate).collect(),
            items: vec![16],
            level: 0,
            grows: false,
            evaluations: 16 * points.len(),
            tokens: 5,
            mean: None,
            sigma: None,
        }
    }

    #[test]
    fn the_volume_grows_with_the_front_and_ends_at_the_whole_box() {
        let generations =
            [generation(&[(0.5, 10.0), (0.25, 7.5), (0.0, 5.0)]), generation(&[(0.1, 9.0)]), generation(&[(0.5, 5.0)])];
        let growth = growth(&generations, &objectives(&about())).unwrap();
        // Only the middle point has a volume: a quarter of the square.
        assert_eq!(growth.share, [0.25, 0.25, 1.0]);
        assert_eq!((growth.worst, growth.best), (vec![0.0, 10.0], vec![0.5, 5.0]));
    }

    #[test]
    fn a_step_counts_what_came_before_and_its_best_has_an_interval() {
        let generations = [generation(&[(0.0, 0.0)]), generation(&[(0.5, 10.0), (0.25, 10.0)])];
        let after = |prepared, estimated| steps(&generations, &about().goals, prepared, estimated);
        let steps = after(0, false);
        assert_eq!((steps[1].evaluations, steps[1].tokens, steps[1].ranked), (48, 10, 2));
        // 8 of 16 right: with two more right and two more wrong, 0.5 ± 1.96·sqrt(0.25 / 20), less
        // 0.1 for the layers.
        let [low, high] = steps[1].best_ci95.unwrap();
        assert!((low - 0.180_87).abs() < 1e-5 && (high - 0.619_13).abs() < 1e-5, "{low} {high}");
        // None of 16 right: no score is below 0.
        let [low, high] = steps[0].best_ci95.unwrap();
        assert!(low == 0.0 && (high - 0.231_48).abs() < 1e-5, "{low} {high}");
        // An estimate from anchors has no interval.
        let estimated = after(100, true);
        assert_eq!((estimated[1].evaluations, estimated[1].best, estimated[1].best_ci95), (148, steps[1].best, None));
    }
}
