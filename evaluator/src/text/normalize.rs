//! Makes Japanese text comparable, in this one place: widths, signs, separators, numbers and script.

use std::{fmt, str::FromStr};

use merge_core::error::{Error, Result};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, ToPrimitive as _, Zero as _};
use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

#[cfg(test)]
mod tests;

/// The text in the form in which all answers are compared; normalising it again changes nothing.
///
/// - NFKC: full-width digits, signs and letters become ASCII, half-width katakana becomes full-width. Characters that
///   only look like digits (`①`, `²`, `½`, `㎡`) stay as they are, so that `18㎡` is not read as 182; a circled number
///   that stands alone becomes a number.
/// - The minus sign `−` becomes `-`. So do dashes before a number or between two, and `ー`, but not after katakana,
///   where it makes a vowel long (`スーパー3個`).
/// - Thousands separators are removed: `1,000`, `１，０００`, `1，000`. Groups that are not of three digits stay.
/// - White space, line breaks included, becomes one space, and none at either end.
pub fn normalize(text: &str) -> String {
    let folded = fold_widths(text);
    let spaced: Vec<char> = folded.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
    let signed: Vec<char> = (0..spaced.len()).map(|i| if is_minus(&spaced, i) { '-' } else { spaced[i] }).collect();
    remove_separators(&signed)
}

/// True if an answer is Japanese: the language gate of a task with `language: ja`.
///
/// After [`normalize`], most letters (digits, punctuation and symbols do not count) are hiragana, katakana or kanji,
/// and at least one is kana. So a bare number is not Japanese, nor Chinese, nor English with a Japanese name in it.
/// Kanji alone (東京都) are refused too: nothing tells them from Chinese.
pub fn is_japanese(text: &str) -> bool {
    let text = normalize(text);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let japanese = text.chars().filter(|&c| is_kana(c) || c == 'ー' || is_kanji(c)).count();
    text.chars().any(is_kana) && 2 * japanese > letters
}

/// An exact number. Two are equal if their values are: `18.0` is `18`, `-0` is `0`, and `1/2` is `0.5`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(BigRational);

impl Number {
    /// Reads ASCII digits with at most one point.
    pub(crate) fn decimal(negative: bool, digits: &str) -> Self {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let digits: BigInt = format!("0{whole}{fraction}").parse().expect("they are ASCII digits");
        let value = BigRational::new(digits, BigInt::from(10).pow(fraction.len() as u32));
        Self(if negative { -value } else { value })
    }

    /// The value as a fraction in lowest terms.
    pub fn value(&self) -> &BigRational {
        &self.0
    }

    /// True if a value is this right answer: exactly, or as exactly as this tells if it was printed from a float.
    ///
    /// A decimal of at least fifteen significant digits, which every double keeps (C's `DBL_DIG`), was printed by a
    /// program, rounded or cut off: both 0.6666666666666666 and 0.666666666666666 stand for 2/3. A value is right
    /// then if it rounds to the same double, or differs by less than one in the last digit.
    pub fn is_answered_by(&self, value: &Self) -> bool {
        let as_printed = |digit: BigRational| (&self.0 - &value.0).abs() < digit || self.0.to_f64() == value.0.to_f64();
        self == value || self.last_printed_digit().is_some_and(as_printed)
    }

    /// The value of one in the last digit of a decimal that was printed from a float; `None` for other numbers.
    fn last_printed_digit(&self) -> Option<BigRational> {
        let places = decimal_places(self.0.denom()).filter(|places| *places > 0)?;
        let scale = BigInt::from(10).pow(places);
        let digits = (self.0.abs() * &scale).to_integer().to_string().len();
        (digits >= f64::DIGITS as usize).then(|| BigRational::new(BigInt::one(), scale))
    }
}

impl From<BigRational> for Number {
    fn from(value: BigRational) -> Self {
        Self(value)
    }
}

/// Writes a decimal number without needless zeros, sign or point, or a fraction such as `1/3` if no decimal is exact.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(places) = decimal_places(self.0.denom()) else { return self.0.fmt(f) };
        if places == 0 {
            return self.0.numer().fmt(f);
        }
        let sign = if self.0.is_negative() { "-" } else { "" };
        let digits = (self.0.abs() * BigInt::from(10).pow(places)).to_integer().to_string();
        let digits = format!("{digits:0>width$}", width = places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places as usize);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// Written as text, since JSON's numbers are read as floats.
impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Number {
    type Err = Error;

    /// Reads a text that is one number after [`normalize`] and nothing else: `-1,000.50` or `2/3` but not `18個`.
    fn from_str(text: &str) -> Result<Self> {
        let normal = normalize(text);
        let (negative, unsigned) = normal.strip_prefix('-').map_or((false, normal.as_str()), |digits| (true, digits));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (above, below) = unsigned.split_once('/').unwrap_or((unsigned, "1"));
        let (whole, fraction) = above.split_once('.').unwrap_or((above, "0"));
        let denominator = Self::decimal(false, if is_digits(below) { below } else { "0" });
        if is_digits(whole) && is_digits(fraction) && denominator.0.is_positive() {
            Ok(Self(Self::decimal(negative, above).0 / denominator.0))
        } else {
            Err(Error::user(format!("`{text}` is not a number")).hint("write digits only, such as 18, -3 or 0.5"))
        }
    }
}

/// Number of decimal places of a fraction with this denominator; `None` if no number is enough.
fn decimal_places(denominator: &BigInt) -> Option<u32> {
    let mut rest = denominator.clone();
    let [twos, fives] = [2u32, 5].map(|factor| {
        let mut count = 0;
        while (&rest % factor).is_zero() {
            rest /= factor;
            count += 1;
        }
        count
    });
    rest.is_one().then_some(twos.max(fives))
}

/// Applies NFKC, except to characters that hold a digit in disguise.
fn fold_widths(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut plain = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let is_numeric = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_numeric());
        let alone = !is_numeric(i.checked_sub(1)) && !is_numeric(Some(i + 1));
        if hides_digit(c) && !(is_circled_number(c) && alone) {
            out.extend(plain.nfkc());
            plain.clear();
            out.push(c);
        } else {
            plain.push(c);
        }
    }
    out.extend(plain.nfkc());
    out
}

/// True if NFKC would write an ASCII digit for a character that is no digit.
fn hides_digit(c: char) -> bool {
    // Full-width, mathematical and segmented digits are digits in another style.
    let is_digit = matches!(c, '0'..='9' | '０'..='９' | '\u{1D7CE}'..='\u{1D7FF}' | '\u{1FBF0}'..='\u{1FBF9}');
    !is_digit && std::iter::once(c).nfkc().any(|c| c.is_ascii_digit())
}

fn is_circled_number(c: char) -> bool {
    matches!(c, '\u{2460}'..='\u{2473}' | '\u{24EA}' | '\u{3251}'..='\u{325F}' | '\u{32B1}'..='\u{32BF}')
}

/// True if the character is a minus in disguise; white space must be collapsed already.
fn is_minus(text: &[char], i: usize) -> bool {
    let is_dash = |c: char| matches!(c, '-' | '\u{2010}'..='\u{2015}' | '─' | '━');
    let next = |n: usize| text.get(i + n).copied();
    let previous = |n: usize| i.checked_sub(n).map(|at| text[at]);
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let begins_number = |n: usize| {
        is_digit(next(n))
            || (next(n).is_some_and(|c| matches!(c, '.' | '¥' | '$' | '€' | '£')) && is_digit(next(n + 1)))
    };
    match text[i] {
        '\u{2212}' => true,
        'ー' => begins_number(1) && !previous(1).is_some_and(is_katakana),
        c if is_dash(c) => {
            let is_operator =
                next(1) == Some(' ') && previous(1) == Some(' ') && begins_number(2) && is_digit(previous(2));
            // A double dash is punctuation.
            is_operator || (begins_number(1) && !previous(1).is_some_and(is_dash))
        }
        _ => false,
    }
}

/// Removes the commas of `1,000`; `1,2,3` and `10,50` stay.
fn remove_separators(text: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        if !text[i].is_ascii_digit() {
            out.push(text[i]);
            i += 1;
            continue;
        }
        let len = text[i..].iter().take_while(|c| c.is_ascii_digit() || **c == ',').count();
        // A comma at the end is punctuation.
        let len = len - text[i..i + len].iter().rev().take_while(|c| **c == ',').count();
        let stretch = &text[i..i + len];
        let is_fraction = i >= 2 && text[i - 1] == '.' && text[i - 2].is_ascii_digit();
        let grouped = !is_fraction && is_grouped(stretch);
        out.extend(stretch.iter().filter(|c| !(grouped && **c == ',')));
        i += len;
    }
    out
}

/// True if commas group the digits in threes, and the first group has one to three digits and no leading zero.
fn is_grouped(stretch: &[char]) -> bool {
    let mut groups = stretch.split(|c| *c == ',');
    let first = groups.next().expect("splitting gives at least one part");
    matches!(first.len(), 1..=3) && first[0] != '0' && groups.all(|group| group.len() == 3)
}

fn is_kana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{3096}' | '\u{309D}'..='\u{309F}' | '\u{30A1}'..='\u{30FA}' | '\u{30FD}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}')
}

fn is_katakana(c: char) -> bool {
    matches!(c, '\u{30A1}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}') && c != '・'
}

pub(crate) fn is_kanji(c: char) -> bool {
    matches!(c, '々' | '〆' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}
