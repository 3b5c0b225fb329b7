//! Holes as they are written in a template, in place of a parameter's value.

use super::Setting;
use crate::{method::Value, yaml::At};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A parameter's value in a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// A setting, the same in every candidate.
    Set(Setting),
    /// A hole, filled by the search.
    Hole(Hole),
}

/// A parameter that the search decides.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hole {
    /// The smallest and the largest value; or `[false, true]`.
    pub search: At<Bounds>,
    /// Value at which the search begins; default: the middle. For `[false, true]`: the probability of `true` at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<At<f64>>,
    /// `log` searches orders of magnitude: 0.01 to 0.1 is as far as 0.1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<At<Scale>>,
    /// True if only whole numbers are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integer: Option<At<bool>>,
    /// `layer`: a value for each layer, one for the input embeddings, one for the final norm and output head.
    /// `component`: one each for attention, MLP, norms, embeddings and head. `[layer, component]`: one per pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<At<Per>>,
    /// Number of groups of neighbouring layers with a value each; embeddings go with the first, the head with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub groups: Option<At<usize>>,
    /// Number of values, spread evenly from the first layer to the last and joined by straight
    /// lines; embeddings go with the first, the head with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub knots: Option<At<usize>>,
    /// Parts of tensor names. Each gets a value for the tensors whose name contains it, and all others share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub filters: Option<At<Vec<String>>>,
}

/// The values that a hole may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// The smallest and the largest number.
    Numbers([f64; 2]),
    /// False or true.
    Flags,
}

/// Measure of the distance between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Their difference.
    Linear,
    /// Their ratio.
    Log,
}

/// Parts of a model that get values of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Per {
    /// True if each layer gets one.
    pub layer: bool,
    /// True if attention, MLP and norms get one each.
    pub component: bool,
}

/// A kind of part that can have a value of its own.
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

    /// YAML 1.1 reads `1e-3` as text, so numbers are parsed from text too.
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
