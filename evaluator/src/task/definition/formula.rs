//! The value of a key for a document: a template, a field's name, a constant, or the name of a function.

use super::{DataFiles, Several};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt};

/// Key under which the YAML reader puts a `!function` tag.
const FUNCTION: &str = "!function";

/// The value of a key for a document, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::task) enum Formula {
    /// A Jinja template, or the name of a field.
    Text(String),
    /// The index of a choice.
    Whole(i64),
    /// The same list for all documents.
    List(Vec<Value>),
    /// The values of this block, in its order.
    Block(Map<String, Value>),
    /// `!function file.name`.
    Function(String),
}

impl Formula {
    /// The formula as JSON, with functions as YAML writes them.
    pub(in crate::task) fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Whole(number) => Value::from(*number),
            Self::List(items) => Value::from(items.clone()),
            Self::Block(fields) => Value::from(fields.clone()),
            Self::Function(name) => Value::from(format!("{FUNCTION} {name}")),
        }
    }
}

impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormulaVisitor)
    }
}

impl JsonSchema for Formula {
    fn schema_name() -> Cow<'static, str> {
        "Formula".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A Jinja template, a field's name, a constant, or `!function file.name`.",
            "type": ["string", "integer", "array", "object"],
        })
    }
}

struct FormulaVisitor;

impl<'de> de::Visitor<'de> for FormulaVisitor {
    type Value = Formula;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a template, a field's name, a constant or a `!function`")
    }

    fn visit_str<E>(self, text: &str) -> Result<Formula, E> {
        Ok(Formula::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Formula, E> {
        Ok(Formula::Whole(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Formula, E> {
        i64::try_from(number).map(Formula::Whole).map_err(|_| E::custom(format!("{number} is too large")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Formula, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Formula::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Formula, A::Error> {
        let fields: Map<String, Value> = Map::deserialize(MapAccessDeserializer::new(map))?;
        match fields.iter().next() {
            Some((key, Value::String(name))) if key == FUNCTION => Ok(Formula::Function(name.clone())),
            Some((tag, _)) if tag.starts_with('!') => {
                Err(de::Error::custom(format!("the tag `{tag}` means nothing here\nonly `{FUNCTION}` does")))
            }
            _ => Ok(Formula::Block(fields)),
        }
    }
}

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor).map(Self)
    }
}

struct SeveralVisitor;

impl<'de> de::Visitor<'de> for SeveralVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for DataFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataFilesVisitor)
    }
}

struct DataFilesVisitor;

impl<'de> de::Visitor<'de> for DataFilesVisitor {
    type Value = DataFiles;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file, a list of files, or such for each split")
    }

    fn visit_str<E>(self, name: &str) -> Result<DataFiles, E> {
        Ok(DataFiles(vec![("train".to_owned(), vec![name.to_owned()])]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<DataFiles, A::Error> {
        Ok(DataFiles(vec![("train".to_owned(), SeveralVisitor.visit_seq(seq)?)]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DataFiles, A::Error> {
        let mut splits = Vec::new();
        while let Some((split, files)) = map.next_entry::<String, Several>()? {
            splits.push((split, files.0));
        }
        Ok(DataFiles(splits))
    }
}
