//! Keeps the items of a search apart from those of the report: finds copies, near copies and translations.
//!
//! Near copies are found by 13-grams of words (T. Brown et al., "Language Models are Few-Shot
//! Learners" (2020), appendix C). A word is a run of one script after normalisation, in lower case:
//! 3本の赤い布 is 3·本·の·赤·い·布. As in the paper, 13-grams of more than ten questions are ignored: they
//! belong to a template or an instruction. Two questions are near copies if they share
//!
//! - at least eight 13-grams (a stretch of twenty words), and half of those that the shorter one has; or
//! - at least two 13-grams, and nine tenths of those that the shorter one has.
//!
//! Numbers count as words, so a problem with all its numbers changed is mostly another problem.
//! These bounds come from measurements. Report items that are too similar to a search item:
//!
//! | search, report | report items | equal | near copies |
//! |---|---|---|---|
//! | GSM8K test: the rest, the first 250 | 250 | 0 | 0 |
//! | the generated problems of `recipes/sansu`, all splits | 500 | 0 | 0, at most 7 shared 13-grams |
//! | MGSM-ja, MAWPS-ja | 1,000 | 0 | 0 |
//! | JSQuAD test, valid: questions, and with their paragraphs | 4,442 | 0 | 0; no paragraph is in both |
//! | JCommonsenseQA train, valid: without their choices | 1,119 | 19 | 2, both real copies |
//! | MAWPS-ja, halves | 500 | 3 | 6, all real copies |
//! | GSM8K test and itself, one number changed | 400 | 7 that have no number | 348 |
//! | – cut to 60%; with another last sentence; all numbers changed | 400 | 0 | 337; 319; 67 |
//! | MGSM-ja and itself, changed in the same four ways | 250 | 0 | 231; 231; 212; 10 |
//!
//! 13-grams of characters instead of words would be too short: a tenth of the generated problems would be refused.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use merge_core::error::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::text::normalize::normalize;

#[cfg(test)]
mod tests;

/// Words in a gram.
const N: usize = 13;

/// Most questions that may share a gram; a more common gram says nothing about two of them.
const COMMON: usize = 10;

/// Question of an item of the search or of the report.
#[derive(Clone, Copy, Debug)]
pub struct GuardQuestion<'a> {
    /// The task's name, for messages.
    pub task: &'a str,
    /// Question, alone if possible: instructions and examples that more than ten items share do no harm.
    pub text: &'a str,
    /// The item's number in its benchmark's own order, from 0.
    pub place: usize,
    /// Benchmark of which the same items are known elsewhere, if it is one.
    pub family: Option<Family>,
}

/// A benchmark that exists in several languages or collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// MGSM in any language. Its items are, in order, the first 250 of GSM8K's test split; GSM8K needs no family.
    Mgsm,
}

/// Way in which two questions are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlapKind {
    /// Equal byte for byte.
    Exact,
    /// Equal after normalisation, white space aside.
    Nfkc,
    /// The same problem in another language or collection.
    Known,
    /// A near copy, by its 13-grams.
    Ngram13,
}

/// A report item and a search item that are the same question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// First rule by which they are the same.
    pub kind: OverlapKind,
    /// Index of the search item.
    pub search: usize,
    /// Index of the report item.
    pub report: usize,
    /// Share of the shorter question that the other has too, from 0 to 1.
    pub share: f64,
}

/// Returns the report items that are also search items, each once with the search item most like it, in order.
///
/// Comparing ten thousand questions of a hundred words with ten thousand others takes a second.
pub fn overlaps(search: &[GuardQuestion], report: &[GuardQuestion]) -> Vec<Overlap> {
    let seen = |questions: &[GuardQuestion]| -> Vec<ComparedQuestion> {
        questions.par_iter().map(ComparedQuestion::of).collect()
    };
    let (searched, reported) = (seen(search), seen(report));
    let exact: HashMap<&str, usize> = index(search.iter().map(|question| question.text));
    let nfkc: HashMap<&str, usize> = index(searched.iter().map(|seen| seen.plain.as_str()));
    let known: HashMap<usize, usize> = searched.iter().enumerate().filter_map(|(i, s)| Some((s.known?, i))).collect();
    let near = near_copies(&searched, &reported);
    let overlap = |(at, seen): (usize, &ComparedQuestion)| {
        let found = |kind, search: &usize| Overlap { kind, search: *search, report: at, share: 1.0 };
        let same = exact.get(report[at].text).map(|i| found(OverlapKind::Exact, i));
        same.or_else(|| nfkc.get(seen.plain.as_str()).map(|i| found(OverlapKind::Nfkc, i)))
            .or_else(|| known.get(&seen.known?).map(|i| found(OverlapKind::Known, i)))
            .or_else(|| near.get(&at).copied())
    };
    reported.iter().enumerate().filter_map(overlap).collect()
}

/// Refuses report items that are also search items; the error names the first item of the first kind found.
pub fn check(search: &[GuardQuestion], report: &[GuardQuestion]) -> Result<()> {
    let overlaps = overlaps(search, report);
    let Some(first) = overlaps.iter().min_by_key(|overlap| (overlap.kind, overlap.report)) else { return Ok(()) };
    let (searched, reported) = (search[first.search], report[first.report]);
    let how = match first.kind {
        OverlapKind::Exact => "is the same question as",
        OverlapKind::Nfkc => "is, but for widths and white space, the same question as",
        OverlapKind::Known => "is a translation of the same problem as",
        OverlapKind::Ngram13 => "is a near copy of",
    };
    let items = if overlaps.len() == 1 { "item is a search item" } else { "items are search items" };
    let message = format!(
        "{} report {items} too: item {} of task {} {how} item {} of task {}",
        overlaps.len(),
        reported.place,
        reported.task,
        searched.place,
        searched.task
    );
    Err(Error::user(message)
        .hint("split all tasks in the same way: an item that the search uses cannot be reported on"))
}

/// A question prepared for comparison.
struct ComparedQuestion {
    /// Normalised text, without white space.
    plain: String,
    /// Number among the first 250 problems of GSM8K's test split, if it is one.
    known: Option<usize>,
    /// Hashes of its 13-grams, each once.
    grams: Vec<u64>,
}

impl ComparedQuestion {
    fn of(question: &GuardQuestion) -> Self {
        let normal = normalize(question.text);
        let known = match question.family {
            Some(Family::Mgsm) => (question.place < GSM8K.len()).then_some(question.place),
            None => GSM8K.get(&fingerprint(&normal)).copied(),
        };
        let lower = normal.to_lowercase();
        let words = words(&lower);
        let hash = |gram: &[&str]| {
            let mut hasher = DefaultHasher::new();
            gram.hash(&mut hasher);
            hasher.finish()
        };
        let mut grams: Vec<u64> = words.windows(N).map(hash).collect();
        grams.sort_unstable();
        grams.dedup();
        Self { plain: normal.replace(' ', ""), known, grams }
    }
}

/// Number of each of the first 250 problems of GSM8K's test split, by its hash. No text is copied.
static GSM8K: LazyLock<HashMap<u64, usize>> = LazyLock::new(|| {
    let hashes = include_str!("guard/gsm8k_test_250.txt").lines();
    let hash = |hash| u64::from_str_radix(hash, 16).expect("each line is a hash");
    hashes.enumerate().map(|(place, line)| (hash(line), place)).collect()
});

/// First 8 bytes of the SHA-256 of a normalised text's letters and digits in lower case.
fn fingerprint(normal: &str) -> u64 {
    let letters: String = normal.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let hash = Sha256::digest(letters);
    u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

/// Runs of characters of one script, and of digits; all other characters only separate words.
fn words(text: &str) -> Vec<&str> {
    #[derive(Clone, Copy, PartialEq)]
    enum Script {
        Hiragana,
        Katakana,
        Han,
        Digit,
        Other,
    }
    let script = |c: char| match c {
        '0'..='9' => Some(Script::Digit),
        '\u{3041}'..='\u{309F}' => Some(Script::Hiragana),
        '・' => None,
        '\u{30A0}'..='\u{30FF}' => Some(Script::Katakana),
        '々' | '\u{3400}'..='\u{9FFF}' | '\u{20000}'..='\u{323AF}' => Some(Script::Han),
        '\'' | '’' => Some(Script::Other),
        c => c.is_alphanumeric().then_some(Script::Other),
    };
    let mut words = Vec::new();
    let mut run: Option<(usize, Script)> = None;
    for (at, c) in text.char_indices() {
        let script = script(c);
        if let Some((start, of)) = run
            && script != Some(of)
        {
            words.push(&text[start..at]);
            run = None;
        }
        if run.is_none() {
            run = script.map(|script| (at, script));
        }
    }
    words.extend(run.map(|(start, _)| &text[start..]));
    words
}

/// Near copies by report item, each with the search item that it shares most with.
fn near_copies(search: &[ComparedQuestion], report: &[ComparedQuestion]) -> BTreeMap<usize, Overlap> {
    // (gram, is a report item's, item), sorted so that equal grams lie together.
    let grams = |seen: &[ComparedQuestion], reported: bool| -> Vec<(u64, bool, usize)> {
        seen.iter().enumerate().flat_map(|(i, seen)| seen.grams.iter().map(move |gram| (*gram, reported, i))).collect()
    };
    let mut all = [grams(search, false), grams(report, true)].concat();
    all.par_sort_unstable();
    // Number of grams that count, of each item and of each pair.
    let mut counted = [vec![0usize; search.len()], vec![0; report.len()]];
    let mut shared: HashMap<(usize, usize), usize> = HashMap::new();
    for sharers in all.chunk_by(|a, b| a.0 == b.0).filter(|sharers| sharers.len() <= COMMON) {
        let (searchers, reporters) = sharers.split_at(sharers.partition_point(|(_, reported, _)| !reported));
        for (_, reported, item) in sharers {
            counted[usize::from(*reported)][*item] += 1;
        }
        for (_, _, report) in reporters {
            for (_, _, search) in searchers {
                *shared.entry((*report, *search)).or_default() += 1;
            }
        }
    }
    let mut best: BTreeMap<usize, Overlap> = BTreeMap::new();
    for ((report, search), n) in shared {
        let share = n as f64 / counted[0][search].min(counted[1][report]) as f64;
        if (n >= 8 && share >= 0.5) || (n >= 2 && share >= 0.9) {
            let overlap = Overlap { kind: OverlapKind::Ngram13, search, report, share };
            let kept = best.entry(report).or_insert(overlap);
            // The order of a hash map must not decide.
            if (share, kept.search) > (kept.share, search) {
                *kept = overlap;
            }
        }
    }
    best
}

/// The first index of each key.
fn index<'a>(keys: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut index = HashMap::new();
    for (i, key) in keys.enumerate() {
        index.entry(key).or_insert(i);
    }
    index
}
