//! Letters that are invisible or look like others: web pages and keyboards of other scripts put them into files.

use super::Place;

/// Name of a letter, and what to write instead; `None` for a letter that is probably meant.
fn described(letter: char) -> Option<(String, String)> {
    let some = |name: &str, instead: &str| Some((name.to_owned(), instead.to_owned()));
    let ordinary = |instead: char| format!("write `{instead}`");
    match letter {
        '\u{a0}' | '\u{202f}' => some("a no-break space", "write an ordinary one"),
        '\u{3000}' => some("a full-width space", "write an ordinary one"),
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' => some("a space of another width", "write an ordinary one"),
        '\u{feff}' => some("a byte order mark", "remove it"),
        '\u{200b}' | '\u{180e}' | '\u{2060}'..='\u{2064}' => some("a zero-width space", "remove it"),
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => {
            some("an invisible mark", "remove it")
        }
        '\u{ad}' => some("a soft hyphen", "remove it"),
        '\u{85}' | '\u{2028}' | '\u{2029}' => some("an unusual line break", "write an ordinary one"),
        '\t' => some("a tab", "write spaces"),
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = char::from_u32(letter as u32 - 0xfee0)?;
            Some((format!("a full-width `{ascii}`"), ordinary(ascii)))
        }
        '、' => Some(("an ideographic comma".to_owned(), ordinary(','))),
        '。' => Some(("an ideographic full stop".to_owned(), ordinary('.'))),
        '“' | '”' | '„' | '«' | '»' => Some(("a typographic quotation mark".to_owned(), ordinary('"'))),
        '‘' | '’' | '‚' | '′' => Some(("a typographic quotation mark".to_owned(), ordinary('\''))),
        '「' | '」' | '『' | '』' => Some(("a Japanese quotation mark".to_owned(), ordinary('"'))),
        '【' | '】' | '〔' | '〕' => some("a Japanese bracket", "write `[` or `]`"),
        '‐'..='―' | '−' => Some(("a typographic dash".to_owned(), ordinary('-'))),
        _ => None,
    }
}

/// The first such letter near a place and not in a comment: on its line, or an invisible one a line away.
pub(super) fn near(text: &str, place: Place) -> Option<String> {
    let at = place.line.max(1) as usize;
    let line = |line: usize| Some((line, text.lines().nth(line.checked_sub(1)?)?));
    line(at).and_then(|(line, text)| first_on_line(text, line, |_| true)).or_else(|| {
        [at - 1, at + 1].into_iter().filter_map(line).find_map(|(line, text)| first_on_line(text, line, is_unseen))
    })
}

fn is_unseen(letter: char) -> bool {
    letter.is_whitespace() || described(letter).is_some_and(|(_, instead)| instead == "remove it")
}

/// Chinese, Japanese and Korean letters: full-width letters beside them are correct.
fn is_eastern(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..='\u{3ffff}')
}

fn first_on_line(text: &str, line: usize, may_be: impl Fn(char) -> bool) -> Option<String> {
    // A `#` begins a comment at the beginning of a line and after white space.
    let comment = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| text[..*at].chars().next_back().is_none_or(char::is_whitespace));
    let letters: Vec<char> = text[..comment.unwrap_or(text.len())].chars().collect();
    let eastern = letters.iter().copied().any(is_eastern);
    let indentation = letters.iter().take_while(|letter| letter.is_whitespace()).count();
    letters.iter().enumerate().filter(|(_, letter)| may_be(**letter)).find_map(|(at, letter)| {
        if eastern && at >= indentation && (*letter == '\u{3000}' || !is_unseen(*letter)) {
            return None;
        }
        let (what, instead) = described(*letter).or_else(|| foreign(&letters, at))?;
        let (code, column) = (*letter as u32, at + 1);
        Some(format!("there is {what} (U+{code:04X}) at line {line}, column {column}: {instead}"))
    })
}

/// Describes a Cyrillic or Greek letter next to a Latin one, which it looks like.
fn foreign(letters: &[char], at: usize) -> Option<(String, String)> {
    let script = match letters[at] {
        '\u{370}'..='\u{3ff}' => "Greek",
        '\u{400}'..='\u{4ff}' => "Cyrillic",
        _ => return None,
    };
    let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| letters.get(at));
    let latin = beside.clone().any(char::is_ascii_alphabetic);
    latin.then(|| (format!("a {script} letter"), "write the Latin one".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_letter_its_place_and_what_to_write() {
        let check = |text: &str, line: u32, expected: Option<&str>| {
            assert_eq!(near(text, Place { line, column: 1 }).as_deref(), expected, "{text:?}");
        };
        let nbsp = "there is a no-break space (U+00A0) at line 2, column 8: write an ordinary one";
        check("a: 1\nweight:\u{a0}0.5\nb: 2", 2, Some(nbsp));
        check("a: 1\nweight:\u{a0}0.5\nb: 2", 3, Some(nbsp));
        check("a: 1\nweight:\u{a0}0.5\nb: 2\nc: 3", 4, None);
        check("weight：0.5", 1, Some("there is a full-width `:` (U+FF1A) at line 1, column 7: write `:`"));
        check("wеight: 1", 1, Some("there is a Cyrillic letter (U+0435) at line 1, column 2: write the Latin one"));
        check("a: 1 # 全角：\u{3000}", 1, None);
        check("a: модель", 1, None);
        check("doc_to_text: 質問：\u{3000}「x」", 1, None);
        check(
            "\u{3000}doc_to_text: 質問",
            1,
            Some("there is a full-width space (U+3000) at line 1, column 1: write an ordinary one"),
        );
        check("a: 1\nb：2", 1, None);
        check("\u{feff}\ta: [1]", 0, Some("there is a byte order mark (U+FEFF) at line 1, column 1: remove it"));
    }
}
