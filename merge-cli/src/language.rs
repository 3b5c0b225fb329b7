//! The languages that results are shown in. Errors, hints and files for programs are English.

/// Texts in both languages beside each other; `ALL` lists them for templates, scripts and tests.
macro_rules! texts {
    ($($name:ident $en:literal $ja:literal)*) => {
        use super::Text;
        $(pub(crate) static $name: Text = Text { name: stringify!($name), en: $en, ja: $ja };)*
        pub(crate) static ALL: &[&Text] = &[$(&$name),*];
    };
}

pub(crate) mod page;
pub(crate) mod study;

use merge_core::words::grouped;
use serde::{Deserialize, Serialize};
use std::{env, fmt::Display, sync::OnceLock};

/// The variable with the language, if `--lang` does not say it. The queue's server hands its own to its jobs.
pub(crate) const VARIABLE: &str = "EVOMERGE_LANG";

/// A language of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

/// A text in each language. `{name}` stands for a value.
#[derive(Debug)]
pub(crate) struct Text {
    /// Its name in page templates and scripts.
    pub(crate) name: &'static str,
    pub(crate) en: &'static str,
    pub(crate) ja: &'static str,
}

/// The language of this process.
static CHOSEN: OnceLock<Language> = OnceLock::new();

impl Language {
    /// Sets the language of this process: the given one, or that of the user's locale.
    pub(crate) fn choose(given: Option<Self>) {
        let _ = CHOSEN.set(given.unwrap_or_else(Self::of_locale));
    }

    /// The language of this process; English until it was chosen.
    pub(crate) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// The language of the user's locale: Japanese if it begins with `ja`, else English.
    fn of_locale() -> Self {
        // POSIX: the first of them that is set and not empty.
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set);
        if locale.is_some_and(|locale| locale.starts_with("ja")) { Self::Ja } else { Self::En }
    }

    /// Its code: `en` or `ja`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// A text as it stands in the table.
    pub(crate) fn text(self, text: &Text) -> &'static str {
        match self {
            Self::En => text.en,
            Self::Ja => text.ja,
        }
    }

    /// A text with its values.
    pub(crate) fn fill(self, text: &Text, values: &[(&str, &dyn Display)]) -> String {
        fill(self.text(text), |name| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    /// A number of things, such as `1 item`, `1,200 items` or `1,200問`. The English text is in the singular.
    pub(crate) fn count(self, n: usize, unit: &Text) -> String {
        let plural = if self == Self::En && n != 1 { "s" } else { "" };
        self.fill(unit, &[("n", &grouped(n as u64))]) + plural
    }

    /// `a, b and c`.
    pub(crate) fn list(self, names: &[&str]) -> String {
        match (self, names) {
            (Self::Ja, names) => names.join("、"),
            (Self::En, [first @ .., last]) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            (Self::En, names) => names.concat(),
        }
    }
}

/// Puts values into a text. A name without a value stays as it is.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    fn all() -> impl Iterator<Item = &'static Text> {
        study::ALL.iter().chain(page::ALL).copied()
    }

    /// The names of the values in a text.
    fn values(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect()
    }

    #[test]
    fn no_text_is_missing_in_a_language() {
        let mut names = BTreeSet::new();
        for text in all() {
            assert!(names.insert(text.name), "{} stands twice", text.name);
            assert_eq!(values(text.en), values(text.ja), "{}", text.name);
            assert!(!text.en.is_empty() && !text.ja.is_ascii(), "{}: {}", text.name, text.ja);
        }
    }

    /// The program's source but for the table itself.
    fn source() -> String {
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut source = String::new();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.parent().unwrap().file_name().unwrap() != "language" {
                    source += &fs::read_to_string(path).unwrap();
                }
            }
        }
        source
    }

    #[test]
    fn every_text_is_used_and_pages_name_no_other() {
        let source = source();
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
        let words: BTreeSet<&str> = source.split(|letter| !is_part(letter)).collect();
        let known: BTreeSet<&str> = all().map(|text| text.name).collect();
        for name in &known {
            assert!(words.contains(name), "nothing uses {name}");
        }
        // `t.NAME` in a template, `texts.NAME` in a script.
        for before in ["{{ t.", "(t.", "texts."] {
            for part in source.split(before).skip(1) {
                let name = part.split(|letter| !is_part(letter)).next().unwrap();
                assert!(name.len() < 2 || known.contains(name), "there is no text {name}");
            }
        }
    }

    #[test]
    fn texts_take_their_values_and_counts_their_units() {
        let text = Text { name: "X", en: "{n} of {all}", ja: "{all}のうち{n}" };
        let values: [(&str, &dyn Display); 2] = [("n", &1), ("all", &"2 {n}")];
        assert_eq!(Language::En.fill(&text, &values), "1 of 2 {n}");
        assert_eq!(Language::Ja.fill(&text, &values), "2 {n}のうち1");
        assert_eq!(fill("{a} {b", |_| Some("1".to_owned())), "1 {b");
        assert_eq!([1, 2000].map(|n| Language::En.count(n, &study::ITEM)), ["1 item", "2,000 items"]);
        assert_eq!(Language::Ja.count(2000, &study::ITEM), "2,000問");
        let lists = |language: Language| [&[][..], &["a"], &["a", "b", "c"]].map(|names| language.list(names));
        assert_eq!(lists(Language::En), ["", "a", "a, b and c"]);
        assert_eq!(lists(Language::Ja), ["", "a", "a、b、c"]);
    }
}
