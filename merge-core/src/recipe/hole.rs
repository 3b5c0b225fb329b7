//! Holes as they are written: what may stand where a parameter would.

use super::Setting;
use crate::{method::Value, yaml::At};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// What a template gives a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// What it is in every candidate.
    Set(Setting),
    /// What the search decides.
    Hole(Hole),
}

/// A parameter that the search decides.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hole {
    /// The least and the most it may be; or `[false, true]`.
    pub search: At<Bounds>,
    /// Where the search begins; the middle unless said. Of `[false, true]` it is how probable `true` is at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<At<f64>>,
    /// `log` searches orders of magnitude: as far from 0.01 to 0.1 as from 0.1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<At<Scale>>,
    /// Whether only whole numbers will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integer: Option<At<bool>>,
    /// `layer` searches a value for each layer, one for the input embeddings, and one for the final norm and output head;
    /// `component` one for attention, MLP and norms, and for embeddings and head; `[layer, component]` for each of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<At<Per>>,
    /// Searches a value for each of so many groups of neighbouring layers; embeddings go with the first, the head with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub groups: Option<At<usize>>,
    /// Searches so many values, evenly from the first layer to the last, and joins them by straight lines; embeddings go with
    /// the first, the head with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub knots: Option<At<usize>>,
    /// Searches a value for the tensors of each filter, a part of their names, and one for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub filters: Option<At<Vec<String>>>,
}

/// What a hole may be filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// The least and the most.
    Numbers([f64; 2]),
    /// Either.
    Flags,
}

/// How far apart values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// By their difference.
    Linear,
    /// By their ratio.
    Log,
}

/// What gets a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Per {
    /// Each layer.
    pub layer: bool,
    /// Attention, MLP and norms.
    pub component: bool,
}

/// A thing that can have a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum HolePart {
    /// Each layer.
    Layer,
    /// Attention, MLP and norms.
    Component,
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Set(setting) => setting.serialize(serializer),
            Self::Hole(hole) => hole.serialize(serializer),
        }
    }
}

impl JsonSchema for Slot {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Slot".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let setting = generator.subschema_for::<Setting>();
        let hole = generator.subschema_for::<Hole>();
        json_schema!({ "description": "A setting, or a hole for the search to fill.", "anyOf": [setting, hole] })
    }
}

impl Serialize for Bounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(numbers) => numbers.serialize(serializer),
            Self::Flags => [false, true].serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <[Bound; 2]>::deserialize(deserializer)? {
            [Bound(Value::Number(min)), Bound(Value::Number(max))] => Ok(Self::Numbers([min, max])),
            [Bound(Value::Flag(a)), Bound(Value::Flag(b))] if a != b => Ok(Self::Flags),
            _ => Err(de::Error::custom("expected two numbers, or false and true\nwrite [least, most]")),
        }
    }
}

/// One of two bounds.
struct Bound(Value);

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BoundVisitor).map(Self)
    }
}

struct BoundVisitor;

impl de::Visitor<'_> for BoundVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    /// YAML 1.1 reads `1e-3` as text.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.map(Value::Number).ok_or_else(|| E::invalid_type(de::Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Bounds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bounds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "items": { "type": ["number", "boolean"] }, "minItems": 2, "maxItems": 2,
        })
    }
}

impl Serialize for Per {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.layer, self.component) {
            (true, false) => HolePart::Layer.serialize(serializer),
            (false, _) => HolePart::Component.serialize(serializer),
            (true, true) => [HolePart::Layer, HolePart::Component].serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PerVisitor)
    }
}

struct PerVisitor;

impl<'de> de::Visitor<'de> for PerVisitor {
    type Value = Per;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`layer`, `component`, or a list of both")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Per, E> {
        let part = HolePart::deserialize(de::value::StrDeserializer::new(word))?;
        Ok(Per { layer: part == HolePart::Layer, component: part == HolePart::Component })
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Per, A::Error> {
        let mut per = Per { layer: false, component: false };
        while let Some(part) = seq.next_element()? {
            match part {
                HolePart::Layer => per.layer = true,
                HolePart::Component => per.component = true,
            }
        }
        if per.layer || per.component { Ok(per) } else { Err(de::Error::invalid_length(0, &self)) }
    }
}

impl JsonSchema for Per {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Per".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = generator.subschema_for::<HolePart>();
        json_schema!({ "anyOf": [part, { "type": "array", "items": part, "minItems": 1, "uniqueItems": true }] })
    }
}
