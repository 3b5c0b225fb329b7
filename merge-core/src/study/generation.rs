//! One generation: which items it meets, the race for them, and what the optimizer is told of each candidate.

use super::{
    Beside, Candidate, Generation, Goal, State,
    anchored::Anchored,
    beside::Known,
    fitness,
    plan::{Asked, Plan},
    scoring::{Model, Scored},
    weighted,
};
use crate::{
    error::{Fault, Result},
    item::{ItemScore, mean},
    merge::Merge,
    model::{Meta, Weights, layers::Layers},
    optimizer::{Genome, Told},
    recipe::Recipe,
    search::Cost,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// How large a model is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) layers: usize,
    pub(super) parameters: usize,
}

impl Size {
    pub(super) fn of(model: &dyn Weights) -> Self {
        Self { layers: Layers::of(model).count, parameters: model.index().values().map(Meta::len).sum() }
    }
}

/// A candidate while its generation runs.
struct Runner {
    recipe: Recipe,
    size: Option<Size>,
    scored: Option<Scored>,
    state: State,
}

/// The fitness of candidates that differ by chance alone has this ratio of its variance to the noise's on average, or less
/// in five of six generations of a dozen: the F statistic.
const SIGNAL: f64 = 1.5;

impl Plan<'_> {
    /// Scores a generation's candidates; `None` if interrupted. `level` is how often its items have grown; where there are
    /// anchors they take the place of fresh items. Without `known` the parents are not asked.
    pub(super) fn generation(
        &self,
        number: u64,
        candidates: &[Genome],
        level: u32,
        anchored: Option<&Anchored>,
        known: Option<&Known<'_>>,
    ) -> Result<Option<(Generation, Beside, Vec<Told>)>> {
        let search = self.study.search;
        let rungs = search.racing.plan(candidates.len(), 1 << 20);
        let n_items = |goal: &Goal, rung: usize| match search.racing.rungs {
            1 => goal.items.at(level),
            _ => search.racing.plan(candidates.len(), goal.items.at(level))[rung].1.min(goal.search.len()),
        };
        let mut drawn =
            self.subset(number, &|goal| if goal.items.to == 0 { 0 } else { n_items(goal, rungs.len() - 1) });
        if let Some(anchored) = anchored {
            anchored.replace(&mut drawn);
        }
        let mut runners = candidates.iter().map(|genome| self.runner(genome)).collect::<Result<Vec<Runner>>>()?;
        let before = self.scoring.reached();
        let mut evaluations = 0;
        let (mut first, mut asked): (Asked, Asked) = Default::default();
        for (rung, (most, _)) in rungs.iter().enumerate() {
            asked = self
                .goals()
                .iter()
                .zip(&drawn)
                .map(|(goal, items)| {
                    let n = if goal.items.to == 0 { 0 } else { n_items(goal, rung) };
                    items[..n.min(items.len())].to_vec()
                })
                .collect();
            let mut running: Vec<usize> = (0..runners.len())
                .filter(
                    |number| matches!(runners[*number].state, State::Ranked { rung: reached } if reached + 1 >= rung),
                )
                .collect();
            if rung > 0 {
                // The sort is stable: of equals, those asked for first run on.
                running.sort_by(|a, b| {
                    let fitness = |number: &usize| self.fitness_of(&runners[*number]);
                    fitness(b).total_cmp(&fitness(a))
                });
                running.truncate(*most);
            }
            if rung == 0 {
                first.clone_from(&asked);
            }
            // What they have met already is asked for again, and found.
            let met = |number: &usize| runners[*number].scored.as_ref().map_or(0, Scored::n_items);
            self.scoring.reach(before + (evaluations - running.iter().map(met).sum::<usize>()) as u64);
            let models: Vec<Model> =
                running.iter().map(|number| Model::Merge(Box::new(runners[*number].recipe.clone()))).collect();
            let Some(scored) = self.scoring.score(&models, &asked)? else { return Ok(None) };
            let Some(floors) = self.floors(&asked)? else { return Ok(None) };
            for (number, scored) in running.into_iter().zip(scored) {
                let before = runners[number].scored.as_ref().map_or(0, Scored::n_items);
                evaluations += scored.n_items() - before;
                let runner = &mut runners[number];
                runner.state = match &scored.failed {
                    Some(why) => State::Failed { why: why.clone() },
                    None => match violation(&scored.scores, &floors) {
                        0.0 => State::Ranked { rung },
                        by => State::Infeasible { by },
                    },
                };
                runner.scored = Some(scored);
            }
        }
        let Some(references) = self.references(&asked)? else { return Ok(None) };
        let sound: Vec<&Scored> = runners
            .iter()
            .filter_map(|runner| runner.scored.as_ref())
            .filter(|scored| scored.failed.is_none())
            .collect();
        let Some(beside) = self.beside(&first, &sound, known)? else { return Ok(None) };
        let signal = self.signal(&runners);
        let records: Vec<Candidate> = runners
            .iter()
            .zip(candidates)
            .map(|(runner, genome)| self.record(runner, genome, &references, anchored))
            .collect();
        let told = self.told(&records, &runners);
        let generation = Generation {
            candidates: records,
            items: asked.iter().map(Vec::len).collect(),
            level,
            grows: signal.is_some_and(|signal| signal < SIGNAL),
            evaluations,
            tokens: runners.iter().filter_map(|runner| runner.scored.as_ref()).map(Scored::tokens).sum(),
            mean: None,
            sigma: None,
        };
        Ok(Some((generation, beside, told)))
    }

    /// The search items of a generation: drawn afresh, the same for all its candidates and for every optimizer.
    pub(super) fn subset(&self, generation: u64, n_items: &dyn Fn(&Goal) -> usize) -> Asked {
        let draw = |(number, goal): (usize, &Goal)| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.study.search.seed);
            // Streams of their own: the optimizers draw from the same seed.
            rng.set_stream(1 << 63 | (number as u64) << 40 | generation);
            let n = n_items(goal).min(goal.search.len());
            let mut drawn = rand::seq::index::sample(&mut rng, goal.search.len(), n).into_vec();
            // In a race the first ones are met first, and have to be a sample too.
            if self.study.search.racing.rungs == 1 {
                drawn.sort_unstable();
            }
            drawn.into_iter().map(|position| goal.search[position]).collect()
        };
        self.goals().iter().enumerate().map(draw).collect()
    }

    /// Whether a candidate is scored at all.
    pub(super) fn is_scored(&self, genome: &[f64]) -> Result<bool> {
        Ok(matches!(self.runner(genome)?.state, State::Ranked { .. }))
    }

    fn runner(&self, genome: &[f64]) -> Result<Runner> {
        let recipe = self.fill(genome);
        let search = self.study.search;
        if search.minimise.is_empty() && search.most_layers.is_none() && !recipe.is_path() {
            return Ok(Runner { recipe, size: None, scored: None, state: State::Ranked { rung: 0 } });
        }
        let planned = Merge::plan(&recipe, &self.study.sources.of(&recipe));
        let (size, state) = match planned {
            Err(error) if error.fault() == Fault::Machine => return Err(error),
            Err(error) => (None, State::Failed { why: error.to_string() }),
            Ok(merge) => {
                let size = Size::of(&merge);
                let state = match search.most_layers {
                    Some(most) if size.layers > most.value => State::TooLong { layers: size.layers },
                    _ => State::Ranked { rung: 0 },
                };
                (Some(size), state)
            }
        };
        Ok(Runner { recipe, size, scored: None, state })
    }

    /// By goal, what a candidate may not fall below, given the best of the parents on the same items; `None` if interrupted.
    pub(super) fn floors(&self, asked: &Asked) -> Result<Option<Vec<Option<f64>>>> {
        let goals = self.goals();
        if goals.iter().all(|goal| goal.within.is_none()) {
            return Ok(Some(vec![None; goals.len()]));
        }
        let only = |(goal, items): (&Goal, &Vec<_>)| if goal.within.is_some() { items.clone() } else { Vec::new() };
        let asked: Asked = goals.iter().zip(asked).map(only).collect();
        let Some(parents) = self.scoring.score_beside(&self.parents(), &asked)? else { return Ok(None) };
        let floor = |(number, goal): (usize, &Goal)| {
            let means = parents.iter().filter_map(|parent| mean(&parent.scores[number]));
            Some(means.fold(f64::NEG_INFINITY, f64::max) - goal.within?)
        };
        Ok(Some(goals.iter().enumerate().map(floor).collect()))
    }

    /// What costs are measured by: those of the first model, on the same items; `None` if interrupted.
    pub(super) fn references(&self, asked: &Asked) -> Result<Option<Vec<f64>>> {
        let minimise = &self.study.search.minimise;
        let needs_tokens = minimise.iter().any(|cost| cost.what.value == Cost::Tokens && cost.weight.value > 0.0);
        let (_, first) = self.study.sources.iter().next().expect("a recipe names a model");
        let size = Size::of(&**first);
        let mut tokens = 1.0;
        if needs_tokens {
            let parents = self.parents();
            let Some(scored) = self.scoring.score_beside(&parents[..1], asked)? else { return Ok(None) };
            tokens = scored[0].mean_tokens().max(1.0);
        }
        Ok(Some(minimise.iter().map(|cost| size.cost(cost.what.value, || tokens)).collect()))
    }

    fn costs(&self, runner: &Runner) -> Vec<f64> {
        let tokens = || runner.scored.as_ref().map_or(0.0, Scored::mean_tokens);
        let cost = |what: Cost| runner.size.map_or(0.0, |size| size.cost(what, tokens));
        self.study.search.minimise.iter().map(|minimise| cost(minimise.what.value)).collect()
    }

    /// What costs take off the fitness.
    pub(super) fn taken(&self, costs: &[f64], references: &[f64]) -> f64 {
        let minimise = self.study.search.minimise.iter().zip(costs).zip(references);
        minimise.map(|((cost, value), reference)| cost.weight.value * value / reference).sum()
    }

    /// The mean score alone, by which a race is run.
    fn fitness_of(&self, runner: &Runner) -> f64 {
        runner.scored.as_ref().map_or(f64::NEG_INFINITY, |scored| fitness(self.goals(), &scored.scores))
    }

    fn record(&self, runner: &Runner, genome: &[f64], references: &[f64], anchored: Option<&Anchored>) -> Candidate {
        let costs = self.costs(runner);
        let taken = self.taken(&costs, references);
        let scored = runner.scored.as_ref().filter(|scored| scored.failed.is_none());
        let of_goal = |number: usize| {
            let scores = &scored?.scores[number];
            anchored.and_then(|anchored| anchored.estimate(number, scores)).or_else(|| mean(scores))
        };
        let goals: Vec<Option<f64>> = (0..self.goals().len()).map(of_goal).collect();
        let fitness = scored.map(|_| weighted(self.goals(), goals.iter().copied()) - taken);
        Candidate {
            genome: genome.to_vec(),
            state: runner.state.clone(),
            fitness: fitness.filter(|fitness| fitness.is_finite()),
            goals,
            costs,
        }
    }

    /// What the optimizer is told. Who went further in the race is better, then who keeps to the constraints, then who is not too
    /// long; who failed is worst.
    fn told(&self, records: &[Candidate], runners: &[Runner]) -> Vec<Told> {
        let last = self.study.search.racing.rungs as usize;
        let tier = |record: &Candidate| match record.state {
            State::Ranked { rung } => last - 1 - rung,
            State::Infeasible { .. } => last,
            State::TooLong { .. } => last + 1,
            State::Failed { .. } => last + 2,
        };
        let raw = |record: &Candidate| match record.state {
            State::Ranked { .. } => record.fitness.unwrap_or(f64::NEG_INFINITY),
            State::Infeasible { by } => -by,
            State::TooLong { layers } => -(layers as f64),
            State::Failed { .. } => f64::NEG_INFINITY,
        };
        let mut fitness = vec![f64::NEG_INFINITY; records.len()];
        let mut floor = f64::INFINITY;
        for wanted in 0..last + 2 {
            let of_tier: Vec<usize> = (0..records.len()).filter(|number| tier(&records[*number]) == wanted).collect();
            let best = of_tier.iter().map(|number| raw(&records[*number])).fold(f64::NEG_INFINITY, f64::max);
            if !best.is_finite() {
                continue;
            }
            // The whole tier is moved below the one before, if it is not there.
            let step = 1e-6 * best.abs().max(1.0);
            let down = (best + step - floor).max(0.0);
            for number in of_tier {
                fitness[number] = raw(&records[number]) - down;
                if fitness[number].is_finite() {
                    floor = floor.min(fitness[number]);
                }
            }
        }
        let told = |((record, runner), fitness): ((&Candidate, &Runner), f64)| {
            let is_worst = !matches!(record.state, State::Ranked { .. });
            let score =
                |value: Option<f64>| if is_worst { f64::NEG_INFINITY } else { value.unwrap_or(f64::NEG_INFINITY) };
            let goals = self.goals().iter().zip(&record.goals).filter(|(goal, _)| goal.ranks());
            let objectives = goals.map(|(_, mean)| score(*mean));
            let costs = record.costs.iter().map(|cost| score(Some(-cost)));
            let scored = runner.scored.iter().flat_map(|scored| self.goals().iter().zip(&scored.scores));
            let items = scored.filter(|(goal, _)| goal.ranks()).flat_map(|(_, scores)| scores);
            Told {
                fitness,
                objectives: objectives.chain(costs).collect(),
                items: items.map(|score| score.value).collect(),
            }
        };
        records.iter().zip(runners).zip(fitness).map(told).collect()
    }

    /// How much the candidates' fitness varies, by how much it would by the noise of the items alone: an F statistic of the
    /// two-way analysis of variance without repetition, over all that were scored and the items that all of them met. (In a
    /// race those that met more were chosen for being alike.) `None` if there is nothing to compare.
    fn signal(&self, runners: &[Runner]) -> Option<f64> {
        let scored =
            runners.iter().filter_map(|runner| runner.scored.as_ref()).filter(|scored| scored.failed.is_none());
        let all: Vec<&Scored> = scored.collect();
        if all.len() < 3 {
            return None;
        }
        let k = all.len() as f64;
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut fitness = vec![0.0; all.len()];
        let mut noise = 0.0;
        for (number, goal) in self.goals().iter().enumerate().filter(|(_, goal)| goal.weight > 0.0) {
            let n = all.iter().map(|scored| scored.scores[number].len()).min().unwrap_or(0);
            if n < 2 {
                continue;
            }
            let values: Vec<Vec<f64>> =
                all.iter().map(|scored| scored.scores[number][..n].iter().map(|score| score.value).collect()).collect();
            let means: Vec<f64> = values.iter().map(|values| average(values)).collect();
            let grand = average(&means);
            let residual = |item: usize| {
                let of_item: Vec<f64> = values.iter().map(|values| values[item]).collect();
                let centre = average(&of_item);
                of_item.iter().zip(&means).map(|(value, mean)| (value - mean - centre + grand).powi(2)).sum::<f64>()
            };
            let residuals: f64 = (0..n).map(residual).sum();
            noise += goal.weight.powi(2) * residuals / ((k - 1.0) * (n - 1) as f64) / n as f64;
            fitness.iter_mut().zip(&means).for_each(|(sum, mean)| *sum += goal.weight * mean);
        }
        let centre = average(&fitness);
        let varies = fitness.iter().map(|sum| (sum - centre).powi(2)).sum::<f64>() / (k - 1.0);
        // Nobody differs on any item: more of them may tell.
        Some(if noise > 0.0 { varies / noise } else { 0.0 }).filter(|signal| signal.is_finite())
    }
}

/// By how much a candidate is below what it may not fall below, over all constraints; 0 if it keeps to them.
pub(super) fn violation(scores: &[Vec<ItemScore>], floors: &[Option<f64>]) -> f64 {
    let below = floors.iter().zip(scores).filter_map(|(floor, scores)| Some((*floor)? - mean(scores)?));
    below.map(|below| below.max(0.0)).sum()
}
