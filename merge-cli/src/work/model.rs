//! A model as it is named on the command line: a checkpoint, or a recipe that is merged as far as somebody looks.

use crate::{draw::screen, hub::Hub};
use merge_core::{
    checkpoint::{Checkpoint, holds_tensors},
    error::{Error, Result, meant},
    merge::{
        Merge,
        sources::{Sources, short},
    },
    model::Weights,
    recipe::{Location, Recipe, Reference, locate},
    store::Fingerprint,
    yaml::{At, is_there},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// An opened model.
pub(crate) enum OpenedModel {
    /// What is on disk.
    Checkpoint(Checkpoint),
    /// What a recipe makes, and of what.
    Recipe {
        /// What is merged.
        merge: Box<Merge>,
        /// What it is made of.
        sources: Sources,
        /// Stands for the recipe, the documents it builds on included.
        content: Fingerprint,
    },
}

impl OpenedModel {
    /// Opens a directory, a file of tensors or a recipe; or else what the hub calls so.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() || holds_tensors(path) {
            return Self::checkpoint(path);
        }
        if !is_there(path) {
            let near = |error: Error| meant(path).into_iter().fold(error, Error::hint);
            let none = || near(Error::user(format!("{}: there is no such model or recipe", path.display())));
            let name = At::nowhere(path.to_string_lossy().into_owned());
            return match locate(Path::new(""), &name).map_err(|_| none())? {
                Reference { model: Location::Hub { repo, revision }, lora: None } => {
                    Self::checkpoint(&Hub::from_env().fetch(&repo, revision.as_deref()).map_err(near)?)
                }
                _ => Err(none().hint("a model with an adapter is merged by a recipe of one model, with `passthrough`")),
            };
        }
        let documents = Recipe::read_all(path)?;
        let (recipe, earlier) = documents.split_last().expect("a file has a document");
        let sources = Sources::open(recipe, earlier, &Hub::from_env())?;
        let content = documents.iter().fold(Sha256::new(), |hash, one| hash.chain_update(one.fingerprint())).finalize();
        Ok(Self::Recipe { merge: Box::new(Merge::plan(recipe, &sources)?), sources, content: content.into() })
    }

    fn checkpoint(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path).map_err(|e| {
            let model = path.join("model");
            let is_search = path.join("study").is_dir() && model.is_dir();
            if is_search {
                e.hint(format!("this is a search's directory: its model is {}", model.display()))
            } else {
                e
            }
        })?;
        for note in checkpoint.notes() {
            screen::say(&format!("note: {note}"));
        }
        Ok(Self::Checkpoint(checkpoint))
    }

    pub(crate) fn weights(&self) -> &dyn Weights {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint,
            Self::Recipe { merge, .. } => &**merge,
        }
    }

    /// What is read from disk, by what the models are called.
    pub(crate) fn files(&self) -> Vec<(String, PathBuf)> {
        match self {
            Self::Checkpoint(checkpoint) => vec![(short(&checkpoint.place()), checkpoint.path().to_owned())],
            Self::Recipe { sources, .. } => {
                sources.files().map(|(name, path)| (name.to_owned(), path.to_owned())).collect()
            }
        }
    }

    /// The SHA-256 of every file that is read, by file name, by what the model is called: itself, or a recipe's models.
    pub(crate) fn sha256(&self) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        match self {
            Self::Checkpoint(checkpoint) => Ok(vec![(checkpoint.place(), checkpoint.sha256()?)]),
            Self::Recipe { sources, .. } => sources.sha256(),
        }
    }
}
