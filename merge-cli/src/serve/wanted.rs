//! What somebody hands in, and what must be true of it before anybody looks at it.

use super::{
    proof::{self, Proof},
    work,
};
use merge_core::{
    error::{Error, Result},
    export,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What somebody hands in: a file, a text and where to save it, or words.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Wanted")]
pub(crate) struct Wanted {
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
    pub(crate) proof: Option<Proof>,
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
    /// What makes handing it in twice the same as once.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) key: Option<String>,
    /// Search with this seed instead of the file's.
    pub(crate) seed: Option<u64>,
    /// Spend so many item evaluations instead of the file's.
    #[schemars(range(min = 1))]
    pub(crate) budget: Option<u64>,
}

impl Wanted {
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

/// A recipe that is proved before it gets its name.
pub(super) struct Draft {
    /// Where it is read, by a name that no listing shows.
    pub(super) beside: String,
    /// Where it is to stand.
    pub(super) path: String,
}

impl Draft {
    /// Puts a text beside where it is to stand, so that what it names is found from there.
    pub(super) fn write(path: &Path, text: &str) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = path.with_file_name(format!(".{name}.draft-{}.yaml", number()));
        export::replace_file(&beside, text)?;
        let text_of = |path: &Path| path.to_string_lossy().into_owned();
        Ok(Self { beside: text_of(&beside), path: text_of(path) })
    }

    /// An error of it, with the name that it is to have.
    pub(super) fn as_named(&self, error: &Error) -> Error {
        let named = |text: &str| text.replace(&self.beside, &self.path);
        let new = Error::user(named(&error.to_string()));
        error.advice().map_or_else(|| new.clone(), |hint| new.clone().hint(named(hint)))
    }

    /// Takes its name from it: nobody wants it after all.
    pub(super) fn take_back(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Gives it its name, if nothing has that yet.
    pub(super) fn save(&self) -> Result<()> {
        let path = PathBuf::from(&self.path);
        // A hard link never replaces what has come there meanwhile.
        fs::hard_link(&self.beside, &path).map_err(|e| Error::io("create", &path, &e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside);
    }
}

/// A number that no other call of this process gets.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
