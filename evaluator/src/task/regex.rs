//! Python's regular expressions.

use fancy_regex::RegexBuilder;
use merge_core::error::{Error, Result};

/// Steps back of one search, after which it is given up: some tenths of a second.
const STEPS_BACK: usize = 10_000_000;

/// A pattern of Python's `re`: digits and letters are Unicode's, in both.
///
/// A search that is given up is an error, never a text without a match. Only patterns with look-around or references back can
/// be: all others are searched for in a time that is linear in the text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As messages show it.
    written: String,
    regex: fancy_regex::Regex,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self> {
        let regex = RegexBuilder::new(&translated(pattern)).backtrack_limit(STEPS_BACK).build().map_err(|e| {
            let text = e.to_string();
            let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Error::user(format!("the pattern `{}` is not a regular expression: {what}", brief(pattern)))
        })?;
        Ok(Self { written: brief(pattern), regex })
    }

    /// What one of these texts matches, the first of them that does.
    pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let escaped: Vec<_> = texts.into_iter().map(|text| fancy_regex::escape(text).into_owned()).collect();
        Self::new(&escaped.join("|"))
    }

    /// `re.findall`, then one match by its number, from the end if it is negative: of a pattern with groups the first that is
    /// not empty; `None` if there is no match, or no such one.
    pub(super) fn select(&self, text: &str, number: i64) -> Result<Option<String>> {
        let found = self.regex.captures_iter(text).collect::<std::result::Result<Vec<_>, _>>();
        let found = found.map_err(|e| self.given_up(&e))?;
        let number = if number < 0 { number + found.len() as i64 } else { number };
        let Some(captures) = usize::try_from(number).ok().and_then(|number| found.get(number)) else { return Ok(None) };
        let group = |i: usize| captures.get(i).map_or("", |group| group.as_str());
        Ok(match captures.len() {
            1 => Some(group(0).to_owned()),
            2 => Some(group(1).to_owned()),
            n => (1..n).map(group).find(|text| !text.is_empty()).map(str::to_owned),
        })
    }

    /// Whether it has a match at all.
    pub(super) fn is_found(&self, text: &str) -> Result<bool> {
        self.regex.is_match(text).map_err(|e| self.given_up(&e))
    }

    /// `re.sub`, the first `count` matches at most; fails if the result would have more than so many bytes.
    pub(super) fn replace(&self, text: &str, replacement: &str, count: usize, most: usize) -> Result<String> {
        let replacement = self::replacement(replacement);
        let (mut out, mut end) = (String::new(), 0);
        for captures in self.regex.captures_iter(text).take(count) {
            let captures = captures.map_err(|e| self.given_up(&e))?;
            let found = captures.get(0).expect("a match has a group 0");
            out += &text[end..found.start()];
            captures.expand(&replacement, &mut out);
            end = found.end();
            if out.len() > most {
                return Err(Error::user(format!(
                    "the pattern `{}` makes a text of more than {most} bytes",
                    self.written
                )));
            }
        }
        Ok(out + &text[end..])
    }

    /// A text without its matches.
    pub(super) fn remove(&self, text: &str) -> Result<String> {
        self.replace(text, "", usize::MAX, usize::MAX)
    }

    fn given_up(&self, error: &fancy_regex::Error) -> Error {
        let why = match error {
            fancy_regex::Error::RuntimeError(fancy_regex::RuntimeError::BacktrackLimitExceeded) => {
                format!("a text matches it in too many ways: it was given up after {STEPS_BACK} steps back")
            }
            other => other.to_string(),
        };
        Error::user(format!("the pattern `{}`: {why}", self.written)).hint(
            "write it without a repetition in a repetition, such as `(a|aa)+`, or without look-around, such as `(?=…)`",
        )
    }
}

/// A text as a message shows it: one that a template made may have millions of letters.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Python's `\1` and `\g<name>` as `fancy_regex` writes them.
fn replacement(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek().copied()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                let mut number = String::new();
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                out.extend(["${", &number, "}"]);
            }
            ('\\', Some('g')) => {
                let name: String = chars.by_ref().skip(2).take_while(|c| *c != '>').collect();
                out.extend(["${", &name, "}"]);
            }
            ('\\', Some('n')) => {
                chars.next();
                out.push('\n');
            }
            ('\\', Some('t')) => {
                chars.next();
                out.push('\t');
            }
            ('\\', Some('\\')) => {
                chars.next();
                out.push('\\');
            }
            (c, _) => out.push(c),
        }
    }
    out
}

/// What is written in another way: `$` in a class is no end, `\Z` is the very end, and a named group is referred to by `(?P=name)`.
fn translated(pattern: &str) -> String {
    let (mut out, mut chars) = (String::new(), pattern.chars().peekable());
    let mut depth = 0;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Z') if depth == 0 => out.push_str("\\z"),
                Some(escaped) => out.extend(['\\', escaped]),
                None => out.push('\\'),
            },
            '[' if depth == 0 => {
                depth = 1;
                out.push(c);
                if let Some(not) = chars.next_if_eq(&'^') {
                    out.push(not);
                }
                // A bracket that closes at once is meant as itself.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            // In a class Python has neither classes nor set operations.
            '[' | '&' | '~' if depth == 1 => out.extend(['\\', c]),
            '-' if depth == 1 && chars.peek() == Some(&'-') => out.push_str("\\-"),
            ']' if depth == 1 => {
                depth = 0;
                out.push(c);
            }
            // Without MULTILINE it matches before a last line break too.
            '$' if depth == 0 => out.push_str("(?=\\n?\\z)"),
            _ => out.push(c),
        }
    }
    out
}
