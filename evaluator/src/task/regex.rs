//! Regular expressions as Python's `re` understands them.

use fancy_regex::RegexBuilder;
use merge_core::error::{Error, Result};

/// Most backtracking steps of one search, which take some tenths of a second.
const STEPS_BACK: usize = 10_000_000;

/// A pattern of Python's `re`; its digits and letters are Unicode's, as in Python.
///
/// A search that exceeds its limit is an error, never a text without a match. Only patterns with
/// look-around or back-references can exceed it: other searches take time linear in the text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// The pattern as messages show it.
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

    /// A pattern that matches one of these texts, trying them in order.
    pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let escaped: Vec<_> = texts.into_iter().map(|text| fancy_regex::escape(text).into_owned()).collect();
        Self::new(&escaped.join("|"))
    }

    /// `re.findall`, then the match with this index, from the end if it is negative. With several
    /// groups, it is the first that is not empty. `None` if there is no such match.
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

    /// True if the pattern matches anywhere in the text.
    pub(super) fn is_found(&self, text: &str) -> Result<bool> {
        self.regex.is_match(text).map_err(|e| self.given_up(&e))
    }

    /// `re.sub` of at most the first `count` matches; fails if the result has more than `most` bytes.
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

    /// The text without its matches.
    pub(super) fn remove(&self, text: &str) -> Result<String> {
        self.replace(text, "", usize::MAX, usize::MAX)
    }

    fn given_up(&self, error: &fancy_regex::Error) -> Error {
        let why = match error {
            fancy_regex::Error::RuntimeError(fancy_regex::RuntimeError::BacktrackLimitExceeded) => {
                format!("the search stopped after {STEPS_BACK} backtracking steps")
            }
            other => other.to_string(),
        };
        Error::user(format!("the pattern `{}`: {why}", self.written)).hint(
            "write it without a repetition in a repetition, such as `(a|aa)+`, or without look-around, such as `(?=…)`",
        )
    }
}

/// Shortens a text for a message: a template can make one with millions of letters.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Translates Python's `\1` and `\g<name>` into `fancy_regex`'s form.
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

/// Translates a pattern where Python differs: `$` and `\Z` outside a class, special characters inside a class.
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
                // A bracket that closes at once is a literal one.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            // Python's classes hold neither classes nor set operations.
            '[' | '&' | '~' if depth == 1 => out.extend(['\\', c]),
            '-' if depth == 1 && chars.peek() == Some(&'-') => out.push_str("\\-"),
            ']' if depth == 1 => {
                depth = 0;
                out.push(c);
            }
            // Without MULTILINE, `$` also matches before a final line break.
            '$' if depth == 0 => out.push_str("(?=\\n?\\z)"),
            _ => out.push(c),
        }
    }
    out
}
