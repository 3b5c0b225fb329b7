//! The mark of a study: a file that identifies the study even if its store is damaged.

use crate::{
    error::{Error, Result},
    export::replace_file,
    file,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Name of the mark's file in the directory of the study's store.
const FILE: &str = "evomerge-study.json";

/// Identity of a study, written before anything else of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyMark {
    /// Version of evomerge that began the study.
    pub evomerge: String,
    /// Number of the form in which the study is stored.
    pub form: u32,
    /// Digests, in hexadecimal, of everything that must not change between two runs, by its name.
    pub identity: BTreeMap<String, String>,
    /// Text of the search file, as it was last run.
    pub file: String,
    /// Scope of the answer that was written, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerScope>,
}

/// Budget and tasks of an answer. An answer of smaller scope does not replace it by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerScope {
    /// Budget of the evolution that found the answer, in item evaluations.
    pub budget: u64,
    /// Tasks that the answer is reported on.
    pub reported: Vec<String>,
}

impl StudyMark {
    /// Reads the mark in a directory; `None` if there is none.
    ///
    /// Fails if it cannot be read, or if the study is stored in another version's form.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = path(dir);
        let bytes = match file::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        // A newer version may have other fields, so the form is read first.
        let Form { form, evomerge } = serde_json::from_slice(&bytes).map_err(|e| damaged(&path, &e))?;
        if form != super::identity::FORM {
            return Err(other_form(path.display(), &evomerge));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(&path, &e))
    }

    /// Notes in a directory's mark that an answer was written; does nothing if there is no mark.
    pub fn note(dir: &Path, answer: AnswerScope) -> Result<()> {
        match Self::read(dir)? {
            Some(mark) if mark.answer.as_ref() != Some(&answer) => Self { answer: Some(answer), ..mark }.write(dir),
            _ => Ok(()),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data with text for keys");
        replace_file(&path(dir), &(text + "\n"))
    }
}

#[derive(Deserialize)]
struct Form {
    form: u32,
    evomerge: String,
}

/// Error for a study that is stored in another form.
pub(super) fn other_form(place: impl std::fmt::Display, version: &str) -> Error {
    Error::user(format!(
        "{place}: this directory holds a study of evomerge {version}, which is stored in another format"
    ))
    .hint("go on with the version that began it, or choose another directory")
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn damaged(path: &Path, error: &serde_json::Error) -> Error {
    Error::user(format!("{}: the mark of the study is damaged: {error}", path.display()))
        .hint("delete this file if the study in this directory is yours: the next run of the search writes it again")
}
