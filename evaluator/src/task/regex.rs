//! Python's regular expressions.

use fancy_regex::Regex;
use merge_core::error::{Error, Result};

/// A pattern of Python's `re`: digits and letters are Unicode's, in both.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(&translated(pattern)).map_err(|e| {
        let text = e.to_string();
        let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::user(format!("the pattern `{pattern}` is not a regular expression: {what}"))
    })
}

/// `re.findall`, then one match by its number, from the end if it is negative: of a pattern with groups the first that is
/// not empty; `None` if there is no match, or no such one.
pub(super) fn select(regex: &Regex, text: &str, number: i64) -> Option<String> {
    let found: Vec<_> = regex.captures_iter(text).map_while(std::result::Result::ok).collect();
    let number = if number < 0 { number + found.len() as i64 } else { number };
    let captures = found.get(usize::try_from(number).ok()?)?;
    let group = |i: usize| captures.get(i).map_or("", |group| group.as_str());
    match captures.len() {
        1 => Some(group(0).to_owned()),
        2 => Some(group(1).to_owned()),
        n => (1..n).map(group).find(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// Whether it has a match at all.
pub(super) fn is_found(regex: &Regex, text: &str) -> bool {
    regex.is_match(text).unwrap_or(false)
}

/// Python's `\1` and `\g<name>` as `fancy_regex` writes them.
pub(super) fn replacement(text: &str) -> String {
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
