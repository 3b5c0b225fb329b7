//! Chooses the finalists of a search, and the answer among them.

use super::{
    Candidate, Finalist, Generation, Goal, Phase, dominates,
    goal::{GoalItems, fitness, n_items},
    rank::{costs, floors, penalty, references, violation},
    score::{Scorer, Scores},
};
use crate::{
    error::{Fault, Result},
    item::mean,
    optimizer::{Coordinate, Genome},
    recipe::Recipe,
    search::Search,
    template::Space,
};

/// Number of recent generations whose best candidates are finalists.
const RECENT: usize = 4;
/// Maximum number of an optimizer's elites among the finalists.
pub(super) const ELITES: usize = 16;
/// Maximum number of finalists, without elites.
pub(super) const MAX_FINALISTS: usize = RECENT + 2;

/// Name of a finalist, which tells where it comes from, and its genome.
pub(super) type NamedGenome = (String, Genome);

/// The finalists: the distribution's mean; its average over the last quarter of the search, which
/// has less noise; the best of the last generations; and the optimizer's elites, if it keeps any.
/// The best candidate of all is not added, since it may only have been lucky.
///
/// A choice has no value between two options, so the average takes the last mean's choices.
///
/// If no distribution `moves`, later generations are no better, and the best of all take part.
pub(super) fn finalists(
    records: &[Generation],
    elites: Vec<Genome>,
    coordinates: &[Coordinate],
    moves: bool,
) -> Vec<NamedGenome> {
    let mut finalists: Vec<NamedGenome> = Vec::new();
    let means: Vec<&Genome> = records.iter().filter_map(|record| record.mean.as_ref()).collect();
    let best = |number: usize| {
        let genome = records[number].best()?.genome.clone();
        Some((format!("the best of generation {}", number + 1), genome))
    };
    if moves {
        if let Some(last) = means.last() {
            finalists.push(("the mean".to_owned(), (*last).clone()));
            let recent = &means[means.len() - means.len().div_ceil(4)..];
            let average = |i: usize| match coordinates[i] {
                Coordinate::Choice { .. } => last[i],
                _ => recent.iter().map(|mean| mean[i]).sum::<f64>() / recent.len() as f64,
            };
            finalists.push(("the average of the last means".to_owned(), (0..last.len()).map(average).collect()));
        }
        finalists.extend((0..records.len()).rev().filter_map(best).take(MAX_FINALISTS - finalists.len()));
        let elites = elites.into_iter().take(ELITES).enumerate();
        finalists.extend(elites.map(|(number, genome)| (format!("elite {}", number + 1), genome)));
    } else {
        let fitness = |number: usize| records[number].best().and_then(|best| best.fitness).unwrap_or(f64::NEG_INFINITY);
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by(|a, b| fitness(*b).total_cmp(&fitness(*a)));
        finalists.extend(order.into_iter().filter_map(best).take(MAX_FINALISTS));
    }
    // In a short search the average of the last means is the mean.
    let mut distinct: Vec<NamedGenome> = Vec::new();
    for finalist in finalists {
        if distinct.iter().all(|known| known.1 != finalist.1) {
            distinct.push(finalist);
        }
    }
    distinct
}

/// Scores finalists on select items and ranks them, the answer first; empty if none can be chosen.
pub(super) fn choose(
    scorer: &Scorer<'_>,
    space: &Space,
    phase: Phase,
    finalists: Vec<NamedGenome>,
) -> Result<Vec<Finalist>> {
    let study = scorer.study;
    let mut fitting: Vec<(NamedGenome, Candidate<'_>)> = Vec::new();
    for (name, genome) in finalists {
        let candidate = study.candidate(space, &genome);
        if is_short_enough(&candidate, study.search)? {
            fitting.push(((name, genome), candidate));
        }
    }
    let items: GoalItems = study.objective.goals().iter().map(|goal| goal.select.clone()).collect();
    scorer.tracker.begin(phase, fitting.len() * n_items(&items), None);
    let scored = scorer.score(&fitting.iter().map(|(_, candidate)| candidate).collect::<Vec<_>>(), &items)?;
    // A candidate that cannot be scored cannot be the answer.
    let whole: Vec<_> = fitting.into_iter().zip(scored).filter(|(_, scores)| scores.failed.is_none()).collect();
    ranked(scorer, whole, &items)
}

/// Finalists with scores on `items`, best first: by violation of constraints, then by fitness.
pub(super) fn ranked(
    scorer: &Scorer<'_>,
    finalists: Vec<((NamedGenome, Candidate<'_>), Scores)>,
    items: &GoalItems,
) -> Result<Vec<Finalist>> {
    let (search, goals) = (scorer.study.search, scorer.study.objective.goals());
    let floors = floors(scorer, items)?;
    let references = references(scorer, items)?;
    let mut ranked = Vec::new();
    for (((name, genome), candidate), scores) in finalists {
        let costs =
            if search.minimise.is_empty() { Vec::new() } else { costs(search, candidate.size()?, Some(&scores)) };
        ranked.push(Finalist {
            name,
            genome,
            recipe: candidate.recipe().map(Recipe::to_yaml).expect("it is merged"),
            fitness: fitness(goals, &scores.goals) - penalty(search, &costs, &references),
            violation: violation(&scores.goals, &floors),
            costs,
            on_front: false,
            scores: scores.goals,
        });
    }
    let points: Vec<Vec<f64>> = ranked.iter().map(|finalist| objectives(goals, finalist)).collect();
    for (position, finalist) in ranked.iter_mut().enumerate() {
        finalist.on_front = !points.iter().any(|other| dominates(other, &points[position]));
    }
    // The sort is stable: of equals, the first remains first.
    ranked.sort_by(|a, b| a.violation.total_cmp(&b.violation).then(b.fitness.total_cmp(&a.fitness)));
    Ok(ranked)
}

fn is_short_enough(candidate: &Candidate<'_>, search: &Search) -> Result<bool> {
    let Some(most) = search.most_layers else { return Ok(true) };
    match candidate.size() {
        Ok(size) => Ok(size.layers <= most.value),
        // Scoring it will fail too, and the failure is remembered there.
        Err(error) if error.fault() == Fault::User => Ok(true),
        Err(error) => Err(error),
    }
}

/// Mean scores of goals with a weight and select items, then negated costs; higher is better.
fn objectives(goals: &[Goal], finalist: &Finalist) -> Vec<f64> {
    let goals = goals.iter().zip(&finalist.scores).filter(|(goal, _)| goal.weight > 0.0);
    goals.filter_map(|(_, scores)| mean(scores)).chain(finalist.costs.iter().map(|cost| -cost)).collect()
}
