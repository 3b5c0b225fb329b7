//! `neologdn.normalize` 0.5.6 with its defaults: the widths, hyphens and spaces of Japanese text as MeCab's dictionaries want them.
//!
//! Not to be mixed up with [`normalize`](crate::text::normalize::normalize), which is ours: this one is for scores that have to equal
//! those of harnesses in Python, and keeps the quirks they depend on (tildes vanish, `は゛` does not become ば).

/// Hyphens become `-`, of which one stays.
const HYPHENS: &[char] = &['˗', '֊', '‐', '‑', '‒', '–', '⁃', '⁻', '₋', '−'];

/// Long vowel marks and what looks like them become `ー`, of which one stays.
const LONG_VOWELS: &[char] = &['﹣', '－', 'ｰ', '—', '―', '─', '━', 'ー'];

const TILDES: &[char] = &['~', '∼', '∾', '〜', '〰', '～'];

/// Half-width characters and the full-width ones they become.
const HALF: &str = "｡､･｢｣ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝｧｨｩｪｫｯｬｭｮ";
const FULL: &str = "。、・「」アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲンァィゥェォッャュョ";

/// What a voiced mark joins to, and what they make.
const VOICELESS: &str = "うウカキクケコサシスセソタチツテトハヒフヘホ";
const VOICED: &str = "ゔヴガギグゲゴザジズゼゾダヂヅデドバビブベボ";

/// What a semi-voiced mark joins to, and what they make.
const PLAIN: &str = "ハヒフヘホはひふへほ";
const SEMIVOICED: &str = "パピプペポぱぴぷぺぽ";

/// The text as `neologdn.normalize` 0.5.6 gives it.
pub fn normalize(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    // The last character that was not passed over, as it was written out; a space that was dropped counts too.
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

/// The character of `to` that stands where `c` stands in `from`.
fn in_place_of(c: char, from: &str, to: &str) -> Option<char> {
    let at = from.chars().position(|other| other == c)?;
    to.chars().nth(at)
}

/// Kanji, kana, and the symbols and widths that go with them: the blocks between which spaces are dropped.
fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3001}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}' | '\u{FF00}'..='\u{FFEF}')
}
