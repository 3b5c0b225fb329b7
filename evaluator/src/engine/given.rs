//! A model, in the form in which engines are given it.

use super::ScratchModel;
use merge_core::model::Mixture;

/// A model, in the form in which engines are given it.
#[derive(Debug)]
pub enum GivenModel {
    /// Its files, which vLLM and SGLang load.
    Files(ScratchModel),
    /// Scales of adapters that llama.cpp holds.
    Mixture(Mixture),
}

impl GivenModel {
    /// Its files, if they were written.
    pub fn files(&self) -> Option<&ScratchModel> {
        match self {
            Self::Files(files) => Some(files),
            Self::Mixture(_) => None,
        }
    }
}
