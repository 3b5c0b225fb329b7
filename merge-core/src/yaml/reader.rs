//! Reads types from a YAML tree. Every error has a place, a path of keys, a plain sentence and, if possible, a hint.

use std::fmt;

use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor, value::U32Deserializer};

use super::{Mistake, Node, NodeKind, known_names, place::AT, tree::flag};

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Mistake {
    /// The first line break separates the message from the hint, because serde passes on only text.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::new(message).hint(hint),
            None => Self::new(text),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", plain(expected), name(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let entries = if length == 1 { "entry" } else { "entries" };
        Self::new(format!("expected {}, found {length} {entries}", plain(expected)))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let known = known.iter().copied().filter(|name| !name.starts_with("torch."));
        Self::new(format!("`{word}` is not known here")).hint(known_names(word, "known here", known))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("there is no key `{key}`")).hint(known_names(key, "known keys here", known.iter().copied()))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(format!("`{key}` is missing"))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(format!("the key `{key}` appears twice"))
    }
}

/// serde's names of types in plain words; our own `expecting` texts are plain already.
fn plain(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "f32" | "f64" => "a number".to_string(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up".to_string(),
        "i64" => "a whole number".to_string(),
        "a string" | "str" | "string" => "text".to_string(),
        "a boolean" => "true or false".to_string(),
        "a sequence" => "a list".to_string(),
        "an array of length 2" => "a list of 2".to_string(),
        text if text.starts_with("struct ") => "a block of keys".to_string(),
        _ => text,
    }
}

fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => {
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("the text `{}{dots}`", short.replace('\n', " "))
        }
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("{value}"),
        Unexpected::Signed(value) => format!("{value}"),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_string(),
        Unexpected::Seq => "a list".to_string(),
        Unexpected::Map => "a block of keys".to_string(),
        other => other.to_string(),
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.kind {
            NodeKind::Null => visitor.visit_unit(),
            NodeKind::Flag(value) => visitor.visit_bool(*value),
            NodeKind::Whole(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(*value as f64),
            },
            NodeKind::Number(value) if value.is_finite() => visitor.visit_f64(*value),
            NodeKind::Number(value) => Err(Mistake::new(format!("expected a finite number, found {value}"))),
            NodeKind::Text(value) => visitor.visit_borrowed_str(value),
            NodeKind::List(nodes) => {
                let mut list = OpenList { nodes: nodes.iter(), next: 0 };
                visitor.visit_seq(&mut list).and_then(|value| match list.nodes.len() {
                    0 => Ok(value),
                    _ => Err(Mistake::new(format!("expected a list of {}, found {} entries", list.next, nodes.len()))),
                })
            }
            NodeKind::Block(entries) => visitor.visit_map(OpenBlock { entries: entries.iter(), current: None }),
        }
        .map_err(|mistake| mistake.at(self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.kind {
            NodeKind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|mistake| mistake.at(self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        match name {
            AT => visitor.visit_seq(LocatedNode { node: self, next: 0 }),
            _ => visitor.visit_newtype_struct(self),
        }
        .map_err(|mistake| mistake.at(self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.kind {
            NodeKind::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self
                .deserialize_any(visitor)
                .map_err(|mistake| mistake.hint(known_names("", "known here", known.iter().copied()))),
        }
        .map_err(|mistake| mistake.at(self.place))
    }

    /// Accepts YAML 1.1's other words for true and false, for which recipes were written.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.kind {
            NodeKind::Text(text) => match flag(text) {
                Some(value) => visitor.visit_bool(value),
                None => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A list being read.
struct OpenList<'de> {
    nodes: std::slice::Iter<'de, Node>,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for OpenList<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some(node) = self.nodes.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(node).map(Some).map_err(|mistake| mistake.under(&format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len())
    }
}

/// A block being read: `current` is the entry whose key has been read and whose value has not.
struct OpenBlock<'de> {
    entries: std::slice::Iter<'de, (Node, Node)>,
    current: Option<&'de (Node, Node)>,
}

impl<'de> de::MapAccess<'de> for OpenBlock<'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        match key.kind {
            NodeKind::Text(_) => seed.deserialize(key).map(Some),
            _ => Err(Mistake::new("a key must be text").hint("put it in quotes").at(key.place)),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mistake> {
        let (key, value) = self.current.expect("serde asks for a value after its key");
        let NodeKind::Text(key) = &key.kind else { unreachable!("a key that is not text has been refused") };
        seed.deserialize(value).map_err(|mistake| mistake.under(key))
    }
}

/// Line, column and value of a node, for `At`.
struct LocatedNode<'de> {
    node: &'de Node,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for LocatedNode<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(U32Deserializer::new(self.node.place.line)).map(Some),
            2 => seed.deserialize(U32Deserializer::new(self.node.place.column)).map(Some),
            3 => seed.deserialize(self.node).map(Some),
            _ => Ok(None),
        }
    }
}
