//! Divides Japanese text into words as MeCab does, by Viterbi search over a dictionary that MeCab compiled.
//!
//! T. Kudo, K. Yamamoto and Y. Matsumoto, "Applying Conditional Random Fields to Japanese Morphological Analysis" (2004).
//! Harnesses in Python use fugashi and unidic-lite: with that dictionary, the words are the same, ties included.

mod dictionary;

use std::path::{Path, PathBuf};

use merge_core::{environment, error::Result};

use dictionary::{Dictionary, DictionaryEntry, PathCost};

/// Most characters of one category in a row that MeCab takes for one unknown word.
const LONGEST_GROUP: usize = 24;

/// A dictionary, ready to divide text.
#[derive(Debug)]
pub struct Mecab(Dictionary);

/// Path of the installed dictionary, in `EVOMERGE_UNIDIC` or else `unidic-lite` in the data directory.
///
/// `None` if there is no dictionary. The Python package unidic-lite 1.0.8 has one in its folder `dicdir`.
pub fn installed(data_dir: &Path) -> Option<PathBuf> {
    let dir = environment::path("EVOMERGE_UNIDIC").unwrap_or_else(|| data_dir.join("unidic-lite"));
    [dir.join("dicdir"), dir].into_iter().find(|dir| dir.join("sys.dic").is_file())
}

impl Mecab {
    /// Reads a compiled dictionary: `sys.dic`, `unk.dic`, `char.bin` and `matrix.bin`, in UTF-8.
    ///
    /// Takes 0.1 s and 100 MB of memory for unidic-lite. Fails if a file is missing or was not written by MeCab.
    pub fn open(dir: &Path) -> Result<Self> {
        Dictionary::open(dir).map(Self)
    }

    /// The words of the text, without white space.
    pub fn words(&self, text: &str) -> Vec<String> {
        let text = text.trim();
        let mut lattice = WordLattice::of(text.as_bytes());
        for at in 0..text.len() {
            if lattice.ending[at] != NONE {
                for word in self.words_from(text.as_bytes(), at).iter().rev() {
                    lattice.add(&self.0, at, *word);
                }
            }
        }
        let best = lattice.add(&self.0, text.len(), Word::END);
        // A damaged dictionary might cut within a character.
        let spans = lattice.path(best).into_iter().filter_map(|(start, end)| text.get(start..end));
        spans.flat_map(crate::python::split).map(str::to_owned).collect()
    }

    /// All words that may begin at a byte, in the order in which MeCab finds them, which decides ties.
    fn words_from(&self, text: &[u8], at: usize) -> Vec<Word> {
        let dictionary = &self.0;
        let (start, _) = dictionary.run(text, at, dictionary.space());
        let (category, first) = dictionary.category(text, start);
        let mut words = Vec::new();
        dictionary.known(&text[start..], |length, entry| words.push(Word { start, end: start + length, entry }));
        if !words.is_empty() && !category.is_always_tried() {
            return words;
        }
        let unknown = dictionary.unknown(category);
        let mut try_until = |end: usize| words.extend(unknown.iter().map(|entry| Word { start, end, entry: *entry }));
        let mut end = start + first;
        let mut group_end = None;
        if category.is_grouped() {
            let (end, length) = dictionary.run(text, end, category);
            if length <= LONGEST_GROUP {
                try_until(end);
            }
            group_end = Some(end);
        }
        for _ in 0..category.lengths() {
            if group_end != Some(end) {
                try_until(end);
                let (next, length) = dictionary.category(text, end);
                if end == text.len() || !category.shares(next) {
                    break;
                }
                end += length;
            }
        }
        if words.is_empty() {
            words.extend(unknown.iter().map(|entry| Word { start, end, entry: *entry }));
        }
        words
    }
}

/// A possible word of the text.
#[derive(Clone, Copy)]
struct Word {
    /// Index of its first byte, after white space.
    start: usize,
    end: usize,
    entry: DictionaryEntry,
}

impl Word {
    const END: Self = Self { start: 0, end: 0, entry: DictionaryEntry::BOUNDARY };
}

/// The index of no node.
const NONE: u32 = u32::MAX;

/// The cheapest paths to all words seen so far.
struct WordLattice {
    nodes: Vec<LatticeNode>,
    /// For each byte, the last added of the words that end before it.
    ending: Vec<u32>,
}

struct LatticeNode {
    word: Word,
    /// Cost of the cheapest path from the beginning through this word.
    cost: PathCost,
    /// Previous word on that path.
    previous: u32,
    /// Word that was added before this one and ends at the same byte.
    sibling: u32,
}

impl WordLattice {
    /// A lattice with only the beginning of the text.
    fn of(text: &[u8]) -> Self {
        let start = LatticeNode { word: Word::END, cost: 0, previous: NONE, sibling: NONE };
        let mut ending = vec![NONE; text.len() + 1];
        ending[0] = 0;
        Self { nodes: vec![start], ending }
    }

    /// Adds a word after those that end at a byte; of equally cheap paths, that of the last added word is taken.
    fn add(&mut self, dictionary: &Dictionary, at: usize, word: Word) -> u32 {
        let mut best = (PathCost::MAX, NONE);
        let mut left = self.ending[at];
        while left != NONE {
            let node = &self.nodes[left as usize];
            let cost = node.cost + dictionary.connection(node.word.entry, word.entry);
            if cost < best.0 {
                best = (cost, left);
            }
            left = node.sibling;
        }
        let id = self.nodes.len() as u32;
        let end = word.end.max(at);
        let sibling = std::mem::replace(&mut self.ending[end], id);
        self.nodes.push(LatticeNode { word, cost: best.0 + word.entry.cost(), previous: best.1, sibling });
        id
    }

    /// The words on the path to a node, without the node itself.
    fn path(&self, node: u32) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        let mut at = self.nodes[node as usize].previous;
        while at != NONE {
            let node = &self.nodes[at as usize];
            spans.push((node.word.start, node.word.end));
            at = node.previous;
        }
        spans.reverse();
        spans
    }
}
