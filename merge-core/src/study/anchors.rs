//! Anchors in a search: a calibration fits item parameters, a few items stand for many, and
//! candidates are ranked by their estimated scores on all of these.
//!
//! This is MERGE³ ([arXiv 2502.10436](https://arxiv.org/abs/2502.10436)), except that item
//! parameters are fitted to the study's own scores, since for most tasks none are published. They
//! are fitted once: if later candidates changed them, generations could not be compared.

use super::{
    Candidate, CandidateState, Goal, Phase,
    draw::draw,
    goal::{GoalItems, n_items},
    race::state_before_race,
    score::{Scorer, Scores},
};
use crate::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
    merge::sources::Sources,
    optimizer::Optimizer,
    search::{Anchors, Search},
    study::irt::{self, IrtItem, ItemAnswer},
    template::Space,
    words::counted,
    yaml::{At, Place},
};
use std::path::Path;

/// Dimensions of abilities; a dozen models cannot tell more apart.
const DIMENSIONS: usize = 2;
/// Inverse of the prior variance of discriminations and difficulties.
const RIDGE: f64 = 0.1;
/// Inverse of the prior variance of the parents' shares in a merge.
const MIX_RIDGE: f64 = 1.0;
/// Share of the weighted answers in the estimate, as in MERGE³.
const DELTA: f64 = 0.5;
/// Generation number with which the calibration draws its items; no search reaches it.
const GENERATION: u64 = (1 << 40) - 1;

/// Anchors of each goal that ranks candidates; `None` for the other goals.
pub(super) struct AnchorSet(Vec<Option<GoalAnchors>>);

/// Anchors of a goal, and the items that they stand for.
struct GoalAnchors {
    /// Parameters of all items that the anchors stand for.
    items: Vec<IrtItem>,
    /// Position of each anchor in `items`, and the share of `items` that it stands for.
    anchors: Vec<(usize, f64)>,
    /// Ids of the anchors, in the same order.
    asked: Vec<ItemId>,
    /// Abilities of the models merged, and of the base.
    parents: Vec<Vec<f64>>,
}

impl AnchorSet {
    /// Replaces fresh items by the anchors.
    pub(super) fn replace(&self, drawn: &mut GoalItems) {
        for (items, goal_anchors) in drawn.iter_mut().zip(&self.0) {
            if let Some(goal_anchors) = goal_anchors {
                items.clone_from(&goal_anchors.asked);
            }
        }
    }

    /// Estimated mean score (gmp-IRT) on all items that a goal's anchors stand for, given the
    /// scores on the anchors; `None` if the goal has no anchors.
    pub(super) fn estimate(&self, goal: usize, scores: &[ItemScore]) -> Option<f64> {
        let GoalAnchors { items, anchors, parents, .. } = self.0[goal].as_ref()?;
        let answer = |((item, weight), score): (&(usize, f64), &ItemScore)| ItemAnswer {
            item: *item,
            score: score.value,
            weight: *weight,
        };
        let answers: Vec<ItemAnswer> = anchors.iter().zip(scores).map(answer).collect();
        let ability = irt::merged_ability(items, &answers, parents, MIX_RIDGE);
        Some(irt::generalised(&answers, irt::mp_irt(items, &answers, &ability), DELTA))
    }
}

/// Refuses anchors for scores outside 0 to 1, or that need more items or candidates than exist.
pub(super) fn check(file: &Path, search: &Search, population: usize, goals: &[Goal]) -> Result<()> {
    let Some(At { value: anchors, place }) = search.anchors else { return Ok(()) };
    let refuse = |place: Place, key: &str, message: String| {
        Error::user(format!("{}: search.anchors{key}: {message}", place.of(file)))
    };
    for goal in goals.iter().filter(|goal| goal.ranks()) {
        let (name, metric, n) = (&goal.name, &goal.metric, goal.search.len());
        if goal.worst < 0.0 {
            let message = format!("the scores of task {name} ({metric}) are not between 0 and 1");
            return Err(refuse(place, "", message).hint("choose another `metric`, or remove `anchors`"));
        }
        if let Some(of) = anchors.of.filter(|of| of.value > n) {
            let message = format!("task {name} has {n} search items, not {}", of.value);
            return Err(refuse(of.place, ".of", message).hint(format!("write {n} or less, or leave it out")));
        }
        if goal.items.to >= pool(anchors, goal) {
            let message = format!("task {name}: {} anchors cannot stand for {}", goal.items.to, pool(anchors, goal));
            return Err(refuse(place, "", message).hint("write a smaller `items` of the task, or a greater `of`"));
        }
    }
    if anchors.calibration.value > population {
        let message = format!(
            "the first generation has only {}, but the calibration needs {}",
            counted(population, "candidate"),
            anchors.calibration.value
        );
        return Err(refuse(anchors.calibration.place, ".calibration", message).hint(format!(
            "write {population} or less, or set the optimizer's `population` to {} or more",
            anchors.calibration.value
        )));
    }
    Ok(())
}

/// Number of item evaluations of a calibration.
pub(super) fn cost(search: &Search, sources: &Sources, goals: &[Goal]) -> usize {
    let Some(At { value: anchors, .. }) = search.anchors else { return 0 };
    let items: usize = goals.iter().map(|goal| pool(anchors, goal)).sum();
    (sources.iter().count() + anchors.calibration.value) * items
}

/// Number of items that a goal's anchors stand for; 0 if it does not rank.
fn pool(anchors: Anchors, goal: &Goal) -> usize {
    if goal.ranks() { anchors.of.map_or(goal.search.len(), |of| of.value) } else { 0 }
}

/// Chooses anchors, if the search asks for them; returns them and the evaluations this took.
///
/// The models merged and some candidates of the first generation answer all items. All follows from
/// the seed and stored scores, so a resumed search chooses the same anchors.
pub(super) fn calibrate(scorer: &Scorer<'_>, space: &Space, optimizer: &Optimizer) -> Result<(Option<AnchorSet>, u64)> {
    let study = scorer.study;
    let (search, goals) = (study.search, study.objective.goals());
    let Some(At { value: anchors, place }) = search.anchors else { return Ok((None, 0)) };
    let mut candidates = study.parents();
    let n_parents = candidates.len();
    for genome in optimizer.ask().iter().take(anchors.calibration.value) {
        let candidate = study.candidate(space, genome);
        if let CandidateState::Ranked { .. } = state_before_race(&candidate, search)? {
            candidates.push(candidate);
        }
    }
    let all = draw(search, goals, GENERATION, |goal| pool(anchors, goal));
    scorer.tracker.begin(Phase::Calibration, candidates.len() * n_items(&all), None);
    let scored = scorer.score(&candidates.iter().collect::<Vec<&Candidate<'_>>>(), &all)?;
    let evaluations: usize = scored.iter().map(Scores::n_items).sum();
    // The scores of a candidate that was given up are not its answers.
    let is_row = |(number, scores): &(usize, &Scores)| *number < n_parents || scores.failed.is_none();
    let rows: Vec<&Scores> = scored.iter().enumerate().filter(is_row).map(|(_, scores)| scores).collect();
    let mut goal_anchors = Vec::new();
    for (number, (goal, pool)) in goals.iter().zip(all).enumerate() {
        let row = |scores: &&Scores| scores.goals[number].iter().map(|score| Some(score.value)).collect();
        let table: Vec<Vec<Option<f64>>> = rows.iter().map(row).collect();
        if table.iter().flatten().flatten().any(|score| !(0.0..=1.0).contains(score)) {
            let (file, name) = (&study.template.file, &goal.name);
            let message = format!("{}: search.anchors: a score of task {name} is not between 0 and 1", place.of(file));
            return Err(Error::user(message).hint("choose another `metric`, or remove `anchors`"));
        }
        goal_anchors.push((!pool.is_empty()).then(|| GoalAnchors::new(goal, &pool, &table, n_parents, search.seed)));
    }
    Ok((Some(AnchorSet(goal_anchors)), evaluations as u64))
}

impl GoalAnchors {
    /// Fits item parameters to a table of scores, parents first, and chooses as many anchors as the
    /// goal has items for a generation, or fewer if items are alike.
    fn new(goal: &Goal, pool: &[ItemId], table: &[Vec<Option<f64>>], n_parents: usize, seed: u64) -> Self {
        let dimensions = DIMENSIONS.min(table.len()).min(pool.len());
        let irt::IrtFit { items, abilities } = irt::fit(table, dimensions, RIDGE);
        let anchors = irt::anchors(&items, goal.items.to, seed);
        let asked = anchors.iter().map(|(item, _)| pool[*item]).collect();
        Self { items, anchors, asked, parents: abilities[..n_parents].to_vec() }
    }
}
