//! Anchors in a search: a calibration teaches what each item tells, a few items stand for many, and candidates are ranked by
//! what their answers to these let expect of all.
//!
//! It is what MERGE³ does ([arXiv 2502.10436](https://arxiv.org/abs/2502.10436)), with parameters of items fitted to the study's
//! own answers, since for most tasks none are published. They are fitted once: what is known of an item would change with each
//! later candidate by little, and the figures of two generations could not be compared.

use super::{
    Candidate, CandidateState, Goal, Phase,
    draw::draw,
    goal::{GoalItems, n_items},
    race::start,
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

/// Dimensions of abilities: a dozen models tell no more apart.
const DIMENSIONS: usize = 2;
/// The variance of discriminations and difficulties is its inverse.
const RIDGE: f64 = 0.1;
/// That of a merge's shares in its parents is 1.
const MIX_RIDGE: f64 = 1.0;
/// The share of the weighted answers in the estimate, as in MERGE³.
const DELTA: f64 = 0.5;
/// A generation number that no search reaches. The calibration draws its items with it.
const GENERATION: u64 = (1 << 40) - 1;

/// By goal the anchors, of those that rank candidates.
pub(super) struct AnchorSet(Vec<Option<GoalAnchors>>);

/// A goal's anchors, and all they stand for.
struct GoalAnchors {
    /// What each item tells, of all that they stand for.
    items: Vec<IrtItem>,
    /// Which of them they are, and the share of all that each stands for.
    anchors: Vec<(usize, f64)>,
    /// The same, to be asked.
    asked: Vec<ItemId>,
    /// The abilities of the models merged, and of the base.
    parents: Vec<Vec<f64>>,
}

impl AnchorSet {
    /// Asks the anchors in the place of fresh items.
    pub(super) fn replace(&self, drawn: &mut GoalItems) {
        for (items, standing) in drawn.iter_mut().zip(&self.0) {
            if let Some(standing) = standing {
                items.clone_from(&standing.asked);
            }
        }
    }

    /// What a candidate with these scores on a goal's anchors is expected to score on all items that they stand for (gmp-IRT);
    /// `None` if the goal has no anchors.
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

/// Refuses anchors that cannot be had: of scores that are no probabilities, or more than there is to choose from.
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
        let message =
            format!("the first generation has {}, not {}", counted(population, "candidate"), anchors.calibration.value);
        return Err(refuse(anchors.calibration.place, ".calibration", message)
            .hint(format!("write {population} or less, or more as the optimizer's `population`")));
    }
    Ok(())
}

/// How many item evaluations a calibration takes.
pub(super) fn cost(search: &Search, sources: &Sources, goals: &[Goal]) -> usize {
    let Some(At { value: anchors, .. }) = search.anchors else { return 0 };
    let items: usize = goals.iter().map(|goal| pool(anchors, goal)).sum();
    (sources.iter().count() + anchors.calibration.value) * items
}

/// How many items a goal's anchors stand for; 0 if it ranks nobody.
fn pool(anchors: Anchors, goal: &Goal) -> usize {
    if goal.ranks() { anchors.of.map_or(goal.search.len(), |of| of.value) } else { 0 }
}

/// The anchors, if there are to be some, and the evaluations that it took to choose them.
///
/// The models merged and some candidates of the first generation answer all items. All follows from the seed and from
/// scores that are kept, so a search that broke down comes to the same.
pub(super) fn calibrate(scorer: &Scorer<'_>, space: &Space, optimizer: &Optimizer) -> Result<(Option<AnchorSet>, u64)> {
    let study = scorer.study;
    let (search, goals) = (study.search, study.objective.goals());
    let Some(At { value: anchors, place }) = search.anchors else { return Ok((None, 0)) };
    let mut candidates = study.parents();
    let n_parents = candidates.len();
    for genome in optimizer.ask().iter().take(anchors.calibration.value) {
        let candidate = study.candidate(space, genome);
        if let CandidateState::Ranked { .. } = start(&candidate, search)? {
            candidates.push(candidate);
        }
    }
    let all = draw(search, goals, GENERATION, |goal| pool(anchors, goal));
    scorer.course.begin(Phase::Calibration, candidates.len() * n_items(&all), None);
    let scored = scorer.score(&candidates.iter().collect::<Vec<&Candidate<'_>>>(), &all)?;
    let evaluations: usize = scored.iter().map(Scores::n_items).sum();
    // A candidate that was given up has not answered what stands for its scores.
    let is_row = |(number, scores): &(usize, &Scores)| *number < n_parents || scores.failed.is_none();
    let rows: Vec<&Scores> = scored.iter().enumerate().filter(is_row).map(|(_, scores)| scores).collect();
    let mut standing = Vec::new();
    for (number, (goal, pool)) in goals.iter().zip(all).enumerate() {
        let row = |scores: &&Scores| scores.goals[number].iter().map(|score| Some(score.value)).collect();
        let table: Vec<Vec<Option<f64>>> = rows.iter().map(row).collect();
        if table.iter().flatten().flatten().any(|score| !(0.0..=1.0).contains(score)) {
            let (file, name) = (&study.template.file, &goal.name);
            let message = format!("{}: search.anchors: a score of task {name} is not between 0 and 1", place.of(file));
            return Err(Error::user(message).hint("choose another `metric`, or remove `anchors`"));
        }
        standing.push((!pool.is_empty()).then(|| GoalAnchors::new(goal, &pool, &table, n_parents, search.seed)));
    }
    Ok((Some(AnchorSet(standing)), evaluations as u64))
}

impl GoalAnchors {
    /// Fits what each item tells to a table of scores, those of the parents first, and chooses as many of them as the goal has
    /// items for a generation, or fewer where they are alike.
    fn new(goal: &Goal, pool: &[ItemId], table: &[Vec<Option<f64>>], n_parents: usize, seed: u64) -> Self {
        let dimensions = DIMENSIONS.min(table.len()).min(pool.len());
        let irt::IrtFit { items, abilities } = irt::fit(table, dimensions, RIDGE);
        let anchors = irt::anchors(&items, goal.items.to, seed);
        let asked = anchors.iter().map(|(item, _)| pool[*item]).collect();
        Self { items, anchors, asked, parents: abilities[..n_parents].to_vec() }
    }
}
