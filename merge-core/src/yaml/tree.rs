//! YAML as a tree whose nodes know their places. It accepts any document: the readers of the tree word the errors.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter, Spanned, Tagged, options::NonFiniteFloatPolicy};

use super::{Mistake, Place};

/// A piece of YAML. It is a `serde` deserialiser, and values read from it know their place ([`At`](super::At)).
#[derive(Clone, Debug)]
pub struct Node {
    /// Place where it begins.
    pub place: Place,
    /// Kind and content.
    pub kind: NodeKind,
}

/// Kind and content of a piece of YAML.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number: wide enough for every 64-bit integer, signed or not.
    Whole(i128),
    /// Any other number.
    Number(f64),
    /// Any other scalar.
    Text(String),
    /// `[a, b]`.
    List(Vec<Node>),
    /// Keys and values in the order in which they were written; no key appears twice.
    Block(Vec<(Node, Node)>),
}

const START: Place = Place { line: 1, column: 1 };

/// First letter of a tag that a file defines itself: see [`Node::parse_tagged`].
const TAG: char = '!';

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        // `y` is text like any other; other words for true and false are recognised where a flag is wanted.
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

impl Node {
    /// Reads a text that is one YAML document.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        Self::parse_by(text, options())
    }

    /// Reads a text that is one YAML document, and keeps its tags: `!function a.b` is read as the
    /// block `{"!function": a.b}`.
    pub fn parse_tagged(text: &str) -> Result<Self, Mistake> {
        let mut options = options();
        options.reject_unsupported_tags = false;
        Self::parse_by(text, options)
    }

    fn parse_by(text: &str, options: serde_saphyr::Options) -> Result<Self, Mistake> {
        serde_saphyr::from_str_with_options::<Self>(text, options)
            .map(|node| if node.place.line == 0 { Self { place: START, ..node } } else { node })
            .map_err(|error| mistake(&error).at(START))
    }

    /// Reads a text of any number of YAML documents; empty ones are left out.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, Mistake> {
        serde_saphyr::from_multiple_with_options::<Self>(text, options()).map_err(|error| mistake(&error).at(START))
    }

    /// Removes a key from a block and returns its value.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let NodeKind::Block(entries) = &mut self.kind else { return None };
        let found = entries.iter().position(|(name, _)| matches!(&name.kind, NodeKind::Text(text) if text == key))?;
        Some(entries.remove(found).1)
    }
}

/// The flag that a word means in YAML 1.1.
pub(crate) fn flag(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Rewords an error: serde-saphyr's messages are for programmers, these are for the person who wrote the file.
fn mistake(error: &serde_saphyr::Error) -> Mistake {
    use serde_saphyr::Error as E;
    let mistake = match error.without_snippet() {
        E::AliasError { error, .. } => return mistake(error),
        E::DuplicateMappingKey { key: Some(key), .. } => {
            Mistake::new(format!("the key `{key}` appears twice")).hint("keep one of them")
        }
        E::DuplicateMappingKey { key: None, .. } => Mistake::new("a key appears twice").hint("keep one of them"),
        E::MultipleDocuments { .. } => Mistake::new("a second YAML document begins here")
            .hint("only `merge`, `plan` and `verify` read several: remove the `---`"),
        E::UnsupportedTag { tag, .. } => {
            Mistake::new(format!("the YAML tag `{tag}` means nothing here")).hint("remove the tag, or quote the text")
        }
        E::UnknownAnchor { .. } => {
            Mistake::new("this YAML alias names no anchor").hint("a text that begins with `*` needs quotes")
        }
        E::Budget { .. } => Mistake::new("this YAML is too large or too deeply nested to be a recipe"),
        E::Eof { .. } => Mistake::new("the file ends too early").hint("is something unclosed, or the file empty?"),
        other => {
            let message = DefaultMessageFormatter.format_message(other);
            Mistake::new(format!("this is not valid YAML: {}", message.lines().next().unwrap_or_default()))
                .hint("look for a wrong indentation, a missing `:` or an unclosed quote or bracket, here or just above")
        }
    };
    match error.location() {
        Some(location) => mistake.at(Place { line: location.line() as u32, column: location.column() as u32 }),
        None => mistake,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tagged<NodeKind>>::deserialize(deserializer)?;
        let place = Place { line: spanned.referenced.line() as u32, column: spanned.referenced.column() as u32 };
        let Tagged(kind, tag) = spanned.value;
        Ok(match tag.filter(|tag| tag.len() > 1 && tag.starts_with(TAG)) {
            Some(tag) => {
                let entry = (Self { place, kind: NodeKind::Text(tag) }, Self { place, kind });
                Self { place, kind: NodeKind::Block(vec![entry]) }
            }
            None => Self { place, kind },
        })
    }
}

impl<'de> Deserialize<'de> for NodeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> de::Visitor<'de> for KindVisitor {
    type Value = NodeKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_none<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeKind, D::Error> {
        NodeKind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeKind, E> {
        Ok(NodeKind::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeKind, E> {
        Ok(NodeKind::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeKind, E> {
        Ok(NodeKind::Whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<NodeKind, E> {
        Ok(NodeKind::Whole(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<NodeKind, E> {
        Ok(i128::try_from(value).map_or(NodeKind::Number(value as f64), NodeKind::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeKind, E> {
        Ok(NodeKind::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeKind, E> {
        Ok(NodeKind::Text(value.to_string()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<NodeKind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(NodeKind::List(nodes))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<NodeKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(NodeKind::Block(entries))
    }
}
