//! Runs an optimizer through its generations, from the first that is not in the store, as far as the budget goes.

use super::{
    Beside, Generation, Goal, Phase,
    anchors::AnchorSet,
    beside::ParentBudget,
    generation::{Round, generation},
    progress::GenerationEnd,
    record::{StoreKeys, n_generations},
    score::Scorer,
    snapshot::Snapshot,
};
use crate::{
    error::Result,
    optimizer::{Genome, Optimizer, Stop},
    store::{Payload, Store},
    template::Space,
};
use std::slice;

/// An optimizer that is to run, and how far.
pub(super) struct Run<'a> {
    /// The evolution, or random search beside it.
    pub(super) phase: Phase,
    /// At its first generation.
    pub(super) optimizer: Optimizer,
    /// Item evaluations of all generations.
    pub(super) budget: u64,
    /// Asked in the place of fresh items, if there are some.
    pub(super) anchors: Option<&'a AnchorSet>,
}

/// What an optimizer has done.
pub(super) struct Ran {
    pub(super) generations: Vec<Generation>,
    /// Why it ended before it had to, if it did.
    pub(super) stopped: Option<Stop>,
    /// The genomes that the optimizer keeps, if it keeps some.
    pub(super) elites: Vec<Genome>,
    /// Items that parents were asked beside it.
    pub(super) beside: u64,
}

/// Runs an optimizer to its end. Every generation is stored before the next begins.
pub(super) fn evolve(scorer: &Scorer<'_>, space: &Space, run: Run<'_>, snapshot: &Snapshot) -> Result<Ran> {
    let Run { phase, optimizer, budget, anchors } = run;
    let (store, goals) = (scorer.study.store, scorer.study.objective.goals());
    let (mut optimizer, mut generations, mut besides) = stored(store, phase, goals, budget, optimizer)?;
    let mut spent = 0;
    // About how many there will be: as many as the rest of the budget pays for, if each costs as much as the last.
    let about = |number: u64, spent: u64, cost: u64| number + budget.saturating_sub(spent) / cost.max(1);
    let passed: Vec<GenerationEnd<'_>> = (1..)
        .zip(generations.iter().zip(&besides))
        .map(|(number, (generation, beside))| {
            spent += generation.cost();
            GenerationEnd { spent, generations: (number, about(number, spent, generation.cost())), generation, beside }
        })
        .collect();
    let first = most(goals, optimizer.population(), 0);
    scorer.course.begin_after(phase, budget as usize, Some(about(0, 0, first)), &passed);
    snapshot.add(phase, &generations, &besides)?;
    while optimizer.stop().is_none() {
        let number = optimizer.generation();
        let level = generations.last().map_or(0, |last| last.level + u32::from(last.grows));
        if spent + most(goals, optimizer.population(), level) > budget {
            break;
        }
        // Random search meets the same items, of which enough is known.
        let parents = (phase == Phase::Evolution).then_some(ParentBudget { before: &besides, budget });
        let round = Round { number, genomes: &optimizer.ask(), level, anchors, parents };
        let (mut generation, beside, told) = generation(scorer, space, &round)?;
        optimizer.tell(&told);
        generation.mean = optimizer.mean();
        generation.sigma = optimizer.sigma();
        store_generation(store, phase, &optimizer, &generation, &beside)?;
        snapshot.add(phase, slice::from_ref(&generation), slice::from_ref(&beside))?;
        spent += generation.cost();
        let number = optimizer.generation();
        let generations_now = (number, about(number, spent, generation.cost()));
        scorer.course.pass(&GenerationEnd {
            spent,
            generations: generations_now,
            generation: &generation,
            beside: &beside,
        });
        generations.push(generation);
        besides.push(beside);
    }
    // More may be left of a larger budget.
    let n = generations.len() as u64;
    if n_generations(store, phase)? != Some(n) {
        store.set(&[(&StoreKeys::of(phase).count, &n)])?;
    }
    scorer.course.end(spent);
    Ok(Ran {
        generations,
        stopped: optimizer.stop(),
        elites: optimizer.elites(),
        beside: besides.iter().map(|one| one.asked).sum(),
    })
}

/// The optimizer as it was stored, with its generations and how they did beside the parents.
///
/// If the budget became smaller, the stored optimizer has learned too much; if the store was damaged, records are lost. Then the search
/// begins again with the `first` optimizer, and finds the scores that are remembered.
fn stored(
    store: &Store,
    phase: Phase,
    goals: &[Goal],
    budget: u64,
    first: Optimizer,
) -> Result<(Optimizer, Vec<Generation>, Vec<Beside>)> {
    let keys = StoreKeys::of(phase);
    let Some(optimizer) = store.get::<Optimizer>(&keys.optimizer)? else { return Ok((first, Vec::new(), Vec::new())) };
    let generations = (0..optimizer.generation()).map(|number| store.get(&keys.generation(number)));
    let generations = generations.collect::<Result<Option<Vec<Generation>>>>()?;
    let Some(generations) = generations.filter(|known| pays(goals, budget, known)) else {
        return Ok((first, Vec::new(), Vec::new()));
    };
    // A study that an older version began has none.
    let beside = |number: u64| Ok(store.get(&keys.beside(number))?.unwrap_or_default());
    let besides = (0..optimizer.generation()).map(beside).collect::<Result<_>>()?;
    Ok((optimizer, generations, besides))
}

fn store_generation(
    store: &Store,
    phase: Phase,
    optimizer: &Optimizer,
    generation: &Generation,
    beside: &Beside,
) -> Result<()> {
    let (keys, count) = (StoreKeys::of(phase), optimizer.generation());
    let (place, place_beside) = (keys.generation(count - 1), keys.beside(count - 1));
    let values: [(&str, &dyn Payload); 4] =
        [(&place, generation), (&place_beside, beside), (&keys.optimizer, optimizer), (&keys.count, &count)];
    store.set(&values)
}

/// The most that a generation takes from the budget whose items have grown so often.
fn most(goals: &[Goal], candidates: usize, level: u32) -> u64 {
    let items: usize = goals.iter().map(|goal| goal.items.at(level)).sum();
    (candidates * items) as u64
}

/// Whether a search with this budget begins each of these generations.
fn pays(goals: &[Goal], budget: u64, generations: &[Generation]) -> bool {
    let mut spent = 0;
    generations.iter().all(|one| {
        let begins = spent + most(goals, one.candidates.len(), one.level) <= budget;
        spent += one.cost();
        begins
    })
}
