//! One generation: draws items, races candidates, makes records and the optimizer's feedback.

use super::{
    Generation, ParentComparison,
    anchors::AnchorSet,
    beside::{ParentBudget, beside},
    draw::draw,
    race::{Race, Runner, n_items_on_rung, race},
    rank::{rank, references},
    score::{Scorer, Scores},
    signal::is_noise,
    tell::tell,
};
use crate::{
    error::Result,
    optimizer::{Feedback, Genome},
    template::Space,
};

/// A generation to score.
pub(super) struct GenerationInput<'a> {
    pub(super) number: u64,
    pub(super) genomes: &'a [Genome],
    /// Number of times that the number of items has grown.
    pub(super) level: u32,
    /// Anchors to ask in place of fresh items, if there are any.
    pub(super) anchors: Option<&'a AnchorSet>,
    /// Decides which parents are asked beside the generation; without it, none is.
    pub(super) parents: Option<ParentBudget<'a>>,
}

/// Scores a generation. Returns its record, its comparison with the parents, and the feedback.
pub(super) fn generation(
    scorer: &Scorer<'_>,
    space: &Space,
    input: &GenerationInput<'_>,
) -> Result<(Generation, ParentComparison, Vec<Feedback>)> {
    let study = scorer.study;
    let (search, goals) = (study.search, study.objective.goals());
    let last_rung = search.racing.rungs as usize - 1;
    let most = |goal: &_| n_items_on_rung(search, goal, input.genomes.len(), input.level, last_rung);
    let mut items = draw(search, goals, input.number, most);
    if let Some(anchors) = input.anchors {
        anchors.replace(&mut items);
    }
    let start = |genome| Runner::new(genome, study.candidate(space, genome), search);
    let mut runners = input.genomes.iter().map(start).collect::<Result<Vec<Runner<'_>>>>()?;
    let Race { first, last, evaluations } = race(scorer, &mut runners, &items, input.level)?;
    let references = references(scorer, &last)?;
    let sound: Vec<&Scores> = runners.iter().filter_map(Runner::sound).collect();
    let beside = beside(scorer, &first, &sound, input.parents.as_ref())?;
    let grows = is_noise(goals, &sound);
    let candidates: Vec<_> =
        runners.iter().map(|runner| rank(search, goals, runner, &references, input.anchors)).collect();
    let told = tell(goals, search.racing.rungs, &candidates, &runners);
    let generation = Generation {
        candidates,
        items: last.iter().map(Vec::len).collect(),
        level: input.level,
        grows,
        evaluations,
        tokens: runners.iter().filter_map(|runner| runner.scores.as_ref()).map(Scores::tokens).sum(),
        mean: None,
        sigma: None,
    };
    Ok((generation, beside, told))
}
