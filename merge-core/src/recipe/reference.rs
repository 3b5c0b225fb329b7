//! References to models: a path or a name on the hub, with an optional revision and adapter.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _, value::MapAccessDeserializer},
};

use crate::{
    error::Result,
    file::nearest,
    yaml::{At, Mistake, first_there, is_there},
};

/// A model and the adapter that is applied to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The model.
    pub model: Location,
    /// A PEFT adapter, in `model+adapter`.
    pub lora: Option<Location>,
}

/// Location of a model or an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory or a file that exists.
    Path(PathBuf),
    /// A repository on the hub.
    Hub {
        /// `org/name`.
        repo: String,
        /// A branch, a tag or a commit; default: the main branch.
        revision: Option<String>,
    },
}

/// Finds a model that a file names: `path[+adapter]`, `org/name[@revision]` or `hf://org/name[@revision]`.
///
/// A name that exists as a path, beside the file or else in the current directory, is always that path. Fails, with the
/// place in the file, if the name neither exists nor can be on the hub.
pub fn locate(file: &Path, reference: &At<String>) -> Result<Reference> {
    find(file, reference).map_err(|mistake| mistake.at(reference.place).into_error(file))
}

/// Resolves a path written in a file: relative to that file, else to the current directory.
///
/// If it does not exist, the error's hint suggests a similar path, or else ends with `names`, a
/// text about other names.
pub fn resolve(file: &Path, reference: &At<String>, names: &str) -> Result<PathBuf> {
    existing(file, reference).ok_or_else(|| missing(file, reference, names).at(reference.place).into_error(file))
}

fn find(file: &Path, text: &str) -> std::result::Result<Reference, Mistake> {
    if let Some(path) = existing(file, text) {
        return Ok(Reference { model: Location::Path(path), lora: None });
    }
    let parts: Vec<&str> = text.split('+').collect();
    match parts[..] {
        [model] => Ok(Reference { model: location(file, model)?, lora: None }),
        [model, lora] => Ok(Reference { model: location(file, model)?, lora: Some(location(file, lora)?) }),
        _ => Err(Mistake::new(format!("`{text}` has more than one `+`"))
            .hint("write `model+adapter`; a document of its own adds one adapter to the result of another")),
    }
}

fn location(file: &Path, text: &str) -> std::result::Result<Location, Mistake> {
    if let Some(name) = text.strip_prefix("hf://") {
        let what = format!("`{text}` does not name a model of the hub");
        return hub(name).ok_or_else(|| Mistake::new(what).hint("write `hf://org/name` or `hf://org/name@revision`"));
    }
    if let Some(path) = existing(file, text) {
        return Ok(Location::Path(path));
    }
    if text.matches('@').count() > 1 {
        let what = format!("`{text}` has more than one `@`");
        return Err(Mistake::new(what).hint("write `org/name@revision`"));
    }
    if let Some((path, revision)) = text.split_once('@')
        && existing(file, path).is_some()
    {
        let what = format!("`{path}` is a local path, which has no revision `{revision}`");
        return Err(Mistake::new(what).hint(format!("remove the revision, or write `hf://{text}`")));
    }
    hub(text).ok_or_else(|| missing(file, text, "models of the hub are named as in `org/name`"))
}

/// Parses `org/name` or `org/name@revision`.
fn hub(text: &str) -> Option<Location> {
    let (repo, revision) = match text.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (text, None),
    };
    let (org, name) = repo.split_once('/')?;
    let is_name = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    let is_revision = |revision: &str| !revision.is_empty() && !revision.contains(['@', ' ']);
    (is_name(org) && is_name(name) && revision.is_none_or(is_revision))
        .then(|| Location::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
}

/// The path beside the file, else in the current directory, if it exists.
fn existing(file: &Path, named: &str) -> Option<PathBuf> {
    if named.is_empty() { None } else { first_there([beside(file, named), PathBuf::from(named)]) }
}

fn beside(file: &Path, named: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(named)
}

fn missing(file: &Path, named: &str, names: &str) -> Mistake {
    let beside = beside(file, named);
    let near = [beside.clone(), named.into()].iter().filter_map(|path| nearest(path)).find(|near| is_there(near));
    let written = near.as_ref().map(|near| near.strip_prefix(self::beside(file, "")).unwrap_or(near));
    let rule = "paths are relative to the file they stand in, else to the current directory";
    let hint = written.map_or_else(|| format!("{rule}; {names}"), |near| format!("did you mean `{}`?", near.display()));
    let mistake = Mistake::new(if named.is_empty() {
        "a name is empty".to_owned()
    } else if beside == Path::new(named) {
        format!("{named} does not exist")
    } else {
        format!("neither {} nor {named} exists", beside.display())
    });
    mistake.hint(hint)
}

/// A reference that was read: text, or mergekit's block turned into that text.
pub(super) struct WrittenReference(pub(super) String);

/// Reads a reference, for `deserialize_with`.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<At<String>, D::Error> {
    let At { value: WrittenReference(value), place } = At::deserialize(deserializer)?;
    Ok(At { value, place })
}

/// Reads a reference that may be absent, for `deserialize_with`.
pub(super) fn text_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<At<String>>, D::Error> {
    let written = Option::<At<WrittenReference>>::deserialize(deserializer)?;
    Ok(written.map(|At { value: WrittenReference(value), place }| At { value, place }))
}

impl<'de> Deserialize<'de> for WrittenReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> de::Visitor<'de> for WrittenVisitor {
    type Value = WrittenReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<WrittenReference, E> {
        if text.is_empty() {
            return Err(E::custom("a name is empty\nwrite a path, or `org/name` on the hub"));
        }
        Ok(WrittenReference(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> std::result::Result<WrittenReference, A::Error> {
        let ReferenceForm { model, lora, path, revision, .. } =
            ReferenceForm::deserialize(MapAccessDeserializer::new(map))?;
        match (model, path) {
            (Some(model), None) if revision.is_none() => joined(model.0, '+', lora.map(|lora| lora.0)),
            (None, Some(path)) if lora.is_none() => joined(path, '@', revision),
            (None, None) => Err(A::Error::missing_field("model")),
            _ => Err(A::Error::custom(
                "this block names a model in two ways\nwrite `{path: …, revision: …}`, or `{model: …, lora: …}`",
            )),
        }
        .map(WrittenReference)
    }
}

/// The keys of mergekit's `{model, lora, override_architecture}`, and of `{path, revision}` for either model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceForm {
    model: Option<Box<WrittenReference>>,
    lora: Option<Box<WrittenReference>>,
    path: Option<String>,
    revision: Option<String>,
    #[serde(default, rename = "override_architecture")]
    _override_architecture: OverrideArchitecture,
}

fn joined<E: de::Error>(first: String, mark: char, second: Option<String>) -> std::result::Result<String, E> {
    let Some(second) = second else { return Ok(first) };
    // A second mark would be misread when the text is read again; with an adapter, both halves may have a revision.
    if first.contains('+') || second.contains('+') || (mark == '@' && (first.contains('@') || second.contains('@'))) {
        return Err(E::custom(format!(
            "`{first}{mark}{second}` has `+` or `@` twice\nlink to the directory under a name without them"
        )));
    }
    Ok(format!("{first}{mark}{second}"))
}

/// mergekit's `override_architecture`, accepted only without a value.
#[derive(Default)]
struct OverrideArchitecture;

impl<'de> Deserialize<'de> for OverrideArchitecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(OverrideArchitectureVisitor)
    }
}

struct OverrideArchitectureVisitor;

impl de::Visitor<'_> for OverrideArchitectureVisitor {
    type Value = OverrideArchitecture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_unit<E>(self) -> std::result::Result<OverrideArchitecture, E> {
        Ok(OverrideArchitecture)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<OverrideArchitecture, E> {
        Err(E::custom("it is not needed, as tensors are matched by name\nremove the key"))
    }
}

impl JsonSchema for WrittenReference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let path = json_schema!({
            "type": "object",
            "properties": { "path": { "type": "string" }, "revision": { "type": ["string", "null"] } },
            "required": ["path"],
            "additionalProperties": false,
        });
        let part = json_schema!({ "anyOf": [{ "type": "string" }, path] });
        let lora = json_schema!({ "anyOf": [{ "type": ["string", "null"] }, path] });
        json_schema!({
            "description": "A model: a path, or `org/name[@revision]` on the hub; `model+adapter` applies a PEFT adapter.",
            "anyOf": [
                { "type": "string", "minLength": 1 },
                path,
                {
                    "type": "object",
                    "properties": { "model": part, "lora": lora, "override_architecture": { "type": "null" } },
                    "required": ["model"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
