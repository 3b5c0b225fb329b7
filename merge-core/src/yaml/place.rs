//! Where in a file something was written, and what is wrong with it there.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::unseen;
use crate::{error::Error, words::did_you_mean};

/// A line and a column, both from 1 and in characters; zeros are the place of what was never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Place {
    /// `file:line:column`, to which editors jump; only the file for what was never written.
    pub fn of(self, file: &Path) -> String {
        let file = file.display();
        if self.line == 0 { file.to_string() } else { format!("{file}:{}:{}", self.line, self.column) }
    }
}

/// A value and where it was written. The place is not content: it is neither compared nor serialised.
#[derive(Clone, Copy, Debug, Default)]
pub struct At<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// Asks the deserialiser of a recipe for the place beside the value, in the name of a newtype.
pub(super) const AT: &str = "merge_core::yaml::At";

impl<T> At<T> {
    /// A value that no file holds.
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

    /// From a recipe: line, column, value.
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<At<T>, A::Error> {
        let line = seq.next_element()?.unwrap_or_default();
        let column = seq.next_element()?.unwrap_or_default();
        let value = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(2, &self))?;
        Ok(At { value, place: Place { line, column } })
    }

    /// From any other format, which knows no places.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<At<T>, D::Error> {
        T::deserialize(deserializer).map(At::nowhere)
    }
}

/// What is wrong in a file, before the file's name is put in front.
#[derive(Debug)]
pub struct Mistake {
    place: Place,
    path: String,
    pub(super) message: String,
    hint: Option<String>,
}

impl Mistake {
    /// A lowercase fragment that says what is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: Place::default(), path: String::new(), message: message.into(), hint: None }
    }

    /// The same mistake with what to do about it.
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

    /// Says with which of several combinations it is a mistake; nothing if there is only one, which has no name.
    #[must_use]
    pub(crate) fn with(mut self, combination: &str) -> Self {
        if !combination.is_empty() {
            self.message = format!("{}, with {combination}", self.message);
        }
        self
    }

    /// The same mistake, of a text, with a hint at a letter near its place that cannot be seen or looks like another, if there is
    /// one.
    #[must_use]
    pub fn seen_in(mut self, text: &str) -> Self {
        if let Some(unseen) = unseen::near(text, self.place) {
            self.hint = Some(self.hint.map_or(unseen.clone(), |hint| format!("{unseen}; {hint}")));
        }
        self
    }

    /// The mistake as it is shown: file, line and column, path of keys, what is wrong, what to do.
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

/// "did you mean `ties`? known methods: `linear`, `ties`": the hint after an unknown name.
pub fn known_names<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list: Vec<String> = known.clone().into_iter().map(|name| format!("`{name}`")).collect();
    let list = format!("{what}: {}", list.join(", "));
    match did_you_mean(word, known) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}
