//! The files of a dictionary as MeCab 0.996 compiles them; all numbers are little-endian.
//!
//! | file | bytes |
//! |---|---|
//! | `sys.dic`, `unk.dic` | header of 72: magic `size ^ 0xef718f77`, version 102, …, lengths of three parts, charset; a double array (Darts) of (base i32, check u32); entries of 16: left id, right id, part of speech u16, cost i16, two u32; features |
//! | `matrix.bin` | left size u16, right size u16; costs i16, `[left id of the right word][right id of the left word]` |
//! | `char.bin` | number of categories u32; names of 32; 65,535 u32 by code point |

use std::{io::Read as _, path::Path};

use merge_core::{
    error::{Error, Result},
    file,
};

/// A sum of costs.
pub(crate) type PathCost = i64;

/// The connections of a word, and its own cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DictionaryEntry {
    left: u16,
    right: u16,
    cost: i16,
}

/// The category and kinds of a character, in the bits of `char.bin`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Category(u32);

/// A dictionary in memory, without the features of its words.
#[derive(Debug)]
pub(crate) struct Dictionary {
    words: Lexicon,
    /// Entries of unknown words, by category.
    unknown: Vec<Vec<DictionaryEntry>>,
    /// Categories by code point; MeCab takes those above the basic plane for U+0000.
    categories: Vec<Category>,
    connections: Vec<i16>,
    /// Number of right ids of left words.
    n_right: usize,
}

impl DictionaryEntry {
    /// The beginning and the end of a text.
    pub(crate) const BOUNDARY: Self = Self { left: 0, right: 0, cost: 0 };

    pub(crate) fn cost(self) -> PathCost {
        self.cost.into()
    }
}

impl Category {
    /// True if the characters have a kind in common.
    pub(crate) fn shares(self, other: Self) -> bool {
        self.0 & other.0 & 0x3_FFFF != 0
    }

    fn index(self) -> usize {
        (self.0 >> 18 & 0xFF) as usize
    }

    /// Most characters of an unknown word; shorter ones are tried too.
    pub(crate) fn lengths(self) -> usize {
        (self.0 >> 26 & 0xF) as usize
    }

    /// True if a run of such characters is tried as one word.
    pub(crate) fn is_grouped(self) -> bool {
        self.0 >> 30 & 1 == 1
    }

    /// True if unknown words are tried even if the dictionary knows some.
    pub(crate) fn is_always_tried(self) -> bool {
        self.0 >> 31 == 1
    }
}

impl Dictionary {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = |name: &str| dir.join(name);
        let words = Lexicon::open(&path("sys.dic"))?;
        let unknown_words = Lexicon::open(&path("unk.dic"))?;
        let (names, categories) = characters(&path("char.bin"))?;
        let (connections, n_left, n_right) = matrix(&path("matrix.bin"))?;
        for (lexicon, name) in [(&words, "sys.dic"), (&unknown_words, "unk.dic")] {
            // A left word's right id chooses the column, a right word's left id the row.
            let is_in =
                |entry: &DictionaryEntry| usize::from(entry.left) < n_left && usize::from(entry.right) < n_right;
            if !lexicon.entries.iter().all(is_in) {
                return Err(damaged(&path(name), "its words have ids that matrix.bin does not have"));
            }
        }
        let unknown = names.iter().map(|name| unknown_words.exactly(name.as_bytes()).to_vec()).collect();
        Ok(Self { words, unknown, categories, connections, n_right })
    }

    /// Calls `found` with the length and the entry of every word that the text begins with, shorter ones first.
    pub(crate) fn known(&self, text: &[u8], mut found: impl FnMut(usize, DictionaryEntry)) {
        self.words.prefixes(text, |length, entries| entries.iter().for_each(|entry| found(length, *entry)));
    }

    /// The entries of unknown words that begin with a character of this category.
    pub(crate) fn unknown(&self, category: Category) -> &[DictionaryEntry] {
        self.unknown.get(category.index()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn connection(&self, left: DictionaryEntry, right: DictionaryEntry) -> PathCost {
        self.connections[usize::from(left.right) + self.n_right * usize::from(right.left)].into()
    }

    pub(crate) fn space(&self) -> Category {
        self.categories[usize::from(b' ')]
    }

    /// The category and the length in bytes of the character at a byte; at the text's end, that of U+0000 and 0.
    pub(crate) fn category(&self, text: &[u8], at: usize) -> (Category, usize) {
        let Some(&first) = text.get(at) else { return (self.categories[0], 0) };
        let bits = |from: usize| u32::from(text.get(at + from).copied().unwrap_or_default() & 0x3F);
        let (code, length) = match first {
            0..0x80 => (u32::from(first), 1),
            0x80..0xE0 => (u32::from(first & 0x1F) << 6 | bits(1), 2),
            0xE0..0xF0 => (u32::from(first & 0xF) << 12 | bits(1) << 6 | bits(2), 3),
            0xF0.. => (0, 4),
        };
        (self.categories.get(code as usize).copied().unwrap_or(self.categories[0]), length)
    }

    /// The end of a run of characters, each of which shares a kind with the one before, and their number.
    pub(crate) fn run(&self, text: &[u8], start: usize, mut category: Category) -> (usize, usize) {
        let (mut at, mut n) = (start, 0);
        while at < text.len() {
            let (next, length) = self.category(text, at);
            if !category.shares(next) {
                break;
            }
            (at, n, category) = (at + length, n + 1, next);
        }
        (at, n)
    }
}

/// Words and their entries.
#[derive(Debug)]
struct Lexicon {
    /// A double array of (base, check).
    array: Vec<(i32, u32)>,
    entries: Vec<DictionaryEntry>,
}

impl Lexicon {
    fn open(path: &Path) -> Result<Self> {
        let mut file = file::open_itself(path).map_err(|e| Error::io("open", path, &e))?;
        let size = file.metadata().map_err(|e| Error::io("read", path, &e))?.len();
        let mut read = |length: usize| {
            let mut bytes = Vec::new();
            let read = (&mut file).take(length as u64).read_to_end(&mut bytes);
            match read.map_err(|e| Error::io("read", path, &e))? {
                n if n == length => Ok(bytes),
                _ => Err(damaged(path, "it ends too early")),
            }
        };
        let header = read(72)?;
        let field = |at: usize| u32_at(&header, 4 * at);
        if u64::from(field(0) ^ 0xef71_8f77) != size || field(1) != 102 {
            return Err(damaged(path, "it is not a dictionary of MeCab 0.996, or cut short"));
        }
        let charset = String::from_utf8_lossy(&header[40..72]).trim_end_matches('\0').to_ascii_lowercase();
        if !matches!(charset.as_str(), "utf8" | "utf-8") {
            return Err(damaged(path, &format!("it is in {charset}, not in UTF-8")));
        }
        let array = read(field(6) as usize)?;
        let array = array.chunks_exact(8).map(|unit| (u32_at(unit, 0) as i32, u32_at(unit, 4))).collect();
        let entries = read(field(7) as usize)?;
        let entry = |bytes: &[u8]| DictionaryEntry {
            left: u16_at(bytes, 0),
            right: u16_at(bytes, 2),
            cost: u16_at(bytes, 6) as i16,
        };
        Ok(Self { array, entries: entries.chunks_exact(16).map(entry).collect() })
    }

    /// Calls `found` with the length and the entries of every word that the text begins with.
    fn prefixes<'a>(&'a self, text: &[u8], mut found: impl FnMut(usize, &'a [DictionaryEntry])) {
        let unit = |at: i64| usize::try_from(at).ok().and_then(|at| self.array.get(at)).copied();
        let Some((mut base, _)) = unit(0) else { return };
        for length in 0..=text.len() {
            if let Some((value, check)) = unit(base.into())
                && base == check as i32
                && value < 0
            {
                found(length, self.entries_of(-(i64::from(value) + 1)));
            }
            let Some(&byte) = text.get(length) else { return };
            match unit(i64::from(base) + i64::from(byte) + 1) {
                Some((next, check)) if base == check as i32 => base = next,
                _ => return,
            }
        }
    }

    fn exactly(&self, word: &[u8]) -> &[DictionaryEntry] {
        let mut entries: &[DictionaryEntry] = &[];
        self.prefixes(word, |length, found| {
            if length == word.len() {
                entries = found;
            }
        });
        entries
    }

    /// The entries of a value, which holds the first one's index and, in the lowest byte, their number.
    fn entries_of(&self, value: i64) -> &[DictionaryEntry] {
        let (first, n) = ((value >> 8) as usize, (value & 0xFF) as usize);
        self.entries.get(first..first + n).unwrap_or_default()
    }
}

/// The names of the categories, and the category of each code point.
fn characters(path: &Path) -> Result<(Vec<String>, Vec<Category>)> {
    let bytes = file::read(path).map_err(|e| Error::io("read", path, &e))?;
    let n_names = if bytes.len() < 4 { 0 } else { u32_at(&bytes, 0) as usize };
    let table = 4 + 32 * n_names.min(1 << 18);
    if n_names == 0 || bytes.len() != table + 4 * 0xFFFF {
        return Err(damaged(path, "it is not a table of MeCab's characters"));
    }
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let categories = bytes[table..].chunks_exact(4).map(|bits| Category(u32_at(bits, 0))).collect();
    Ok((bytes[4..table].chunks_exact(32).map(name).collect(), categories))
}

/// The costs of connections, the number of left ids of right words, and the number of right ids of left words.
fn matrix(path: &Path) -> Result<(Vec<i16>, usize, usize)> {
    let bytes = file::read(path).map_err(|e| Error::io("read", path, &e))?;
    let size = |at: usize| bytes.get(at..at + 2).map_or(0, |bytes| usize::from(u16_at(bytes, 0)));
    let (n_right, n_left) = (size(0), size(2));
    if n_right * n_left == 0 || bytes.len() != 4 + 2 * n_right * n_left {
        return Err(damaged(path, "it is not a matrix of MeCab's connections"));
    }
    Ok((bytes[4..].chunks_exact(2).map(|cost| u16_at(cost, 0) as i16).collect(), n_left, n_right))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::user(format!("{}: {what}", path.display()))
        .hint("install the dictionary again: the folder `dicdir` of the Python package unidic-lite 1.0.8")
}
