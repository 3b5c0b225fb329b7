//! A recipe says how to merge: mergekit's vocabulary, read strictly and refused with line, column and advice.

mod check;
mod place;
mod reader;
mod setting;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod yaml;

use std::{
    borrow::Cow,
    fmt, fs,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

pub(crate) use check::MethodInfo;
pub(crate) use place::Mistake;
pub use place::{At, Place};
pub(crate) use setting::Fit;
pub use setting::{Conditional, Curve, Setting};
pub(crate) use yaml::Node;

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    method::{Param, Scope, Value},
};

/// How to merge: models, a method and its parameters.
// `S` is what a parameter may be given: a setting, or in a template a hole as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Recipe", bound = "S: JsonSchema")]
pub struct Recipe<S = Setting> {
    /// The formula; `evomerge methods` lists them.
    pub merge_method: At<String>,
    /// The model that the others were trained from; the result takes its configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<At<String>>,
    /// What is merged.
    pub models: At<Vec<Model<S>>>,
    /// The method's parameters; those of a model have the last word.
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
    /// The file it came from, against which its paths are resolved.
    #[serde(skip)]
    pub file: PathBuf,
}

/// A model and what is particular to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[schemars(rename = "Model", bound = "S: JsonSchema")]
pub struct Model<S = Setting> {
    /// A directory with the model, relative to this file or to the current directory.
    pub model: At<String>,
    /// The method's parameters for this model.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters<S>,
}

/// Where methods that drop weights at random draw from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
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
}

/// Parameters by name, in the order they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<S>(Vec<(At<String>, At<S>)>);

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
            if let Some(search) = tree.take("search") {
                return Err(Mistake::new("this file is a search, not a recipe")
                    .hint(format!("`evomerge search {}` runs it", file.display()))
                    .at(search.place));
            }
            from_tree(&tree, file, methods)
        };
        read().map_err(|mistake: Mistake| mistake.into_error(file))
    }

    /// A parameter's value for a tensor at depth `t`: the model's own, else the recipe's, else the default; `None` if
    /// there is none. A parameter of the merge is never looked up at a model.
    pub fn value(&self, param: &Param, model: Option<usize>, tensor: &str, t: f64) -> Option<Value> {
        let own = model.filter(|_| param.scope == Scope::Model).map(|model| &self.models[model].parameters);
        let levels = own.into_iter().chain([&self.parameters]);
        levels
            .filter_map(|level| level.get(param.name))
            .find_map(|setting| setting.at(param.domain, tensor, t))
            .or(param.default)
    }
}

impl<S: Clone> Recipe<S> {
    /// The same recipe for another file: paths that lead somewhere from this one lead there from that one.
    ///
    /// Fails if a path leads nowhere, or the file's directory does not exist yet.
    pub fn moved_to(&self, file: &Path) -> Result<Self> {
        // Through symbolic links, so that `..` means the same to us and to whoever follows the path.
        let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::io("find", path, &e));
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let from = absolute(parent.unwrap_or(Path::new(".")))?;
        let relink = |reference: &At<String>| {
            let path = absolute(&resolve(&self.file, reference)?)?;
            let linked = pathdiff::diff_paths(&path, &from).unwrap_or(path);
            Result::Ok(At { value: linked.to_string_lossy().into_owned(), place: reference.place })
        };
        let mut moved = Self { file: file.to_owned(), ..self.clone() };
        for model in &mut moved.models.value {
            model.model = relink(&model.model)?;
        }
        moved.base_model = moved.base_model.as_ref().map(relink).transpose()?;
        Ok(moved)
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

impl<S> Recipe<S> {
    /// Whether this entry of `models` is the base model.
    pub fn is_base(&self, model: usize) -> bool {
        self.base_model.as_ref().is_some_and(|base| base.value == self.models[model].model.value)
    }

    /// Every parameter that is set, labelled as in `models[1].weight`: the models' in order, then the recipe's own.
    pub fn settings(&self) -> impl Iterator<Item = (String, &At<S>)> {
        let models = self.models.iter().enumerate().flat_map(|(index, model)| {
            model.parameters.iter().map(move |(key, value)| (format!("models[{index}].{}", key.value), value))
        });
        models.chain(self.parameters.iter().map(|(key, value)| (key.value.clone(), value)))
    }

    /// The same recipe with each setting replaced, in the order of [`Recipe::settings`].
    pub(crate) fn map<T>(&self, mut replace: impl FnMut(&S) -> T) -> Recipe<T> {
        let models = self
            .models
            .iter()
            .map(|model| Model { model: model.model.clone(), parameters: model.parameters.map(&mut replace) });
        Recipe {
            merge_method: self.merge_method.clone(),
            models: At { value: models.collect(), place: self.models.place },
            base_model: self.base_model.clone(),
            parameters: self.parameters.map(&mut replace),
            dtype: self.dtype,
            out_dtype: self.out_dtype,
            random: self.random.clone(),
            file: self.file.clone(),
        }
    }
}

impl<S> FromIterator<(&'static str, S)> for Parameters<S> {
    fn from_iter<I: IntoIterator<Item = (&'static str, S)>>(entries: I) -> Self {
        let placed = |(name, value): (&str, S)| (At::nowhere(name.to_owned()), At::nowhere(value));
        Self(entries.into_iter().map(placed).collect())
    }
}

impl<S> Default for Parameters<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S> Parameters<S> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a parameter was given.
    pub fn get(&self, name: &str) -> Option<&At<S>> {
        self.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// Names and what they were given, in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = &(At<String>, At<S>)> {
        self.0.iter()
    }

    fn map<T>(&self, mut replace: impl FnMut(&S) -> T) -> Parameters<T> {
        let replaced = self.iter().map(|(key, old)| (key.clone(), At { value: replace(old), place: old.place }));
        Parameters(replaced.collect())
    }
}

impl<S: Serialize> Serialize for Parameters<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> std::result::Result<Z::Ok, Z::Error> {
        serializer.collect_map(self.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Parameters<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ParametersVisitor(PhantomData))
    }
}

struct ParametersVisitor<S>(PhantomData<S>);

impl<'de, S: Deserialize<'de>> de::Visitor<'de> for ParametersVisitor<S> {
    type Value = Parameters<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block of parameters")
    }

    /// `parameters:` with all its lines commented out.
    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(Parameters::default())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parameters(entries))
    }
}

impl<S: JsonSchema> JsonSchema for Parameters<S> {
    fn schema_name() -> Cow<'static, str> {
        "Parameters".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let setting = generator.subschema_for::<S>();
        json_schema!({ "type": ["object", "null"], "additionalProperties": setting })
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

/// Where a path written in a file leads: relative to that file, else to the current directory.
pub fn resolve(file: &Path, reference: &At<String>) -> Result<PathBuf> {
    let named = Path::new(reference.as_str());
    let beside = file.parent().unwrap_or(Path::new("")).join(named);
    let found = [&*beside, named].into_iter().find(|path| path.exists());
    if let Some(path) = found {
        return Ok(path.to_path_buf());
    }
    let places = if beside == named {
        format!("{} does not exist", named.display())
    } else {
        format!("neither {} nor {} exists", beside.display(), named.display())
    };
    Err(Mistake::new(places)
        .hint("paths are relative to the file they stand in, else to the current directory; download models first")
        .at(reference.place)
        .into_error(file))
}
