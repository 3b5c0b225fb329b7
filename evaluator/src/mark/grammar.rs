//! The grammar of numbers in Japanese text: digits, kanji, both mixed, fractions and halves.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Zero as _};
use unicode_normalization::UnicodeNormalization as _;

use crate::text::normalize::{Number, is_kanji};

/// A number in a text.
#[derive(Debug)]
pub(super) struct FoundNumber {
    /// Index of the character where its sign or currency begins.
    pub(super) start: usize,
    /// Index after the last character of its unit.
    pub(super) end: usize,
    pub(super) value: BigRational,
}

/// Units. One of them after 半 or a single kanji makes that a number. Longer units come before those
/// that they begin with.
const UNITS: &str = "センチメートル ミリリットル キロメートル キログラム パーセント リットル メートル グラム ガロン オンス \
    ポンド マイル フィート インチ ヤード エーカー セント ユーロ ダース セット パック ページ キロ ドル 時間 日間 週間 年間 \
    か月 ヶ月 カ月 ケ月 箇月 人前 人分 文字 切れ km kg mg cm mm ml mL 円 個 つ 人 名 本 枚 匹 頭 羽 台 冊 杯 袋 箱 缶 束 皿 \
    回 点 問 歩 階 軒 件 組 足 着 錠 粒 玉 株 輪 通 曲 駅 周 泊 時 分 秒 日 週 月 年 歳 才 割 倍 m g L %";

/// Words between an answer and the end of its sentence. One of them after a single kanji makes that a number.
const COPULAS: &[&str] = &["です", "でし", "であ", "で、", "だ", "とな", "にな", "に等し"];

/// All numbers of a normalised text, in order.
pub(super) fn numbers(text: &[char]) -> Vec<FoundNumber> {
    let mut found: Vec<FoundNumber> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let after_number = found.last().is_some_and(|last| last.end == at);
        match number_at(text, at, after_number) {
            Some(number) => {
                at = number.end;
                found.push(number);
            }
            None => at += 1,
        }
    }
    found
}

/// True if the text goes on as it does after an answer: with a copula, with punctuation or not at all.
pub(super) fn ends_answer(rest: &[char]) -> bool {
    let punctuation =
        |c: &char| !c.is_alphanumeric() && !matches!(c, '+' | '-' | '*' | '/' | '×' | '÷' | '=' | '・' | '%');
    rest.first().is_none_or(punctuation) || COPULAS.iter().any(|word| starts_with(rest, word))
}

/// The number that begins at `start`; a `-` after another number is an operator.
pub(super) fn number_at(text: &[char], start: usize, after_number: bool) -> Option<FoundNumber> {
    let mut at = start;
    let mut negative = false;
    loop {
        let before = at.checked_sub(1).map(|at| text[at]);
        match text.get(at)? {
            '-' => {
                let is_operator = |c: char| c.is_ascii_alphanumeric() || matches!(c, ')' | ']' | '}' | '-');
                if after_number || negative || (at == start && before.is_some_and(is_operator)) {
                    return None;
                }
                negative = true;
                at += 1;
            }
            '¥' | '$' | '€' | '£' => at += 1,
            'マ' if starts_with(&text[at..], "マイナス") => {
                negative = !negative;
                at += 4;
            }
            _ => break,
        }
    }
    let (value, end) = fraction(text, at).or_else(|| half(text, at))?;
    let unit = unit(&text[end..]);
    let end = end + unit;
    let and_a_half =
        unit > 0 && text.get(end) == Some(&'半') && !matches!(text.get(end + 1), Some('分' | '額' | '数' | 'ば'));
    let value = if and_a_half { value + ratio(1, 2) } else { value };
    let end = if and_a_half { end + 1 } else { end };
    Some(FoundNumber { start, end, value: if negative { -value } else { value } })
}

/// `3分の2`, `1と3分の2`, `2/3`, `2½`, or a number that [`magnitude`] reads.
fn fraction(text: &[char], at: usize) -> Option<(BigRational, usize)> {
    if let Some((value, end)) = part(text, at) {
        return Some((value, end));
    }
    let (value, end) = magnitude(text, at)?;
    if text.get(end) == Some(&'と')
        && let Some((part, end)) = part(text, end + 1)
        && part < BigRational::one()
    {
        return Some((value + part, end));
    }
    if let Some(part) = text.get(end).copied().and_then(vulgar)
        && value.is_integer()
    {
        return Some((value + part, end + 1));
    }
    let is_plain = |c: &char| c.is_ascii_digit();
    if text.get(end) == Some(&'/') && text.get(end + 1).is_some_and(is_plain) && text[at..end].iter().any(is_plain) {
        let (below, after) = digits(text, end + 1)?;
        // 2024/5/3 is a date.
        let is_date = text.get(after) == Some(&'/') || (at > 0 && text[at - 1] == '/');
        if !is_date && !below.is_zero() {
            return Some((value / below, after));
        }
    }
    Some((value, end))
}

/// `3分の2` or `½`.
fn part(text: &[char], at: usize) -> Option<(BigRational, usize)> {
    if let Some(value) = text.get(at).copied().and_then(vulgar) {
        return Some((value, at + 1));
    }
    let (below, end) = compound(text, at)?;
    if below.is_zero() || !starts_with(&text[end..], "分の") {
        return None;
    }
    let (above, end) = compound(text, end + 2)?;
    Some((above / below, end))
}

/// A half on its own: 半分です, 半日.
fn half(text: &[char], at: usize) -> Option<(BigRational, usize)> {
    if text[at] != '半' || (at > 0 && is_kanji(text[at - 1])) {
        return None;
    }
    let rest = &text[at + 1..];
    let is_half = match rest.first() {
        Some('分') => ends_answer(&rest[1..]),
        _ => unit(rest) > 0,
    };
    is_half.then(|| (ratio(1, 2), at + 1))
}

/// A number in digits or kanji. A single kanji is a number only before a unit or the end of an answer.
fn magnitude(text: &[char], at: usize) -> Option<(BigRational, usize)> {
    let (value, end) = compound(text, at)?;
    let before = at.checked_sub(1).map(|at| text[at]);
    let rest = &text[end..];
    let is_number = if text[at].is_ascii_digit() || text[at] == '.' {
        true
    } else if before.is_some_and(|c| matches!(c, '数' | '何' | '幾')) {
        false
    } else if end > at + 1 {
        true
    } else if text[at] == '十' && starts_with(rest, "分") {
        // Otherwise 十分 means enough, not ten minutes.
        rest.get(1).is_some_and(|c| matches!(c, '間' | '後' | '前'))
    } else {
        // In 唯一, 統一, 第一 and 一時, 一 is not a number.
        let after_kanji = before.is_some_and(|c| is_kanji(c) && !matches!(c, '約' | '計' | '各' | '全'));
        let for_a_time = starts_with(rest, "時") && !starts_with(rest, "時間");
        let in_word = text[at] == '一' && (after_kanji || for_a_time);
        !in_word && (unit(rest) > 0 || ends_answer(rest))
    };
    is_number.then_some((value, end))
}

/// Digits and kanji with powers of ten: `1234.5`, 二千五百, 二〇二四, `1万2千`, `1.5億`.
fn compound(text: &[char], start: usize) -> Option<(BigRational, usize)> {
    let (mut total, mut section) = (BigRational::zero(), BigRational::zero());
    // The number that no power of ten follows yet.
    let mut open: Option<BigRational> = None;
    // Powers of ten must fall: 十 within 千, 万 within 億.
    let (mut within, mut large) = (None::<u32>, None::<u32>);
    let mut at = start;
    while let Some(&c) = text.get(at) {
        if let Some(power) = small_unit(c) {
            if within.is_some_and(|last| power >= last) {
                break;
            }
            section += open.take().unwrap_or_else(BigRational::one) * ten_to(power);
            within = Some(power);
            at += 1;
        } else if let Some(power) = large_unit(c) {
            let counted = section.clone() + open.clone().unwrap_or_else(BigRational::zero);
            if counted.is_zero() || large.is_some_and(|last| power >= last) {
                break;
            }
            total += counted * ten_to(power);
            (section, open, within, large) = (BigRational::zero(), None, None, Some(power));
            at += 1;
        } else if open.is_none() {
            let Some((value, end)) = digits(text, at).or_else(|| kanji_digits(text, at)) else { break };
            // 千 is followed by less than a thousand.
            let below = within.or(large);
            if below.is_some_and(|power| value >= ten_to(power)) {
                break;
            }
            open = Some(value);
            at = end;
        } else {
            break;
        }
    }
    (at > start).then(|| (total + section + open.unwrap_or_else(BigRational::zero), at))
}

/// ASCII digits with at most one point. `.5` is a number, but not in `No.5`.
fn digits(text: &[char], start: usize) -> Option<(BigRational, usize)> {
    let run = |from: usize| text[from.min(text.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
    let whole = run(start);
    let point = text.get(start + whole) == Some(&'.') && run(start + whole + 1) > 0;
    if whole == 0 && (!point || (start > 0 && text[start - 1].is_alphanumeric())) {
        return None;
    }
    let end = start + whole + if point { 1 + run(start + whole + 1) } else { 0 };
    let written: String = text[start..end].iter().collect();
    Some((Number::decimal(false, &written).value().clone(), end))
}

/// Kanji digits with place values: 二〇二四.
fn kanji_digits(text: &[char], start: usize) -> Option<(BigRational, usize)> {
    let written: String = text[start..].iter().map_while(|c| kanji_digit(*c)).collect();
    let end = start + written.len();
    (end > start).then(|| (Number::decimal(false, &written).value().clone(), end))
}

fn kanji_digit(c: char) -> Option<char> {
    const DIGITS: [&[char]; 10] = [
        &['〇', '零'],
        &['一', '壱', '壹'],
        &['二', '弐', '貳'],
        &['三', '参', '參'],
        &['四'],
        &['五', '伍'],
        &['六'],
        &['七'],
        &['八'],
        &['九'],
    ];
    let digit = DIGITS.iter().position(|written| written.contains(&c))?;
    Some(char::from(b'0' + digit as u8))
}

/// The power of ten of a unit that may stand before 万.
fn small_unit(c: char) -> Option<u32> {
    match c {
        '十' | '拾' => Some(1),
        '百' => Some(2),
        '千' => Some(3),
        _ => None,
    }
}

/// The power of ten of a unit by which Japanese groups digits in fours.
fn large_unit(c: char) -> Option<u32> {
    match c {
        '万' | '萬' => Some(4),
        '億' => Some(8),
        '兆' => Some(12),
        '京' => Some(16),
        _ => None,
    }
}

/// The value of a fraction in one character, such as `½`.
fn vulgar(c: char) -> Option<BigRational> {
    let written: String = std::iter::once(c).nfkc().collect();
    let (above, below) = written.split_once('\u{2044}')?;
    let number = |digits: &str| digits.parse::<BigInt>().ok();
    // `⅟` has no denominator.
    Some(BigRational::new(number(above)?, number(below)?))
}

/// Number of characters of the unit that the text begins with.
fn unit(rest: &[char]) -> usize {
    UNITS.split(' ').find(|unit| starts_with(rest, unit)).map_or(0, |unit| unit.chars().count())
}

fn starts_with(text: &[char], word: &str) -> bool {
    let mut text = text.iter();
    word.chars().all(|c| text.next() == Some(&c))
}

fn ten_to(power: u32) -> BigRational {
    BigRational::from_integer(BigInt::from(10).pow(power))
}

fn ratio(above: u8, below: u8) -> BigRational {
    BigRational::new(above.into(), below.into())
}
