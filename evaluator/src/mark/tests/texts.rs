//! Answers and references in; normal forms, exact matches, F1, ROUGE, similarities and languages out.

use std::{collections::HashMap, fs};

use serde_json::Value;

use crate::{
    mark::{
        fuzzy::char_f1,
        rouge::{rouge, rouge_char},
        squad::{exact_match, f1, f1_char, normalize_answer},
    },
    shared::shared,
    text::{language::LanguageId, neologdn, normalize::is_japanese},
};

#[track_caller]
fn check(what: &str, actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-12, "{what}: {actual} is not {expected}");
}

pub(super) fn golden() -> Vec<Value> {
    let path = shared("conformance/evaluator/ja_squad_rouge_golden.jsonl");
    let rows: Vec<Value> =
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 349);
    rows
}

pub(super) fn tokens(row: &Value) -> Vec<String> {
    row["tok_pred"].as_array().unwrap().iter().map(|token| token.as_str().unwrap().to_owned()).collect()
}

/// Compares the marks of a row whose tokens are known.
pub(super) fn check_marks(row: &Value, answer: &[String], gold: &[String]) {
    let what = row["pred"].as_str().unwrap();
    let rouge = rouge(answer, gold);
    check(what, f1(answer, &[gold.to_vec()]), row["f1"].as_f64().unwrap());
    check(what, rouge.rouge1, row["rouge1"].as_f64().unwrap());
    check(what, rouge.rouge2, row["rouge2"].as_f64().unwrap());
    check(what, rouge.rouge_l, row["rougeL"].as_f64().unwrap());
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn normalises_and_matches_as_the_harness_does() {
    for row in golden() {
        let text = |key: &str| row[key].as_str().unwrap();
        assert_eq!(normalize_answer(text("pred")), text("norm_pred"));
        assert_eq!(exact_match(text("pred"), &[text("gold")]), row["em"].as_bool().unwrap(), "{}", text("pred"));
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn marks_given_tokens_as_the_harness_does() {
    let rows = golden();
    let known: HashMap<&str, Vec<String>> =
        rows.iter().map(|row| (row["pred"].as_str().unwrap(), tokens(row))).collect();
    let both = rows.iter().filter_map(|row| Some((row, known.get(row["gold"].as_str()?)?)));
    let mut checked = 0;
    for (row, gold) in both {
        check_marks(row, &tokens(row), gold);
        checked += 1;
    }
    assert!(checked > 100, "{checked} rows");
}

#[test]
fn normalises_as_neologdn() {
    // Texts made up for this test, normalised by neologdn 0.5.6.
    let pairs: Vec<[String; 2]> = serde_json::from_str(include_str!("neologdn.json")).unwrap();
    for [text, expected] in pairs {
        assert_eq!(neologdn::normalize(&text), expected, "of {text:?}");
    }
}

#[test]
fn removes_what_the_package_calls_emoji() {
    // Single characters up to Emoji 16 that `emoji` 2.16 lists, and the harness's blocks, as code points and ranges.
    let ranges: Vec<(u32, u32)> = include_str!("emoji.txt")
        .split_whitespace()
        .map(|range| {
            let number = |text| u32::from_str_radix(text, 16).unwrap();
            range
                .split_once('-')
                .map_or_else(|| (number(range), number(range)), |(from, to)| (number(from), number(to)))
        })
        .collect();
    for c in ('\u{21}'..='\u{1FFFF}').filter(|c| !c.is_whitespace()) {
        let is_emoji = ranges.iter().any(|(from, to)| (*from..=*to).contains(&u32::from(c)));
        // Between letters, only tildes are removed as well; marks before 漢 join to nothing.
        let removed = normalize_answer(&format!("漢{c}漢")) == "漢漢";
        let is_tilde = matches!(c, '~' | '∼' | '∾' | '〜' | '〰' | '～');
        assert_eq!(removed, is_emoji || is_tilde, "{c:?} {:X}", u32::from(c));
    }
}

#[test]
fn takes_the_best_of_several_golds() {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    check("f1", f1(&words("北海道 の 駅 。"), &[words("青森"), words("北海道 駅")]), 0.8);
    check("no gold", f1(&words("青森"), &[]), 0.0);
    check("punctuation alone", f1(&words("。"), &[words("。")]), 0.0);
    assert!(exact_match("ＪＲ　北海道。", &["青森", "JR北海道。"]) && !exact_match("JR北海道", &["JR北海道。"]));
    // Characters: precision 3 of 4, recall 3 of 3.
    check("f1 of characters", f1_char("北海道駅。", &["北海道"]), 6.0 / 7.0);
    let rouge = rouge_char("北海道駅", "北海道");
    check("rouge of characters", rouge.rouge2, 0.8);
    check("subsequence of characters", rouge.rouge_l, 6.0 / 7.0);
    check("nothing", rouge_char("", "").rouge1, 0.0);
}

#[test]
fn likens_as_fuzzywuzzy() {
    // Texts made up for this test, compared by fuzzywuzzy 0.18.0 with Levenshtein 0.27.
    let pairs: Vec<(String, String, f64)> = serde_json::from_str(include_str!("char_f1.json")).unwrap();
    for (answer, gold, percent) in pairs {
        check(&format!("{answer:?} and {gold:?}"), char_f1(&answer, &gold), percent / 100.0);
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn names_languages_as_fasttext() {
    let model = shared("data/lid176/lid.176.ftz");
    let rows = shared("conformance/evaluator/lid176_golden.jsonl");
    let model = LanguageId::open(&model).unwrap();
    let rows: Vec<Value> =
        fs::read_to_string(rows).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 61);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let (label, p) = (row["labels"][0].as_str().unwrap(), row["probs"][0].as_f64().unwrap());
        let languages = model.languages(text, 1);
        assert_eq!(languages[0].0, label, "of {text:?}");
        assert!((languages[0].1 - p).abs() < 0.02, "{p} of {text:?}: {}", languages[0].1);
        let p_ja = if label == "ja" { p } else { 1.0 - p };
        assert!(label != "ja" && model.p_ja(text) <= p_ja + 0.02 || (model.p_ja(text) - p_ja).abs() < 0.02, "{text:?}");
    }
    // The gate and its substitute agree on typical answers.
    for (text, japanese) in [("答えは18です。\nこれで終わりです。", true), ("The answer is 18.", false), ("18", false)]
    {
        assert_eq!((model.is_japanese(text), is_japanese(text)), (japanese, japanese), "{text:?}");
    }
    check("no word", model.p_ja("\n"), model.p_ja(""));
}

#[test]
fn refuses_what_is_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lid.176.ftz");
    std::fs::write(&path, b"not a model").unwrap();
    let error = LanguageId::open(&path).unwrap_err().to_string();
    assert!(error.contains("lid.176.ftz: not a model of fastText's"), "{error}");
    assert!(LanguageId::open(&dir.path().join("none")).unwrap_err().to_string().starts_with("cannot open "));
}
