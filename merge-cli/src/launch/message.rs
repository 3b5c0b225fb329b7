//! The lines of the pipe between a search and a worker, each one JSON value.

use evaluator::{
    answer::health::AnswerHealth,
    objective::{AnsweredItem, ItemChunk},
};
use merge_core::{
    error::{Error, Fault, Result},
    item::{ItemId, ItemScore},
};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};

/// Version of the lines. A worker of another version is refused.
pub(crate) const PROTOCOL: u32 = 2;

/// A line to a worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The study that later candidates belong to.
    Study(Box<StudyOrder>),
    /// Items of a candidate to score.
    Score(Box<PortionOrder>),
    /// Whatever is being scored is not needed any more.
    Stop,
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
    /// True if it is a file of mergekit-evolve.
    #[serde(default)]
    pub(crate) is_mergekit: bool,
    /// Number of the document that is searched, from 0 on.
    pub(crate) stage: usize,
    /// Recipes of earlier documents, or answers of earlier searches.
    pub(crate) earlier: Vec<String>,
    /// The models by their names, each with the SHA-256 of its files.
    pub(crate) sources: Vec<(String, BTreeMap<String, String>)>,
    /// The tasks by their names, each with the fingerprint of all that can change a score.
    pub(crate) tasks: Vec<(String, String)>,
    /// Inference engine that scores, if the worker's own forward pass does not.
    #[serde(default)]
    pub(crate) engine: Option<EngineOrder>,
}

/// An inference engine of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EngineOrder {
    /// Its kind and address, or the command that starts it. In a search's own order, `{n}` is the number of the worker.
    pub(crate) engine: String,
    /// GPUs of an engine that a command starts.
    pub(crate) gpus: Vec<String>,
    /// Directory in which models are written for it.
    pub(crate) scratch: Option<PathBuf>,
    /// Seconds that it may take for a request.
    pub(crate) timeout: u32,
    /// True if it is to be held against the own forward pass.
    pub(crate) is_compared: bool,
}

/// Items of a candidate to score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PortionOrder {
    /// The candidate.
    pub(crate) candidate: NamedCandidate,
    /// The items.
    pub(crate) items: ItemChunk,
}

/// A candidate as a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    Ready(ReadyStudy),
    /// Something that whoever runs the search should know.
    Note(String),
    /// The study cannot be worked on here.
    Refused(Failure),
    /// All items that were asked, in their order.
    Scores(Vec<ScoredItem>),
    /// The items were not scored, as the search wished.
    Stopped,
    /// The candidate cannot be scored.
    Failed(Failure),
    /// The worker lives; written while it has nothing else to say.
    Alive,
}

/// A study that a worker has opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReadyStudy {
    /// The engine that scores, with all of its settings that may change a score, if the own forward pass does not.
    #[serde(default)]
    pub(crate) engine: Option<String>,
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

/// An item that was asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ScoredItem {
    /// Its id.
    #[schemars(with = "String")]
    pub(crate) item: ItemId,
    /// Its score, or why its answers cannot be marked.
    score: Mark,
    /// The health of each answer, by which the search tells a broken model.
    answers: Vec<AnswerHealth>,
}

/// A score, or why there is none.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// Value, number of generated tokens, and whether the answer was cut.
    Score(Value, u32, bool),
    Failed(Failure),
}

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

impl ScoredItem {
    /// An item as a line says it.
    pub(crate) fn new(item: ItemId, answered: AnsweredItem) -> Self {
        let score = match answered.score {
            Ok(ItemScore { value, tokens, truncated }) => Mark::Score(written(value), tokens, truncated),
            Err(error) => Mark::Failed(Failure::from(&error)),
        };
        Self { item, score, answers: answered.answers }
    }

    /// What a line says about an item. Fails if its value is no number.
    pub(crate) fn answered(self) -> Result<AnsweredItem> {
        let score = match self.score {
            Mark::Score(value, tokens, truncated) => Ok(ItemScore { value: read(&value)?, tokens, truncated }),
            Mark::Failed(failure) => Err(failure.into()),
        };
        Ok(AnsweredItem { score, answers: self.answers })
    }
}

/// A number as JSON, which has no infinite ones.
fn written(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn read(value: &Value) -> Result<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| Error::machine(format!("a worker's score is no number: {value}")))
}

impl StudyOrder {
    /// The order for the worker of this number, from 1 on: with its own engine, and its own GPU of those that are named.
    pub(crate) fn for_worker(&self, number: usize) -> Self {
        let mut order = self.clone();
        if let Some(engine) = &mut order.engine {
            engine.engine = engine.engine.replace("{n}", &number.to_string());
            let own = (number - 1).checked_rem(engine.gpus.len());
            engine.gpus = own.map(|own| engine.gpus[own].clone()).into_iter().collect();
        }
        order
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
