//! Reads a parameter's value and tells its kind by its shape: a value, a gradient, a conditional list or a hole.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _, Unexpected, value::MapAccessDeserializer},
};

use super::setting::{Conditional, Curve, Setting};
use crate::{
    method::Value,
    recipe::{Bounds, Hole, Per, Scale, Slot},
    yaml::{At, tree::flag},
};

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SlotVisitor {
            expecting: "a number, true or false, a list of numbers, a list of `{filter, value}`, or a hole `{search: [least, most]}`",
        })
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a number, true or false, a list of numbers, or a list of `{filter, value}`";
        match deserializer.deserialize_any(SlotVisitor { expecting })? {
            Slot::Set(setting) => Ok(setting),
            Slot::Hole(_) => Err(D::Error::custom(
                "this is a hole, and only a search fills holes\nto merge, write a value; to search, add a `search` block, and give the file to `evomerge search`",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Curve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer
            .deserialize_any(SlotVisitor { expecting: "a number, true or false, or a list of numbers" })?
        {
            Slot::Set(Setting::Always(curve)) => Ok(curve),
            _ => Err(D::Error::custom(
                "expected a number, true or false, or a list of numbers, found a block of keys\nconditions do not nest, and a hole takes the whole parameter",
            )),
        }
    }
}

struct SlotVisitor {
    expecting: &'static str,
}

impl<'de> de::Visitor<'de> for SlotVisitor {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Slot, E> {
        Ok(Slot::Set(Setting::Always(Curve(vec![Value::Flag(value)]))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Slot, E> {
        Ok(Slot::Set(Setting::number(value as f64)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Slot, E> {
        Ok(Slot::Set(Setting::number(value as f64)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Slot, E> {
        Ok(Slot::Set(Setting::number(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Slot, E> {
        match scalar(text) {
            Some(value) => Ok(Slot::Set(Setting::Always(Curve(vec![value])))),
            None => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Slot, A::Error> {
        let (mut values, mut entries) = (Vec::new(), Vec::new());
        while let Some(element) = seq.next_element()? {
            match element {
                Element::Value(value) => values.push(value),
                Element::Entry(entry) => entries.push(entry),
            }
        }
        match (values.is_empty(), entries.is_empty()) {
            // In mergekit, an empty list leaves the value to the levels above.
            (_, true) => Ok(Slot::Set(Setting::Always(Curve(values)))),
            (true, false) => Ok(Slot::Set(Setting::Conditional(entries))),
            (false, false) => Err(A::Error::custom(
                "this list mixes values and conditions\nwrite the last value as `- value: …`, which matches every tensor",
            )),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Slot, A::Error> {
        let block = ParameterBlock::deserialize(MapAccessDeserializer::new(map))?;
        match block {
            ParameterBlock {
                search: Some(search),
                filter: None,
                value: None,
                init,
                scale,
                integer,
                per,
                groups,
                knots,
                filters,
            } => Ok(Slot::Hole(Hole { search, init, scale, integer, per, groups, knots, filters })),
            ParameterBlock {
                value: Some(value),
                search: None,
                filter,
                init: None,
                scale: None,
                integer: None,
                per: None,
                groups: None,
                knots: None,
                filters: None,
            } => Ok(Slot::Set(Setting::Conditional(vec![Conditional { filter, value }]))),
            ParameterBlock { search: None, value: None, filter: None, .. } => Err(A::Error::missing_field("search")),
            ParameterBlock { search: None, value: None, .. } => Err(A::Error::missing_field("value")),
            _ => Err(A::Error::custom(
                "this is half a hole and half a condition\nwrite `{search: [least, most]}` or `{filter: …, value: …}`",
            )),
        }
    }
}

/// A number or flag in a text. Recipes are written for YAML 1.1, which reads `1e-5` as text and `yes` as true.
fn scalar(text: &str) -> Option<Value> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.map(Value::Number).or_else(|| flag(text).map(Value::Flag))
}

/// All keys that a parameter's block may have; the keys that are present tell its kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParameterBlock {
    search: Option<At<Bounds>>,
    init: Option<At<f64>>,
    scale: Option<At<Scale>>,
    integer: Option<At<bool>>,
    per: Option<At<Per>>,
    groups: Option<At<usize>>,
    knots: Option<At<usize>>,
    filters: Option<At<Vec<String>>>,
    filter: Option<String>,
    value: Option<Curve>,
}

/// An element of a parameter's list.
enum Element {
    Value(Value),
    Entry(Conditional),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> de::Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true or false, or `{filter, value}`")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Element, E> {
        Ok(Element::Value(Value::Flag(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Element, E> {
        Ok(Element::Value(Value::Number(value as f64)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Element, E> {
        Ok(Element::Value(Value::Number(value as f64)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Element, E> {
        Ok(Element::Value(Value::Number(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
        scalar(text).map(Element::Value).ok_or_else(|| E::invalid_type(Unexpected::Str(text), &self))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        Conditional::deserialize(MapAccessDeserializer::new(map)).map(Element::Entry)
    }
}
