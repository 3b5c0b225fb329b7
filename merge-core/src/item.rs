//! An item of a benchmark, as searches and stores know it: by its content, and by how a model did on it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// An item by its content: the first 16 bytes of the SHA-256 of its JSON, keys sorted, without white space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(
    /// The bytes, to key a store by.
    pub [u8; 16],
);

impl Serialize for ItemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ItemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = u128::from_str_radix(&text, 16).map_err(de::Error::custom)?;
        Ok(Self(bytes.to_be_bytes()))
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemId({self})")
    }
}

/// How an answer to one item was marked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemScore {
    /// More is better. Where an answer is right or wrong, 1 or 0; a share is between them; other measures may be negative or larger.
    pub value: f64,
    /// Tokens the model generated; 0 for a choice.
    pub tokens: u32,
    /// Whether the answer was cut off at its limit of tokens.
    pub truncated: bool,
}

/// The mean of some scores, if there are any.
pub fn mean(scores: &[ItemScore]) -> Option<f64> {
    let sum: f64 = scores.iter().map(|score| score.value).sum();
    (!scores.is_empty()).then(|| sum / scores.len() as f64)
}
