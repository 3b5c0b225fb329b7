//! Measures how deep the columns of a Parquet file nest, from its footer, before the library recurses into them.
//!
//! The footer is in Thrift's compact protocol: a list of columns, each with its number of children, which follow it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

/// Most levels of nesting in a value that is skipped.
const SKIPPED: usize = 64;

/// Types of fields in the compact protocol.
const I32: u8 = 5;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Levels of nested columns; `None` if the footer is missing or invalid.
pub(super) fn levels(file: &mut File) -> io::Result<Option<usize>> {
    let size = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(8)))?;
    (&mut *file).take(8).read_to_end(&mut tail)?;
    let mut bytes = Vec::new();
    if let (Some(length), true) = (tail.first_chunk(), tail.ends_with(b"PAR1")) {
        let length = u64::from(u32::from_le_bytes(*length)).min(size.saturating_sub(8));
        file.seek(SeekFrom::Start(size.saturating_sub(8 + length)))?;
        (&mut *file).take(length).read_to_end(&mut bytes)?;
    }
    file.rewind()?;
    Ok(of_footer(&bytes))
}

fn of_footer(bytes: &[u8]) -> Option<usize> {
    let (mut compact, mut id, mut levels) = (Compact(bytes), 0, 0);
    while let kind @ 1.. = compact.field(&mut id)? {
        if (id, kind) == (2, LIST) {
            levels = levels.max(compact.columns()?);
        } else {
            compact.skip(kind, SKIPPED)?;
        }
    }
    Some(levels)
}

/// Bytes of the compact protocol that are still to be read.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Reads the header of a struct's next field and sets `id` to its number. Returns its type; 0 at the end.
    fn field(&mut self, id: &mut i16) -> Option<u8> {
        let head = self.byte()?;
        let kind = head & 0xf;
        if kind == 0 {
            return Some(0);
        }
        *id = match head >> 4 {
            0 => signed(self.number()?) as i16,
            more => id.checked_add(more.into())?,
        };
        Some(kind)
    }

    /// Reads the header of a list: its length and the type of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let length = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
        Some((length, head & 0xf))
    }

    fn skip(&mut self, kind: u8, levels: usize) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let length = match kind {
            1 | 2 => 0,
            3 => 1,
            4..=6 => {
                self.number()?;
                0
            }
            7 => 8,
            BINARY => self.number()?,
            LIST | 10 => {
                let (length, kind) = self.list()?;
                // A boolean takes one byte in a list.
                let kind = if kind < 3 { 3 } else { kind };
                return (0..length).try_for_each(|_| self.skip(kind, levels));
            }
            11 => {
                let length = self.number()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                return (0..length).try_for_each(|_| {
                    [kinds >> 4, kinds & 0xf].into_iter().try_for_each(|kind| self.skip(kind.max(3), levels))
                });
            }
            STRUCT => {
                let mut id = 0;
                while let kind @ 1.. = self.field(&mut id)? {
                    self.skip(kind, levels)?;
                }
                0
            }
            _ => return None,
        };
        self.0 = self.0.get(usize::try_from(length).ok()?..)?;
        Some(())
    }

    /// Reads a list of columns and returns its levels.
    fn columns(&mut self) -> Option<usize> {
        let (length, kind) = self.list()?;
        if kind != STRUCT {
            return None;
        }
        // Number of columns still to come at each open level.
        let mut open: Vec<i64> = Vec::new();
        let mut most = 0;
        for _ in 0..length {
            let within = self.within()?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if within > 0 {
                open.push(within);
            }
            most = most.max(open.len());
            while open.pop_if(|left| *left == 0).is_some() {}
        }
        Some(most)
    }

    /// Reads a column and returns the number of its child columns.
    fn within(&mut self) -> Option<i64> {
        let (mut id, mut within) = (0, 0);
        while let kind @ 1.. = self.field(&mut id)? {
            match (id, kind) {
                (5, I32) => within = signed(self.number()?),
                (1..=3 | 6..=9, I32) | (4, BINARY) | (10, STRUCT) | (11.., _) => self.skip(kind, SKIPPED)?,
                _ => return None,
            }
        }
        Some(within)
    }
}

/// Decodes a zigzag number, whose lowest bit is its sign.
fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
