//! Runs an optimizer through its generations, from the first not stored until the budget is spent.

use super::{
    Generation, Goal, ParentComparison, Phase,
    anchors::AnchorSet,
    beside::ParentBudget,
    generation::{GenerationInput, generation},
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

/// An optimizer to run, and its budget.
pub(super) struct Run<'a> {
    pub(super) phase: Phase,
    /// Optimizer at its first generation.
    pub(super) optimizer: Optimizer,
    /// Budget of all generations, in item evaluations.
    pub(super) budget: u64,
    /// Anchors to ask in place of fresh items, if there are any.
    pub(super) anchors: Option<&'a AnchorSet>,
}

pub(super) struct RunResult {
    pub(super) generations: Vec<Generation>,
    /// Reason why the optimizer stopped early, if it did.
    pub(super) stopped: Option<Stop>,
    /// Genomes that the optimizer keeps, if it keeps any.
    pub(super) elites: Vec<Genome>,
    /// Number of items asked of the parents for comparison.
    pub(super) beside: u64,
}

/// Runs an optimizer to its end. Every generation is stored before the next begins.
pub(super) fn evolve(scorer: &Scorer<'_>, space: &Space, run: Run<'_>, snapshot: &Snapshot) -> Result<RunResult> {
    let Run { phase, optimizer, budget, anchors } = run;
    let (store, goals) = (scorer.study.store, scorer.study.objective.goals());
    let (mut optimizer, mut generations, mut besides) = stored(store, phase, goals, budget, optimizer)?;
    let mut spent = 0;
    // Estimate: the rest of the budget pays for generations that cost as much as the last.
    let about = |number: u64, spent: u64, cost: u64| number + budget.saturating_sub(spent) / cost.max(1);
    let passed: Vec<GenerationEnd<'_>> = (1..)
        .zip(generations.iter().zip(&besides))
        .map(|(number, (generation, beside))| {
            spent += generation.cost();
            GenerationEnd { spent, generations: (number, about(number, spent, generation.cost())), generation, beside }
        })
        .collect();
    let first = max_cost(goals, optimizer.population(), 0);
    scorer.tracker.begin_after(phase, budget as usize, Some(about(0, 0, first)), &passed);
    snapshot.add(phase, &generations, &besides)?;
    while optimizer.stop().is_none() {
        let number = optimizer.generation();
        let level = generations.last().map_or(0, |last| last.level + u32::from(last.grows));
        if spent + max_cost(goals, optimizer.population(), level) > budget {
            break;
        }
        // Random search meets the same items, on which enough of the parents' scores are known.
        let parents = (phase == Phase::Evolution).then_some(ParentBudget { before: &besides, budget });
        let input = GenerationInput { number, genomes: &optimizer.ask(), level, anchors, parents };
        let (mut generation, beside, told) = generation(scorer, space, &input)?;
        optimizer.tell(&told);
        generation.mean = optimizer.mean();
        generation.sigma = optimizer.sigma();
        store_generation(store, phase, &optimizer, &generation, &beside)?;
        snapshot.add(phase, slice::from_ref(&generation), slice::from_ref(&beside))?;
        spent += generation.cost();
        let number = optimizer.generation();
        let generations_now = (number, about(number, spent, generation.cost()));
        scorer.tracker.pass(&GenerationEnd {
            spent,
            generations: generations_now,
            generation: &generation,
            beside: &beside,
        });
        generations.push(generation);
        besides.push(beside);
    }
    // More generations may be stored, of a larger budget.
    let n = generations.len() as u64;
    if n_generations(store, phase)? != Some(n) {
        store.set(&[(&StoreKeys::of(phase).count, &n)])?;
    }
    scorer.tracker.end(spent);
    Ok(RunResult {
        generations,
        stopped: optimizer.stop(),
        elites: optimizer.elites(),
        beside: besides.iter().map(|one| one.asked).sum(),
    })
}

/// The stored optimizer, its generations, and their comparisons with the parents.
///
/// Starts again with `first` if the budget became smaller, since the stored optimizer has learned
/// too much, or if generations are missing. It will find the remembered scores.
fn stored(
    store: &Store,
    phase: Phase,
    goals: &[Goal],
    budget: u64,
    first: Optimizer,
) -> Result<(Optimizer, Vec<Generation>, Vec<ParentComparison>)> {
    let keys = StoreKeys::of(phase);
    let Some(optimizer) = store.get::<Optimizer>(&keys.optimizer)? else { return Ok((first, Vec::new(), Vec::new())) };
    let generations = (0..optimizer.generation()).map(|number| store.get(&keys.generation(number)));
    let generations = generations.collect::<Result<Option<Vec<Generation>>>>()?;
    let Some(generations) = generations.filter(|known| pays(goals, budget, known)) else {
        return Ok((first, Vec::new(), Vec::new()));
    };
    // A study begun by an older version has no comparisons.
    let beside = |number: u64| Ok(store.get(&keys.beside(number))?.unwrap_or_default());
    let besides = (0..optimizer.generation()).map(beside).collect::<Result<_>>()?;
    Ok((optimizer, generations, besides))
}

fn store_generation(
    store: &Store,
    phase: Phase,
    optimizer: &Optimizer,
    generation: &Generation,
    beside: &ParentComparison,
) -> Result<()> {
    let (keys, count) = (StoreKeys::of(phase), optimizer.generation());
    let (place, place_beside) = (keys.generation(count - 1), keys.beside(count - 1));
    let values: [(&str, &dyn Payload); 4] =
        [(&place, generation), (&place_beside, beside), (&keys.optimizer, optimizer), (&keys.count, &count)];
    store.set(&values)
}

/// Maximum cost of a generation, after the number of items has grown `level` times.
fn max_cost(goals: &[Goal], candidates: usize, level: u32) -> u64 {
    let items: usize = goals.iter().map(|goal| goal.items.at(level)).sum();
    (candidates * items) as u64
}

/// True if a search with this budget begins each of these generations.
fn pays(goals: &[Goal], budget: u64, generations: &[Generation]) -> bool {
    let mut spent = 0;
    generations.iter().all(|one| {
        let begins = spent + max_cost(goals, one.candidates.len(), one.level) <= budget;
        spent += one.cost();
        begins
    })
}
