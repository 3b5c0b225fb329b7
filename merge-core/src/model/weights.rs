//! A model as its tensors: known by name, type and shape before any of them is read.

#[cfg(test)]
pub(crate) mod tests;

use crate::{
    error::{Error, Result},
    model::{
        dtype::Dtype,
        elements::{Elements, whole},
    },
};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Every tensor of a model, in order of name.
pub type Index = BTreeMap<String, Meta>;

/// What is known of a tensor before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// How each element is stored.
    pub dtype: Dtype,
    /// Row-major extents, outermost first.
    pub shape: Vec<usize>,
}

impl Meta {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no element.
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
/// Export, evaluation and merging again are written once, against this. Laws: a tensor has the length and the type that
/// the index says, and reading it twice gives the same.
pub trait Weights: Send + Sync {
    /// All tensors, known before any is read.
    fn index(&self) -> &Index;
    /// A tensor, looked at whole (its norms, its thresholds) and ready to be read in stretches.
    ///
    /// Fails for a name that is not in the index, and for a merge that meets a value it cannot merge (NaN, infinity).
    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>>;
    /// `config.json` as data.
    fn config(&self) -> &Config;
    /// A file that belongs to the model beside its weights and configuration, such as `tokenizer.json`; `None` if it has
    /// none of that name.
    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Where it is, for messages: a directory, or what it is made of.
    fn place(&self) -> String;

    /// What this model computes as a path through layers of other models, if it does: whoever runs a path directly need
    /// not have a tensor made. But for the rounding of folded weights, both are the same.
    fn path(&self) -> Option<&LayerPath> {
        None
    }

    /// All of a tensor's bytes, little-endian and row-major.
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(whole(&*self.tensor(name)?)?.into_owned())
    }
}

/// A path through layers of models, each as it is stored.
#[derive(Clone)]
pub struct LayerPath {
    /// Whose embeddings, final norm and output head are its.
    pub outside: Arc<dyn Weights>,
    /// What the embeddings are multiplied by.
    pub scale: f64,
    /// The layers, in the order in which the hidden state goes through them.
    pub hops: Vec<LayerHop>,
}

/// A hop of a path.
#[derive(Clone)]
pub struct LayerHop {
    /// The model that the layer is of.
    pub source: Arc<dyn Weights>,
    /// The layer's number in its tensors' names.
    pub layer: usize,
    /// What all that the layer adds to the hidden state is multiplied by.
    pub gain: f64,
}

/// Refuses a model with a value that is no number, naming the tensor. Reads every byte.
pub fn check_finite(weights: &dyn Weights) -> Result<()> {
    weights.index().par_iter().try_for_each(|(name, meta)| {
        if meta.dtype.all_finite(&whole(&*weights.tensor(name)?)?) {
            return Ok(());
        }
        Err(Error::user(format!("`{name}` has an element that is NaN or infinite"))
            .hint("the checkpoint is broken: download it again"))
    })
}

/// A model's `config.json`, kept whole and in order, so that what we don't know survives.
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

    /// Whether the output head is the input embedding (`tie_word_embeddings`), at its top or of the language model.
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
