//! Blocks whose keys are names, in the order of the file and with the place of each key.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref, slice};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::At;

/// A block of named entries, in the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Map<T>(pub(crate) Vec<(At<String>, T)>);

impl<T> Deref for Map<T> {
    type Target = Vec<(At<String>, T)>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'m, T> IntoIterator for &'m Map<T> {
    type Item = &'m (At<String>, T);
    type IntoIter = slice::Iter<'m, (At<String>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for MapVisitor<T> {
    type Value = Map<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block of keys")
    }

    /// Reads a block whose lines are all commented out as an empty one.
    fn visit_unit<E>(self) -> Result<Map<T>, E> {
        Ok(Map::default())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Map<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Map(entries))
    }
}

impl<T: Serialize> Serialize for Map<T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serialize(&self.0, serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Map<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": ["object", "null"], "additionalProperties": value })
    }
}

/// Reads the entries of a block, for `deserialize_with`.
pub(crate) fn entries<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<(At<String>, T)>, D::Error> {
    Map::deserialize(deserializer).map(|map| map.0)
}

/// Writes the entries of a block, for `serialize_with`.
pub(crate) fn serialize<Z: Serializer, T: Serialize>(
    entries: &[(At<String>, T)],
    serializer: Z,
) -> Result<Z::Ok, Z::Error> {
    serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
}
