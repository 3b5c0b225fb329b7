//! Number of items that score a generation, and their division among its candidates.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::value::MapAccessDeserializer};

use crate::yaml::At;

/// Number of items of a task that score a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// Number in the first generation.
    pub from: usize,
    /// Largest number.
    pub to: usize,
}

impl Default for Items {
    fn default() -> Self {
        Self { from: 60, to: 60 }
    }
}

impl Serialize for Items {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.from == self.to {
            return serializer.serialize_u64(self.from as u64);
        }
        GrowingItems { from: self.from, to: self.to }.serialize(serializer)
    }
}

impl Items {
    /// The number after `level` steps of growth, each by half.
    pub fn at(self, level: u32) -> usize {
        let grown = self.from as f64 * 1.5_f64.powi(level.min(1000) as i32);
        if grown >= self.to as f64 { self.to } else { grown.round() as usize }
    }
}

/// Number of rungs of a generation. Each rung but the last leaves the worse half of its candidates behind.
///
/// Successive rejects (Audibert, Bubeck, Munos 2010) in their synchronised, paired form
/// (<https://arxiv.org/abs/2606.07726>): candidates are compared only on the same items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Racing {
    /// Number of rungs; 1 is no race.
    pub rungs: u32,
}

impl Default for Racing {
    fn default() -> Self {
        Self { rungs: 1 }
    }
}

impl Racing {
    /// The rungs of a generation with `items` for each of `candidates`: for each rung the number of candidates, and the
    /// number of items that each has answered at its end. The total is the same as without a race, but for rounding.
    pub fn plan(self, candidates: usize, items: usize) -> Vec<(usize, usize)> {
        let share = 1.0 + f64::from(self.rungs - 1) / 2.0;
        let rung = |number: u32| {
            let running = candidates.div_ceil(1 << number);
            (running, (items as f64 / share * 2.0_f64.powi(number as i32)).round().max(1.0) as usize)
        };
        (0..self.rungs).map(rung).collect()
    }
}

/// Scores candidates on a few items that stand for many. The items are chosen once and weighted by a calibration, as in
/// MERGE³ ([arXiv 2502.10436](https://arxiv.org/abs/2502.10436)); the fitness is an estimate (gmp-IRT). The items'
/// parameters are fitted once, to the study's own scores. Growing fresh items did better: see `study::irt`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// Number of search items of each task, drawn at random, that its `items` stand for; default: all.
    #[schemars(range(min = 2))]
    pub of: Option<At<usize>>,
    /// Number of candidates of the first generation that are scored on all of these items, beside
    /// the merged models; default: 8. The budget pays for it.
    #[serde(default = "default_calibration")]
    pub calibration: At<usize>,
}

fn default_calibration() -> At<usize> {
    At::nowhere(8)
}

/// Largest number of rungs: with more, the first rung would have hardly an item.
const MOST_RUNGS: u64 = 6;

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

pub(super) struct ItemsVisitor;

/// The long form of [`Items`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrowingItems {
    /// Number of items in the first generation.
    #[schemars(range(min = 1))]
    from: usize,
    /// Largest number of items.
    to: usize,
}

impl<'de> de::Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or `{from: 30, to: 240}`")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Items, E> {
        Ok(Items { from: value as usize, to: value as usize })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Items, A::Error> {
        let GrowingItems { from, to } = GrowingItems::deserialize(MapAccessDeserializer::new(map))?;
        if from == 0 || from > to {
            return Err(de::Error::custom(format!(
                "the number of items cannot grow from {from} to {to}\nwrite a `from` of at least 1, and a `to` that is not less"
            )));
        }
        Ok(Items { from, to })
    }
}

impl JsonSchema for Items {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Items".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let growing = generator.subschema_for::<GrowingItems>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, growing] })
    }
}

impl<'de> Deserialize<'de> for Racing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RacingVisitor)
    }
}

struct RacingVisitor;

impl de::Visitor<'_> for RacingVisitor {
    type Value = Racing;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, or the number of rungs")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Racing, E> {
        Ok(Racing { rungs: if value { 3 } else { 1 } })
    }

    fn visit_u64<E: de::Error>(self, rungs: u64) -> Result<Racing, E> {
        if (1..=MOST_RUNGS).contains(&rungs) {
            return Ok(Racing { rungs: rungs as u32 });
        }
        Err(E::custom(format!("{rungs} is not between 1 and {MOST_RUNGS}")))
    }
}

impl JsonSchema for Racing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Racing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "integer", "minimum": 1, "maximum": MOST_RUNGS }] })
    }
}
