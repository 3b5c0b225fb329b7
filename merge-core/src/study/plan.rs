//! A study from end to end: evolution, random search beside it, selection, report.

use super::{
    Beside, Ending, Entry, Finalist, Findings, Generation, Goal, History, Objective, State, Study,
    anchored::{self, Anchored},
    beside::Known,
    finalists::{self, finalists},
    progress::{Ledger, Phase},
    record as recorded, scan,
    scoring::{Model, Passed, Scored, Scoring},
    snapshot::Snapshot,
};
use crate::{
    baseline,
    counted::counted,
    error::{Error, Result},
    item::ItemId,
    merge::{Merge, sources::Sources},
    optimizer::{Genome, Optimizer, Start, Stop},
    recipe::Recipe,
    search::{Algorithm, Search},
    store::Record,
    template::{Space, Template},
};
use std::{collections::BTreeSet, slice};

/// A study with what follows from it.
pub(super) struct Plan<'a> {
    pub(super) study: &'a Study<'a>,
    pub(super) space: Space,
    pub(super) scoring: Scoring<'a>,
}

/// What is asked of a model: the items of each goal.
pub(super) type Asked = Vec<Vec<ItemId>>;

/// Makes every refusal of a search that needs no weight: models that cannot be merged or scored, a budget too small. Gives what the
/// user should know of the merges.
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
    anchored::check(&template.file, search, start.population(), objective.goals())?;
    let calibration = anchored::cost(search, sources, objective.goals());
    check_budget(template, search, &space, objective.goals(), calibration)?;
    let mut notes = sources.notes();
    // Each combination of choices, with its numbers where they begin.
    for number in 0..template.variants().len() {
        let recipe = template.fill(&space, &template.start_of(&space, number));
        let merge = Merge::plan(&recipe, &sources.of(&recipe))?;
        objective.check(&merge)?;
        let new: Vec<String> = merge.notes().iter().filter(|note| !notes.contains(note)).cloned().collect();
        notes.extend(new);
    }
    for recipe in [baseline::uniform(template), baseline::untuned_dare_ties(template)].into_iter().flatten() {
        Merge::plan(&recipe, &sources.of(&recipe))?;
    }
    Ok(notes)
}

/// Refuses an objective that would have no part in the choice among candidates that were kept for it.
fn check_choice(template: &Template, search: &Search, goals: &[Goal]) -> Result<()> {
    let Some(algorithm) = search.optimizer.name.filter(|name| name.weighs_several()) else { return Ok(()) };
    // What is maximised comes first, in the order of the file.
    let dropped = search.objective.iter().zip(goals).find(|(_, goal)| goal.ranks() && goal.select.is_empty());
    match dropped {
        None => Ok(()),
        Some((objective, goal)) => Err(Error::user(format!(
            "{}: task {} has no select items, but {} keeps candidates for being good at each objective, and the answer is \
             chosen among them on select items",
            objective.task.place.of(&template.file),
            goal.name,
            algorithm.name()
        ))
        .hint("give it select items (`splits`, or `split:` where it is divided), or take an optimizer of one objective, such as cma_es")),
    }
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
    let and_scan = if scan > 0 { format!(" and {} of the layer scan", counted(scan, "model")) } else { String::new() };
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
        let ledger = Ledger::new(course(template, search, objective.goals()));
        let plan = Self { study, space: template.space(sources)?, scoring: Scoring::new(study, ledger) };
        plan.identify()?;
        Ok(plan)
    }

    /// The study from end to end; `None` if interrupted.
    pub(super) fn run(&self) -> Result<Option<Findings>> {
        let Study { template, search, store, .. } = *self.study;
        let snapshot = Snapshot::begin(store)?;
        let Some((space, scan)) = self.scanned()? else { return Ok(None) };
        let start = search.optimizer.start(&space, search.seed);
        let Some((anchored, calibration)) = self.calibrated(&start)? else { return Ok(None) };
        // What is paid before the first generation.
        let prepared = scan + calibration;
        if prepared > 0 && store.get::<u64>("prepared")? != Some(prepared) {
            store.set(&[("prepared", &prepared)])?;
            snapshot.prepared(prepared)?;
        }
        let budget = search.budget.value.saturating_sub(prepared);
        let Some(Searched { records: generations, stopped, elites, beside }) =
            self.search(Phase::Evolution, start, budget, anchored.as_ref(), &snapshot)?
        else {
            return Ok(None);
        };
        let moves = search.optimizer.name != Some(Algorithm::Random);
        let Some(finalists) = self.choose(Phase::Selection, &generations, elites, moves)? else { return Ok(None) };
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
            let Some(Searched { records, .. }) = self.search(Phase::RandomSearch, random, spent, None, &snapshot)?
            else {
                return Ok(None);
            };
            let Some(best) = self.choose(Phase::RandomSelection, &records, Vec::new(), false)? else { return Ok(None) };
            // It may have found nobody who keeps to what is asked, which is no reason to lose what the evolution found.
            models.extend(best.first().map(|best| ("random search".to_owned(), merge(self.fill(&best.genome)))));
        }
        models.push(("evolved".to_owned(), merge(winner.clone())));

        let asked: Asked = self.goals().iter().map(|goal| goal.report.clone()).collect();
        self.scoring.begin(Phase::Report, models.len() * n_items(&asked), None);
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
            beside,
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
        store.set(&[("ending", &ending as &dyn Record), (recorded::ENDED, &true)])?;
        snapshot.end(&ending)?;
        let progress = self.scoring.progress();
        Ok(Some(Findings { genome, winner: (winner, evolved), parents: entries, baselines, history, progress }))
    }

    /// Runs an optimizer through its generations, from the first that is not in the store, as far as the budget goes.
    fn search(
        &self,
        phase: Phase,
        start: Optimizer,
        budget: u64,
        anchored: Option<&Anchored>,
        snapshot: &Snapshot,
    ) -> Result<Option<Searched>> {
        let (store, name) = (self.study.store, phase.name());
        let (state, count) = (format!("{name}/optimizer"), recorded::count(phase));
        let [record, beside_it] =
            ["generation", "beside"].map(|what| move |number: u64| format!("{name}/{what}/{number}"));
        let mut optimizer: Optimizer = store.get(&state)?.unwrap_or_else(|| start.clone());
        let known = (0..optimizer.generation()).map(|number| store.get(&record(number)));
        let known = known.collect::<Result<Option<Vec<Generation>>>>()?;
        // Where a smaller budget pays for fewer of them, the optimizer has learned too much; where some are gone from a damaged store,
        // it has no record. Either way it is asked again from the start, and finds the scores that are left.
        let known = known.filter(|known| self.pays(budget, known)).unwrap_or_else(|| {
            optimizer = start;
            Vec::new()
        });
        let (mut records, mut besides, mut spent): (Vec<Generation>, Vec<Beside>, u64) = (Vec::new(), Vec::new(), 0);
        // How many there will be if the others take as much as the last.
        let about = |number: u64, spent: u64, cost: u64| number + budget.saturating_sub(spent) / cost.max(1);
        let mut reached = Vec::new();
        for (number, known) in (0..).zip(known) {
            // A study that an older version began has none.
            besides.push(store.get(&beside_it(number))?.unwrap_or_default());
            spent += known.cost();
            reached.push((spent, (number + 1, about(number + 1, spent, known.cost()))));
            records.push(known);
        }
        let passed = reached.into_iter().zip(records.iter().zip(&besides));
        let passed: Vec<Passed<'_>> = passed
            .map(|((spent, generations), (generation, beside))| Passed { spent, generations, generation, beside })
            .collect();
        let first = self.most(optimizer.population(), 0);
        self.scoring.begin_after(phase, budget as usize, Some(about(0, 0, first)), &passed);
        snapshot.add(phase, &records, &besides)?;
        let mut cut = false;
        while !cut && optimizer.stop().is_none() {
            let number = optimizer.generation();
            let level = records.last().map_or(0, |last| last.level + u32::from(last.grows));
            if spent + self.most(optimizer.population(), level) > budget {
                cut = true;
                continue;
            }
            let candidates = optimizer.ask();
            // Random search meets the same items, of which enough is known.
            let known = (phase == Phase::Evolution).then_some(Known { before: &besides, budget });
            let generation = self.generation(number, &candidates, level, anchored, known.as_ref())?;
            let Some((mut generation, beside, told)) = generation else { return Ok(None) };
            optimizer.tell(&told);
            generation.mean = optimizer.mean();
            generation.sigma = optimizer.sigma();
            let (place, place_beside) = (record(number), beside_it(number));
            let what: [(&str, &dyn Record); 4] =
                [(&place, &generation), (&place_beside, &beside), (&state, &optimizer), (&count, &(number + 1))];
            store.set(&what)?;
            snapshot.add(phase, slice::from_ref(&generation), slice::from_ref(&beside))?;
            spent += generation.cost();
            let generations = (number + 1, about(number + 1, spent, generation.cost()));
            self.scoring.passed(&Passed { spent, generations, generation: &generation, beside: &beside });
            records.push(generation);
            besides.push(beside);
        }
        // More may be left of a larger budget.
        if store.get(&count)? != Some(records.len() as u64) {
            store.set(&[(&count, &(records.len() as u64))])?;
        }
        self.scoring.end(spent);
        let stopped = if cut { None } else { optimizer.stop() };
        Ok(Some(Searched {
            records,
            stopped,
            elites: optimizer.elites(),
            beside: besides.iter().map(|one| one.asked).sum(),
        }))
    }

    /// The most that a generation takes from the budget whose items have grown so often.
    fn most(&self, candidates: usize, level: u32) -> u64 {
        let items: usize = self.goals().iter().map(|goal| goal.items.at(level)).sum();
        (candidates * items) as u64
    }

    /// Whether a search with this budget begins each of these generations.
    fn pays(&self, budget: u64, generations: &[Generation]) -> bool {
        let mut spent = 0;
        generations.iter().all(|one| {
            let begins = spent + self.most(one.candidates.len(), one.level) <= budget;
            spent += one.cost();
            begins
        })
    }

    /// The finalists on select items, the one to ship first; none if nobody may be shipped. `None` if interrupted.
    fn choose(
        &self,
        phase: Phase,
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
        let models: Vec<Model> = fitting.iter().map(|(_, recipe)| Model::Merge(Box::new(recipe.clone()))).collect();
        let asked: Asked = self.goals().iter().map(|goal| goal.select.clone()).collect();
        self.scoring.begin(phase, models.len() * n_items(&asked), None);
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
    /// Items that parents were asked beside it.
    beside: u64,
}

/// Of all goals.
pub(super) fn n_items(asked: &Asked) -> usize {
    asked.iter().map(Vec::len).sum()
}

/// The most that each part of a study takes, in item evaluations.
fn course(template: &Template, search: &Search, goals: &[Goal]) -> Vec<(Phase, u64)> {
    let of = |split: fn(&Goal) -> &Vec<ItemId>| goals.iter().map(|goal| split(goal).len()).sum::<usize>();
    let (select, report, budget) = (of(|goal| &goal.select), of(|goal| &goal.report), search.budget.value as usize);
    let (is_random, keeps_elites) = match search.optimizer.name {
        Some(Algorithm::Random) => (true, false),
        Some(Algorithm::Nsga2 | Algorithm::OnePlusOne | Algorithm::MapElites | Algorithm::M2n2) => (false, true),
        _ => (false, false),
    };
    let elites = if keeps_elites { finalists::ELITES } else { 0 };
    let members = baseline::members(template).len();
    let soup = if members > 1 && baseline::uniform(template).is_some() { 2 * members - 1 } else { 0 };
    let named: BTreeSet<&str> =
        template.variants().iter().flat_map(Recipe::references).map(|model| model.value.as_str()).collect();
    // Beside the models there are the answer, and five baselines at most.
    let mut parts = vec![
        (Phase::Evolution, budget),
        (Phase::Selection, (finalists::MOST + elites) * select),
        (Phase::GreedySoup, soup * select),
        (Phase::Report, (named.len() + 6) * report),
    ];
    if !is_random {
        parts.extend([(Phase::RandomSearch, budget), (Phase::RandomSelection, finalists::MOST * select)]);
    }
    parts.into_iter().map(|(phase, items)| (phase, items as u64)).collect()
}

/// The most item evaluations that a study takes, before it has begun.
pub fn evaluations(template: &Template, search: &Search, goals: &[Goal]) -> u64 {
    course(template, search, goals).into_iter().map(|(_, items)| items).sum()
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
