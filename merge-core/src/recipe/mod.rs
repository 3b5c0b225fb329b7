//! Recipes: mergekit's vocabulary, read strictly. Errors name line and column, and give advice.
//!
//! # mergekit's recipes
//!
//! Recipes for mergekit 0.1.5 run unchanged and give the same result, up to the rounding of the
//! stored type. A known defect of mergekit is kept if a recipe's result depends on it, and one key
//! selects the corrected form. A defect that only spoils results is refused.
//!
//! | mergekit | here | corrected by |
//! |---|---|---|
//! | a gradient's first value, not its last, is taken for the final norm and the head (they are at `t = 0`) | the same | `fixes: [tail_gradient]`: they are at `t = 1` |
//! | a slice's own `merge_method` is ignored | the same, and a note says so | `fixes: [slice_method]` |
//! | a `base_model` that is not listed is merged as one more model, also by `linear` and `karcher` | the same | `fixes: [listed_only]` |
//! | DARE and DELLA rescale to keep the L1 norm, not by `1/p` as in the papers | the same | `exact_rescale: true` |
//! | `int8_mask`, `embed_slerp`, `density` of `task_arithmetic` and `residual_weight` have no effect | the same: accepted, and a note says so | |
//! | random masks differ in every run without `--random-seed` | drawn by counter from `random.seed`, default: 0 | `random: {generator: mergekit, seed: N}` draws mergekit's own masks, bit for bit |
//! | with `dtype: bfloat16`, weights and every intermediate result are rounded to it | arithmetic is in `f32` on the weights as stored; the result is rounded once | |
//! | a float64 merge is computed in float64 | in `f32` | |
//! | `arcee_fusion` samples a million elements for its quantiles | exact for any size | |
//! | among equal magnitudes, the kept ones are arbitrary | the lowest index first | |
//! | without a `base_model`, configuration and tokenizer are those of a random input | those of the first model | |
//! | `tokenizer: {source: union}` numbers added tokens differently in every run | in the order of the models, then by ascending id | |
//! | unknown keys and parameters are ignored, and parameters of other methods too | refused | |
//! | a reversed `layer_range` writes a model of three tensors | refused | |
//! | weights that sum to zero give NaN; a NaN in a model spreads | refused | |
//! | tensors outside its table of architectures are dropped | every tensor is merged; a missing or an extra one is refused | |
//! | fp8 codes are cast without their scales | multiplied by their scales | |
//! | merging a tied and an untied head gives a head that loaders ignore | refused | `tie_word_embeddings: true` or `false` |
//! | when layers are stacked, `layer_types` and other lists by layer stay the donor's | stacked like the layers | |
//! | when layers are stacked, configuration keys that number layers (`first_k_dense_replace`, `full_attention_interval`) stay | kept if still true, rewritten if that is exact, else refused | |
//! | configurations are not compared | compared: impossible combinations are refused, doubtful ones noted | |
//! | without a table of the architecture, every numbered stack is a module of its own | the layers are those that the configuration counts | `modules` merges parts of a model separately |
//! | other kinds of models are merged by a separate program, without gradients | by the same recipes; gradients run over each numbered stack | |

mod check;
mod documents;
mod foreign;
mod hole;
mod model_names;
mod parameters;
mod parts;
mod path;
mod reference;
mod setting;
mod shape;
#[cfg(test)]
mod tests;
mod token;
mod walk;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};

pub(crate) use foreign::refuse_foreign;
pub use hole::{Bounds, Hole, Per, Scale, Slot};
pub(crate) use model_names::{parse_unified, unify};
pub use parameters::{Parameters, lookup};
pub use parts::{
    Fix, Generator, Model, Module, RandomSettings, Slice, Source, Token, TokenName, TokenSource, TokenizerSettings,
};
pub use path::{Hop, PathForm};
pub use reference::{Location, Reference, locate, resolve};
pub(crate) use setting::CheckDomain;
pub use setting::{Conditional, Curve, Setting};

use self::reference::WrittenReference;
use crate::{
    error::Result,
    model::dtype::Dtype,
    yaml::{At, Map, Mistake, Node, read_text},
};

/// A recipe: the models to merge, the method and its parameters.
// `S` is the type of a parameter's value: a setting, or in a template a setting or a hole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de> + Clone"))]
#[schemars(
    rename = "Recipe",
    bound = "S: JsonSchema",
    extend("oneOf" = [{"required": ["models"]}, {"required": ["slices"]}, {"required": ["modules"]}, {"required": ["path"]}])
)]
pub struct Recipe<S = Setting> {
    /// Name by which other documents of this file refer to the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<At<String>>,
    /// The merge method; `evomerge methods` lists them.
    pub merge_method: At<String>,
    /// The model that the others were trained from. The result takes its configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub base_model: Option<At<String>>,
    /// The models to merge, layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::null_as_default")]
    #[schemars(length(min = 1))]
    pub models: At<Vec<Model<S>>>,
    /// Instead of `models`: layers of models, each slice stacked upon the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::null_as_default")]
    #[schemars(length(min = 1))]
    pub slices: At<Vec<Slice<S>>>,
    /// Instead of `models`: for models of several parts, such as a vision tower beside a language
    /// model, what to merge in each part.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "parts::null_as_default")]
    #[schemars(extend("minProperties" = 1))]
    pub modules: At<Map<Module<S>>>,
    /// Instead of `models`: the layers that the hidden state passes through, in any order and any number of times.
    /// Embeddings, final norm and output head come from the base model, or else from the first hop's model.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "path::deserialize_flat")]
    #[schemars(with = "Vec<path::PathPart<S>>", length(min = 1))]
    pub path: At<Vec<Hop<S>>>,
    /// Form in which the result of a path is written; default: `plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_form: Option<At<PathForm>>,
    /// Parameters of the method; those of a slice or of a model take precedence.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
    /// Element type of the result, unless `out_dtype` is set. Weights are merged in `f32` and rounded once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<At<Dtype>>,
    /// Element type of the result; default: `dtype`, or else the narrowest that holds the models' types exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_dtype: Option<At<Dtype>>,
    /// Random numbers for methods that drop weights at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomSettings>,
    /// Older form of `tokenizer`, which gives only its source.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<WrittenReference>")]
    pub tokenizer_source: Option<At<String>>,
    /// Vocabulary of the result, and the embeddings for it. Without it, the models' vocabularies must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<At<TokenizerSettings>>,
    /// Chat template of the result: `auto`, the one that most of the models have; `alpaca`,
    /// `chatml`, `exaone`, `llama3` or `mistral`; or a Jinja template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<At<String>>,
    /// True if the output head of the result is its input embedding; needed only if the models differ in this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie_word_embeddings: Option<At<bool>>,
    /// Corrections of mergekit's known defects that results depend on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<At<Fix>>,
    /// File that the recipe was read from, against which its paths are resolved.
    #[serde(skip)]
    pub file: PathBuf,
    /// Names of the documents of that file; they are not paths.
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
        let read = parse_unified(text).and_then(|tree| from_recipe(tree, file));
        read.map_err(|mistake| mistake.seen_in(text).into_error(file))
    }
}

impl<S: Serialize> Recipe<S> {
    /// The recipe as YAML, which mergekit reads too. Reading it again gives the same recipe, to the last bit.
    #[expect(clippy::missing_panics_doc, reason = "keys are text and numbers are finite, so nothing refuses")]
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options).expect("keys are text and a string takes every write")
    }

    /// SHA-256 of the content. The file's path, comments, places and the order of keys do not change it.
    ///
    /// Models count by the names that the recipe gives them, not by their weights.
    #[expect(clippy::missing_panics_doc, reason = "keys are text and numbers are finite, so nothing refuses")]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut content = serde_json::to_value(self).expect("keys are text and numbers are finite");
        content.sort_all_objects();
        Sha256::digest(content.to_string()).into()
    }
}

/// Reads and checks a recipe or a template.
pub(crate) fn from_tree<S: de::DeserializeOwned + CheckDomain>(
    tree: &Node,
    file: &Path,
) -> std::result::Result<Recipe<S>, Mistake> {
    let mut recipe = Recipe::deserialize(&foreign::move_parameters_without_effect(tree.clone())?)?;
    recipe.file = file.to_path_buf();
    check::check(&recipe)?;
    Ok(recipe)
}

/// Reads and checks a recipe. Refuses a search.
fn from_recipe(mut tree: Node, file: &Path) -> std::result::Result<Recipe, Mistake> {
    if let Some(search) = tree.take("search") {
        return Err(Mistake::new("this file is a search, not a recipe")
            .hint(format!("`evomerge search {}` runs it", file.display()))
            .at(search.place));
    }
    refuse_foreign(&tree, file)?;
    from_tree(&tree, file)
}
