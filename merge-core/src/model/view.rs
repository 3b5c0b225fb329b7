//! A view of a model: without some tensors, under other names, or with one of them twice.

use super::{Config, Elements, Index, LayerPath, Weights};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// A view of a model. Nothing is read or computed before it is asked for.
pub(crate) struct WeightsView {
    model: Arc<dyn Weights>,
    index: Index,
    /// Names of the tensors in the model, by their names here.
    stored: BTreeMap<String, String>,
    /// Configuration that replaces the model's own.
    config: Option<Config>,
}

impl WeightsView {
    /// A view with these tensors: their names here, and their names in the model.
    ///
    /// # Panics
    /// If the model does not have one of them.
    pub(crate) fn new(model: Arc<dyn Weights>, stored: BTreeMap<String, String>) -> Self {
        let index = stored.iter().map(|(name, stored)| (name.clone(), model.index()[stored].clone())).collect();
        Self { model, index, stored, config: None }
    }

    /// A view without the tensors that `is_left_out` accepts.
    pub(crate) fn without(model: Arc<dyn Weights>, is_left_out: impl Fn(&str) -> bool) -> Self {
        let shown = model.index().keys().filter(|name| !is_left_out(name)).map(|name| (name.clone(), name.clone()));
        let stored = shown.collect();
        Self::new(model, stored)
    }

    /// The same view with another configuration.
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
        // With a tensor missing or another configuration, the model is no longer what the path computes.
        let is_whole = self.config.is_none() && self.index.len() == self.model.index().len();
        if is_whole { self.model.path() } else { None }
    }
}
