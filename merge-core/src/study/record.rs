//! What a study's store tells of it afterwards, or while it is not running: all that a report shows.

use super::{Curves, Entry, Finalist, Generation, Goal, Phase, Point, Study};
use crate::{
    error::{Error, Result},
    optimizer::{Genome, Stop},
    search::{Cost, Search},
    store::Store,
    template::{Dimension, Space},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A study as its store has it.
#[derive(Clone, Debug)]
pub struct StudyRecord {
    /// The version of the program that began it.
    pub version: String,
    /// The search file, as it was written.
    pub file: String,
    /// What is searched and how.
    pub about: About,
    /// Item evaluations before the first generation: a layer scan's and a calibration's.
    pub prepared: u64,
    /// Every generation of the evolution so far.
    pub evolution: Vec<Generation>,
    /// Every generation of random search beside it so far.
    pub random: Vec<Generation>,
    /// The same in a few numbers each, beside the parents.
    pub curves: Curves,
    /// Its end, if it has come to it.
    pub ending: Option<Ending>,
}

/// What a study is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The seed.
    pub seed: u64,
    /// Most item evaluations of the evolution.
    pub budget: u64,
    /// The optimizer, as it is called in a search file.
    pub optimizer: String,
    /// The numbers that are searched.
    pub dimensions: Vec<Dimension>,
    /// The tasks.
    pub goals: Vec<Goal>,
    /// What is kept small beside.
    pub costs: Vec<Cost>,
    /// Whether candidates' scores are estimates from anchors.
    #[serde(default)]
    pub estimated: bool,
    /// The models, as tables call them: the base last if it is not merged.
    pub models: Vec<String>,
}

/// How a study ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The answer, as YAML; its paths are relative to the search file.
    pub recipe: String,
    /// Its numbers.
    pub genome: Genome,
    /// Its scores on report items.
    pub winner: Entry,
    /// Those of the models merged.
    pub parents: Vec<Entry>,
    /// Those of what it must beat.
    pub baselines: Vec<Entry>,
    /// Who might have been the answer, on select items; the first is.
    pub finalists: Vec<Finalist>,
    /// Models that were given up: how many, by why.
    pub given_up: BTreeMap<String, usize>,
    /// Why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
}

/// Reads a study.
///
/// Fails if the store holds none, or one of another version's form.
pub fn record(store: &Store) -> Result<StudyRecord> {
    let nothing = || Error::user("there is no study in it").hint("give the directory that `evomerge search -o` wrote");
    let (form, version): (u32, String) = store.get("version")?.ok_or_else(nothing)?;
    check_form(form, &version)?;
    let generations = |phase: Phase| -> Result<Vec<Generation>> {
        // An older version has counted none.
        let (keys, counted) = (StoreKeys::of(phase), n_generations(store, phase)?.unwrap_or(u64::MAX));
        let mut all = Vec::new();
        while (all.len() as u64) < counted
            && let Some(generation) = store.get(&keys.generation(all.len() as u64))?
        {
            all.push(generation);
        }
        Ok(all)
    };
    let about: About = store.get("about")?.ok_or_else(nothing)?;
    let [evolution, random] = [generations(Phase::Evolution)?, generations(Phase::RandomSearch)?];
    let curve = |phase: Phase, all: &[Generation]| -> Result<Vec<Point>> {
        let keys = StoreKeys::of(phase);
        let point = |(number, one): (u64, &Generation)| {
            // A study that an older version began has none.
            let beside = store.get(&keys.beside(number))?.unwrap_or_default();
            Ok(Point::of(one, beside, &about.goals))
        };
        (0..).zip(all).map(point).collect()
    };
    let curves =
        Curves { evolution: curve(Phase::Evolution, &evolution)?, random: curve(Phase::RandomSearch, &random)? };
    Ok(StudyRecord {
        version,
        file: store.get("file")?.unwrap_or_default(),
        about,
        prepared: store.get("prepared")?.unwrap_or_default(),
        evolution,
        random,
        curves,
        // An older version has ended, or has written none.
        ending: if store.get(ENDED)?.unwrap_or(true) { store.get("ending")? } else { None },
    })
}

/// What the store calls whether the study has come to the end of its present budget and tasks. The ending of others is kept.
pub(super) const ENDED: &str = "ended";

/// What the store calls the parts of a search with generations.
pub(super) struct StoreKeys {
    name: &'static str,
    /// The optimizer after the last generation.
    pub(super) optimizer: String,
    /// The number of generations that count: there may be more, of a larger budget.
    pub(super) count: String,
}

impl StoreKeys {
    pub(super) fn of(phase: Phase) -> Self {
        let name = phase.name();
        Self { name, optimizer: format!("{name}/optimizer"), count: format!("{name}/generations") }
    }

    pub(super) fn generation(&self, number: u64) -> String {
        format!("{}/generation/{number}", self.name)
    }

    pub(super) fn beside(&self, number: u64) -> String {
        format!("{}/beside/{number}", self.name)
    }
}

/// The number of generations that count.
pub(super) fn n_generations(store: &Store, phase: Phase) -> Result<Option<u64>> {
    store.get(&StoreKeys::of(phase).count)
}

/// Refuses a study that this version does not read.
pub(super) fn check_form(form: u32, version: &str) -> Result<()> {
    if form == super::identity::FORM {
        return Ok(());
    }
    Err(Error::user(format!("it is a study of evomerge {version}, which is kept in another form"))
        .hint("read it with the version that began it"))
}

/// What a study is about, for its record.
pub(super) fn about(study: &Study<'_>, space: &Space) -> About {
    let Search { seed, budget, optimizer, minimise, anchors, .. } = study.search;
    About {
        seed: *seed,
        budget: budget.value,
        optimizer: optimizer.algorithm(space).name().to_owned(),
        dimensions: space.dimensions.clone(),
        goals: study.objective.goals().to_vec(),
        costs: minimise.iter().map(|cost| cost.what.value).collect(),
        estimated: anchors.is_some(),
        models: study.sources.labels(),
    }
}
