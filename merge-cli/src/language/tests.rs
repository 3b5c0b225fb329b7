//! Tests that the table of texts is complete, and that texts are filled with values.

use super::*;
use std::{collections::BTreeSet, fs, path::Path};

fn all() -> impl Iterator<Item = &'static Text> {
    study::ALL.iter().chain(page::ALL).copied()
}

/// Names of the placeholders in a text.
fn values(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect()
}

#[test]
fn no_text_is_missing_in_a_language() {
    let mut names = BTreeSet::new();
    for text in all() {
        assert!(names.insert(text.name), "{} stands twice", text.name);
        assert_eq!(values(text.en), values(text.ja), "{}", text.name);
        // Some texts, such as names of methods, are the same in both languages.
        let is_japanese = !text.ja.is_ascii() || text.ja == text.en;
        assert!(!text.en.is_empty() && is_japanese, "{}: {}", text.name, text.ja);
    }
}

/// The program's source, except the table of texts.
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
    // `t.NAME` is in a template, `texts.NAME` in a script.
    for before in ["{{ t.", "(t.", "texts."] {
        for part in source.split(before).skip(1) {
            let name = part.split(|letter| !is_part(letter)).next().unwrap();
            assert!(name.len() < 2 || known.contains(name), "there is no text {name}");
        }
    }
}

#[test]
fn languages_are_known_by_code_and_locale() {
    let codes = ["ja", "ja_JP.UTF-8", "JA", "en_US.UTF-8", "C", "jam_JM", "jp"].map(Language::of_code);
    let (ja, en) = (Some(Language::Ja), Some(Language::En));
    assert_eq!(codes, [ja, ja, ja, en, None, None, None]);
}

#[test]
fn large_numbers_have_their_digits_in_threes() {
    assert_eq!([0, 999, 1000, 7_241_732_096].map(grouped), ["0", "999", "1,000", "7,241,732,096"]);
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
