//! A study from end to end: evolution, random search beside it, selection, report.

use super::{
    Ending, Entry, Finalist, Findings, Generation, Goal, History, Objective, State, Study,
    anchored::{self, Anchored},
    finalists::{self, finalists},
    scan,
    scoring::{Model, Scored, Scoring},
};
use crate::{
    baseline,
    error::{Error, Result},
    item::ItemId,
    merge::Merge,
    optimizer::{Genome, Optimizer, Start, Stop},
    recipe::Recipe,
    search::{Algorithm, Search},
    sources::Sources,
    template::{Space, Template},
};

/// A study with what follows from it.
pub(super) struct Plan<'a> {
    pub(super) study: &'a Study<'a>,
    pub(super) space: Space,
    pub(super) scoring: Scoring<'a>,
}

/// What is asked of a model: the items of each goal.
pub(super) type Asked = Vec<Vec<ItemId>>;

/// Makes every refusal of a search that needs no weight: models that cannot be merged or scored, a budget too small.
pub fn check(template: &Template, sources: &Sources, search: &Search, objective: &dyn Objective) -> Result<()> {
    let space = template.space(sources)?;
    let start = search.optimizer.start(&space, search.seed);
    anchored::check(&template.file, search, start.population(), objective.goals())?;
    let calibration = anchored::cost(search, sources, objective.goals());
    check_budget(template, search, &space, objective.goals(), calibration)?;
    // Each combination of choices, with its numbers where they begin.
    for number in 0..template.variants().len() {
        let recipe = template.fill(&space, &template.start_of(&space, number));
        objective.check(&Merge::plan(&recipe, &sources.of(&recipe))?)?;
    }
    for recipe in [baseline::uniform(template), baseline::untuned_dare_ties(template)].into_iter().flatten() {
        Merge::plan(&recipe, &sources.of(&recipe))?;
    }
    Ok(())
}

/// Refuses a budget that does not pay for a generation.
fn check_budget(template: &Template, search: &Search, space: &Space, goals: &[Goal], calibration: usize) -> Result<()> {
    let population = search.optimizer.start(space, search.seed).population();
    let (scan, budget) = (scan::count(space, search), &search.budget);
    let per_candidate: usize = goals.iter().map(|goal| goal.items.from).sum();
    let cost = (scan + population) * per_candidate + calibration;
    if budget.value >= cost as u64 {
        return Ok(());
    }
    let and_calibration =
        if calibration > 0 { format!(", and {calibration} of the calibration") } else { String::new() };
    let and_scan = if scan > 0 { format!(" and {scan} models of the layer scan") } else { String::new() };
    Err(Error::user(format!(
        "{}: search.budget: {} item evaluations do not pay for one generation, which takes {cost}: \
         {population} candidates{and_scan} on {per_candidate} items{and_calibration}",
        budget.place.of(&template.file),
        budget.value
    ))
    .hint(format!("{} would pay for fifty", 50 * cost)))
}

impl<'a> Plan<'a> {
    pub(super) fn new(study: &'a Study<'a>) -> Result<Self> {
        let Study { template, sources, search, objective, .. } = *study;
        check(template, sources, search, objective)?;
        let goals = objective.goals();
        let count = |of: fn(&Goal) -> &Vec<ItemId>| goals.iter().map(|goal| of(goal).len()).sum::<usize>();
        let searches = if search.optimizer.name == Some(Algorithm::Random) { 1 } else { 2 };
        let n_parents = sources.iter().count();
        let total = searches * (search.budget.value as usize + finalists::MOST * count(|goal| &goal.select))
            + (n_parents + 2 + searches) * count(|goal| &goal.report);
        let plan = Self { study, space: template.space(sources)?, scoring: Scoring::new(study, total) };
        plan.identify()?;
        Ok(plan)
    }

    /// The study from end to end; `None` if interrupted.
    pub(super) fn run(&self) -> Result<Option<Findings>> {
        let Study { template, search, store, .. } = *self.study;
        let Some((space, scan)) = self.scanned()? else { return Ok(None) };
        let start = search.optimizer.start(&space, search.seed);
        let Some((anchored, calibration)) = self.calibrated(&start)? else { return Ok(None) };
        // What is paid before the first generation.
        let prepared = scan + calibration;
        if prepared > 0 && store.get::<u64>("prepared")? != Some(prepared) {
            store.set(&[("prepared", &prepared)])?;
        }
        let budget = search.budget.value.saturating_sub(prepared);
        let Some(Searched { records: generations, stopped, elites }) =
            self.search("evolution", start, budget, anchored.as_ref())?
        else {
            return Ok(None);
        };
        let moves = search.optimizer.name != Some(Algorithm::Random);
        let Some(finalists) = self.choose("selection", &generations, elites, moves)? else { return Ok(None) };
        let Some(first) = finalists.first() else { return Err(nobody(&generations)) };
        let genome = first.genome.clone();
        let winner = self.fill(&genome);

        let mut models: Vec<(String, Model)> = self.study.sources.labels().into_iter().zip(self.parents()).collect();
        let n_parents = models.len();
        let merge = |recipe: Recipe| Model::Merge(Box::new(recipe));
        models.extend(baseline::uniform(template).map(|recipe| ("uniform average".to_owned(), merge(recipe))));
        models.extend(
            baseline::untuned_dare_ties(template).map(|recipe| ("DARE-TIES, untuned".to_owned(), merge(recipe))),
        );
        models.extend(
            baseline::stacked(template, &self.space).map(|recipe| ("all layers, stacked".to_owned(), merge(recipe))),
        );
        let Some(soup) = self.soup()? else { return Ok(None) };
        models.extend(soup.into_iter().map(|soup| ("greedy soup".to_owned(), soup)));
        let spent = prepared + generations.iter().map(Generation::cost).sum::<u64>();
        let evaluated: usize = generations.iter().map(|generation| generation.evaluations).sum();
        if moves {
            let population = generations.first().map_or(4, |generation| generation.candidates.len());
            let random = Optimizer::random(self.start(Some(population)));
            // As many evaluations as the evolution took, should it have stopped early.
            // It goes without anchors, whose calibration it has no need of.
            let Some(Searched { records, .. }) = self.search("random search", random, spent, None)? else {
                return Ok(None);
            };
            let Some(best) = self.choose("selection of random search", &records, Vec::new(), false)? else {
                return Ok(None);
            };
            // It may have found nobody who keeps to what is asked, which is no reason to lose what the evolution found.
            models.extend(best.first().map(|best| ("random search".to_owned(), merge(self.fill(&best.genome)))));
        }
        models.push(("evolved".to_owned(), merge(winner.clone())));

        self.scoring.begin("report");
        let asked: Asked = self.goals().iter().map(|goal| goal.report.clone()).collect();
        let (names, models): (Vec<String>, Vec<Model>) = models.into_iter().unzip();
        let Some(scored) = self.scoring.score(&models, &asked)? else { return Ok(None) };
        let entry = |(name, scored): (String, Scored)| Entry { name, scores: scored.scores };
        let mut entries: Vec<Entry> = names.into_iter().zip(scored).map(entry).collect();
        let evolved = entries.pop().expect("the winner is the last");
        let baselines = entries.split_off(n_parents);
        let history = History {
            dimensions: self.space.dimensions.len(),
            item_evaluations: prepared as usize + evaluated,
            tokens: generations.iter().map(|generation| generation.tokens).sum(),
            generations,
            given_up: store.given_up()?,
            stopped,
            finalists,
        };
        let ending = Ending {
            recipe: winner.to_yaml(),
            genome: genome.clone(),
            winner: evolved.clone(),
            parents: entries.clone(),
            baselines: baselines.clone(),
            finalists: history.finalists.clone(),
            given_up: history.given_up.clone(),
            stopped: history.stopped,
        };
        store.set(&[("ending", &ending)])?;
        let progress = self.scoring.progress();
        Ok(Some(Findings { genome, winner: (winner, evolved), parents: entries, baselines, history, progress }))
    }

    /// Runs an optimizer through its generations, from the first that is not in the store, as far as the budget goes.
    fn search(
        &self,
        phase: &'static str,
        start: Optimizer,
        budget: u64,
        anchored: Option<&Anchored>,
    ) -> Result<Option<Searched>> {
        self.scoring.begin(phase);
        let store = self.study.store;
        let (state, record) = (format!("{phase}/optimizer"), |number: u64| format!("{phase}/generation/{number}"));
        let mut optimizer: Optimizer = store.get(&state)?.unwrap_or(start);
        let (mut records, mut spent): (Vec<Generation>, u64) = (Vec::new(), 0);
        for number in 0..optimizer.generation() {
            let known: Option<Generation> = store.get(&record(number))?;
            let known =
                known.ok_or_else(|| Error::machine(format!("the store lacks generation {number} of the {phase}")))?;
            // A study whose budget has been cut is one that stopped earlier.
            if spent + known.cost() > budget {
                break;
            }
            spent += known.cost();
            self.scoring.count_known(known.evaluations);
            records.push(known);
            self.scoring.at_generation((number + 1, spent as f64 / budget as f64), records.last());
        }
        let mut cut = records.len() as u64 != optimizer.generation();
        while !cut && optimizer.stop().is_none() {
            let number = optimizer.generation();
            let level = records.last().map_or(0, |last| last.level + u32::from(last.grows));
            let items: usize = self.goals().iter().map(|goal| goal.items.at(level)).sum();
            if spent + (optimizer.population() * items) as u64 > budget {
                cut = true;
                continue;
            }
            let candidates = optimizer.ask();
            let Some((mut generation, told)) = self.generation(number, &candidates, level, anchored)? else {
                return Ok(None);
            };
            optimizer.tell(&told);
            generation.mean = optimizer.mean();
            generation.sigma = optimizer.sigma();
            store.set(&[(&record(number), &generation), (&state, &optimizer)])?;
            spent += generation.cost();
            records.push(generation);
            self.scoring.at_generation((number + 1, spent as f64 / budget as f64), records.last());
        }
        let stopped = if cut { None } else { optimizer.stop() };
        Ok(Some(Searched { records, stopped, elites: optimizer.elites() }))
    }

    /// The finalists on select items, the one to ship first; none if nobody may be shipped. `None` if interrupted.
    fn choose(
        &self,
        phase: &'static str,
        records: &[Generation],
        elites: Vec<Genome>,
        moves: bool,
    ) -> Result<Option<Vec<Finalist>>> {
        let mut fitting = Vec::new();
        for (name, genome) in finalists(records, elites, &self.space.coordinates(), moves) {
            let recipe = self.fill(&genome);
            if self.is_short_enough(&recipe)? {
                fitting.push(((name, genome), recipe));
            }
        }
        self.scoring.begin(phase);
        let models: Vec<Model> = fitting.iter().map(|(_, recipe)| Model::Merge(Box::new(recipe.clone()))).collect();
        let asked: Asked = self.goals().iter().map(|goal| goal.select.clone()).collect();
        let Some(scored) = self.scoring.score(&models, &asked)? else { return Ok(None) };
        // What cannot be scored cannot be shipped.
        let whole: Vec<_> = fitting.into_iter().zip(scored).filter(|(_, scored)| scored.failed.is_none()).collect();
        self.ranked(whole, &asked)
    }

    pub(super) fn fill(&self, genome: &[f64]) -> Recipe {
        self.study.template.fill(&self.space, genome)
    }

    pub(super) fn goals(&self) -> &'a [Goal] {
        self.study.objective.goals()
    }

    /// The models merged, and the base.
    pub(super) fn parents(&self) -> Vec<Model> {
        self.study.sources.iter().map(|(name, _)| Model::Source(name.to_owned())).collect()
    }

    /// Where an optimizer begins that knows of no settings.
    fn start(&self, population: Option<usize>) -> Start {
        let (coordinates, seed) = (self.space.coordinates(), self.study.search.seed);
        Start { coordinates, sigma: self.study.search.optimizer.sigma(), population, seed }
    }
}

/// What an optimizer found.
struct Searched {
    records: Vec<Generation>,
    /// Why it ended before it had to, if it did.
    stopped: Option<Stop>,
    /// Whom it keeps.
    elites: Vec<Genome>,
}

/// A candidate that may be shipped, and where it comes from.
pub(super) type Named = (String, Genome);

/// The error of a search without an answer.
fn nobody(generations: &[Generation]) -> Error {
    let states = generations.iter().flat_map(|generation| &generation.candidates).map(|candidate| &candidate.state);
    let mut why = states.filter_map(|state| if let State::Failed { why } = state { Some(why) } else { None });
    let why = why.next_back().map_or("all break what is asked of them", String::as_str);
    Error::user(format!("no candidate could be ranked: {why}"))
        .hint("look at the ranges of the holes, at `constraints` and at `most_layers`")
}
