//! Breaks files at random.

use rand::{Rng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Strings that have broken parsers before.
const PIECES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "0.5",
    "1e999",
    "-0.0",
    "NaN",
    "Infinity",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "~",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\"",
    "'",
    "|",
    "- ",
    "\n",
    "\r\n",
    "\t",
    "\\",
    "\0",
    "\u{1b}[31m",
    "\u{feff}",
    "\u{202e}",
    "\u{3000}",
    "\u{a0}",
    "：",
    "𠮷",
    "../",
    "/",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "4294967296",
    "\\u0000",
    "\\ud800",
    "&a",
    "*a",
    "<<",
    "!!binary",
    "{{",
    "}}",
    "{%",
    "(a|aa)+$",
    "(?=",
    "[[",
    "\\1",
    "%s",
    "{search: [0, 1]}",
    "model",
    "path",
    "---\n",
    "# ",
    "(",
    ")",
    "*",
    "+",
];

/// Applies one to three random changes to a file.
pub(super) fn mutated(bytes: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let len = bytes.len();
        let at = random.random_range(0..=len);
        let span = at..(at + random.random_range(0..=32)).min(len);
        match random.random_range(0..10) {
            // Mostly words and numbers, as most files are text.
            0..=3 => {
                let word = word(&bytes, at);
                let piece = PIECES.choose(random).unwrap();
                bytes.splice(word, piece.bytes());
            }
            4 => drop(bytes.splice(at..at, PIECES.choose(random).unwrap().bytes())),
            5 => {
                // Deep nesting, or one piece many times.
                let piece = ["[", "{\"a\":", "(", "- ", "-", "((a", "{{", "[[", "9", "あ"].choose(random).unwrap();
                bytes.splice(at..at, piece.repeat(random.random_range(100..20_000)).into_bytes());
            }
            6 => drop(bytes.drain(span)),
            7 => {
                let again = bytes[span].to_vec();
                bytes.splice(at..at, again);
            }
            8 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        }
    }
    bytes
}

/// Range of the word or number around an offset.
fn word(bytes: &[u8], at: usize) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') || !byte.is_ascii();
    let before = bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let after = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
    at - before..at + after
}
