//! What is read of a `SentencePiece` model: a protocol buffer, as far as its pieces.

use crate::model::hash::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What is asked of a `SentencePiece` model.
pub(super) struct Pieces {
    /// In order, which is that of their ids or of what these are made of.
    pub(super) texts: Vec<String>,
    pub(super) cutting: [(&'static str, Value); 2],
}

/// Reads a `SentencePiece` model: field 1 of the message is a piece, and field 1 of that its text, beside its score and kind;
/// field 3 says how a text is normalised.
pub(super) fn pieces(bytes: &[u8]) -> Option<Pieces> {
    let all = fields(bytes)?;
    let of = |number: u64| all.iter().filter(move |(one, _)| *one == number).map(|(_, field)| *field);
    let text = |piece: &[u8]| {
        let (_, text) = fields(piece)?.into_iter().find(|(number, _)| *number == 1)?;
        String::from_utf8(text.to_vec()).ok()
    };
    let whole = |number: u64| hash(&of(number).collect::<Vec<_>>().concat());
    Some(Pieces {
        texts: of(1).map(text).collect::<Option<_>>()?,
        cutting: [("pieces", whole(1)), ("normalizer_spec", whole(3))],
    })
}

/// The fields of a protocol buffer that have a length, with their numbers.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(len)?;
                found.push((key >> 3, field));
                bytes = rest;
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A hash of what is compared and not shown.
pub(super) fn hash(bytes: &[u8]) -> Value {
    hex(&Sha256::digest(bytes)).into()
}
