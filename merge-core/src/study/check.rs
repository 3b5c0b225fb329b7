//! Refuses what cannot be searched, without reading a weight, and computes a study's maximum cost.

use super::{Goal, Objective, Phase, anchors, finalists, layer_scan, soup};
use crate::{
    baseline,
    error::{Error, Result},
    item::ItemId,
    merge::{Merge, sources::Sources},
    optimizer::Genome,
    recipe::Recipe,
    search::{Algorithm, Search},
    template::{DimensionKind, Space, Template},
    words::counted,
};
use std::collections::BTreeSet;

/// Refuses models that cannot be merged or scored, and too small a budget, without reading a
/// weight. Returns notes on the merges for the user.
pub fn check(
    template: &Template,
    sources: &Sources,
    search: &Search,
    objective: &dyn Objective,
) -> Result<Vec<String>> {
    let space = template.space(sources)?;
    check_choice(template, search, objective.goals())?;
    let fits = search.optimizer.check_space(&space);
    fits.map_err(|mistake| mistake.under("search.optimizer").into_error(&template.file))?;
    let start = search.optimizer.start(&space, search.seed);
    anchors::check(&template.file, search, start.population(), objective.goals())?;
    let calibration = anchors::cost(search, sources, objective.goals());
    check_budget(template, search, &space, objective.goals(), calibration)?;
    let mut notes = sources.notes();
    // Each combination of choices, with its numbers at their start.
    for number in 0..template.variants().len() {
        let recipe = template.fill(&space, &template.start_of(&space, number));
        let merge = Merge::plan(&recipe, &sources.of(&recipe))?;
        objective.check(&merge)?;
        let new: Vec<String> = merge.notes().iter().filter(|note| !notes.contains(note)).cloned().collect();
        notes.extend(new);
        // At the start all layers are alike; here they differ.
        let recipe = template.fill(&space, &uneven(template.start_of(&space, number), &space));
        if let Ok(merge) = Merge::plan(&recipe, &sources.of(&recipe)) {
            objective.admits(&merge).map_err(|e| e.at(template.file.display()))?;
        }
    }
    for recipe in [baseline::uniform(template), baseline::untuned_dare_ties(template)].into_iter().flatten() {
        Merge::plan(&recipe, &sources.of(&recipe))?;
    }
    Ok(notes)
}

/// A genome with the same choices, whose numbers differ from each other.
fn uneven(start: Genome, space: &Space) -> Genome {
    // Multiples of the golden ratio spread evenly between whole numbers.
    let other = |number: usize| (0.618_033_988_749_895 * (number as f64 + 1.0)).fract();
    let moved = |(number, value): (usize, f64)| match &space.dimensions[number].kind {
        DimensionKind::Number { .. } => other(number),
        DimensionKind::Whole { range, .. } => (other(number) * (range.end() - range.start()) as f64).round(),
        DimensionKind::Choice { .. } => value,
    };
    start.into_iter().enumerate().map(moved).collect()
}

/// Refuses an objective that candidates are kept for but that has no part in the final choice.
fn check_choice(template: &Template, search: &Search, goals: &[Goal]) -> Result<()> {
    let Some(algorithm) = search.optimizer.name.filter(|name| name.weighs_several()) else { return Ok(()) };
    // Maximised goals come first, in the order of the file.
    let dropped = search.objective.iter().zip(goals).find(|(_, goal)| goal.ranks() && goal.select.is_empty());
    match dropped {
        None => Ok(()),
        Some((objective, goal)) => Err(Error::user(format!(
            "{}: task {} has no select items, but {} keeps candidates for being good at each objective, and the answer is \
             chosen among them on select items",
            objective.name().place.of(&template.file),
            goal.name,
            algorithm.name()
        ))
        .hint("give the task select items (by `splits`, or by `split:` if it divides one split), or choose an optimizer of one objective, such as cma_es")),
    }
}

/// Refuses a budget that does not pay for a generation.
fn check_budget(template: &Template, search: &Search, space: &Space, goals: &[Goal], calibration: usize) -> Result<()> {
    let population = search.optimizer.start(space, search.seed).population();
    let (scan, budget) = (layer_scan::count(space, search), &search.budget);
    let per_candidate: usize = goals.iter().map(|goal| goal.items.from).sum();
    let cost = (scan + population) * per_candidate + calibration;
    if budget.value >= cost as u64 {
        return Ok(());
    }
    let and_calibration =
        if calibration > 0 { format!(", and {calibration} of the calibration") } else { String::new() };
    let and_scan = if scan > 0 { format!(" and {} of the layer scan", counted(scan, "model")) } else { String::new() };
    Err(Error::user(format!(
        "{}: search.budget: {} item evaluations do not pay for one generation, which takes {cost}: \
         {population} candidates{and_scan} on {per_candidate} items{and_calibration}",
        budget.place.of(&template.file),
        budget.value
    ))
    .hint(format!("{} would pay for fifty", 50 * cost)))
}

/// Maximum number of item evaluations of each phase of a study.
pub(super) fn max_evaluations_by_phase(template: &Template, search: &Search, goals: &[Goal]) -> Vec<(Phase, u64)> {
    let of = |split: fn(&Goal) -> &Vec<ItemId>| goals.iter().map(|goal| split(goal).len()).sum::<usize>();
    let (select, report, budget) = (of(|goal| &goal.select), of(|goal| &goal.report), search.budget.value as usize);
    let algorithm = search.optimizer.name;
    let elites = if algorithm.is_some_and(Algorithm::keeps_elites) { finalists::ELITES } else { 0 };
    let named: BTreeSet<&str> =
        template.variants().iter().flat_map(Recipe::references).map(|model| model.value.as_str()).collect();
    // On report items: the models, the answer, and at most five baselines.
    let mut parts = vec![
        (Phase::Evolution, budget),
        (Phase::Selection, (finalists::MAX_FINALISTS + elites) * select),
        (Phase::GreedySoup, soup::max_models(template) * select),
        (Phase::Report, (named.len() + 6) * report),
    ];
    if algorithm != Some(Algorithm::Random) {
        parts.extend([(Phase::RandomSearch, budget), (Phase::RandomSelection, finalists::MAX_FINALISTS * select)]);
    }
    parts.into_iter().map(|(phase, items)| (phase, items as u64)).collect()
}

/// Maximum number of item evaluations of a study.
pub fn evaluations(template: &Template, search: &Search, goals: &[Goal]) -> u64 {
    max_evaluations_by_phase(template, search, goals).into_iter().map(|(_, items)| items).sum()
}
