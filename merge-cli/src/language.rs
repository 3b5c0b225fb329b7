//! Languages of results. Errors, hints and files for programs are in English.

/// Defines texts in both languages. `ALL` lists them for templates, scripts and tests.
macro_rules! texts {
    ($($name:ident $en:literal $ja:literal)*) => {
        use super::Text;
        $(pub(crate) static $name: Text = Text { name: stringify!($name), en: $en, ja: $ja };)*
        pub(crate) static ALL: &[&Text] = &[$(&$name),*];
    };
}

pub(crate) mod page;
pub(crate) mod study;
#[cfg(test)]
mod tests;

use merge_core::error::{Error, Result};
use std::{env, fmt::Display, sync::OnceLock};

/// Environment variable with the language, used without `--lang`. The queue's server passes its own
/// to its jobs.
pub(crate) const VARIABLE: &str = "EVOMERGE_LANG";

/// A language of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

/// A text in each language. `{name}` is replaced by a value.
#[derive(Debug)]
pub(crate) struct Text {
    /// Name in page templates and scripts.
    pub(crate) name: &'static str,
    pub(crate) en: &'static str,
    pub(crate) ja: &'static str,
}

/// The language of this process.
static CHOSEN: OnceLock<Language> = OnceLock::new();

impl Language {
    /// Sets the language of this process: the given one, else that of [`VARIABLE`], else that of
    /// the locale, else English.
    ///
    /// Fails if the variable names no language.
    pub(crate) fn choose(given: Option<Self>) -> Result<()> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        // The first locale variable that is set counts, as in POSIX.
        let locale = || ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set);
        let language = match (given, set(VARIABLE)) {
            (Some(language), _) => language,
            (None, Some(code)) => Self::of_code(&code).ok_or_else(|| {
                Error::user(format!("{VARIABLE} is `{code}`, which is no language of results"))
                    .hint("set it to `en` or `ja`")
            })?,
            (None, None) => locale().and_then(|locale| Self::of_code(&locale)).unwrap_or_default(),
        };
        let _ = CHOSEN.set(language);
        Ok(())
    }

    /// Language of a code or a locale such as `ja` or `ja_JP.UTF-8`.
    fn of_code(code: &str) -> Option<Self> {
        let letters = code.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        [Self::En, Self::Ja].into_iter().find(|language| language.code().eq_ignore_ascii_case(letters))
    }

    /// Language of this process; default: English.
    pub(crate) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Code of the language: `en` or `ja`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// Text in this language, with its placeholders.
    pub(crate) fn text(self, text: &Text) -> &'static str {
        match self {
            Self::En => text.en,
            Self::Ja => text.ja,
        }
    }

    /// Text in this language, with its placeholders replaced by values.
    pub(crate) fn fill(self, text: &Text, values: &[(&str, &dyn Display)]) -> String {
        fill(self.text(text), |name| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    /// Count with its unit, such as `1 item`, `1,200 items` or `1,200問`. The English unit is in
    /// the singular.
    pub(crate) fn count(self, n: usize, unit: &Text) -> String {
        let plural = if self == Self::En && n != 1 { "s" } else { "" };
        self.fill(unit, &[("n", &grouped(n as u64))]) + plural
    }

    /// List of names, such as `a, b and c`.
    pub(crate) fn list(self, names: &[&str]) -> String {
        match (self, names) {
            (Self::Ja, names) => names.join("、"),
            (Self::En, [first @ .., last]) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            (Self::En, names) => names.concat(),
        }
    }
}

/// Replaces the placeholders of a text. A placeholder without a value is kept.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        filled += before;
        filled += &value(name).unwrap_or_else(|| format!("{{{name}}}"));
        rest = behind;
    }
    filled + rest
}

/// A number with its digits in threes: `7,241,732,096`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
