//! The lines of the pipe between a search and a worker, each one JSON value.

use merge_core::{
    error::{Error, Fault},
    item::{ItemId, ItemScore},
};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};

/// Version of the lines. A worker of another version is refused.
pub(crate) const PROTOCOL: u32 = 1;

/// A line to a worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The study that later candidates belong to.
    Study(Box<StudyOrder>),
    /// A candidate to score.
    Score(Box<ScoreOrder>),
}

/// A study: what a worker needs to score its candidates, and to know that its files are the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StudyOrder {
    /// Absolute path of the search file. Names in it are relative to its directory; the file itself is not read.
    pub(crate) file: PathBuf,
    /// Directory in which the search runs; names that are not there beside the file are relative to it.
    pub(crate) directory: PathBuf,
    /// Text of the search file.
    pub(crate) text: String,
    /// Number of the document that is searched, from 0 on.
    pub(crate) stage: usize,
    /// Recipes of earlier documents, or answers of earlier searches.
    pub(crate) earlier: Vec<String>,
    /// The models by their names, each with the SHA-256 of its files.
    pub(crate) sources: Vec<(String, BTreeMap<String, String>)>,
    /// The tasks by their names, each with the fingerprint of all that can change a score.
    pub(crate) tasks: Vec<(String, String)>,
}

/// A candidate to score.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ScoreOrder {
    /// The candidate.
    pub(crate) candidate: NamedCandidate,
    /// Ids of the items to score, for each goal.
    #[schemars(with = "Vec<Vec<String>>")]
    pub(crate) items: Vec<Vec<ItemId>>,
}

/// A candidate as a text.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedCandidate {
    /// The merge of this recipe.
    Recipe(String),
    /// The source of this name.
    Source(String),
}

/// A line from a worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The first line.
    Hello(Greeting),
    /// The study can be worked on.
    Ready,
    /// The study cannot be worked on here.
    Refused(Failure),
    /// Scores of some items of the goal of this number.
    Scores(usize, Vec<ScoredItem>),
    /// The candidate is broken: the reason, and scores of all items left, for each goal.
    GivenUp(String, Vec<Vec<ScoredItem>>),
    /// All items of the candidate have scores.
    Done,
    /// The candidate cannot be scored.
    Failed(Failure),
    /// The worker lives; written while it has nothing else to say.
    Alive,
}

/// What a worker is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Greeting {
    /// Version of the lines.
    pub(crate) protocol: u32,
    /// Version of the program.
    pub(crate) version: String,
    /// Name of its machine.
    pub(crate) machine: String,
    /// Its processor.
    pub(crate) processor: String,
}

/// Id of an item, value, number of generated tokens, and whether the answer was cut.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ScoredItem(#[schemars(with = "String")] ItemId, f64, u32, bool);

/// Why something cannot be done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Who can mend it.
    pub(crate) fault: FaultOf,
}

/// Who can mend a failure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultOf {
    /// Whoever wrote the candidate or the study.
    User,
    /// Whoever runs the machine.
    Machine,
}

impl From<(ItemId, ItemScore)> for ScoredItem {
    fn from((item, score): (ItemId, ItemScore)) -> Self {
        Self(item, score.value, score.tokens, score.truncated)
    }
}

impl From<ScoredItem> for (ItemId, ItemScore) {
    fn from(ScoredItem(item, value, tokens, truncated): ScoredItem) -> Self {
        (item, ItemScore { value, tokens, truncated })
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let fault = if error.fault() == Fault::User { FaultOf::User } else { FaultOf::Machine };
        Self { message: error.to_string(), hint: error.advice().map(str::to_owned), fault }
    }
}

impl From<Failure> for Error {
    fn from(Failure { message, hint, fault }: Failure) -> Self {
        let error = match fault {
            FaultOf::User => Self::user(message),
            FaultOf::Machine => Self::machine(message),
        };
        hint.into_iter().fold(error, Self::hint)
    }
}

/// JSON Schema of the lines.
pub(crate) fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": format!("Lines of `evomerge work`, version {PROTOCOL}: orders on standard input, replies on standard output."),
        "oneOf": [schema_for!(Order).to_value(), schema_for!(Reply).to_value()],
    })
}
