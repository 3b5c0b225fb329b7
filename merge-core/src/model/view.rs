//! A model of which other tensors are shown than it stores: without some, by other names, or one of them twice.

use super::{Config, Elements, Index, LayerPath, Weights};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Nothing is read or computed before it is asked for.
pub(crate) struct WeightsView {
    model: Arc<dyn Weights>,
    index: Index,
    /// What each of its tensors is called in the model.
    stored: BTreeMap<String, String>,
    /// What stands for the model's own.
    config: Option<Config>,
}

impl WeightsView {
    /// With these tensors: what each is called here, and what in the model.
    ///
    /// # Panics
    /// If the model does not have one of them.
    pub(crate) fn new(model: Arc<dyn Weights>, stored: BTreeMap<String, String>) -> Self {
        let index = stored.iter().map(|(name, stored)| (name.clone(), model.index()[stored].clone())).collect();
        Self { model, index, stored, config: None }
    }

    /// Without those whose names are left out.
    pub(crate) fn without(model: Arc<dyn Weights>, is_left_out: impl Fn(&str) -> bool) -> Self {
        let shown = model.index().keys().filter(|name| !is_left_out(name)).map(|name| (name.clone(), name.clone()));
        let stored = shown.collect();
        Self::new(model, stored)
    }

    /// The same with another configuration.
    pub(crate) fn with_config(self, config: Config) -> Self {
        Self { config: Some(config), ..self }
    }
}

impl Weights for WeightsView {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        match self.stored.get(name) {
            Some(stored) => self.model.tensor(stored),
            None => Err(Error::user(format!("{}: there is no tensor `{name}`", self.place()))),
        }
    }

    fn config(&self) -> &Config {
        self.config.as_ref().unwrap_or_else(|| self.model.config())
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.model.sidecar(name)
    }

    fn place(&self) -> String {
        self.model.place()
    }

    fn path(&self) -> Option<&LayerPath> {
        // One that lacks a tensor, or says something else of itself, is no longer what the path computes.
        let is_whole = self.config.is_none() && self.index.len() == self.model.index().len();
        if is_whole { self.model.path() } else { None }
    }
}
