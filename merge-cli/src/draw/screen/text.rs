//! Escapes text for a terminal, and measures its width there.
//!
//! Names of models, tensors, files and jobs, and messages of libraries, come from other people. A
//! terminal obeys some characters and hides others, so that one name may look like another: these
//! characters are shown as escapes, such as `\u{1b}`.

use serde::Serialize;
use std::{borrow::Cow, fmt::Write as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const STRING: &str = "a String takes all that is written";

/// True if a character is shown as it is: line end, tabulator, or any character that is no control
/// character, does not change the direction of text and is not invisible.
fn is_plain(letter: char) -> bool {
    match letter {
        '\n' | '\t' => true,
        '\u{ad}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{180e}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        letter => !letter.is_control(),
    }
}

/// True if a text needs no escapes on a terminal.
pub(crate) fn is_shown_as_it_is(text: &str) -> bool {
    text.chars().all(is_plain)
}

/// A text of several lines, with escapes for characters that must not reach a terminal.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if is_shown_as_it_is(text) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_plain(letter) {
            out.push(letter);
        } else {
            write!(out, "{}", letter.escape_unicode()).expect(STRING);
        }
    }
    out.into()
}

/// A name or a value for one line: line ends and tabulators are escaped too.
pub(crate) fn in_line(text: &str) -> Cow<'_, str> {
    match shown(text) {
        text if text.contains(['\n', '\t']) => text.replace('\n', "\\n").replace('\t', "\\t").into(),
        text => text,
    }
}

/// Width of a text in columns: Chinese, Japanese and Korean characters take two.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Pads a text on the right to a width.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(self::width(text))))
}

/// Pads a text on the left to a width, as for numbers.
pub(crate) fn flush_right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(self::width(text))))
}

/// The end of a text in at most `width` columns, with `…` before it if the text is longer.
pub(crate) fn ending(text: &str, width: usize) -> String {
    if self::width(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |letter: &char| {
        let taken = letter.width().unwrap_or(0);
        let fits = taken <= room;
        room = room.saturating_sub(taken);
        fits
    };
    let mut end: Vec<char> = text.chars().rev().take_while(fits).collect();
    end.push('…');
    end.into_iter().rev().collect()
}

/// Formats JSON; characters that must not reach a terminal are JSON escapes.
pub(crate) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("results are plain data");
    if is_shown_as_it_is(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_plain(letter) {
            out.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").expect(STRING);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_terminal_obeys_or_hides_is_shown() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected);
        check("算数\tjob\n", "算数\tjob\n");
        check("\x1b]0;PWNED\x07", "\\u{1b}]0;PWNED\\u{7}");
        check("a\rb\u{9b}2J", "a\\u{d}b\\u{9b}2J");
        check("user\u{202e}txt.exe\u{200b}", "user\\u{202e}txt.exe\\u{200b}");
        check("\x1b[2J\x1b[8m", "\\u{1b}[2J\\u{1b}[8m");
        // The codes that our own pictures use could hide a name too.
        check("\x1b[30;48;5;16mx", "\\u{1b}[30;48;5;16mx");
        assert_eq!(in_line("a\nerror: b"), "a\\nerror: b");
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let value = json!({ "\u{9b}a": "\u{1b}\u{202e}b\u{e0001}" });
        let text = super::json(&value);
        assert_eq!(text, "{\n  \"\\u009ba\": \"\\u001b\\u202eb\\udb40\\udc01\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn columns_are_counted_as_a_terminal_does() {
        assert_eq!([padded("算数", 6), flush_right("算数", 6), padded("long", 2)], ["算数  ", "  算数", "long"]);
        assert_eq!([ending("レシピ集", 8), ending("レシピ集", 6), ending("abcdef", 4)], ["レシピ集", "…ピ集", "…def"]);
    }
}
