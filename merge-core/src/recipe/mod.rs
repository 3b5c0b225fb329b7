//! A recipe says how to merge: mergekit's vocabulary, read strictly and refused with line, column and advice.

mod check;
mod documents;
mod map;
mod parameters;
mod parts;
mod place;
mod reader;
mod reference;
mod setting;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod walk;
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};

pub(crate) use check::MethodInfo;
pub use map::Map;
pub use parameters::{Parameters, lookup};
pub use parts::{Fix, Generator, Model, Module, Random, Slice, Source, Token, TokenName, TokenSource, Tokenizer};
pub(crate) use place::Mistake;
pub use place::{At, Place};
pub use reference::{Location, Reference, locate, resolve};
pub(crate) use setting::Fit;
pub use setting::{Conditional, Curve, Setting};
pub(crate) use yaml::Node;

use self::reference::Written;
use crate::{
    dtype::Dtype,
    error::{Error, Result},
    method::{Param, Scope, Value},
};

/// How to merge: models, a method and its parameters.
// `S` is what a parameter may be given: a setting, or in a template a hole as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(
    rename = "Recipe",
    bound = "S: JsonSchema",
    extend("oneOf" = [{"required": ["models"]}, {"required": ["slices"]}, {"required": ["modules"]}])
)]
pub struct Recipe<S = Setting> {
    /// What other documents of this file call the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<At<String>>,
    /// The formula; `evomerge methods` lists them.
    pub merge_method: At<String>,
    /// The model that the others were trained from; the result takes its configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<Written>")]
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
    pub random: Option<Random>,
    /// An older form of `tokenizer`: only its source.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<Written>")]
    pub tokenizer_source: Option<At<String>>,
    /// The vocabulary of the result, and the models' embeddings by it; without it the vocabularies must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<At<Tokenizer>>,
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
        let read = || from_recipe(Node::parse(text)?, file, methods);
        read().map_err(|mistake| mistake.into_error(file))
    }

    /// A parameter's value for a tensor at depth `t`: the model's own, else the recipe's, else the default; `None` if
    /// there is none. A parameter of the merge is never looked up at a model.
    pub fn value(&self, param: &Param, model: Option<usize>, tensor: &str, t: f64) -> Option<Value> {
        let own = model.filter(|_| param.scope == Scope::Model).map(|model| &self.models[model].parameters);
        lookup(own.into_iter().chain([&self.parameters]), param, tensor, t)
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
pub(crate) fn from_tree<S: de::DeserializeOwned + Fit>(
    tree: &Node,
    file: &Path,
    methods: &[MethodInfo],
) -> std::result::Result<Recipe<S>, Mistake> {
    let mut recipe = Recipe::deserialize(tree)?;
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
    from_tree(&tree, file, methods)
}

/// The text of a file that people write.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| {
        let unread = Error::io("read", path, &error);
        if path.is_dir() { unread.hint("give the YAML file, not a directory") } else { unread }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(whole);
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        let place = Place { line: before.matches('\n').count() as u32 + 1, column: column as u32 };
        Mistake::new("this is not UTF-8 text").hint("save the file as UTF-8").at(place).into_error(path)
    })
}
