//! A model as its tensors, whose names, types and shapes are known before any is read.

#[cfg(test)]
pub(crate) mod tests;

use crate::{
    error::{Error, Result},
    model::{
        Mixture,
        dtype::Dtype,
        elements::{Elements, whole},
    },
};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Every tensor of a model, in order of name.
pub type Index = BTreeMap<String, Meta>;

/// Type and shape of a tensor, known before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Stored type of each element.
    pub dtype: Dtype,
    /// Row-major extents, outermost first.
    pub shape: Vec<usize>,
}

impl Meta {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes.
    pub fn byte_len(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// A model, on disk ([`crate::checkpoint::Checkpoint`]) or not computed yet ([`crate::merge::Merge`]).
///
/// Export, evaluation and further merges are written once, against this trait. Laws: a tensor has
/// the length and the type that the index says, and reading it twice gives the same.
pub trait Weights: Send + Sync {
    /// Type and shape of every tensor, known before any is read.
    fn index(&self) -> &Index;
    /// A tensor, ready to be read in stretches; facts about the whole tensor (norms, thresholds) are computed first.
    ///
    /// Fails for a name that is not in the index, and for a merge that meets a value it cannot merge (NaN, infinity).
    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>>;
    /// The model's `config.json`.
    fn config(&self) -> &Config;
    /// A file that belongs to the model beside its weights and configuration, such as
    /// `tokenizer.json`; `None` if there is no file of that name.
    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// The model's place for messages: its directory, or the places of what it is made of.
    fn place(&self) -> String;

    /// The path through layers of other models that computes the same as this model, if there is one. A caller that
    /// runs the path needs none of this model's tensors. The results differ only by the rounding of folded weights.
    fn path(&self) -> Option<&LayerPath> {
        None
    }

    /// The model as a base plus scaled low-rank adapters.
    ///
    /// Fails, with the reason, for a model that is something else.
    fn mixture(&self) -> Result<Mixture> {
        Err(Mixture::refused("its tensors are made in another way"))
    }

    /// All of a tensor's bytes, little-endian and row-major.
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(whole(&*self.tensor(name)?)?.into_owned())
    }
}

/// A path through layers of models, each used as it is stored.
#[derive(Clone)]
pub struct LayerPath {
    /// Model with the embeddings, the final norm and the output head.
    pub outside: Arc<dyn Weights>,
    /// Factor of the embeddings.
    pub scale: f64,
    /// The layers, in the order in which the hidden state goes through them.
    pub hops: Vec<LayerHop>,
}

/// One hop of a path.
#[derive(Clone)]
pub struct LayerHop {
    /// Model that has the layer.
    pub source: Arc<dyn Weights>,
    /// Number of the layer in the names of its tensors.
    pub layer: usize,
    /// Factor of everything that the layer adds to the hidden state.
    pub gain: f64,
}

/// Refuses a model with an element that is NaN or infinite, and names the tensor. Reads every byte.
pub fn check_finite(weights: &dyn Weights) -> Result<()> {
    weights.index().par_iter().try_for_each(|(name, meta)| {
        if meta.dtype.all_finite(&whole(&*weights.tensor(name)?)?) {
            return Ok(());
        }
        Err(Error::user(format!("`{name}` has an element that is NaN or infinite"))
            .hint("the checkpoint is broken: download it again"))
    })
}

/// A model's `config.json`, kept whole and in order, so that unknown keys survive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(pub Map<String, Value>);

impl Config {
    /// A whole number, or `None` if the key is absent or null.
    ///
    /// Fails if the key holds something else.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// A number, or `None` if the key is absent or null. Fails if the key holds something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", Value::as_f64)
    }

    /// True or false, or `None` if the key is absent or null. Fails if the key holds something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }

    /// A text, or `None` if the key is absent or null. Fails if the key holds something else.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        self.get(key, "a text", |v| v.as_str().map(str::to_owned))
    }

    /// True if `tie_word_embeddings` makes the input embedding the output head, at the top or of the language model.
    pub fn tied(&self) -> Result<bool> {
        Ok(self.ties()?.contains(&true))
    }

    fn get<T>(&self, key: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(Error::user(format!("config.json: {key}: {value} is not {wanted}"))),
            },
        }
    }
}
