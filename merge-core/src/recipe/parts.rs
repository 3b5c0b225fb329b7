//! What a recipe is made of beside its parameters: models, slices of their layers, and modules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    parameters::Parameters,
    reference::{self, WrittenReference},
    setting::Setting,
};
use crate::yaml::{At, Map, map};

/// A model and what is particular to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Model", bound = "S: JsonSchema")]
pub struct Model<S = Setting> {
    /// A directory or a file with the model, relative to this file or to the current directory; or `org/name[@revision]` on
    /// the hub. `model+adapter` applies a PEFT adapter first.
    #[serde(deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub model: At<String>,
    /// The method's parameters for this model.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// Some layers of the result, which stand upon those of the slices before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Slice", bound = "S: JsonSchema")]
pub struct Slice<S = Setting> {
    /// The layers that are merged: as many of each model, each model once.
    #[schemars(length(min = 1))]
    pub sources: At<Vec<Source<S>>>,
    /// The base in this slice, if it is another than the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub base_model: Option<At<String>>,
    /// The method in this slice. mergekit ignores it, and so does a merge without `fixes: [slice_method]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_method: Option<At<String>>,
    /// The method's parameters in this slice; those of a source have the last word.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
    /// Has no effect: mergekit accepts it and never uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_weight: Option<At<f64>>,
}

/// A model's part of a slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Source", bound = "S: JsonSchema")]
pub struct Source<S = Setting> {
    /// The model, named as under `models`.
    #[serde(deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub model: At<String>,
    /// `[start, end]`: from layer `start`, counted from 0, up to but not including layer `end`. An empty last slice chooses
    /// the models that the output head comes from.
    pub layer_range: At<[usize; 2]>,
    /// The method's parameters for this model in this slice.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// A part of models with several, such as a vision tower beside a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Module", bound = "S: JsonSchema", extend("oneOf" = [{"required": ["models"]}, {"required": ["slices"]}]))]
pub struct Module<S = Setting> {
    /// What is merged, layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_nothing")]
    #[schemars(length(min = 1))]
    pub models: At<Vec<Model<S>>>,
    /// What is stacked.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_nothing")]
    #[schemars(length(min = 1))]
    pub slices: At<Vec<Slice<S>>>,
    /// The method's parameters in this module.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// Where methods that drop weights at random draw from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomSettings {
    /// How numbers are drawn.
    #[serde(default)]
    pub generator: Generator,
    /// The same seed draws the same numbers.
    pub seed: u64,
}

/// How random numbers are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// Each element from `(seed, model, tensor, index)`, whatever the order of work.
    #[default]
    Counter,
    /// As mergekit draws with `--random-seed`: one element after the other, tensors by name.
    Mergekit,
}

/// A mended meaning, where mergekit's is a known defect that results depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// The final norm and the output head are at the end of gradients, not at their beginning.
    TailGradient,
    /// A base that is not listed is not merged as one more model by methods that merge whole models.
    ListedOnly,
    /// A slice's own `merge_method` is what it is merged by.
    SliceMethod,
}

/// The vocabulary of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSettings {
    /// Whose it is: `union`, all tokens of all models; `base`, the base model's, or else the first model's; or a model.
    #[serde(default = "union", deserialize_with = "reference::text")]
    #[schemars(with = "WrittenReference")]
    pub source: At<String>,
    /// Rows are added to the embedding until their number is a multiple of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pad_to_multiple_of: Option<At<usize>>,
    /// Tokens whose embedding comes from elsewhere, and tokens that are added.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "map::serialize",
        deserialize_with = "map::entries"
    )]
    #[schemars(with = "Map<Token>")]
    pub tokens: Vec<(At<String>, Token)>,
}

/// Where a token's embedding comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What models without the token have in its place; unless said, the base's embedding or else the mean of those who
    /// have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<At<TokenSource>>,
    /// Models with the token have the source's in its place too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Where an embedding comes from.
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
    /// Only a source.
    pub(super) fn of(source: At<String>) -> Self {
        Self { source, pad_to_multiple_of: None, tokens: Vec::new() }
    }
}

impl TokenSource {
    /// The model that it names.
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

/// A key without a value is a key that is not there.
pub(super) fn or_nothing<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
