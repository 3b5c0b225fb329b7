//! What somebody hands in, and what must be true of it before anybody looks at it.

use super::{
    proof::{self, WorkEstimate},
    work,
};
use merge_core::{
    error::{Error, Result},
    export,
    yaml::Text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

/// What somebody hands in: a file, a text and where to save it, or words.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Wanted")]
pub(crate) struct SubmitRequest {
    /// A recipe that is there, by its name from a root on.
    pub(crate) file: Option<String>,
    /// A new recipe, which is saved first.
    pub(crate) text: Option<String>,
    /// Where, by its name from a root on; it must not be there yet.
    pub(crate) save_as: Option<String>,
    /// What stands behind `evomerge`, where its paths start, and the proof that it can be done; only on this machine.
    #[schemars(skip)]
    pub(crate) words: Option<Vec<String>>,
    #[schemars(skip)]
    pub(crate) directory: Option<PathBuf>,
    #[schemars(skip)]
    pub(crate) proof: Option<WorkEstimate>,
    /// What to call it.
    #[schemars(length(max = 200))]
    pub(crate) name: Option<String>,
    /// Higher ones go first.
    pub(crate) priority: i32,
    /// Jobs that must be done before.
    #[schemars(length(max = 1000))]
    pub(crate) after: Vec<u64>,
    /// Words to find it by.
    #[schemars(length(max = 50))]
    pub(crate) labels: Vec<String>,
    /// How long it may run, all attempts together.
    #[schemars(range(min = 1))]
    pub(crate) seconds: Option<u64>,
    /// How large its directory may become.
    #[schemars(range(min = 1))]
    pub(crate) bytes: Option<u64>,
    /// How often it is tried if the machine fails it; 3 unless said.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: Option<u32>,
    /// Threads; its share of the machine unless said.
    #[schemars(range(min = 1))]
    pub(crate) threads: Option<u16>,
    /// A word of the asker's own: if it is sent again with the same work, no second job is made.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) key: Option<String>,
    /// Search with this seed instead of the file's.
    pub(crate) seed: Option<u64>,
    /// Spend so many item evaluations instead of the file's.
    #[schemars(range(min = 1))]
    pub(crate) budget: Option<u64>,
}

impl SubmitRequest {
    /// Proves here, from where its paths start, what is to be handed in on this machine.
    pub(crate) fn proved(self) -> Result<Self> {
        let directory = self.directory.clone().unwrap_or_default();
        let words = match (&self.words, &self.file) {
            (Some(words), _) => words.clone(),
            (None, Some(file)) => work::words_for(file, &directory)?,
            (None, None) => return Err(Error::user("nothing is handed in")),
        };
        let proof = proof::prove(&words, &directory, !self.after.is_empty(), &|_| Ok(()))?;
        Ok(Self { file: None, words: Some(words), proof: Some(proof), ..self })
    }

    /// Refuses what its description does not allow.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::user(format!("the body: {what}")));
        let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > 200);
        match self {
            one if long(&one.name) || long(&one.key) => wrong("a name or a key has at most 200 letters"),
            one if one.key.as_deref() == Some("") => wrong("`key` is empty"),
            one if one.after.len() > 1000 => wrong("`after` has at most 1000 jobs"),
            one if one.labels.len() > 50 => wrong("`labels` has at most 50 words"),
            one if one.attempts.is_some_and(|n| !(1..=100).contains(&n)) => wrong("`attempts` is 1 to 100"),
            one if one.threads == Some(0) => wrong("`threads` is 1 or more"),
            one if one.seconds == Some(0) || one.bytes == Some(0) => wrong("a limit is 1 or more"),
            one if one.budget == Some(0) => wrong("`budget` is 1 or more"),
            _ => Ok(()),
        }
    }
}

/// What is asked with another attempt.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Again {
    /// To try it though it has failed the same way again and again.
    pub(crate) force: bool,
    /// How long it may run from now on, all attempts together.
    #[schemars(range(min = 1))]
    pub(crate) seconds: Option<u64>,
    /// How large its directory may become from now on.
    #[schemars(range(min = 1))]
    pub(crate) bytes: Option<u64>,
}

/// What is asked with another place in the order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// Higher ones go first.
    pub(crate) priority: i32,
}

/// Saves a new recipe, and replaces nothing.
pub(super) fn save(new: &Text) -> Result<()> {
    let name = new.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // No listing shows it, and no other call of this process writes it.
    let beside = new.path.with_file_name(format!(".{name}.new-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    export::replace_file(&beside, &new.text)?;
    // A hard link never replaces what has come there meanwhile.
    let linked = fs::hard_link(&beside, &new.path).map_err(|e| Error::io("create", &new.path, &e));
    let _ = fs::remove_file(&beside);
    linked
}

static NEXT: AtomicU64 = AtomicU64::new(1);
