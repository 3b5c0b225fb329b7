//! One answer under every protocol: they disagree in known ways.

use super::*;
use crate::{
    request::{Answer, Fit, Said},
    task::{Measurement, Tally},
};
use merge_core::item::ItemId;

/// The scores of a text as the answer to a task's first document.
fn scores(
    protocol: &str,
    task: &str,
    datasets: &dyn Datasets,
    text: impl Fn(&crate::task::Doc) -> String,
) -> Vec<(String, f64)> {
    let read = find(task, protocol).unwrap().read(Fractions::default(), datasets).unwrap();
    let id = read.split(Split::Report)[0];
    let said = Said::Text { text: text(read.doc(id)), tokens: 1, truncated: false };
    let marked = read.marked(&[id], &[Answer { said, fit: Fit::default(), broken: false, compared: None }]).unwrap();
    let all = marked[0].filtered.iter().flat_map(|filtered| {
        filtered
            .scores
            .iter()
            .map(|(name, score)| (format!("{name},{}", filtered.filter), Measurement::value(score).unwrap()))
    });
    all.collect()
}

/// A way to write a number in an answer.
type Style<'a> = &'a dyn Fn(i64) -> String;

/// Checks a protocol's marks of each style against those that its harness's rule gave to all golds of MGSM.
#[track_caller]
fn check(protocol: &str, datasets: &dyn Datasets, wanted: [f64; 5]) {
    let wide = |number: i64| {
        number.to_string().chars().map(|c| char::from_u32(c as u32 + 0xFEE0).unwrap()).collect::<String>()
    };
    let styles: [Style<'_>; 5] = [
        &|gold| format!("答えは{gold}です。"),
        &|gold| format!("答えは{}です。", wide(gold)),
        &|gold| format!("答えは{gold}.00です。"),
        &|gold| format!("答えは-{gold}です。"),
        &|gold| format!("答えは{gold}です。これは1週間の合計です。"),
    ];
    for (style, wanted) in styles.into_iter().zip(wanted) {
        let text = |doc: &crate::task::Doc| style(doc["answer_number"].as_i64().unwrap());
        let scores = scores(protocol, "mgsm-ja", datasets, text);
        let (_, acc) = scores.iter().find(|(name, _)| name.starts_with("acc,")).unwrap();
        assert!((acc - wanted).abs() < 1e-9, "{protocol}: {scores:?}");
    }
}

#[test]
fn protocols_disagree_on_numbers_as_is_known_of_them() {
    check("stability-0.3", &MadeUp, [1.0, 0.0, 1.0, 0.0, 0.0]);
    check("eleuther", &MadeUp, [1.0, 0.0, 1.0, 0.0, 0.0]);
    check("strict", &MadeUp, [1.0, 1.0, 1.0, 0.0, 1.0]);
}

/// The gate on the answer's language needs a file of data.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn sakana_reads_other_numbers() {
    check("sakana", &shelf(), [1.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn sakana_takes_only_japanese_answers() {
    let shelf = shelf();
    for (before, after, japanese) in [
        ("一日に卵を市場で売るので、答えは", "です。", 1.0),
        ("She makes a total of ", " dollars.", 0.0),
        ("", "", 0.0),
    ] {
        let text = |doc: &crate::task::Doc| format!("{before}{}{after}", doc["answer_number"]);
        let scores = scores("sakana", "mgsm-ja", &shelf, text);
        assert_eq!(scores, [("acc,none".to_owned(), 1.0), ("acc_ja,none".to_owned(), japanese)]);
    }
    let empty = tempfile::tempdir().unwrap();
    let error = find("mgsm-ja", "sakana").unwrap().read(Fractions::default(), &Shelf::at(empty.path())).err().unwrap();
    assert!(error.advice().unwrap().contains("evomerge data fetch lid176"), "{error}");
}

#[test]
fn any_right_answer_will_do_and_what_is_counted_has_its_name() {
    let last = |doc: &crate::task::Doc| {
        let golds = doc["answers"]["text"].as_array().unwrap();
        format!(" {}。", golds[golds.len() - 1].as_str().unwrap())
    };
    let strict = scores("strict", "jsquad", &MadeUp, last);
    // Without a dictionary, characters are counted.
    let measures: Vec<&str> = strict.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(measures, ["exact_match,none", "f1_char,none"]);
    // Punctuation does not count as a word, but makes another text.
    assert!(strict[0].1 < 0.5 && strict[1].1 > 0.99, "{strict:?}");
    let exact = |doc: &crate::task::Doc| last(doc).trim_matches([' ', '。']).to_owned();
    assert!(scores("stability-0.2", "jsquad", &MadeUp, exact)[0].1 > 0.99);
}

/// EleutherAI takes only the first right answer, Stability AI any: each answer is marked by both rules.
#[test]
fn an_extracted_answer_is_marked_by_every_protocol() {
    for protocol in ["strict", "stability-0.3", "eleuther"] {
        let read = find("jsquad", protocol).unwrap().read(Fractions::default(), &MadeUp).unwrap();
        let last = |id: &ItemId| {
            let golds = read.doc(*id)["answers"]["text"].as_array().unwrap().clone();
            golds[golds.len() - 1].as_str().filter(|last| !golds[0].as_str().unwrap().contains(last)).map(str::to_owned)
        };
        let ids: Vec<ItemId> =
            read.split(Split::Report).iter().filter(|id| last(id).is_some()).take(2).copied().collect();
        let answer = |text: String| {
            let said = Said::Text { text, tokens: 1, truncated: false };
            Answer { said, fit: Fit::default(), broken: false, compared: None }
        };
        let other = answer(last(&ids[0]).unwrap());
        let marked = read.marked(&ids, &[other, answer("誰も知らない。".to_owned())]).unwrap();
        let tally = Tally::of(&marked).unwrap();
        assert_eq!(tally.right, [("eleuther", 0), ("any-gold", 1), ("stability", 1), ("nfkc", 1)], "{protocol}");
        assert_eq!(tally.disagree, [marked[0].number], "{protocol}");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn answers_are_likened_to_golds_in_any_case() {
    let hop = scores("strict", "jemhopqa", &shelf(), |doc| doc["answer"].as_str().unwrap().to_lowercase());
    assert!(hop[0].0 == "char_f1,none" && hop[0].1 > 0.99, "{hop:?}");
}
