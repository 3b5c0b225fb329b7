//! Who may be the answer, and who is it.

use super::{
    Finalist, Generation, dominates, fitness,
    generation::{Size, violation},
    plan::{Asked, Named, Plan, n_items},
    progress::Phase,
    scoring::{Model, Scored},
};
use crate::{
    baseline,
    error::{Fault, Result},
    item::mean,
    merge::Merge,
    optimizer::{Coordinate, Genome},
    recipe::Recipe,
    search::Cost,
};

/// How many generations' best candidates are finalists beside the mean.
const RECENT: usize = 4;
/// How many of those are that an optimizer keeps.
pub(super) const ELITES: usize = 16;
/// Most finalists, but for elites.
pub(super) const MOST: usize = RECENT + 2;

/// Who may be shipped: the distribution's mean, its average over the last quarter of the search, which has less noise,
/// the best candidates of the last generations, and whom the optimizer keeps, if it keeps any. The best ever seen is not among
/// them for having been lucky.
///
/// There is nothing between two options, so of choices the average is the last mean's.
///
/// Without a distribution that moves the last generations are no better than the first, and the best of all take part.
pub(super) fn finalists(
    records: &[Generation],
    elites: Vec<Genome>,
    coordinates: &[Coordinate],
    moves: bool,
) -> Vec<Named> {
    let mut finalists: Vec<Named> = Vec::new();
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
        finalists.extend((0..records.len()).rev().filter_map(best).take(MOST - finalists.len()));
        let elites = elites.into_iter().take(ELITES).enumerate();
        finalists.extend(elites.map(|(number, genome)| (format!("elite {}", number + 1), genome)));
    } else {
        let fitness = |number: usize| records[number].best().and_then(|best| best.fitness).unwrap_or(f64::NEG_INFINITY);
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by(|a, b| fitness(*b).total_cmp(&fitness(*a)));
        finalists.extend(order.into_iter().filter_map(best).take(MOST));
    }
    // In a short search the average of the last means is the mean.
    let mut distinct: Vec<Named> = Vec::new();
    for finalist in finalists {
        if distinct.iter().all(|known| known.1 != finalist.1) {
            distinct.push(finalist);
        }
    }
    distinct
}

impl Plan<'_> {
    /// The finalists, best first: those that keep to the constraints by their fitness, then the others. `None` if interrupted.
    pub(super) fn ranked(
        &self,
        finalists: Vec<((Named, Recipe), Scored)>,
        asked: &Asked,
    ) -> Result<Option<Vec<Finalist>>> {
        let Some(floors) = self.floors(asked)? else { return Ok(None) };
        let Some(references) = self.references(asked)? else { return Ok(None) };
        let mut ranked = Vec::new();
        for (((name, genome), recipe), scored) in finalists {
            let costs = self.costs_of(&recipe, &scored)?;
            let taken = self.taken(&costs, &references);
            ranked.push(Finalist {
                name,
                genome,
                recipe: recipe.to_yaml(),
                fitness: fitness(self.goals(), &scored.scores) - taken,
                violation: violation(&scored.scores, &floors),
                costs,
                on_front: false,
                scores: scored.scores,
            });
        }
        let points: Vec<Vec<f64>> = ranked.iter().map(|finalist| self.objectives(finalist)).collect();
        for (position, finalist) in ranked.iter_mut().enumerate() {
            finalist.on_front = !points.iter().any(|other| dominates(other, &points[position]));
        }
        // Stable: of equals the first remains so.
        ranked.sort_by(|a, b| a.violation.total_cmp(&b.violation).then(b.fitness.total_cmp(&a.fitness)));
        Ok(Some(ranked))
    }

    /// Whether a candidate may be shipped as far as its length goes.
    pub(super) fn is_short_enough(&self, recipe: &Recipe) -> Result<bool> {
        let Some(most) = self.study.search.most_layers else { return Ok(true) };
        match Merge::plan(recipe, &self.study.sources.of(recipe)) {
            Ok(merge) => Ok(Size::of(&merge).layers <= most.value),
            // It will fail again where that is kept.
            Err(error) if error.fault() == Fault::User => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Goals with select items, and costs, as objectives, of which more is better.
    fn objectives(&self, finalist: &Finalist) -> Vec<f64> {
        let goals = self.goals().iter().zip(&finalist.scores).filter(|(goal, _)| goal.weight > 0.0);
        goals.filter_map(|(_, scores)| mean(scores)).chain(finalist.costs.iter().map(|cost| -cost)).collect()
    }

    fn costs_of(&self, recipe: &Recipe, scored: &Scored) -> Result<Vec<f64>> {
        let minimise = &self.study.search.minimise;
        if minimise.is_empty() {
            return Ok(Vec::new());
        }
        let size = Size::of(&Merge::plan(recipe, &self.study.sources.of(recipe))?);
        Ok(minimise.iter().map(|cost| size.cost(cost.what.value, || scored.mean_tokens())).collect())
    }

    /// The greedy soup (<https://arxiv.org/abs/2203.05482>): beginning with the best parent, each next best is added to their
    /// average if the average is then no worse, on select items. `None` if interrupted, no model if there is no average.
    pub(super) fn soup(&self) -> Result<Option<Vec<Model>>> {
        let template = self.study.template;
        let members = baseline::members(template);
        let mix = |names: &[String]| match names {
            [alone] => Some(Model::Source(alone.clone())),
            several => baseline::average(template, several).map(|recipe| Model::Merge(Box::new(recipe))),
        };
        if members.len() < 2 || mix(&members).is_none() {
            return Ok(Some(Vec::new()));
        }
        let asked: Asked = self.goals().iter().map(|goal| goal.select.clone()).collect();
        self.scoring.begin(Phase::GreedySoup, (2 * members.len() - 1) * n_items(&asked), None);
        let sources: Vec<Model> = members.iter().map(|name| Model::Source(name.clone())).collect();
        let Some(alone) = self.scoring.score(&sources, &asked)? else { return Ok(None) };
        let fitness = |scored: &Scored| fitness(self.goals(), &scored.scores);
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| fitness(&alone[*b]).total_cmp(&fitness(&alone[*a])));
        let mut soup = vec![members[order[0]].clone()];
        let mut best = fitness(&alone[order[0]]);
        for next in &order[1..] {
            let more = [soup.as_slice(), std::slice::from_ref(&members[*next])].concat();
            let Some(model) = mix(&more) else { return Ok(Some(Vec::new())) };
            let Some(scored) = self.scoring.score(&[model], &asked)? else { return Ok(None) };
            if fitness(&scored[0]) >= best {
                (soup, best) = (more, fitness(&scored[0]));
            }
        }
        Ok(Some(mix(&soup).into_iter().collect()))
    }
}

impl Size {
    /// What a model of this size costs.
    pub(super) fn cost(self, what: Cost, tokens: impl FnOnce() -> f64) -> f64 {
        match what {
            Cost::Layers => self.layers as f64,
            Cost::Parameters => self.parameters as f64,
            Cost::Tokens => tokens(),
        }
    }
}
