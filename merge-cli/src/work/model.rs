//! Opens a model that the command line names: a checkpoint, or a recipe that is merged when read.

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

pub(crate) enum OpenedModel {
    /// A checkpoint on disk.
    Checkpoint(Checkpoint),
    /// The result of a recipe.
    Recipe {
        /// The planned merge.
        merge: Box<Merge>,
        /// The models that are merged.
        sources: Sources,
        /// Fingerprint of the recipe, including its earlier documents.
        content: Fingerprint,
    },
}

impl OpenedModel {
    /// Opens a directory, a file of tensors, a recipe, or else a model of this name on the hub.
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

    /// Names and paths of the models on disk.
    pub(crate) fn files(&self) -> Vec<(String, PathBuf)> {
        match self {
            Self::Checkpoint(checkpoint) => vec![(short(&checkpoint.place()), checkpoint.path().to_owned())],
            Self::Recipe { sources, .. } => {
                sources.files().map(|(name, path)| (name.to_owned(), path.to_owned())).collect()
            }
        }
    }

    /// SHA-256 by file name, for each model that is read: the checkpoint, or the recipe's sources.
    pub(crate) fn sha256(&self) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        match self {
            Self::Checkpoint(checkpoint) => Ok(vec![(checkpoint.place(), checkpoint.sha256()?)]),
            Self::Recipe { sources, .. } => sources.sha256(),
        }
    }
}
