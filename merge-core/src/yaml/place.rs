//! Places in a file, and mistakes at them.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::unseen;
use crate::{error::Error, words::did_you_mean};

/// A line and a column, both from 1 and in characters; zeros for a value that was never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Place {
    /// `file:line:column`, to which editors jump; only the file for a value that was never written.
    pub fn of(self, file: &Path) -> String {
        let file = file.display();
        if self.line == 0 { file.to_string() } else { format!("{file}:{}:{}", self.line, self.column) }
    }
}

/// A value and the place where it was written. The place is not content: it is neither compared nor serialised.
#[derive(Clone, Copy, Debug, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Place where it was written.
    pub place: Place,
}

/// Name of a newtype, with which [`At`] asks [`Node`](super::Node)'s deserialiser for the place beside the value.
pub(super) const AT: &str = "merge_core::yaml::At";

impl<T> At<T> {
    /// A value that was not read from a file.
    pub fn nowhere(value: T) -> Self {
        Self { value, place: Place::default() }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(AT, AtVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    /// Reads line, column and value from a [`Node`](super::Node).
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<At<T>, A::Error> {
        let line = seq.next_element()?.unwrap_or_default();
        let column = seq.next_element()?.unwrap_or_default();
        let value = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(2, &self))?;
        Ok(At { value, place: Place { line, column } })
    }

    /// Reads a value from any other format, which has no places.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<At<T>, D::Error> {
        T::deserialize(deserializer).map(At::nowhere)
    }
}

/// A mistake in a file, before the file's name is added.
#[derive(Debug)]
pub struct Mistake {
    place: Place,
    path: String,
    pub(super) message: String,
    hint: Option<String>,
}

impl Mistake {
    /// A mistake with this message, a lowercase fragment.
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: Place::default(), path: String::new(), message: message.into(), hint: None }
    }

    /// Adds a hint, which says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the place unless a more exact one is known.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        if self.place.line == 0 {
            self.place = place;
        }
        self
    }

    /// Puts the enclosing key, or `[index]`, in front of the path.
    #[must_use]
    pub fn under(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }

    /// Adds the combination of choices in which it is a mistake; an empty text adds nothing.
    #[must_use]
    pub(crate) fn with(mut self, combination: &str) -> Self {
        if !combination.is_empty() {
            self.message = format!("{}, with {combination}", self.message);
        }
        self
    }

    /// Adds a hint if a letter near its place in `text` is invisible or looks like another.
    #[must_use]
    pub fn seen_in(mut self, text: &str) -> Self {
        if let Some(unseen) = unseen::near(text, self.place) {
            self.hint = Some(self.hint.map_or(unseen.clone(), |hint| format!("{unseen}; {hint}")));
        }
        self
    }

    /// The mistake as an error: file, line and column, path of keys, message, hint.
    pub fn into_error(self, file: &Path) -> Error {
        let mut error = Error::user(self.message);
        if !self.path.is_empty() {
            error = error.at(self.path);
        }
        error = error.at(self.place.of(file));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The hint after an unknown name: "did you mean `ties`? known methods: `linear`, `ties`".
pub fn known_names<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list: Vec<String> = known.clone().into_iter().map(|name| format!("`{name}`")).collect();
    let list = format!("{what}: {}", list.join(", "));
    match did_you_mean(word, known) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}
