//! A model as a base plus scaled low-rank adapters: what an engine that holds both computes without being given weights.

use crate::error::Error;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A base plus scaled low-rank adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Path of the base.
    pub base: PathBuf,
    /// The adapters, each once, in order of path.
    pub adapters: Vec<MixedAdapter>,
}

/// An adapter of a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedAdapter {
    /// Directory of the adapter, in the layout of PEFT.
    pub dir: PathBuf,
    /// Factor of the whole adapter; 1 for the adapter as it was trained.
    pub scale: f64,
    /// Factor of `B·A`, times the rank: the same for all its modules. It is `lora_alpha`, except for rsLoRA.
    pub alpha: f64,
    /// `lora_alpha` as its settings state it, which a converter takes over.
    pub stated: f64,
    /// Names of the base's tensors that it changes.
    pub tensors: Arc<BTreeSet<String>>,
}

impl Mixture {
    /// A base without an adapter.
    pub(crate) fn base(path: &Path) -> Self {
        Self { base: path.to_owned(), adapters: Vec::new() }
    }

    /// The error for a model that is no mixture.
    pub(crate) fn refused(why: &str) -> Error {
        Error::user(format!("this model is not a base with scaled LoRA adapters: {why}")).hint(
            "an engine that holds adapters can only scale them: name models as `base+adapter`, merge them by `linear` or \
             `task_arithmetic`, and give each one weight for all layers",
        )
    }
}
