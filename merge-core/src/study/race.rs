//! Scores the candidates of a generation: all on the first items and, in a race, the better ones on more and more of them.

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

/// A candidate while its generation runs.
pub(super) struct Runner<'a> {
    pub(super) genome: &'a Genome,
    pub(super) candidate: Candidate<'a>,
    /// None as long as it was not scored.
    pub(super) scores: Option<Scores>,
    pub(super) state: CandidateState,
}

/// A race that is over.
pub(super) struct Race {
    /// The items that all runners met.
    pub(super) first: GoalItems,
    /// The items that the last ones met.
    pub(super) last: GoalItems,
    /// Items that runners were scored on.
    pub(super) evaluations: usize,
}

impl<'a> Runner<'a> {
    /// At the start, if the candidate can be merged and is not too long. It is planned only if that has to be known.
    pub(super) fn new(genome: &'a Genome, candidate: Candidate<'a>, search: &Search) -> Result<Self> {
        let state = start(&candidate, search)?;
        Ok(Self { genome, candidate, scores: None, state })
    }

    /// Its scores, if it was scored and not given up.
    pub(super) fn sound(&self) -> Option<&Scores> {
        self.scores.as_ref().filter(|scores| scores.failed.is_none())
    }

    fn n_items(&self) -> usize {
        self.scores.as_ref().map_or(0, Scores::n_items)
    }
}

/// Whether a candidate is scored at all, as its state at the start.
pub(super) fn start(candidate: &Candidate<'_>, search: &Search) -> Result<CandidateState> {
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

/// How many of a goal's items are met on each rung of a race among so many, where its items have grown so often.
pub(super) fn n_items_on_rung(search: &Search, goal: &Goal, runners: usize, level: u32, rung: usize) -> usize {
    match (goal.items.to, search.racing.rungs) {
        (0, _) => 0,
        (_, 1) => goal.items.at(level),
        _ => search.racing.plan(runners, goal.items.at(level))[rung].1.min(goal.search.len()),
    }
}

/// Scores runners on items, of which each rung asks more from fewer of them.
pub(super) fn race(scorer: &Scorer<'_>, runners: &mut [Runner<'_>], items: &GoalItems, level: u32) -> Result<Race> {
    let (goals, search) = (scorer.study.objective.goals(), scorer.study.search);
    let before = scorer.course.reached();
    let mut race = Race { first: GoalItems::new(), last: GoalItems::new(), evaluations: 0 };
    // The number of items is another one for each goal.
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
        // What they have met already is asked for again, and found.
        let met: usize = running.iter().map(|number| runners[*number].n_items()).sum();
        scorer.course.reach(before + (race.evaluations - met) as u64);
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

/// Who runs on a rung: at first all, then the best of those that are left.
fn running(goals: &[Goal], runners: &[Runner<'_>], rung: usize, most: usize) -> Vec<usize> {
    let runs = |number: &usize| match runners[*number].state {
        CandidateState::Ranked { rung: reached } => reached + 1 >= rung,
        _ => false,
    };
    let mut running: Vec<usize> = (0..runners.len()).filter(runs).collect();
    if rung > 0 {
        // The mean score alone decides. The sort is stable: of equals, those asked for first run on.
        let fitness = |number: &usize| {
            let scores = runners[*number].scores.as_ref();
            scores.map_or(f64::NEG_INFINITY, |scores| fitness(goals, &scores.goals))
        };
        running.sort_by(|a, b| fitness(b).total_cmp(&fitness(a)));
        running.truncate(most);
    }
    running
}
