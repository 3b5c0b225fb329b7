//! Searches over tiny models with computed scores: what is scored when, and resuming.

mod anchors;
mod candidates;
mod identity;
mod progress;
mod resuming;
mod told;

use super::{score::Scorer, *};
use crate::{
    error::{Error, Fault},
    item::{ItemId, ItemScore},
    merge::sources::FilesOnly,
    model::{Weights, weights::tests::Memory},
    search::{Items, SearchFile},
    store::Fingerprint,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};
use tempfile::{TempDir, tempdir};

/// Items scored between two calls of the listener.
const CHUNK: usize = 3;

/// An objective that prefers merges whose weights have a mean of 0.6, and records all it is asked.
struct Fake {
    goals: Vec<Goal>,
    seen: Mutex<Vec<Seen>>,
    /// Phase and generation that the search reports.
    now: Mutex<(&'static str, u64)>,
    /// Number of chunks until it breaks down; after that everything fails.
    fuse: AtomicI64,
    /// Set if the breakdown is a request to stop, not a failure.
    interrupted: AtomicBool,
    by_interruption: AtomicBool,
    /// Mean weight that each goal prefers.
    wants: [f64; 4],
    /// True if scores depend on item and weights like rolled dice.
    noisy: bool,
    /// True if three of four items are alike, and tell little.
    alike: bool,
    /// True if a quarter of all candidates cannot be scored.
    breaks: bool,
    engine: &'static str,
    served_by: Option<&'static str>,
    /// Sum of the items that it was told to expect.
    announced: AtomicI64,
}

/// Evaluation of one item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    phase: &'static str,
    generation: u64,
    weights: Fingerprint,
    goal: usize,
    item: ItemId,
}

/// Items with `kind` in the first byte and a number, which scores depend on, in the last.
fn items(kind: u8, n: u8) -> Vec<ItemId> {
    let id = |number| {
        let mut bytes = [kind; 16];
        bytes[15] = number;
        ItemId(bytes)
    };
    (0..n).map(id).collect()
}

const SEARCH: u8 = 10;
const SELECT: u8 = 20;
const REPORT: u8 = 30;

impl Fake {
    fn new() -> Self {
        let goal = |number: u8, weight: f64, n_items: usize| Goal {
            name: format!("task {number}"),
            metric: "exact_match".to_owned(),
            fingerprint: [number; 32],
            weight,
            items: Items { from: n_items, to: n_items },
            within: None,
            worst: 0.0,
            whole: false,
            search: items(SEARCH + number, if n_items > 0 { 40 } else { 0 }),
            select: items(SELECT + number, if weight > 0.0 { 5 } else { 0 }),
            report: items(REPORT + number, 7),
        };
        // Two goals rank candidates, one only helps to choose, and one is only reported.
        Self {
            goals: vec![goal(0, 1.0, 7), goal(1, 0.5, 4), goal(2, 0.25, 0), goal(3, 0.0, 0)],
            seen: Mutex::default(),
            now: Mutex::default(),
            fuse: AtomicI64::new(i64::MAX),
            interrupted: AtomicBool::new(false),
            by_interruption: AtomicBool::new(false),
            wants: [0.6; 4],
            noisy: false,
            alike: false,
            breaks: false,
            engine: "a fake",
            served_by: None,
            announced: AtomicI64::new(0),
        }
    }

    /// Breaks down after `chunks` chunks.
    fn break_down_after(&self, chunks: i64, by_interruption: bool) {
        self.fuse.store(chunks, Ordering::SeqCst);
        self.by_interruption.store(by_interruption, Ordering::SeqCst);
        self.interrupted.store(false, Ordering::SeqCst);
    }

    fn count_chunk(&self) -> Result<()> {
        if self.fuse.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        if self.by_interruption.load(Ordering::SeqCst) {
            self.interrupted.store(true, Ordering::SeqCst);
            return Ok(());
        }
        Err(Error::machine("the power is gone"))
    }
}

impl Objective for Fake {
    fn engine(&self) -> &str {
        self.engine
    }

    fn served_by(&self) -> Option<&str> {
        self.served_by
    }

    fn goals(&self) -> &[Goal] {
        &self.goals
    }

    fn check(&self, _weights: &dyn Weights) -> Result<()> {
        Ok(())
    }

    fn expect(&self, items: usize) {
        self.announced.fetch_add(items as i64, Ordering::SeqCst);
    }

    fn score(&self, candidate: &Candidate<'_>, asked: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()> {
        let weights = candidate.weights()?;
        let (mut hash, mut sum, mut n) = (Sha256::new(), 0.0, 0.0);
        for name in weights.index().keys() {
            let bytes = weights.bytes(name)?;
            hash.update(&bytes);
            for element in bytes.as_chunks::<4>().0 {
                (sum, n) = (sum + f64::from(f32::from_le_bytes(*element)), n + 1.0);
            }
        }
        let (digest, mean): (Fingerprint, f64) = (hash.finalize().into(), sum / n);
        if self.breaks && digest[0] < 64 && self.now.lock().expect("no panic").0 == "evolution" {
            return Err(Error::user("the weights are too large"));
        }
        for (goal, items) in asked.iter().enumerate() {
            for chunk in items.chunks(CHUNK) {
                let (phase, generation) = *self.now.lock().expect("no panic");
                let seen = chunk.iter().map(|item| Seen { phase, generation, weights: digest, goal, item: *item });
                self.seen.lock().expect("no panic").extend(seen);
                self.count_chunk()?;
                let score = |item: &ItemId| {
                    let is_dull = self.alike && !item.0[15].is_multiple_of(4);
                    let strictness = 0.2 + if is_dull { 0.0 } else { f64::from(item.0[15]) / 40.0 };
                    let dice = f64::from(digest[usize::from(item.0[15]) % 32] % 2);
                    let wanted = (1.0 - strictness * (mean - self.wants[goal]).abs()).clamp(0.0, 1.0);
                    let value = if self.noisy { dice } else { wanted };
                    (*item, ItemScore { value, tokens: u32::from(item.0[15]), truncated: false })
                };
                if let ControlFlow::Break(()) = listener(News::Scores(goal, chunk.iter().map(score).collect()))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Three tiny models and a search over them.
struct Family {
    dir: TempDir,
    text: String,
    file: SearchFile,
    sources: Sources,
    hashes: Vec<(String, BTreeMap<String, String>)>,
}

/// A temporary directory, in memory if possible: waiting for a disk proves nothing here.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { tempdir() }.expect("a directory")
}

impl Family {
    fn new(optimizer: &str, budget: u64) -> Self {
        Self::with(&format!("{{name: {optimizer}, population: 5}}"), budget, "")
    }

    /// `more` is further lines of the `search` block.
    fn with(optimizer: &str, budget: u64, more: &str) -> Self {
        let dir = directory();
        for (number, name) in ["base", "a", "b"].into_iter().enumerate() {
            Memory::new(|i| ((i * (number + 2)) % 5) as f32 / 8.0).write(&dir.path().join(name));
        }
        let text = format!(
            "merge_method: task_arithmetic
base_model: base
models:
  - {{model: a, parameters: {{weight: {{search: [-1, 2], groups: 2}}}}}}
  - {{model: b, parameters: {{weight: {{search: [-1, 2], init: 0}}}}}}
search:
  optimizer: {optimizer}
  budget: {budget}
  seed: 5
  objective: [{{task: fake}}]
{more}"
        );
        let path = dir.path().join("search.yaml");
        fs::write(&path, &text).expect("room");
        let file = SearchFile::read(&path).expect("a good search");
        let sources = Sources::open_all(file.template.variants(), &[], &FilesOnly).expect("all are there");
        let hashes = sources.sha256().unwrap();
        Self { dir, text, file, sources, hashes }
    }

    fn study(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, study: &Path, fake: &Fake, workers: usize) -> Result<Findings> {
        let store = Store::open(study)?;
        let note = |progress: &Progress| {
            let generation = progress.generations.map_or(0, |(done, _)| done);
            *fake.now.lock().expect("no panic") = (progress.phase.name(), generation);
        };
        run(&self.as_study(fake, &store, workers, &note))
    }

    fn as_study<'a>(
        &'a self,
        fake: &'a Fake,
        store: &'a Store,
        workers: usize,
        progress: &'a (dyn Fn(&Progress) + Sync),
    ) -> Study<'a> {
        Study {
            template: &self.file.template,
            sources: &self.sources,
            earlier: &[],
            hashes: &self.hashes,
            search: &self.file.search,
            text: &self.text,
            objective: fake,
            store,
            workers,
            interrupted: &fake.interrupted,
            progress,
        }
    }

    /// Runs a study to its end, without a breakdown.
    fn finish(&self, study: &Path, fake: &Fake, workers: usize) -> Findings {
        self.run(study, fake, workers).expect("nothing fails, and nobody interrupts it")
    }

    /// Digests of the parents' weights.
    fn parents(&self) -> Vec<Fingerprint> {
        let digest = |weights: &dyn Weights| -> Fingerprint {
            let all = weights.index().keys().map(|name| weights.bytes(name).expect("a whole model"));
            all.fold(Sha256::new(), Sha256::chain_update).finalize().into()
        };
        self.sources.iter().map(|(_, weights)| digest(&**weights)).collect()
    }

    fn contents(&self, study: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        Store::open(&self.study(study)).and_then(|store| store.contents()).expect("readable")
    }
}

fn is_interrupted(run: &Result<Findings>) -> bool {
    run.as_ref().is_err_and(|error| error.fault() == Fault::Interrupted)
}

/// Scorer of a study, without running the study.
fn scorer<'a>(study: &'a Study<'a>) -> (Scorer<'a>, Space) {
    let space = study.template.space(study.sources).expect("a good template");
    (Scorer::new(study, Vec::new()), space)
}

/// Everything that two runs of one study must agree on.
fn essence(findings: Findings) -> (String, Vec<Entry>, History) {
    let Findings { genome: _, winner: (recipe, winner), parents, baselines, history, progress: _ } = findings;
    (recipe.to_yaml(), parents.into_iter().chain(baselines).chain([winner]).collect(), history)
}

/// A race, a constraint and costs.
const EVERYTHING: &str = "  racing: 3
  minimise: [{what: tokens, weight: 0.01}, {what: parameters}]
  constraints: [{task: fake, within: 0.1}]
";

/// An objective with a growing number of items, and a constraint on other items.
fn growing() -> Fake {
    let mut fake = Fake::new();
    fake.goals[0].items = Items { from: 6, to: 12 };
    fake.goals[3] = Goal { within: Some(0.1), items: Items { from: 4, to: 4 }, ..fake.goals[0].clone() };
    fake.goals[3].weight = 0.0;
    fake.goals[3].fingerprint = [3; 32];
    fake
}

#[test]
fn an_objective_is_told_how_many_items_to_expect() {
    let family = Family::new("cma_es", 150);
    let (study, fake) = (family.study("study"), Fake::new());
    // Twice: what is known is not asked again.
    for _ in 0..2 {
        family.finish(&study, &fake, 3);
        let seen = fake.seen.lock().expect("no panic").len();
        assert!(seen > 150);
        assert_eq!(fake.announced.load(Ordering::SeqCst), seen as i64);
    }
}

#[test]
fn a_finished_study_needs_no_evaluation() {
    let family = Family::new("cma_es", 300);
    let (study, fake) = (family.study("study"), Fake::new());
    let first = family.finish(&study, &fake, 2);
    let n_evaluations = fake.seen.lock().expect("no panic").len();
    assert_eq!(first.progress.scored_now, n_evaluations);
    let again = family.finish(&study, &fake, 1);
    assert_eq!((again.progress.scored_now, again.progress.done), (0, first.progress.done));
    assert_eq!([first.progress.left, again.progress.left], [0, 0]);
    assert_eq!(essence(again), essence(first));
    assert_eq!(fake.seen.lock().expect("no panic").len(), n_evaluations);
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let family = Family::new("cma_es", 300);
    let found =
        [1, 2, 5].map(|workers| essence(family.finish(&family.study(&format!("{workers}")), &Fake::new(), workers)));
    assert!(found[0] == found[1] && found[1] == found[2]);
    assert!(family.contents("1") == family.contents("2") && family.contents("2") == family.contents("5"));
}

#[test]
fn a_search_never_sees_the_items_it_is_chosen_or_reported_on() {
    let family = Family::new("cma_es", 440);
    let fake = Fake::new();
    family.finish(&family.study("study"), &fake, 3);
    let seen = fake.seen.lock().expect("no panic");
    for Seen { phase, generation, goal, item, .. } in seen.iter() {
        let goal = &fake.goals[*goal];
        let allowed = match (*phase, *generation) {
            ("evolution" | "random search", _) => &goal.search,
            ("selection" | "selection of random search" | "greedy soup", 0) => &goal.select,
            ("report", 0) => &goal.report,
            other => panic!("there is no such phase: {other:?}"),
        };
        assert!(allowed.contains(item), "{phase} {generation:?}: {item}");
        assert!(goal.weight > 0.0 || *phase == "report", "a task without weight is only reported");
    }
    let reported = seen.iter().position(|seen| seen.phase == "report").expect("it reports");
    assert!(seen[reported..].iter().all(|seen| seen.phase == "report"));
    assert_eq!(
        seen.iter().filter(|seen| seen.phase == "report").count(),
        7 * 4 * 7,
        "seven models, as the soup is one of them, and four tasks"
    );
}

/// Items that each candidate was asked.
type Candidates = BTreeMap<Fingerprint, BTreeSet<(usize, ItemId)>>;

#[test]
fn candidates_of_a_generation_share_their_items_and_generations_do_not() {
    let family = Family::new("cma_es", 440);
    let fake = Fake::new();
    family.finish(&family.study("study"), &fake, 3);
    let mut asked: BTreeMap<(&str, u64), Candidates> = BTreeMap::new();
    let seen = fake.seen.lock().expect("no panic");
    let searching = seen.iter().filter(|seen| ["evolution", "random search"].contains(&seen.phase));
    for seen in searching.filter(|seen| !family.parents().contains(&seen.weights)) {
        let candidates = asked.entry((seen.phase, seen.generation)).or_default();
        candidates.entry(seen.weights).or_default().insert((seen.goal, seen.item));
    }
    let subsets: BTreeMap<_, _> = asked
        .iter()
        .map(|(generation, candidates)| {
            let subset: BTreeSet<_> = candidates.values().collect();
            assert_eq!((candidates.len(), subset.len()), (5, 1), "{generation:?}");
            let subset = *subset.first().expect("not empty");
            assert_eq!(subset.iter().filter(|(goal, _)| *goal == 0).count(), 7);
            assert_eq!(subset.len(), 7 + 4);
            (*generation, subset)
        })
        .collect();
    assert_eq!(subsets.len(), 16, "eight generations of each search");
    assert_eq!(subsets.values().collect::<BTreeSet<_>>().len(), 8, "each generation draws afresh");
    for generation in 0..8 {
        let [evolution, random] = ["evolution", "random search"].map(|phase| subsets[&(phase, generation)]);
        assert_eq!(evolution, random, "both searches meet the same items");
    }
}

#[test]
fn climbs_and_ships_a_recipe_that_is_better_than_where_it_began() {
    let family = Family::new("cma_es", 1650);
    let fake = Fake::new();
    let findings = family.finish(&family.study("study"), &fake, 2);
    let fitness = |entry: &Entry| fitness(&fake.goals, &entry.scores);
    let best_parent = findings.parents.iter().map(fitness).fold(0.0, f64::max);
    assert!(fitness(&findings.winner.1) > best_parent, "{} and {best_parent}", fitness(&findings.winner.1));
    assert_eq!(findings.history.generations.len(), 30);
    assert_eq!(findings.history.item_evaluations, 1650);
}
