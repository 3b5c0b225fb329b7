//! A block of parameters, and the value that nested blocks give a tensor.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::setting::Setting;
use crate::{
    method::{Param, Value},
    yaml::{At, Map, map},
};

/// Parameters by name, in the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<S>(Vec<(At<String>, At<S>)>);

/// The value of a parameter for a tensor at depth `t`: from the first of `levels`, innermost first,
/// that gives one, else the default; `None` if there is none.
///
/// For a parameter of the merge, leave out the model's level.
pub fn lookup<'a>(
    levels: impl IntoIterator<Item = &'a Parameters<Setting>>,
    param: &Param,
    tensor: &str,
    t: f64,
) -> Option<Value> {
    let mut settings = levels.into_iter().filter_map(|level| level.get(param.name));
    settings.find_map(|setting| setting.at(param.domain, tensor, t)).or(param.default)
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
    /// True if there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value given to a parameter.
    pub fn get(&self, name: &str) -> Option<&At<S>> {
        self.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// Names and values, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &(At<String>, At<S>)> {
        self.0.iter()
    }

    pub(super) fn map<T>(&self, mut replace: impl FnMut(&S) -> T) -> Parameters<T> {
        let replaced = self.iter().map(|(key, old)| (key.clone(), At { value: replace(old), place: old.place }));
        Parameters(replaced.collect())
    }
}

impl<S: Serialize> Serialize for Parameters<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        map::serialize(&self.0, serializer)
    }
}

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Parameters<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        map::entries(deserializer).map(Self)
    }
}

impl<S: JsonSchema> JsonSchema for Parameters<S> {
    fn schema_name() -> Cow<'static, str> {
        "Parameters".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Map::<S>::json_schema(generator)
    }
}
