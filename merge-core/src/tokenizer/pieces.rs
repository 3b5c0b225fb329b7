//! Reads a `SentencePiece` model, which is a protocol buffer, as far as its pieces are concerned.

use crate::model::hash::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The parts of a `SentencePiece` model that are compared.
pub(super) struct Pieces {
    /// Texts in the order of their ids, or of the pieces from which ids are made.
    pub(super) texts: Vec<String>,
    pub(super) splitting: [(&'static str, Value); 2],
}

/// Reads a `SentencePiece` model. Field 1 of the message is a piece, and field 1 of a piece its
/// text, beside its score and type; field 3 is the normalisation of texts.
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
        splitting: [("pieces", whole(1)), ("normalizer_spec", whole(3))],
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

/// A hash of bytes that are compared but not shown.
pub(super) fn hash(bytes: &[u8]) -> Value {
    hex(&Sha256::digest(bytes)).into()
}
