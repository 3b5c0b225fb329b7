//! `neologdn.normalize` 0.5.6 with its defaults: widths, hyphens and spaces as MeCab's dictionaries need them.
//!
//! Do not confuse it with our own [`normalize`](crate::text::normalize::normalize): this one is for scores that must
//! equal those of Python harnesses, and keeps the quirks that they rely on (tildes vanish, `は゛` does not become ば).

/// Hyphens become `-`, one for several in a row.
const HYPHENS: &[char] = &['˗', '֊', '‐', '‑', '‒', '–', '⁃', '⁻', '₋', '−'];

/// Long vowel marks and similar characters become `ー`, one for several in a row.
const LONG_VOWELS: &[char] = &['﹣', '－', 'ｰ', '—', '―', '─', '━', 'ー'];

const TILDES: &[char] = &['~', '∼', '∾', '〜', '〰', '～'];

/// Half-width characters, and the full-width ones that replace them.
const HALF: &str = "｡､･｢｣ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝｧｨｩｪｫｯｬｭｮ";
const FULL: &str = "。、・「」アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲンァィゥェォッャュョ";

/// Characters that a voiced mark joins, and the results.
const VOICELESS: &str = "うウカキクケコサシスセソタチツテトハヒフヘホ";
const VOICED: &str = "ゔヴガギグゲゴザジズゼゾダヂヅデドバビブベボ";

/// Characters that a semi-voiced mark joins, and the results.
const PLAIN: &str = "ハヒフヘホはひふへほ";
const SEMIVOICED: &str = "パピプペポぱぴぷぺぽ";

/// The text as `neologdn.normalize` 0.5.6 returns it.
pub fn normalize(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    // The last character that was not skipped, as it was written out; a dropped space counts too.
    let mut previous = '\0';
    let mut after_latin_space = false;
    for c in text.chars() {
        if matches!(c, ' ' | '\u{3000}') {
            if out.is_empty() || previous == ' ' || is_japanese(previous) {
                continue;
            }
            if previous != '*' && previous.is_ascii() {
                after_latin_space = true;
                out.push(' ');
            }
            previous = ' ';
            continue;
        }
        let c = if HYPHENS.contains(&c) {
            if previous == '-' {
                continue;
            }
            '-'
        } else if LONG_VOWELS.contains(&c) {
            if previous == 'ー' {
                continue;
            }
            'ー'
        } else if TILDES.contains(&c) {
            continue;
        } else {
            let c = convert(c);
            let joined = match c {
                'ﾞ' => in_place_of(previous, VOICELESS, VOICED),
                'ﾟ' => in_place_of(previous, PLAIN, SEMIVOICED),
                _ => None,
            };
            let c = match joined {
                Some(joined) if out.pop().is_some() => joined,
                _ => c,
            };
            if after_latin_space && is_japanese(c) {
                out.pop();
            }
            c
        };
        after_latin_space = false;
        out.push(c);
        previous = c;
    }
    if out.last() == Some(&' ') {
        out.pop();
    }
    out.into_iter().collect()
}

/// One character in its usual width.
fn convert(c: char) -> char {
    match c {
        '’' => '\'',
        '‘' => '`',
        '“' | '”' => '"',
        '¥' => '\\',
        '゛' => 'ﾞ',
        '゜' => 'ﾟ',
        '＂' | '＇' | '＼' | '｀' => c,
        '！'..='｝' => char::from_u32(u32::from(c) - u32::from('！') + u32::from('!')).expect("it is ASCII"),
        c => in_place_of(c, HALF, FULL).unwrap_or(c),
    }
}

/// The character of `to` at the index of `c` in `from`.
fn in_place_of(c: char, from: &str, to: &str) -> Option<char> {
    let at = from.chars().position(|other| other == c)?;
    to.chars().nth(at)
}

/// True for kanji, kana, and the symbols and widths that go with them; spaces between these are dropped.
fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3001}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}' | '\u{FF00}'..='\u{FFEF}')
}
