//! Python functions that task files name, by module and name: those of the published tasks, and ours.

use super::{
    Doc,
    ours::{self, Tool, Tools},
    prompt_maker::AskedDocument,
    score::Measurement,
};
use crate::{mark::numbers::Extractor, python, text::normalize::Number};
use merge_core::{
    error::{Error, Result},
    yaml::{Mistake, known_names},
};
use serde_json::Value;

/// A function that changes a document before it is asked.
pub(super) type ProcessDoc = fn(&mut Doc) -> Result<()>;

/// Functions that `process_docs: !function …` may name.
const PROCESS_DOCS: &[(&str, ProcessDoc)] = &[
    ("ja_leaderboard_jcommonsenseqa.process_docs", numbered_choices),
    ("ja_leaderboard_xwinograd.process_docs", two_sentences),
];

/// A generated answer, with all that is needed to mark it.
pub(super) struct GeneratedAnswer<'a> {
    pub(super) asked: &'a AskedDocument,
    /// The right answer, if it is a number.
    pub(super) number: Option<&'a Number>,
    pub(super) text: &'a str,
    /// The model's tokens of the text and of the right answer, if these are compared.
    pub(super) tokens: Option<&'a [Vec<u32>; 2]>,
    pub(super) tools: &'a Tools,
}

/// The form in which a function needs the right answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum GoldForm {
    /// Any value of `doc_to_target`.
    Target,
    /// A number, as the value of `doc_to_target`.
    Number,
    /// A number in this field of the document.
    NumberIn(&'static str),
}

/// A function that marks an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// Form of the right answer.
    pub(super) gold: GoldForm,
    /// Names of the measures it gives.
    pub(super) gives: &'static [&'static str],
    /// Tool that it needs to mark.
    pub(super) tool: Option<Tool>,
    /// Computes the scores of an answer.
    pub(super) mark: fn(&GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)>,
}

/// Functions of the published tasks that `process_results: !function …` may name.
const PROCESS_RESULTS: &[(&str, Process)] = &[(
    "ja_leaderboard_mgsm.process_results",
    Process {
        gold: GoldForm::NumberIn("answer_number"),
        gives: &["acc"],
        tool: None,
        mark: |answered| ours::acc(answered, Extractor::Stability),
    },
)];

/// Published functions that equal a measure of ours.
const ALIASES: &[(&str, &str)] = &[("ja_leaderboard_xlsum.rouge2", "rouge2")];

/// The measure that `metric: !function …` names.
pub(super) fn measure(name: &str) -> std::result::Result<&'static str, Mistake> {
    find(ALIASES, name)
}

/// Finds a function for `process_results` by its name; its file may be in any folder.
pub(super) fn process_results(name: &str) -> std::result::Result<Process, Mistake> {
    find(&[PROCESS_RESULTS, ours::PROCESS_RESULTS].concat(), name)
}

/// Finds a function for `process_docs` by its name; its file may be in any folder.
pub(super) fn process_docs(name: &str) -> std::result::Result<ProcessDoc, Mistake> {
    find(PROCESS_DOCS, name)
}

pub(super) fn find<T: Copy>(table: &[(&str, T)], name: &str) -> std::result::Result<T, Mistake> {
    let found = table.iter().find(|(known, _)| name == *known || name.ends_with(&format!(".{known}")));
    found.map(|(_, function)| *function).ok_or_else(|| {
        Mistake::new(format!("the function `{name}` is not built in, and Python is not run")).hint(known_names(
            name,
            "built in here",
            table.iter().map(|(known, _)| *known),
        ))
    })
}

fn text<'a>(doc: &'a Doc, name: &str) -> Result<&'a str> {
    super::template::field(doc, name)?
        .as_str()
        .ok_or_else(|| Error::user(format!("`{name}` is not text")).hint("it is what the task's `process_docs` needs"))
}

/// Puts `choice0` to `choice4` into `choices`.
fn numbered_choices(doc: &mut Doc) -> Result<()> {
    let choices: Vec<Value> =
        (0..5).map(|i| super::template::field(doc, &format!("choice{i}")).cloned()).collect::<Result<_>>()?;
    doc.insert("choices".to_owned(), Value::from(choices));
    Ok(())
}

/// Puts `sentence1` and `sentence2` into `choices`, and turns `answer`, 1 or 2, into `label`, 0 or 1.
fn two_sentences(doc: &mut Doc) -> Result<()> {
    let choices = [python::strip(text(doc, "sentence1")?), python::strip(text(doc, "sentence2")?)].map(Value::from);
    let answer = super::template::field(doc, "answer")?;
    let number = python::str(answer).trim().parse::<i64>();
    let number =
        number.map_err(|_| Error::user(format!("`answer`: {} is not a whole number", python::repr(answer))))?;
    doc.insert("label".to_owned(), Value::from(number - 1));
    doc.insert("choices".to_owned(), Value::from(choices.to_vec()));
    Ok(())
}
