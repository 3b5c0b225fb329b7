//! Runs a study from end to end: evolution, selection, baselines, report.

use super::{
    Candidate, CandidateState, Ending, Entry, Findings, Generation, History, Phase, Study,
    anchors::calibrate,
    check::{check, max_evaluations_by_phase},
    evolution::{Run, RunResult, evolve},
    finalists::{choose, finalists},
    goal::{GoalItems, n_items},
    identity::identify,
    layer_scan::scan_layers,
    record::ENDED,
    score::{Scorer, Scores},
    snapshot::Snapshot,
    soup::greedy_soup,
};
use crate::{
    baseline,
    error::{Error, Result},
    optimizer::{Genome, Optimizer, OptimizerStart},
    search::Algorithm,
    store::Payload,
    template::Space,
};

pub(super) fn run(study: &Study<'_>) -> Result<Findings> {
    let Study { template, sources, search, objective, store, .. } = *study;
    check(template, sources, search, objective)?;
    let space = template.space(sources)?;
    identify(study, &space)?;
    let goals = objective.goals();
    let scorer = Scorer::new(study, max_evaluations_by_phase(template, search, goals));
    let snapshot = Snapshot::begin(store)?;

    // Start of the optimizer, and anchors.
    let (beginning, scan) = scan_layers(&scorer, space.clone())?;
    let optimizer = search.optimizer.start(&beginning, search.seed);
    let (anchors, calibration) = calibrate(&scorer, &space, &optimizer)?;
    let prepared = scan + calibration;
    if prepared > 0 && store.get::<u64>("prepared")? != Some(prepared) {
        store.set(&[("prepared", &prepared)])?;
        snapshot.prepared(prepared)?;
    }

    // The evolution, and the answer among its finalists.
    let budget = search.budget.value.saturating_sub(prepared);
    let evolution = Run { phase: Phase::Evolution, optimizer, budget, anchors: anchors.as_ref() };
    let RunResult { generations, stopped, elites, beside } = evolve(&scorer, &space, evolution, &snapshot)?;
    let coordinates = space.coordinates();
    let is_random = search.optimizer.name == Some(Algorithm::Random);
    let named = finalists(&generations, elites, &coordinates, !is_random);
    let ranked = choose(&scorer, &space, Phase::Selection, named)?;
    let Some(first) = ranked.first() else { return Err(no_answer(&generations)) };
    let genome = first.genome.clone();
    let recipe = template.fill(&space, &genome);

    // The baselines.
    let mut names = sources.labels();
    let mut candidates = study.parents();
    let n_parents = candidates.len();
    // A baseline that is never scored by this objective is left out.
    let is_admitted = |one: &Candidate<'_>| one.weights().map_or(true, |weights| objective.admits(weights).is_ok());
    let mut add = |name: &str, candidate: Option<_>| {
        if let Some(candidate) = candidate.filter(is_admitted) {
            names.push(name.to_owned());
            candidates.push(candidate);
        }
    };
    let merged = |recipe| Candidate::merged(recipe, sources);
    add("uniform average", baseline::uniform(template).map(merged));
    add("DARE-TIES, untuned", baseline::untuned_dare_ties(template).map(merged));
    add("all layers, stacked", baseline::stacked(template, &space).map(merged));
    add("greedy soup", greedy_soup(&scorer)?);
    if !is_random {
        // Random search may find no answer, which is no reason to lose the evolution's.
        let best = random_search(&scorer, &space, prepared, &generations, &snapshot)?;
        add("random search", best.map(|genome| study.candidate(&space, &genome)));
    }

    // All models on report items.
    names.push("evolved".to_owned());
    candidates.push(merged(recipe.clone()));
    let items: GoalItems = goals.iter().map(|goal| goal.report.clone()).collect();
    scorer.tracker.begin(Phase::Report, candidates.len() * n_items(&items), None);
    let scored = scorer.score(&candidates.iter().collect::<Vec<_>>(), &items)?;
    let entry = |(name, scores): (String, Scores)| Entry { name, scores: scores.goals };
    let mut parents: Vec<Entry> = names.into_iter().zip(scored).map(entry).collect();
    let winner = parents.pop().expect("the answer is the last");
    let baselines = parents.split_off(n_parents);

    let evaluated: usize = generations.iter().map(|generation| generation.evaluations).sum();
    let history = History {
        dimensions: space.dimensions.len(),
        item_evaluations: prepared as usize + evaluated,
        tokens: generations.iter().map(|generation| generation.tokens).sum(),
        beside,
        generations,
        given_up: store.given_up()?,
        stopped,
        finalists: ranked,
    };
    let ending = Ending {
        recipe: recipe.to_yaml(),
        genome: genome.clone(),
        winner: winner.clone(),
        parents: parents.clone(),
        baselines: baselines.clone(),
        finalists: history.finalists.clone(),
        given_up: history.given_up.clone(),
        stopped: history.stopped,
    };
    store.set(&[("ending", &ending as &dyn Payload), (ENDED, &true)])?;
    snapshot.end(&ending)?;
    Ok(Findings { genome, winner: (recipe, winner), parents, baselines, history, progress: scorer.tracker.progress() })
}

/// Best genome that random search finds with as many evaluations as preparation and evolution took,
/// even if the evolution stopped early. Random search has no anchors.
fn random_search(
    scorer: &Scorer<'_>,
    space: &Space,
    prepared: u64,
    evolution: &[Generation],
    snapshot: &Snapshot,
) -> Result<Option<Genome>> {
    let search = scorer.study.search;
    let population = evolution.first().map_or(4, |generation| generation.candidates.len());
    let (coordinates, sigma) = (space.coordinates(), search.optimizer.sigma());
    let start = OptimizerStart { coordinates, sigma, population: Some(population), seed: search.seed };
    let budget = prepared + evolution.iter().map(Generation::cost).sum::<u64>();
    let run = Run { phase: Phase::RandomSearch, optimizer: Optimizer::random(start), budget, anchors: None };
    let ran = evolve(scorer, space, run, snapshot)?;
    let named = finalists(&ran.generations, Vec::new(), &space.coordinates(), false);
    let best = choose(scorer, space, Phase::RandomSelection, named)?;
    Ok(best.into_iter().next().map(|best| best.genome))
}

fn no_answer(generations: &[Generation]) -> Error {
    let states = generations.iter().flat_map(|generation| &generation.candidates).map(|candidate| &candidate.state);
    let mut why = states.filter_map(|state| if let CandidateState::Failed { why } = state { Some(why) } else { None });
    let why = why.next_back().map_or("every candidate breaks a constraint or has too many layers", String::as_str);
    Error::user(format!("no candidate could be ranked: {why}"))
        .hint("look at the ranges of the holes, at `constraints` and at `most_layers`")
}
