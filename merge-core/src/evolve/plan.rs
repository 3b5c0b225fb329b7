//! A study from end to end: evolution, random search beside it, selection, report.

use super::{
    Entry, Finalist, Findings, Generation, Goal, History, Objective, Study, first_best, fitness, scoring::Scoring,
};
use crate::{
    baseline,
    error::{Error, Result},
    evolve::scoring::Model,
    item::ItemId,
    merge::Merge,
    names::Layers,
    optimizer::{Coordinate, Genome, Optimizer, Start, Stop, Told},
    recipe::Recipe,
    search::{Algorithm, Search},
    sources::Sources,
    store::{Fingerprint, Record},
    template::{Space, Template},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// How many generations' best candidates are finalists beside the mean.
const FINALISTS: usize = 4;

/// A study with what follows from it.
pub(super) struct Plan<'a> {
    study: &'a Study<'a>,
    layers: Layers,
    space: Space,
    start: Optimizer,
    /// Most generations the budget pays for.
    generations: u64,
    scoring: Scoring<'a>,
}

/// What is asked of a model: the items of each goal.
type Asked = Vec<Vec<ItemId>>;

/// See [`super::check`].
pub(super) fn check(template: &Template, sources: &Sources, search: &Search, objective: &dyn Objective) -> Result<()> {
    let layers = sources.layers(template);
    let space = template.space(&layers)?;
    generations(template, search, &search.optimizer.start(&space, search.seed), objective.goals())?;
    objective.check(&Merge::plan(&template.fill(&layers, &space.init()), sources)?)?;
    for recipe in [baseline::uniform(template), baseline::untuned_dare_ties(template)].into_iter().flatten() {
        Merge::plan(&recipe, sources)?;
    }
    Ok(())
}

/// How many generations the budget pays for; refuses one that does not pay for any.
fn generations(template: &Template, search: &Search, start: &Optimizer, goals: &[Goal]) -> Result<u64> {
    let (population, budget) = (start.population(), &search.budget);
    let per_candidate: usize = goals.iter().map(|goal| goal.items).sum();
    let cost = population * per_candidate;
    match budget.value / cost as u64 {
        0 => Err(Error::user(format!(
            "{}: search.budget: {} item evaluations do not pay for one generation, which takes {cost}: \
             {population} candidates on {per_candidate} items",
            budget.place.of(&template.file),
            budget.value
        ))
        .hint(format!("{} would pay for fifty", 50 * cost))),
        generations => Ok(generations),
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(study: &'a Study<'a>) -> Result<Self> {
        let Study { template, sources, search, objective, .. } = *study;
        check(template, sources, search, objective)?;
        let layers = sources.layers(template);
        let space = template.space(&layers)?;
        let start = search.optimizer.start(&space, search.seed);
        let goals = objective.goals();
        let generations = generations(template, search, &start, goals)?;
        let cost = start.population() * goals.iter().map(|goal| goal.items).sum::<usize>();
        let select: usize = goals.iter().map(|goal| goal.select.len()).sum();
        let report: usize = goals.iter().map(|goal| goal.report.len()).sum();
        let searches = if search.optimizer.name == Algorithm::Random { 1 } else { 2 };
        let total = searches * (generations as usize * cost + (FINALISTS + 2) * select)
            + (sources.iter().count() + 2 + searches) * report;
        let plan = Self { study, layers, space, start, generations, scoring: Scoring::new(study, total) };
        plan.identify()?;
        Ok(plan)
    }

    /// The study from end to end; `None` if interrupted.
    pub(super) fn run(&self) -> Result<Option<Findings>> {
        let evolution = self.search("evolution", self.start.clone(), self.generations)?;
        let Some((generations, stopped)) = evolution else { return Ok(None) };
        let Some((winner, finalists)) = self.choose("evolution", &generations)? else { return Ok(None) };
        let mut models: Vec<(String, Model)> = self
            .study
            .sources
            .labels()
            .into_iter()
            .zip(self.study.sources.iter())
            .map(|(label, (name, _))| (label, Model::Source(name.to_owned())))
            .collect();
        let n_parents = models.len();
        let uniform = baseline::uniform(self.study.template);
        models.extend(uniform.map(|recipe| ("uniform average".to_owned(), Model::Merge(Box::new(recipe)))));
        let dare_ties = baseline::untuned_dare_ties(self.study.template);
        models.extend(dare_ties.map(|recipe| ("DARE-TIES, untuned".to_owned(), Model::Merge(Box::new(recipe)))));
        if self.study.search.optimizer.name != Algorithm::Random {
            let random = Optimizer::random(Start {
                coordinates: self.space.init().into_iter().map(|start| Coordinate::Real { start }).collect(),
                sigma: self.study.search.optimizer.sigma(),
                population: Some(self.start.population()),
                seed: self.study.search.seed,
            });
            // As many evaluations as the evolution took, should it have stopped early.
            let most = generations.len() as u64;
            let Some((generations, _)) = self.search("random search", random, most)? else { return Ok(None) };
            let Some((best, _)) = self.choose("random search", &generations)? else { return Ok(None) };
            models.push(("random search".to_owned(), Model::Merge(Box::new(best))));
        }
        models.push(("evolved".to_owned(), Model::Merge(Box::new(winner.clone()))));

        self.scoring.begin("report");
        let asked: Asked = self.goals().iter().map(|goal| goal.report.clone()).collect();
        let (names, models): (Vec<String>, Vec<Model>) = models.into_iter().unzip();
        let Some(scores) = self.scoring.score(&models, &asked)? else { return Ok(None) };
        let mut entries =
            names.into_iter().zip(scores).map(|(name, scores)| Entry { name, scores }).collect::<Vec<_>>();
        let evolved = entries.pop().expect("the winner is the last");
        let baselines = entries.split_off(n_parents);
        let history = History {
            population: self.start.population(),
            dimensions: self.space.dimensions.len(),
            item_evaluations: generations.len() * self.cost(),
            generations,
            given_up: self.study.store.given_up()?,
            stopped,
            finalists,
        };
        let progress = self.scoring.progress();
        Ok(Some(Findings { winner: (winner, evolved), parents: entries, baselines, history, progress }))
    }

    /// Runs an optimizer through its generations, from the first that is not in the store.
    fn search(&self, phase: &'static str, start: Optimizer, most: u64) -> Result<Option<Searched>> {
        self.scoring.begin(phase);
        let store = self.study.store;
        let (state, record) = (format!("{phase}/optimizer"), |number: u64| format!("{phase}/generation/{number}"));
        let mut optimizer: Optimizer = store.get(&state)?.unwrap_or(start);
        let mut records: Vec<Generation> = Vec::new();
        for number in 0..optimizer.generation() {
            let known = store.get(&record(number))?;
            records.push(
                known.ok_or_else(|| Error::machine(format!("the store lacks generation {number} of the {phase}")))?,
            );
        }
        // A study whose budget has been cut is one that stopped earlier.
        records.truncate(most as usize);
        self.scoring.count_known(records.len() * self.cost());
        while optimizer.generation() < most && optimizer.stop().is_none() {
            let number = optimizer.generation();
            self.scoring.at_generation((number, most), records.last());
            let candidates = optimizer.ask();
            let models: Vec<Model> =
                candidates.iter().map(|genome| Model::Merge(Box::new(self.fill(genome)))).collect();
            let Some(scores) = self.scoring.score(&models, &self.subset(number))? else { return Ok(None) };
            let scored: Vec<f64> = scores.iter().map(|scores| fitness(self.goals(), scores)).collect();
            optimizer.tell(&scored.iter().copied().map(Told::from).collect::<Vec<_>>());
            let best = first_best(&scored);
            let generation = Generation {
                best: candidates[best].clone(),
                best_fitness: scored[best],
                mean_fitness: scored.iter().sum::<f64>() / scored.len() as f64,
                mean: optimizer.mean(),
            };
            store.set(&[(&record(number), &generation), (&state, &optimizer)])?;
            records.push(generation);
        }
        self.scoring.at_generation((records.len() as u64, most), records.last());
        let stopped = optimizer.stop().filter(|_| (records.len() as u64) < most);
        Ok(Some((records, stopped)))
    }

    /// The answer among the finalists, by fitness on select items, with everybody's.
    fn choose(&self, phase: &'static str, records: &[Generation]) -> Result<Option<Choice>> {
        let finalists = finalists(records);
        self.scoring.begin(phase);
        let recipes: Vec<Recipe> = finalists.iter().map(|(_, genome)| self.fill(genome)).collect();
        let models: Vec<Model> = recipes.iter().map(|recipe| Model::Merge(Box::new(recipe.clone()))).collect();
        let asked: Asked = self.goals().iter().map(|goal| goal.select.clone()).collect();
        let Some(scores) = self.scoring.score(&models, &asked)? else { return Ok(None) };
        let scored: Vec<f64> = scores.iter().map(|scores| fitness(self.goals(), scores)).collect();
        let winner = recipes[first_best(&scored)].clone();
        let named = finalists.into_iter().map(|(name, _)| name).zip(scored).zip(scores);
        let finalists = named.map(|((name, fitness), scores)| Finalist { name, fitness, scores }).collect();
        Ok(Some((winner, finalists)))
    }

    /// Refuses a store that holds another study, and signs an empty one.
    fn identify(&self) -> Result<()> {
        let digest = |parts: &[&[u8]]| {
            let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(Sha256::digest(part)));
            Fingerprint::from(hash.finalize())
        };
        let search = self.study.search;
        let goal = |goal: &Goal| {
            let items: Vec<u8> = [&goal.search, &goal.select].into_iter().flatten().flat_map(|item| item.0).collect();
            digest(&[&goal.fingerprint, &items, &goal.items.to_be_bytes(), &goal.weight.to_bits().to_be_bytes()])
        };
        let goals: Vec<u8> = self.goals().iter().filter(|g| g.weight > 0.0).flat_map(goal).collect();
        let parts: [(&str, Fingerprint); 6] = [
            ("the recipe", self.study.template.fingerprint()),
            ("the device", digest(&[search.device.as_bytes()])),
            ("a file of the models", digest(&[&self.study.hashes.payload()])),
            ("the optimizer", digest(&[&search.optimizer.payload()])),
            ("the seed", digest(&[&search.seed.to_be_bytes()])),
            ("the objective", digest(&[&goals])),
        ];
        let mut unsigned: Vec<(&str, &dyn Record)> = Vec::new();
        for (what, fingerprint) in &parts {
            match self.study.store.get::<Fingerprint>(what)? {
                None => unsigned.push((what, fingerprint)),
                Some(known) if known == *fingerprint => {}
                Some(_) => {
                    let file = self.study.template.file.display();
                    return Err(Error::user(format!("{file}: this directory holds another study: {what} differs"))
                        .hint("choose another directory, or go on with the file and the seed that began it"));
                }
            }
        }
        self.study.store.set(&unsigned)
    }

    /// The search items of a generation: drawn afresh, the same for all its candidates and for every optimizer.
    fn subset(&self, generation: u64) -> Asked {
        let draw = |(number, goal): (usize, &Goal)| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.study.search.seed);
            // Streams of their own: the optimizers draw from the same seed.
            rng.set_stream(1 << 63 | (number as u64) << 40 | generation);
            let mut drawn = rand::seq::index::sample(&mut rng, goal.search.len(), goal.items).into_vec();
            drawn.sort_unstable();
            drawn.into_iter().map(|position| goal.search[position]).collect()
        };
        self.goals().iter().enumerate().map(draw).collect()
    }

    fn fill(&self, genome: &[f64]) -> Recipe {
        self.study.template.fill(&self.layers, genome)
    }

    fn goals(&self) -> &'a [Goal] {
        self.study.objective.goals()
    }

    /// Item evaluations of a generation.
    fn cost(&self) -> usize {
        self.start.population() * self.goals().iter().map(|goal| goal.items).sum::<usize>()
    }
}

/// What generations found, and why they ended before they had to, if they did.
type Searched = (Vec<Generation>, Option<Stop>);

/// The recipe chosen, and how every finalist did.
type Choice = (Recipe, Vec<Finalist>);

/// Who may be shipped: the distribution's mean, its average over the last quarter of the search, which has less noise,
/// and the best candidates of the last generations. The best ever seen is not among them for having been lucky.
fn finalists(records: &[Generation]) -> Vec<(String, Genome)> {
    let mut finalists: Vec<(String, Genome)> = Vec::new();
    let means: Vec<&Genome> = records.iter().filter_map(|record| record.mean.as_ref()).collect();
    if let Some(last) = means.last() {
        finalists.push(("the mean".to_owned(), (*last).clone()));
        let recent = &means[means.len() - means.len().div_ceil(4)..];
        let average = |i: usize| recent.iter().map(|mean| mean[i]).sum::<f64>() / recent.len() as f64;
        finalists.push(("the average of the last means".to_owned(), (0..last.len()).map(average).collect()));
        let recent = records.iter().enumerate().rev().take(FINALISTS);
        finalists.extend(recent.map(|(number, r)| (format!("the best of generation {}", number + 1), r.best.clone())));
    } else {
        // Without a distribution that moves, the last generations are no better than the first.
        let mut best: Vec<usize> = (0..records.len()).collect();
        best.sort_by(|a, b| records[*b].best_fitness.total_cmp(&records[*a].best_fitness));
        let best = best.into_iter().take(FINALISTS + 2);
        finalists.extend(
            best.map(|number| (format!("the best of generation {}", number + 1), records[number].best.clone())),
        );
    }
    // In a short search the average of the last means is the mean.
    finalists.dedup_by(|later, earlier| later.1 == earlier.1);
    finalists
}
