//! The mark of a study: a small file beside its store that says which study it is, also when the store is damaged.

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

/// Its name in the directory of a study's store.
const FILE: &str = "evomerge-study.json";

/// What a study is, written before anything else of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyMark {
    /// The version that began it.
    pub evomerge: String,
    /// The form in which it is kept.
    pub form: u32,
    /// Digests, in hexadecimal, of what may not change between two runs of it, by what it is.
    pub identity: BTreeMap<String, String>,
    /// The search file, as it was last run.
    pub file: String,
    /// What is known of the answer that is there, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerScope>,
}

/// What an answer was worth: one of less does not take its place by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerScope {
    /// Most item evaluations of the evolution that found it.
    pub budget: u64,
    /// The tasks it is reported on.
    pub reported: Vec<String>,
}

impl StudyMark {
    /// The mark in a directory; `None` if there is none.
    ///
    /// Fails if it cannot be read, or if the study is kept in another version's form.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = path(dir);
        let bytes = match file::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        // A newer version may say more, or otherwise: what it is kept in is read first.
        let Form { form, evomerge } = serde_json::from_slice(&bytes).map_err(|e| damaged(&path, &e))?;
        if form != super::identity::FORM {
            return Err(other_form(path.display(), &evomerge));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(&path, &e))
    }

    /// Notes in the mark of a directory, which has one, that an answer was written.
    pub fn note(dir: &Path, answer: AnswerScope) -> Result<()> {
        match Self::read(dir)? {
            Some(mark) if mark.answer.as_ref() != Some(&answer) => Self { answer: Some(answer), ..mark }.write(dir),
            _ => Ok(()),
        }
    }

    /// Puts it into a directory.
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

/// The error of a study that is kept in another form.
pub(super) fn other_form(place: impl std::fmt::Display, version: &str) -> Error {
    Error::user(format!("{place}: this directory holds a study of evomerge {version}, which is kept in another form"))
        .hint("go on with the version that began it, or choose another directory")
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn damaged(path: &Path, error: &serde_json::Error) -> Error {
    Error::user(format!("{}: the mark of the study is damaged: {error}", path.display()))
        .hint("delete this file if the study beside it is yours: it is written again when the search goes on")
}
