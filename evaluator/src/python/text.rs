//! Values as Python writes them: `str`, `repr` and `json.dumps`.

use serde_json::{Number, Value};
use std::fmt::Write as _;

/// `str(value)`.
pub fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// `repr(value)`.
pub fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => self::number(number),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), repr(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// `repr` of a float: the shortest digits that parse back to it, with an exponent from 1e16 up and below 1e-4.
#[expect(clippy::missing_panics_doc, reason = "the format has an exponent, which is a whole number")]
pub fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let exponent = format!("{x:e}");
    let (digits, power) = exponent.split_once('e').expect("this format has an exponent");
    match power.parse::<i32>().expect("it is a whole number") {
        power if (-4..16).contains(&power) => {
            let plain = x.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
        power => format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs()),
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`; on one line without an indent.
pub fn dumps(value: &Value, indent: Option<usize>) -> String {
    let mut text = String::new();
    write(&mut text, value, indent, 0);
    text
}

/// `text.strip()`; Python counts more characters as white space than Unicode does.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.isspace` of a character.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// `str.split`: the words between white space.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

fn number(number: &Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), _, _) => whole.to_string(),
        (_, Some(whole), _) => whole.to_string(),
        (_, _, Some(x)) => float(x),
        _ => number.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => write!(out, "\\x{:02x}", c as u32).expect("a text takes every write"),
            c if (c as u32) < 0x1_0000 => write!(out, "\\u{:04x}", c as u32).expect("a text takes every write"),
            c => write!(out, "\\U{:08x}", c as u32).expect("a text takes every write"),
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable`, except for characters that no Unicode version has assigned.
fn is_printable(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || is_space(c) || is_format)
}

fn write(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) {
    let newline = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    let separate = |out: &mut String, first: bool, depth: usize| {
        if !first {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        newline(out, depth);
    };
    match value {
        Value::Number(number) => out.push_str(&self::number(number)),
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                separate(out, i == 0, depth + 1);
                write(out, item, indent, depth + 1);
            }
            newline(out, depth);
            out.push(']');
        }
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (i, (key, field)) in fields.iter().enumerate() {
                separate(out, i == 0, depth + 1);
                json_text(out, key);
                out.push_str(": ");
                write(out, field, indent, depth + 1);
            }
            newline(out, depth);
            out.push('}');
        }
        Value::String(text) => json_text(out, text),
        // null, true, false, [] and {} are the same in Python and `serde_json`.
        other => out.push_str(&other.to_string()),
    }
}

/// Writes a text as JSON; like `serde_json`, Python does not escape DEL.
fn json_text(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}
