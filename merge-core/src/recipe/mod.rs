//! A recipe says how to merge: mergekit's vocabulary, read strictly and refused with line, column and advice.
//!
//! # mergekit's recipes
//!
//! Recipes for mergekit 0.1.5 run unchanged, and give what its users get, to the rounding of the stored type. Where that is a
//! known defect, it is kept if a recipe's result depends on it, and the mended form is one key away; what only ever spoils a result is
//! refused.
//!
//! | mergekit | here | mended by |
//! |---|---|---|
//! | a gradient's first value, not its last, is taken for the final norm and the head (they are at `t = 0`) | the same | `fixes: [tail_gradient]`: they are at `t = 1` |
//! | a slice's own `merge_method` is ignored | the same, and a note says so | `fixes: [slice_method]` |
//! | a `base_model` that is not listed is merged as one more model, by `linear` and `karcher` too | the same | `fixes: [listed_only]` |
//! | DARE and DELLA rescale so that the L1 norm stays what it was, not by `1/p` as the papers have it | the same | `exact_rescale: true` |
//! | `int8_mask`, `embed_slerp`, `density` of `task_arithmetic` and `residual_weight` change nothing | the same: accepted, and a note says so | |
//! | random masks differ in every run without `--random-seed` | drawn by counter from `random.seed`, 0 unless said | `random: {generator: mergekit, seed: N}` draws mergekit's own masks, bit for bit |
//! | with `dtype: bfloat16`, weights and every intermediate result are rounded to it | arithmetic is in `f32` from the weights as stored, rounded once | |
//! | a float64 merge is computed in float64 | in `f32` | |
//! | `arcee_fusion` samples a million elements for its quantiles | exact for any size | |
//! | equal magnitudes are kept arbitrarily | by lowest index | |
//! | without a `base_model`, configuration and tokenizer are a random input's | the first model's | |
//! | `tokenizer: {source: union}` numbers added tokens anew in every run | in the models' order, by ascending id | |
//! | unknown keys and parameters are ignored, also parameters of other methods | refused | |
//! | a reversed `layer_range` writes a model of three tensors | refused | |
//! | weights that sum to zero give NaN, NaN in a model spreads | refused | |
//! | tensors that its table of architectures does not list are dropped | every tensor is merged; a missing or an extra one is refused | |
//! | fp8 codes are cast without their scales | times their scales | |
//! | a tied and an untied head give a head that loaders ignore | refused | `tie_word_embeddings: true` or `false` |
//! | `layer_types` and other lists by layer stay the donor's when layers are stacked | stacked as the layers are | |
//! | what a configuration says of layers by number (`first_k_dense_replace`, `full_attention_interval`) stays when layers are stacked | kept where it is still so, rewritten where that is exact, else refused | |
//! | configurations are not compared | compared: what can never be right is refused, what may be meant is noted | |
//! | without a table of the architecture, every numbered stack is a module of its own | the layers are those that the configuration counts | `modules` takes parts of a model apart |
//! | models of other kinds are merged by a program of their own, without gradients | by the same recipes; gradients run over each numbered stack | |

mod check;
mod documents;
mod foreign;
mod hole;
mod parameters;
mod parts;
mod path;
mod reference;
mod setting;
mod shape;
mod spelled;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod walk;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};

pub(crate) use check::MethodInfo;
pub(crate) use foreign::refuse_foreign;
pub use hole::{Bounds, Hole, Per, Scale, Slot};
pub use parameters::{Parameters, lookup};
pub use parts::{
    Fix, Generator, Model, Module, RandomSettings, Slice, Source, Token, TokenName, TokenSource, TokenizerSettings,
};
pub use path::{Hop, PathForm};
pub use reference::{Location, Reference, locate, resolve};
pub(crate) use setting::DomainFit;
pub use setting::{Conditional, Curve, Setting};
pub(crate) use spelled::unify;

use self::reference::WrittenReference;
use crate::{
    error::Result,
    model::dtype::Dtype,
    yaml::{At, Map, Mistake, Node, read_text},
};

/// How to merge: models, a method and its parameters.
// `S` is what a parameter may be given: a setting, or in a template a hole as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de> + Clone"))]
#[schemars(
    rename = "Recipe",
    bound = "S: JsonSchema",
    extend("oneOf" = [{"required": ["models"]}, {"required": ["slices"]}, {"required": ["modules"]}, {"required": ["path"]}])
)]
pub struct Recipe<S = Setting> {
    /// What other documents of this file call the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<At<String>>,
    /// The formula; `evomerge methods` lists them.
    pub merge_method: At<String>,
    /// The model that the others were trained from; the result takes its configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub base_model: Option<At<String>>,
    /// What is merged, layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::or_nothing")]
    #[schemars(length(min = 1))]
    pub models: At<Vec<Model<S>>>,
    /// What is stacked: instead of `models`, layers of models, each slice upon the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::or_nothing")]
    #[schemars(length(min = 1))]
    pub slices: At<Vec<Slice<S>>>,
    /// For models of several parts, such as a vision tower beside a language model: what is merged in each of them, instead
    /// of `models`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::or_nothing")]
    #[schemars(extend("minProperties" = 1))]
    pub modules: At<Map<Module<S>>>,
    /// What the hidden state goes through, instead of `models`: layers in any order and any number of times. Embeddings, final
    /// norm and output head are the base model's, or else the first hop's.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "path::flat")]
    #[schemars(with = "Vec<path::PathPart<S>>", length(min = 1))]
    pub path: At<Vec<Hop<S>>>,
    /// How the result of a path is written; `plain` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_form: Option<At<PathForm>>,
    /// The method's parameters; those of a slice and of a model have the last word.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
    /// The type of the result, unless `out_dtype` says otherwise; weights are merged in `f32` as stored, and rounded once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<At<Dtype>>,
    /// The type of the result; without it `dtype`, or else the narrowest that holds the models' types exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_dtype: Option<At<Dtype>>,
    /// Where methods that drop weights at random draw from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomSettings>,
    /// An older form of `tokenizer`: only its source.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub tokenizer_source: Option<At<String>>,
    /// The vocabulary of the result, and the models' embeddings by it; without it the vocabularies must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<At<TokenizerSettings>>,
    /// How the result is to be prompted: `auto`, which is what most of the models have; `alpaca`, `chatml`, `exaone`, `llama3`
    /// or `mistral`; or a Jinja template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<At<String>>,
    /// Whether the output head of the result is its input embedding; only needed where the models differ in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie_word_embeddings: Option<At<bool>>,
    /// Mended meanings, where mergekit's are known defects that results depend on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<At<Fix>>,
    /// The file it came from, against which its paths are resolved.
    #[serde(skip)]
    pub file: PathBuf,
    /// The names of the other documents of that file, which are not paths.
    #[serde(skip)]
    pub siblings: Vec<String>,
}

impl Recipe {
    /// Reads a recipe from a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a recipe from the text of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        Self::parse_by(text, file, &MethodInfo::all())
    }

    /// Reads a recipe that may name these methods.
    pub(crate) fn parse_by(text: &str, file: &Path, methods: &[MethodInfo]) -> Result<Self> {
        let read = || {
            let mut tree = Node::parse(text)?;
            unify(std::slice::from_mut(&mut tree));
            from_recipe(tree, file, methods)
        };
        read().map_err(|mistake| mistake.seen_in(text).into_error(file))
    }
}

impl<S: Serialize> Recipe<S> {
    /// The recipe as YAML, which mergekit reads too; reading it again gives the same recipe, to the last bit of each number.
    #[expect(clippy::missing_panics_doc, reason = "keys are text and numbers are finite, so nothing refuses")]
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options).expect("keys are text and a string takes every write")
    }

    /// SHA-256 of the content: neither the file's path nor comments, places and the order of keys change it.
    ///
    /// Models are in it by the names the recipe gives them, not by their weights.
    #[expect(clippy::missing_panics_doc, reason = "keys are text and numbers are finite, so nothing refuses")]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut content = serde_json::to_value(self).expect("keys are text and numbers are finite");
        content.sort_all_objects();
        Sha256::digest(content.to_string()).into()
    }
}

/// Reads and checks a recipe or a template.
pub(crate) fn from_tree<S: de::DeserializeOwned + DomainFit>(
    tree: &Node,
    file: &Path,
    methods: &[MethodInfo],
) -> std::result::Result<Recipe<S>, Mistake> {
    let mut recipe = Recipe::deserialize(&foreign::settled(tree.clone(), methods)?)?;
    recipe.file = file.to_path_buf();
    check::check(&recipe, methods)?;
    Ok(recipe)
}

/// Reads and checks what must not be a search.
fn from_recipe(mut tree: Node, file: &Path, methods: &[MethodInfo]) -> std::result::Result<Recipe, Mistake> {
    if let Some(search) = tree.take("search") {
        return Err(Mistake::new("this file is a search, not a recipe")
            .hint(format!("`evomerge search {}` runs it", file.display()))
            .at(search.place));
    }
    refuse_foreign(&tree, file)?;
    from_tree(&tree, file, methods)
}
