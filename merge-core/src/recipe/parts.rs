//! Parts of a recipe other than parameters: models, slices of their layers, and modules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    parameters::Parameters,
    reference::{self, WrittenReference},
    setting::Setting,
};
use crate::yaml::{At, Map, map};

/// A model and the parameters that apply to it alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Model", bound = "S: JsonSchema")]
pub struct Model<S = Setting> {
    /// Path of a directory or file, relative to this file or to the current directory; or
    /// `org/name[@revision]` on the hub. `model+adapter` applies a PEFT adapter first.
    #[serde(deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub model: At<String>,
    /// The method's parameters for this model.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// Some layers of the result, stacked upon those of the slices before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Slice", bound = "S: JsonSchema")]
pub struct Slice<S = Setting> {
    /// The layers to merge: the same number from each model, and each model once.
    #[schemars(length(min = 1))]
    pub sources: At<Vec<Source<S>>>,
    /// Base model in this slice, if it differs from the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub base_model: Option<At<String>>,
    /// Method for this slice. mergekit ignores it, and so does a merge without `fixes: [slice_method]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_method: Option<At<String>>,
    /// Parameters of the method in this slice; those of a source take precedence.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
    /// Has no effect: mergekit accepts it and never uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_weight: Option<At<f64>>,
}

/// A model and the layers of it that a slice merges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Source", bound = "S: JsonSchema")]
pub struct Source<S = Setting> {
    /// The model, named as under `models`.
    #[serde(deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub model: At<String>,
    /// `[start, end]`: from layer `start`, counted from 0, up to but not including layer `end`. An
    /// empty last slice chooses the models that the output head comes from.
    pub layer_range: At<[usize; 2]>,
    /// Parameters of the method for this model in this slice.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// A part of a model that has several, such as a vision tower beside a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Module", bound = "S: JsonSchema", extend("oneOf" = [{"required": ["models"]}, {"required": ["slices"]}]))]
pub struct Module<S = Setting> {
    /// The models to merge, layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    #[schemars(length(min = 1))]
    pub models: At<Vec<Model<S>>>,
    /// Layers of models, each slice stacked upon the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    #[schemars(length(min = 1))]
    pub slices: At<Vec<Slice<S>>>,
    /// Parameters of the method in this module.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// Random numbers for methods that drop weights at random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomSettings {
    /// Generator of the numbers; default: `counter`.
    #[serde(default)]
    pub generator: Generator,
    /// Seed; the same seed draws the same numbers.
    pub seed: u64,
}

/// Generator of random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// Each element is drawn from `(seed, model, tensor, index)`, in any order of work.
    #[default]
    Counter,
    /// Drawn as mergekit does with `--random-seed`: one element after the other, tensors by name.
    Mergekit,
}

/// A correction of a known defect of mergekit that results depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// The final norm and the output head take a gradient's last value, not its first.
    TailGradient,
    /// Methods that merge whole models do not merge an unlisted base as one more model.
    ListedOnly,
    /// A slice is merged by its own `merge_method`.
    SliceMethod,
}

/// The vocabulary of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSettings {
    /// Source of the tokens: `union`, all models; `base`, the base model or else the first one; or a model.
    #[serde(default = "union", deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub source: At<String>,
    /// The embedding is padded with rows to a multiple of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pad_to_multiple_of: Option<At<usize>>,
    /// Tokens whose embedding comes from elsewhere, and tokens to add.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "map::serialize",
        deserialize_with = "map::entries"
    )]
    #[schemars(with = "Map<Token>")]
    pub tokens: Vec<(At<String>, Token)>,
}

/// Source of a token's embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Embedding for models without the token; default: the base model's, or else the mean over the
    /// models that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<At<TokenSource>>,
    /// If true, models that have the token get the source's embedding too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// An embedding given to a token.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// A model's embedding of the token.
    Model(String),
    /// Zeros: `{kind: zero}`.
    Zero,
    /// Another token's embedding in a model: `{kind: model_token, model, token}`, or with `token_id`.
    Token {
        /// The model.
        model: String,
        /// The token.
        token: TokenName,
    },
}

/// A token of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenName {
    /// By its row in the embedding.
    Id(usize),
    /// By its text.
    Text(String),
}

impl TokenizerSettings {
    /// Settings with a source and nothing else.
    pub(super) fn of(source: At<String>) -> Self {
        Self { source, pad_to_multiple_of: None, tokens: Vec::new() }
    }
}

impl TokenSource {
    /// The model that the source names.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Model(model) | Self::Token { model, .. } => Some(model),
            Self::Zero => None,
        }
    }
}

fn union() -> At<String> {
    At::nowhere("union".to_owned())
}

/// Reads a key without a value as an absent key.
pub(super) fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
