//! Items of a benchmark as searches and stores know them: an id, and the score of an answer.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Id of an item: the first 16 bytes of the SHA-256 of its JSON, keys sorted, without white space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(
    /// The bytes, for a store's key.
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

/// Score of the answer to one item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemScore {
    /// Higher is better. 1 or 0 for right or wrong; other metrics may be any number.
    pub value: f64,
    /// Number of tokens that the model generated; 0 if it chose among given answers.
    pub tokens: u32,
    /// True if the answer was cut off at its token limit.
    pub truncated: bool,
}

/// Mean of the scores; `None` if there are none.
pub fn mean(scores: &[ItemScore]) -> Option<f64> {
    let sum: f64 = scores.iter().map(|score| score.value).sum();
    (!scores.is_empty()).then(|| sum / scores.len() as f64)
}
