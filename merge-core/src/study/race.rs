//! Scores a generation's candidates: all on the first items; in a race, the better ones on more.

use super::{
    Candidate, CandidateState, Goal,
    goal::{GoalItems, fitness},
    rank::{floors, violation},
    score::{Scorer, Scores},
};
use crate::{
    error::{Fault, Result},
    optimizer::Genome,
    recipe::Recipe,
    search::Search,
};

/// A candidate while its generation is scored.
pub(super) struct Runner<'a> {
    pub(super) genome: &'a Genome,
    pub(super) candidate: Candidate<'a>,
    /// `None` until the candidate is scored.
    pub(super) scores: Option<Scores>,
    pub(super) state: CandidateState,
}

pub(super) struct Race {
    /// The items that all runners met.
    pub(super) first: GoalItems,
    /// The items that the last ones met.
    pub(super) last: GoalItems,
    /// Number of item evaluations.
    pub(super) evaluations: usize,
}

impl<'a> Runner<'a> {
    /// A runner in its state before the race.
    pub(super) fn new(genome: &'a Genome, candidate: Candidate<'a>, search: &Search) -> Result<Self> {
        let state = state_before_race(&candidate, search)?;
        Ok(Self { genome, candidate, scores: None, state })
    }

    /// Scores of the candidate, if it was scored and not given up.
    pub(super) fn sound(&self) -> Option<&Scores> {
        self.scores.as_ref().filter(|scores| scores.failed.is_none())
    }

    fn n_items(&self) -> usize {
        self.scores.as_ref().map_or(0, Scores::n_items)
    }
}

/// State before the race: `Ranked` if to be scored. Plans the merge only if that is needed.
pub(super) fn state_before_race(candidate: &Candidate<'_>, search: &Search) -> Result<CandidateState> {
    let at_start = CandidateState::Ranked { rung: 0 };
    let is_path = candidate.recipe().is_some_and(Recipe::is_path);
    if search.minimise.is_empty() && search.most_layers.is_none() && !is_path {
        return Ok(at_start);
    }
    match candidate.size() {
        Err(error) if error.fault() == Fault::User => Ok(CandidateState::Failed { why: error.to_string() }),
        Err(error) => Err(error),
        Ok(size) => Ok(match search.most_layers {
            Some(most) if size.layers > most.value => CandidateState::TooLong { layers: size.layers },
            _ => at_start,
        }),
    }
}

/// Number of a goal's items on a rung, after the number of items has grown `level` times.
pub(super) fn n_items_on_rung(search: &Search, goal: &Goal, runners: usize, level: u32, rung: usize) -> usize {
    match (goal.items.to, search.racing.rungs) {
        (0, _) => 0,
        (_, 1) => goal.items.at(level),
        _ => search.racing.plan(runners, goal.items.at(level))[rung].1.min(goal.search.len()),
    }
}

/// Scores runners on items; each rung scores fewer runners on more items.
pub(super) fn race(scorer: &Scorer<'_>, runners: &mut [Runner<'_>], items: &GoalItems, level: u32) -> Result<Race> {
    let (goals, search) = (scorer.study.objective.goals(), scorer.study.search);
    let before = scorer.tracker.reached();
    let mut race = Race { first: GoalItems::new(), last: GoalItems::new(), evaluations: 0 };
    // Numbers of items differ between goals, so only the numbers of runners are taken from here.
    let rungs = search.racing.plan(runners.len(), 1 << 20);
    for (rung, (most, _)) in rungs.into_iter().enumerate() {
        let first_ones = |(goal, items): (&Goal, &Vec<_>)| {
            let n = n_items_on_rung(search, goal, runners.len(), level, rung);
            items[..n.min(items.len())].to_vec()
        };
        race.last = goals.iter().zip(items).map(first_ones).collect();
        if rung == 0 {
            race.first.clone_from(&race.last);
        }
        let running = running(goals, runners, rung, most);
        // Items that a runner has met already are asked again, and found in the store.
        let met: usize = running.iter().map(|number| runners[*number].n_items()).sum();
        scorer.tracker.reach(before + (race.evaluations - met) as u64);
        let candidates: Vec<&Candidate<'_>> = running.iter().map(|number| &runners[*number].candidate).collect();
        let scores = scorer.score(&candidates, &race.last)?;
        let floors = floors(scorer, &race.last)?;
        for (number, scores) in running.into_iter().zip(scores) {
            let runner = &mut runners[number];
            race.evaluations += scores.n_items() - runner.n_items();
            runner.state = match &scores.failed {
                Some(why) => CandidateState::Failed { why: why.clone() },
                None => match violation(&scores.goals, &floors) {
                    0.0 => CandidateState::Ranked { rung },
                    by => CandidateState::Infeasible { by },
                },
            };
            runner.scores = Some(scores);
        }
    }
    Ok(race)
}

/// Numbers of the runners on a rung: all at first, then the best of those that are left.
fn running(goals: &[Goal], runners: &[Runner<'_>], rung: usize, most: usize) -> Vec<usize> {
    let runs = |number: &usize| match runners[*number].state {
        CandidateState::Ranked { rung: reached } => reached + 1 >= rung,
        _ => false,
    };
    let mut running: Vec<usize> = (0..runners.len()).filter(runs).collect();
    if rung > 0 {
        // Costs do not count here. The sort is stable: of equals, those asked for first run on.
        let fitness = |number: &usize| {
            let scores = runners[*number].scores.as_ref();
            scores.map_or(f64::NEG_INFINITY, |scores| fitness(goals, &scores.goals))
        };
        running.sort_by(|a, b| fitness(b).total_cmp(&fitness(a)));
        running.truncate(most);
    }
    running
}
