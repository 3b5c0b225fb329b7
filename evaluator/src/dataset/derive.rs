//! Prepares files for use: MGSM's examples from Python, and plain text from Aozora Bunko's markup.

use encoding_rs::SHIFT_JIS;
use merge_core::error::{Error, Result};
use regex::Regex;
use serde::Serialize as _;
use serde_json::{Map, Value, json, ser::PrettyFormatter};
use std::sync::LazyLock;

/// MGSM's worked examples in Japanese and English from `exemplars.py`, as JSON with an indent of one space.
///
/// That file is Python, but it only names three literals.
///
/// # Panics
/// Never: a JSON tree can always be written.
pub fn exemplars(python: &str) -> Result<Vec<u8>> {
    let named = |name: &str| {
        let wrong =
            || Error::user(format!("there is no {name} in MGSM's exemplars.py, or it is written in another way"));
        let (_, text) = python.split_once(&format!("\n{name} = ")).ok_or_else(wrong)?;
        Literal { rest: text, depth: 0 }.value().ok_or_else(wrong)
    };
    let mut all = named("MGSM_EXEMPLARS")?;
    let tree = json!({
        "ja": all["ja"].take(),
        "en": all["en"].take(),
        "number_answers": named("EXEMPLAR_NUMBER_ANSWERS")?,
        "equation_solutions": named("EXEMPLAR_EQUATION_SOLUTIONS")?,
    });
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
    tree.serialize(&mut writer).expect("a tree of JSON can be written");
    Ok(bytes)
}

/// The text of a work of Aozora Bunko, from `Shift_JIS` with markup: the title, an empty line, and
/// the work, without readings (《…》, ｜), notes (［＃…］), the list of marks, and the note on the
/// edition. Characters that `Shift_JIS` does not have stay `※`.
///
/// <https://www.aozora.gr.jp/annotation/>
pub fn aozora(bytes: &[u8]) -> String {
    static MARKUP: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("《[^》]*》|［＃[^］]*］|｜").expect("a constant pattern"));
    static EMPTY_LINES: LazyLock<Regex> = LazyLock::new(|| Regex::new("\n{3,}").expect("a constant pattern"));
    let text = SHIFT_JIS.decode_without_bom_handling(bytes).0.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let body = body.split("\n底本：").next().unwrap_or(body);
    // The text between two rules lists the marks used.
    let rule = |line: &str| line.len() > 20 && line.chars().all(|letter| letter == '-');
    let mut rules = body.match_indices('\n').map(|(at, _)| at).filter(|at| {
        let before = &body[..*at];
        rule(before.rsplit('\n').next().unwrap_or(before))
    });
    let body = match (rules.next(), rules.next()) {
        (Some(_), Some(second)) => &body[second..],
        _ => body,
    };
    let title = head.lines().next().unwrap_or_default();
    let plain = MARKUP.replace_all(body, "");
    format!("{title}\n\n{}\n", EMPTY_LINES.replace_all(plain.trim_matches('\n'), "\n\n"))
}

/// Reads a Python literal: dictionaries, lists, whole numbers, and texts, which may be in consecutive pieces.
struct Literal<'a> {
    rest: &'a str,
    depth: usize,
}

/// Most levels of dictionaries and lists; MGSM's file has three.
const DEEPEST: usize = 32;

impl Literal<'_> {
    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > DEEPEST { None } else { self.any() };
        self.depth -= 1;
        value
    }

    fn any(&mut self) -> Option<Value> {
        match self.next()? {
            '{' => {
                self.pass(1);
                let mut map = Map::new();
                loop {
                    match self.next()? {
                        '}' => {
                            self.pass(1);
                            return Some(map.into());
                        }
                        ',' => self.pass(1),
                        _ => {
                            let key = self.text()?;
                            (self.next()? == ':').then(|| self.pass(1))?;
                            map.insert(key, self.value()?);
                        }
                    }
                }
            }
            '[' => {
                self.pass(1);
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        ']' => {
                            self.pass(1);
                            return Some(list.into());
                        }
                        ',' => self.pass(1),
                        _ => list.push(self.value()?),
                    }
                }
            }
            '(' => {
                self.pass(1);
                let value = self.value()?;
                (self.next()? == ')').then(|| self.pass(1))?;
                Some(value)
            }
            '"' | '\'' => self.text().map(Value::from),
            _ => {
                let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '-')?;
                let number: i64 = self.rest[..end].parse().ok()?;
                self.pass(end);
                Some(number.into())
            }
        }
    }

    /// Reads a text and joins its consecutive pieces.
    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(quote @ ('"' | '\'')) = self.next() {
            self.pass(1);
            loop {
                let letter = self.rest.chars().next()?;
                self.pass(letter.len_utf8());
                match letter {
                    _ if letter == quote => break,
                    '\\' => text.push(self.escape()?),
                    _ => text.push(letter),
                }
            }
        }
        Some(text)
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.pass(letter.len_utf8());
        let digits = match letter {
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '"' | '\'' | '\\' => return Some(letter),
            _ => return None,
        };
        let code = u32::from_str_radix(self.rest.get(..digits)?, 16).ok()?;
        self.pass(digits);
        char::from_u32(code)
    }

    /// The next character after white space and comments.
    fn next(&mut self) -> Option<char> {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next()? {
                '#' => self.rest = self.rest.split_once('\n')?.1,
                letter => return Some(letter),
            }
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}
