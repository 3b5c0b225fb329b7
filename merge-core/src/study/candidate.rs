//! A candidate: a recipe that is planned once, however often it is measured and scored.

use crate::{
    error::Result,
    merge::{Merge, sources::Sources},
    model::{Meta, Weights, layers::Layers},
    recipe::Recipe,
    search::Cost,
};
use std::sync::OnceLock;

/// A model to score: the merge of a recipe, or one of the sources as it is.
pub struct Candidate<'a> {
    /// Origin of the candidate.
    pub origin: Origin,
    sources: &'a Sources,
    /// Planned when it is first needed.
    merge: OnceLock<Result<Merge>>,
}

/// Origin of a candidate.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The merge of this recipe.
    Recipe(Box<Recipe>),
    /// The source of this name.
    Source(String),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) layers: usize,
    pub(super) parameters: usize,
}

impl<'a> Candidate<'a> {
    /// The merge of a recipe whose models are all among the sources.
    pub fn merged(recipe: Recipe, sources: &'a Sources) -> Self {
        Self { origin: Origin::Recipe(Box::new(recipe)), sources, merge: OnceLock::new() }
    }

    /// One of the sources.
    pub fn source(name: &str, sources: &'a Sources) -> Self {
        Self { origin: Origin::Source(name.to_owned()), sources, merge: OnceLock::new() }
    }

    /// The recipe; `None` for a source.
    pub fn recipe(&self) -> Option<&Recipe> {
        match &self.origin {
            Origin::Recipe(recipe) => Some(recipe),
            Origin::Source(_) => None,
        }
    }

    /// The model. Fails if its recipe cannot be merged.
    pub fn weights(&self) -> Result<&dyn Weights> {
        let recipe = match &self.origin {
            Origin::Source(name) => return Ok(&**self.sources.get(name)),
            Origin::Recipe(recipe) => recipe,
        };
        let merge = self.merge.get_or_init(|| Merge::plan(recipe, &self.sources.of(recipe)));
        merge.as_ref().map(|merge| merge as &dyn Weights).map_err(Clone::clone)
    }

    /// The first source, with its name: whatever cannot score it is broken, and tells nothing about a candidate.
    pub fn first_source(&self) -> Option<(&str, &dyn Weights)> {
        self.sources.iter().next().map(|(name, source)| (name, &**source as &dyn Weights))
    }

    /// Size of the model. Fails if its recipe cannot be merged.
    pub(super) fn size(&self) -> Result<Size> {
        self.weights().map(Size::of)
    }
}

impl Size {
    pub(super) fn of(model: &dyn Weights) -> Self {
        Self { layers: Layers::of(model).count, parameters: model.index().values().map(Meta::len).sum() }
    }

    /// Cost of a model of this size.
    pub(super) fn cost(self, what: Cost, tokens: impl FnOnce() -> f64) -> f64 {
        match what {
            Cost::Layers => self.layers as f64,
            Cost::Parameters => self.parameters as f64,
            Cost::Tokens => tokens(),
        }
    }
}
