//! A study read from its store when it is not running: everything that a report shows.

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

/// A study, read from its store.
#[derive(Clone, Debug)]
pub struct StudyRecord {
    /// Version of evomerge that began the study.
    pub version: String,
    /// Text of the search file.
    pub file: String,
    /// Subject and settings of the search.
    pub about: About,
    /// Item evaluations before the first generation, of a layer scan and a calibration.
    pub prepared: u64,
    /// Generations of the evolution so far.
    pub evolution: Vec<Generation>,
    /// Generations of the random search so far.
    pub random: Vec<Generation>,
    /// Figures of the same generations, and their comparison with the parents.
    pub curves: Curves,
    /// End of the study, if it was reached.
    pub ending: Option<Ending>,
}

/// Subject and settings of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Random seed.
    pub seed: u64,
    /// Budget of the evolution, in item evaluations.
    pub budget: u64,
    /// Name of the optimizer, as in a search file.
    pub optimizer: String,
    /// Dimensions that are searched.
    pub dimensions: Vec<Dimension>,
    /// The tasks.
    pub goals: Vec<Goal>,
    /// Costs that are minimised.
    pub costs: Vec<Cost>,
    /// True if candidates' scores are estimates from anchors.
    #[serde(default)]
    pub estimated: bool,
    /// Names of the models in tables; the base is last if it is not merged.
    pub models: Vec<String>,
    /// Inference engine that scores, with its settings; `None` if evomerge scores itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// End of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Recipe of the answer, as YAML; its paths are relative to the search file.
    pub recipe: String,
    /// Genome of the answer.
    pub genome: Genome,
    /// Scores of the answer on report items.
    pub winner: Entry,
    /// Scores of the models merged, and of the base, on report items.
    pub parents: Vec<Entry>,
    /// Scores of the baselines on report items.
    pub baselines: Vec<Entry>,
    /// Finalists with scores on select items, the answer first.
    pub finalists: Vec<Finalist>,
    /// Number of broken models that were given up, by reason.
    pub given_up: BTreeMap<String, usize>,
    /// Reason why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
}

/// Reads a study from its store.
///
/// Fails if the store holds no study, or a study of another version's form.
pub fn record(store: &Store) -> Result<StudyRecord> {
    let nothing = || Error::user("there is no study in it").hint("give the directory that `evomerge search -o` wrote");
    let (form, version): (u32, String) = store.get("version")?.ok_or_else(nothing)?;
    check_form(form, &version)?;
    let generations = |phase: Phase| -> Result<Vec<Generation>> {
        // An older version stored no count.
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
            // A study begun by an older version has no comparisons.
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
        // An older version stored no such flag: an ending that it stored counts.
        ending: if store.get(ENDED)?.unwrap_or(true) { store.get("ending")? } else { None },
    })
}

/// Key of a flag: the study has ended with its present budget and tasks. Older endings are kept.
pub(super) const ENDED: &str = "ended";

/// Store keys of a phase with generations.
pub(super) struct StoreKeys {
    name: &'static str,
    /// Key of the optimizer after the last generation.
    pub(super) optimizer: String,
    /// Key of the number of generations that count; more may be stored, of a larger budget.
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

/// Number of generations that count, if it is stored.
pub(super) fn n_generations(store: &Store, phase: Phase) -> Result<Option<u64>> {
    store.get(&StoreKeys::of(phase).count)
}

/// Refuses a study that this version cannot read.
pub(super) fn check_form(form: u32, version: &str) -> Result<()> {
    if form == super::identity::FORM {
        return Ok(());
    }
    Err(Error::user(format!("it is a study of evomerge {version}, which is stored in another format"))
        .hint("read it with the version that began it"))
}

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
        engine: study.objective.served_by().map(str::to_owned),
    }
}
