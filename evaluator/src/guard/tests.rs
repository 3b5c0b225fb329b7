//! Tests the overlaps that the guard finds between search and report questions.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Family, GuardQuestion, OverlapKind, check as refuse, overlaps};
use crate::shared::shared;

/// Checks the kind of overlap of one report item with one search item among others.
#[track_caller]
fn check(searched: &str, reported: &str, expected: Option<OverlapKind>) {
    let found = overlaps(&[question("何も関係のない問題です。", 0), question(searched, 1)], &[question(reported, 0)]);
    assert_eq!(found.iter().map(|overlap| overlap.kind).next(), expected, "{searched}\n{reported}");
    assert!(found.iter().all(|overlap| overlap.search == 1));
}

fn question(text: &str, place: usize) -> GuardQuestion<'_> {
    GuardQuestion { task: "t", text, place, family: None }
}

fn questions(texts: &[String]) -> Vec<GuardQuestion<'_>> {
    texts.iter().enumerate().map(|(place, text)| question(text, place)).collect()
}

/// Number of report texts that are near copies of search texts, and number that are the same.
fn counts(search: &[String], report: &[String]) -> [usize; 2] {
    let found = overlaps(&questions(search), &questions(report));
    let near = found.iter().filter(|overlap| overlap.kind == OverlapKind::Ngram13).count();
    [near, found.len() - near]
}

/// One field of each line of a file.
fn lines(path: &Path, field: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap()[field].as_str().unwrap().to_owned();
    text.lines().map(row).collect()
}

const PROBLEM: &str = "春子さんは朝早く市場へ行き、1箱に24個入った卵を3箱買いました。帰り道で転んでしまい、そのうち7個が割れて\
    しまいました。残った卵の半分をとなりの家の人にあげて、夕食には4個使いました。春子さんの家に残っている卵は何個ですか？";

#[test]
fn finds_copies_and_near_copies() {
    let replaced = |from: &str, to: &str| PROBLEM.replace(from, to);
    check(PROBLEM, PROBLEM, Some(OverlapKind::Exact));
    check(PROBLEM, &replaced("24", "２４"), Some(OverlapKind::Nfkc));
    check(PROBLEM, &replaced("。", "。\n"), Some(OverlapKind::Nfkc));
    check(PROBLEM, &replaced("24", "30"), Some(OverlapKind::Ngram13));
    check(PROBLEM, &replaced("春子", "太郎"), Some(OverlapKind::Ngram13));
    check(PROBLEM, PROBLEM.split_inclusive('。').next().unwrap(), Some(OverlapKind::Ngram13));
    check(PROBLEM, PROBLEM.split_inclusive('、').next().unwrap(), None);
    let prefix: String = PROBLEM.chars().take(70).collect();
    check(PROBLEM, &prefix, Some(OverlapKind::Ngram13));
    check(&prefix, PROBLEM, Some(OverlapKind::Ngram13));
    check(PROBLEM, &format!("次の問題を解いてください。{PROBLEM}"), Some(OverlapKind::Ngram13));
    check("日本の首都は？", "日本の首都は?", Some(OverlapKind::Nfkc));
    check("日本の首都は？", "韓国の首都は？", None);
    check("", "日本の首都は？", None);
}

#[test]
fn lets_templates_pass() {
    // More questions have this instruction than `COMMON`, so its grams are ignored.
    let instruction = "次の文章を読み、あとの質問に日本語で、できるだけ短く、しかも正確に答えてください。質問：";
    let asked =
        |what: &str| -> Vec<String> { (0..20).map(|i| format!("{instruction}{what}{i}は何ですか。")).collect() };
    assert_eq!(counts(&asked("果物"), &asked("野菜")), [0, 0]);
}

#[test]
fn knows_mgsm_in_other_languages() {
    let family = Some(Family::Mgsm);
    let japanese = GuardQuestion { task: "mgsm-ja", text: "ロジャーは…", place: 7, family };
    let swahili = GuardQuestion { task: "mgsm-sw", text: "Roger ana…", place: 7, family };
    let other = GuardQuestion { place: 8, ..swahili };
    let found = overlaps(&[other, swahili], &[japanese]);
    assert_eq!(found.iter().map(|o| (o.kind, o.search)).collect::<Vec<_>>(), [(OverlapKind::Known, 1)]);
    assert!(overlaps(&[other], &[japanese]).is_empty());
    let error = refuse(&[other, swahili], &[japanese]).unwrap_err();
    let expected = "1 report item is a search item too: item 7 of task mgsm-ja is a translation of the same problem as item 7 \
        of task mgsm-sw";
    assert_eq!(error.to_string(), expected);
    assert!(refuse(&[other], &[japanese]).is_ok());
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn knows_that_mgsm_is_gsm8k() {
    let path = shared("data/gsm8k/test.jsonl");
    let mgsm = shared("data/mgsm/mgsm_ja.tsv");
    let gsm8k = lines(&path, "question");
    let texts: Vec<String> = fs::read_to_string(mgsm).unwrap().lines().map(str::to_owned).collect();
    let mgsm: Vec<GuardQuestion> = questions(&texts)
        .into_iter()
        .map(|question| GuardQuestion { family: Some(Family::Mgsm), ..question })
        .collect();
    let found = overlaps(&questions(&gsm8k), &mgsm);
    assert_eq!(found.len(), 250);
    assert!(found.iter().all(|o| o.kind == OverlapKind::Known && o.search == o.report), "in order");
    assert!(overlaps(&questions(&gsm8k[250..]), &mgsm).is_empty(), "the rest is what to search on");
    assert_eq!(counts(&gsm8k[250..], &gsm8k[..250]), [0, 0]);
    // The English problems are known too, in upper case as well.
    let english = shared("data/mgsm/mgsm_en.tsv");
    let text = fs::read_to_string(english).unwrap();
    let texts: Vec<String> = text.lines().map(|line| line.split('\t').next().unwrap().to_uppercase()).collect();
    let found = overlaps(&questions(&texts), &mgsm);
    assert_eq!(found.iter().filter(|o| o.kind == OverlapKind::Known && o.search == o.report).count(), 250);
}

#[test]
fn lets_the_splits_of_the_recipes_pass() {
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/sansu/tasks");
    let split = |name: &str| lines(&tasks.join(format!("{name}.jsonl")), "question");
    for task in ["mgsm-ja-mini", "ja-solution-mini"] {
        let [search, select, report] = ["optimise", "validation", "test"].map(|part| split(&format!("{task}.{part}")));
        for (one, other) in [(&search, &select), (&search, &report), (&select, &report)] {
            assert_eq!(counts(one, other), [0, 0], "{task}");
        }
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn finds_edited_benchmark_items() {
    let path = shared("data/gsm8k/test.jsonl");
    let texts = &lines(&path, "question")[..400];
    let number = regex::Regex::new("[0-9]+").unwrap();
    let edited: Vec<String> = texts.iter().map(|text| number.replace(text, "977").into_owned()).collect();
    let cut: Vec<String> = texts.iter().map(|text| text.chars().take(text.chars().count() * 3 / 5).collect()).collect();
    let [near, same] = counts(texts, &edited);
    assert!(near > 340 && same < 10, "{near} {same}");
    let [near, same] = counts(texts, &cut);
    assert!(near > 330 && same == 0, "{near} {same}");
}
