//! Marking: which answers are right.

use super::{Answer, Benchmark, CHOOSE, GENERATE, REPORT_ONLY, Split, Task, fs, of, read, repository};
use crate::{
    request::{Fit, Likelihood, Said},
    task::ItemScore,
};

/// Marks answers to a task's only item.
#[track_caller]
fn check(task: &Benchmark, cases: &[(Answer, bool)]) {
    for (answer, right) in cases {
        let scores = task.mark(task.split(Split::Report), std::slice::from_ref(answer));
        assert_eq!(scores[0].value.to_bits(), f64::from(u8::from(*right)).to_bits(), "{answer:?}");
    }
}

fn text(text: &str) -> Answer {
    said(Said::Text { text: text.into(), tokens: 7, truncated: false })
}

fn said(said: Said) -> Answer {
    Answer { said, fit: Fit::default() }
}

/// A task whose right answer is `gold`.
fn generate(gold: &str, lines: &str) -> Benchmark {
    let definition = format!("{GENERATE}items: i.jsonl\n{lines}");
    of(&definition, &format!("{{\"question\": \"q\", \"sum\": {gold}}}")).unwrap()
}

#[test]
fn goes_by_the_last_number_unless_there_is_a_pattern() {
    let last = [
        (text("18"), true),
        (text("答えは１８．０個です。"), true),
        (text("18です。これは1週間分です。"), false),
        (text("1つ、2つ、18"), true),
        (text("-18"), false),
        (text("わかりません"), false),
        (text(""), false),
    ];
    check(&generate("18", "answer: {field: sum}"), &last);
    check(&generate("18.0", "answer: {field: sum}"), &last);
    check(&generate("\"１８\"", "answer: {field: sum}"), &last);
    let pattern = generate("18", "answer: {field: sum, pattern: '答えは(-?\\d+)です'}");
    let cases = [
        (text("答えは18です。これは1週間分です。"), true),
        (text("答えは１８です"), true),
        (text("答えは018です"), true),
        // The first match counts.
        (text("答えは18です。答えは19です。"), true),
        (text("答えは19です。答えは18です。"), false),
        (text("答えは-18です"), false),
        (text("18"), false),
    ];
    check(&pattern, &cases);
    let amount = generate("-1000", "answer: {field: sum, pattern: '答え: ?(.*?)。'}");
    check(&amount, &[(text("答え：\n−￥1，000です。5"), true), (text("答え：なし。-1000"), false)]);
    let optional = generate("18", "answer: {field: sum, pattern: '答え(\\d+)?'}");
    check(&optional, &[(text("答え18"), true), (text("答え 18"), false)]);
}

#[test]
fn lets_only_japanese_through_the_gate() {
    let gated = generate("18", "answer: {field: sum}\nlanguage: ja");
    let free = generate("18", "answer: {field: sum}");
    let cases = [("答えは18です。", true), ("The answer is 18.", false), ("18", false), ("答案是18。", false)];
    check(&gated, &cases.map(|(answer, right)| (text(answer), right)));
    check(&free, &cases.map(|(answer, _)| (text(answer), true)));
}

#[test]
fn takes_the_likeliest_choice_and_the_first_of_equals() {
    let task = |answer: usize| {
        let item = format!("{{\"question\": \"q\", \"choices\": [\"a\", \"b\", \"c\"], \"answer\": {answer}}}");
        of(CHOOSE, &item).unwrap()
    };
    let nan = f64::NAN;
    for (values, first) in [
        ([-3.0, -1.0, -2.0], Some(1)),
        ([-1.0, -1.0, -1.0], Some(0)),
        ([-2.0, -1.0, -1.0], Some(1)),
        ([nan, -5.0, -6.0], Some(1)),
        ([-5.0, nan, -4.0], Some(2)),
        ([nan, f64::NEG_INFINITY, nan], Some(1)),
        ([nan, nan, nan], None),
    ] {
        for answer in 0..3 {
            let values = values.map(|log| Likelihood { log, tokens: 1, greedy: false });
            check(&task(answer), &[(said(Said::Likelihoods(values.to_vec())), first == Some(answer))]);
        }
    }
}

#[test]
fn keeps_tokens_and_truncation() {
    let task = generate("18", "answer: {field: sum}");
    let answer = said(Said::Text { text: "18".into(), tokens: 40, truncated: true });
    let scores = task.mark(task.split(Split::Report), &[answer]);
    assert_eq!(scores, [ItemScore { value: 1.0, tokens: 40, truncated: true }]);
    assert_eq!(serde_json::to_string(&scores).unwrap(), r#"[{"value":1.0,"tokens":40,"truncated":true}]"#);
}

#[test]
fn finds_the_solutions_of_the_sansu_family_right() {
    for (name, file) in [("mgsm-ja-mini", "mgsm-ja-mini.test"), ("mgsm-en-mini", "mgsm-en-mini.test")] {
        let folder = repository().join("recipes/sansu/tasks");
        let task = read(&folder.join(format!("{name}.yaml")), REPORT_ONLY).unwrap();
        let items = fs::read_to_string(folder.join(format!("{file}.jsonl"))).unwrap();
        let solutions: Vec<Answer> = items
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|item| text(item["answer"].as_str().unwrap()))
            .collect();
        let ids = task.split(Split::Report);
        let right =
            |answers: &[Answer]| task.mark(ids, answers).iter().map(|score| score.value as usize).sum::<usize>();
        assert_eq!(right(&solutions), 500, "{name}");
        // And those of the items beside them wrong, but for a few that are equal by chance.
        let shifted: Vec<Answer> = solutions.iter().cycle().skip(1).take(500).cloned().collect();
        assert!(right(&shifted) < 25, "{name}");
    }
}
