//! Bodies of requests: a job to submit, another attempt, another priority.

use super::{
    proof::{self, Permission, WorkEstimate},
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

/// A job to submit: either `file`, or `text` together with `save_as`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Wanted")]
pub(crate) struct SubmitRequest {
    /// Recipe, search file or output directory of a search (for its report). The name begins with
    /// the name of a root.
    pub(crate) file: Option<String>,
    /// Text of a new recipe or search, which is saved as `save_as`.
    pub(crate) text: Option<String>,
    /// File for `text`. The name begins with the name of a root. A file with another text is not
    /// replaced.
    pub(crate) save_as: Option<String>,
    /// Arguments after `evomerge`, the directory of their paths, and the estimate; only on this
    /// machine.
    #[schemars(skip)]
    pub(crate) words: Option<Vec<String>>,
    #[schemars(skip)]
    pub(crate) directory: Option<PathBuf>,
    #[schemars(skip)]
    pub(crate) proof: Option<WorkEstimate>,
    /// Name of the job; default: the name of the directory and the file.
    #[schemars(length(max = 200))]
    pub(crate) name: Option<String>,
    /// Jobs with a higher priority start first; default: 0.
    pub(crate) priority: i32,
    /// Numbers of the jobs that must be done before this one starts.
    #[schemars(length(max = 1000))]
    pub(crate) after: Vec<u64>,
    /// Labels to find the job by.
    #[schemars(length(max = 50))]
    pub(crate) labels: Vec<String>,
    /// Maximum running time in seconds, over all attempts.
    #[schemars(range(min = 1))]
    pub(crate) seconds: Option<u64>,
    /// Maximum size of what the job writes, in bytes.
    #[schemars(range(min = 1))]
    pub(crate) bytes: Option<u64>,
    /// Maximum number of attempts if the machine fails the job; default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: Option<u32>,
    /// Number of threads; default: the job's share of the machine.
    #[schemars(range(min = 1))]
    pub(crate) threads: Option<u16>,
    /// Key chosen by the client. Sending the same job again with the same key adds no second job.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) key: Option<String>,
    /// Seed of the search, in place of the file's.
    pub(crate) seed: Option<u64>,
    /// Budget of the search in item evaluations, in place of the file's.
    #[schemars(range(min = 1))]
    pub(crate) budget: Option<u64>,
}

impl SubmitRequest {
    /// Checks a job that is submitted on this machine, and adds its arguments and its estimate.
    pub(crate) fn proved(self) -> Result<Self> {
        let directory = self.directory.clone().unwrap_or_default();
        let words = match (&self.words, &self.file) {
            (Some(words), _) => words.clone(),
            (None, Some(file)) => work::words_for(file, &directory)?,
            (None, None) => return Err(Error::user("nothing is handed in")),
        };
        let proof = proof::prove(&words, &directory, !self.after.is_empty(), &Permission::ALL)?;
        Ok(Self { file: None, words: Some(words), proof: Some(proof), ..self })
    }

    /// Checks the limits that the schema states.
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

/// Options of another attempt.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Again {
    /// If true, tries again even a job that is quarantined: it failed the same way several times.
    pub(crate) force: bool,
    /// New maximum running time in seconds, over all attempts; default: unchanged.
    #[schemars(range(min = 1))]
    pub(crate) seconds: Option<u64>,
    /// New maximum size of what the job writes, in bytes; default: unchanged.
    #[schemars(range(min = 1))]
    pub(crate) bytes: Option<u64>,
}

/// A new priority for a job.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// Jobs with a higher priority start first.
    pub(crate) priority: i32,
}

/// Saves a new recipe. Fails if the file exists.
pub(super) fn save(new: &Text) -> Result<()> {
    let name = new.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Listings hide this name, and the number keeps calls of this process apart.
    let beside = new.path.with_file_name(format!(".{name}.new-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    export::replace_file(&beside, &new.text)?;
    // A hard link never replaces a file that was created meanwhile.
    let linked = fs::hard_link(&beside, &new.path).map_err(|e| Error::io("create", &new.path, &e));
    let _ = fs::remove_file(&beside);
    linked
}

static NEXT: AtomicU64 = AtomicU64::new(1);
