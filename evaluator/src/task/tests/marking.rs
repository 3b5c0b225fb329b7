//! Marking: right and wrong answers, and their aggregates.

use super::{
    Answer, Benchmark, CHOOSE, Fractions, GENERATE, ItemScore, Split, Task, fs, logs, of, read, repository, text,
};
use crate::task::Measurement;

/// Marks answers to a task's only item.
#[track_caller]
fn check(task: &Benchmark, cases: &[(Answer, bool)]) {
    for (answer, right) in cases {
        let scores = task.mark(task.split(Split::Report), std::slice::from_ref(answer)).unwrap();
        assert_eq!(scores[0].value.to_bits(), f64::from(u8::from(*right)).to_bits(), "{answer:?}");
    }
}

/// A task whose right answer is `gold`.
fn generate(gold: &str, lines: &str) -> Benchmark {
    of(&format!("{GENERATE}{lines}"), &format!("{{\"question\": \"q\", \"sum\": {gold}}}")).unwrap()
}

/// A filter of these steps, followed by `take_first`.
fn filter(steps: &str) -> String {
    format!("filter_list: [{{name: f, filter: [{steps}, {{function: take_first}}]}}]\n")
}

#[test]
fn matches_what_a_regular_expression_finds() {
    let first = generate("18", &filter("{function: regex, regex_pattern: '答えは(-?\\d+)です'}"));
    let cases = [
        (text("答えは18です。これは1週間分です。"), true),
        (text("答えは18です。答えは19です。"), true),
        (text("答えは19です。答えは18です。"), false),
        (text("答えは-18です"), false),
        (text("18"), false),
        (text(""), false),
    ];
    check(&first, &cases);
    // lm-evaluation-harness's `flexible-extract`: the last match, its first group that is not empty.
    let last = "{function: regex, group_select: -1, regex_pattern: '(-?[$0-9.,]{2,})|(-?[0-9]+)'}";
    let flexible = generate("18", &filter(last));
    check(
        &flexible,
        &[(text("1つ、2つ、18"), true), (text("18、2つ"), false), (text("18.0"), false), (text("１８"), false)],
    );
    let loose = "metric_list: [{metric: exact_match, ignore_punctuation: true, ignore_case: true}]\n";
    check(
        &generate("1800", &(filter(last) + loose)),
        &[(text("18.00"), true), (text("1,800"), true), (text("-1800"), true)],
    );
    let ignore = "metric_list: [{metric: exact_match, regexes_to_ignore: ['^\\s+', '\\s+$', '個']}]\n";
    check(&generate("\"18個\"", ignore), &[(text("　18\n"), true), (text("18 個"), false)]);
}

#[test]
fn a_pattern_that_is_given_up_is_an_error_and_no_score() {
    let given_up = |task: &Benchmark, said: &str| {
        let error = task.mark(task.split(Split::Report), &[text(said)]).unwrap_err();
        (error.to_string(), error.advice().unwrap_or_default().to_owned())
    };
    let hint =
        "write it without a repetition in a repetition, such as `(a|aa)+`, or without look-around, such as `(?=…)`";
    let why = "the search stopped after 10000000 backtracking steps";
    let pattern = "(?:.|.)*(?=ZZZ)|答えは(-?\\d+)です";
    let said = "りんごは3+4=7個で、みかんは5個です。答えは7です";
    let task = generate("7", &filter(&format!("{{function: regex, regex_pattern: '{pattern}'}}")));
    let expected = format!("task sums: item 0: filter f: the pattern `{pattern}`: {why}");
    assert_eq!(given_up(&task, said), (expected, hint.to_owned()));
    let ignored = "metric_list: [{metric: exact_match, regexes_to_ignore: ['(?:.|.)*(?=ZZZ)|YYY']}]\n";
    let expected = format!("task sums: item 0: regexes_to_ignore: the pattern `(?:.|.)*(?=ZZZ)|YYY`: {why}");
    assert_eq!(given_up(&generate("7", ignored), said), (expected, hint.to_owned()));
    // Without look-around, there is no backtracking.
    let linear = generate("7", &filter("{function: regex, regex_pattern: '(?:.|.)*ZZZ|答えは(-?\\d+)です'}"));
    check(&linear, &[(text(said), true)]);
}

#[test]
fn filters_in_steps() {
    for (steps, said, marked) in [
        ("{function: remove_whitespace}", "\u{3000} 18\n", "18"),
        ("{function: lowercase}", "ＡBc", "ａbc"),
        ("{function: uppercase}", "abc", "ABC"),
        ("{function: map, mapping_dict: {a: '18'}}", "a", "18"),
        ("{function: map, mapping_dict: {a: '18'}, default_value: x}", "b", "x"),
        ("{function: regex, regex_pattern: '\\d+', fallback: none}", "一", "none"),
        ("{function: regex, regex_pattern: '\\d+'}", "１８a2", "１８"),
        ("{function: regex, regex_pattern: '(?<=は)[^$。]+'}", "答えは18。", "18"),
        ("{function: take_first_k, k: 1}", "18", "18"),
        ("{function: majority_vote}", "18", "18"),
    ] {
        let task = generate("18", &filter(steps));
        let all = task.marked(task.split(Split::Report), &[text(said)]).unwrap();
        assert_eq!(all[0].filtered[0].response.as_deref(), Some(marked), "{steps}");
    }
    let letter = filter("{function: multi_choice_regex, regex_pattern: '答えは(\\([A-Z]\\))', ignore_case: true}");
    let item = r#"{"question": "q", "sum": "(B)", "choices": ["Cat", "Cats and dogs"]}"#;
    let task = of(&format!("{GENERATE}{letter}"), item).unwrap();
    check(
        &task,
        &[
            (text("答えは(B)"), true),
            (text("it is CATS AND DOGS"), true),
            (text("Answer: B"), true),
            (text("cat"), false),
        ],
    );
}

#[test]
fn takes_any_of_several_right_answers() {
    let several = generate("[\"18\", \"十八\"]", "");
    check(&several, &[(text("18"), true), (text("十八"), true), (text("['18', '十八']"), false)]);
}

#[test]
fn lets_only_japanese_through_the_gate() {
    let last = filter("{function: regex, group_select: -1, regex_pattern: '\\d+'}");
    let gated = generate("18", &format!("{last}metadata: {{evomerge: {{language: ja}}}}\n"));
    let free = generate("18", &last);
    let cases = [("答えは18です。", true), ("The answer is 18.", false), ("18", false), ("答案是18。", false)];
    check(&gated, &cases.map(|(answer, right)| (text(answer), right)));
    check(&free, &cases.map(|(answer, _)| (text(answer), true)));
}

/// A task of three choices.
fn choose(answer: &str, lines: &str) -> Benchmark {
    let item = format!("{{\"question\": \"q\", \"choices\": [\"a\", \"いう\", \"cccc\"], \"answer\": {answer}}}");
    of(&format!("{CHOOSE}{lines}"), &item).unwrap()
}

#[test]
fn takes_the_likeliest_choice_and_the_first_of_equals() {
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
            check(&choose(&answer.to_string(), ""), &[(logs(&values), first == Some(answer))]);
        }
    }
    // A right choice given by its text, and several right choices.
    check(&choose("\"いう\"", ""), &[(logs(&[-2.0, -1.0, -3.0]), true)]);
    check(&choose("[0, 2]", ""), &[(logs(&[-2.0, -3.0, -1.0]), true), (logs(&[-2.0, -1.0, -3.0]), false)]);
}

#[test]
fn measures_what_a_task_lists_and_what_a_search_asks_for() {
    let list = "metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}, {metric: mcc}, {metric: brier_score}, \
                {metric: likelihood}, {metric: gold_margin}, {metric: gold_logprob_per_byte}]\n";
    let task = choose("1", list);
    let answer = logs(&[-1.5, -2.0, -3.6]);
    let marked = task.marked(task.split(Split::Report), std::slice::from_ref(&answer)).unwrap();
    let score = |name: &str| marked[0].filtered[0].scores.iter().find(|(known, _)| known == name).unwrap().1.clone();
    // Per character −1.5, −1.0, −0.9; per byte −1.5, −1/3, −0.9.
    for (name, expected) in [
        ("acc", 0.0),
        ("acc_norm", 0.0),
        ("acc_bytes", 1.0),
        ("likelihood", (-2.0_f64).exp()),
        ("gold_margin", -0.5),
        ("gold_logprob_per_byte", -2.0 / 6.0),
    ] {
        assert_eq!(score(name), Measurement::Number(expected), "{name}");
    }
    assert_eq!(score("mcc"), Measurement::Classes { gold: 1, said: 0 });
    let by = |metric: &str| {
        let task = choose("1", "").with_metric(metric).unwrap();
        (task.metric(), task.mark(task.split(Split::Report), std::slice::from_ref(&answer)).unwrap()[0].value)
    };
    assert_eq!(by("gold_margin"), ("gold_margin".to_owned(), -0.5));
    assert_eq!(by("acc_norm"), ("acc_norm".to_owned(), 0.0));
    // A broken model is worse than any other.
    let broken = choose("1", "").with_metric("gold_margin").unwrap();
    assert!(broken.mark(broken.split(Split::Report), &[logs(&[f64::NAN; 3])]).unwrap()[0].value < -1000.0);
}

#[test]
fn measures_texts() {
    let loglikelihood = GENERATE
        .replace("generate_until", "loglikelihood")
        .replace("generation_kwargs: {until: [], max_gen_toks: 40}\n", "");
    let task = of(
        &format!("{loglikelihood}metadata: {{evomerge: {{main: likelihood}}}}\n"),
        r#"{"question": "q", "sum": "いち"}"#,
    )
    .unwrap();
    assert_eq!(task.metric(), "likelihood");
    let score = task.mark(task.split(Split::Report), &[logs(&[-0.5])]).unwrap()[0].value;
    assert!((score - (-0.5_f64).exp()).abs() < 1e-15);
    let rolling = loglikelihood.replace("loglikelihood", "loglikelihood_rolling");
    let items = "{\"question\": \"q\", \"sum\": \"a b\"}\n{\"question\": \"r\", \"sum\": \"cdefg\"}\n";
    let task = of(&rolling, items).unwrap();
    let marked = task.marked(task.split(Split::Report), &[logs(&[-2.0]), logs(&[-6.0])]).unwrap();
    let rows = task.aggregate(&marked, 1000);
    let value = |name: &str| rows.iter().find(|row| row.metric == name).unwrap().value;
    // 8 nats over 8 bytes, and over 3 words.
    assert!((value("bits_per_byte") - 1.0 / std::f64::consts::LN_2).abs() < 1e-12);
    assert!((value("byte_perplexity") - 1.0_f64.exp()).abs() < 1e-12);
    assert!((value("word_perplexity") - (8.0_f64 / 3.0).exp()).abs() < 1e-12);
    let bits = of(&rolling, items).unwrap().with_metric("bits_per_byte").unwrap();
    assert_eq!(bits.metric(), "-bits_per_byte");
    let scores = bits.mark(bits.split(Split::Report), &[logs(&[-2.0]), logs(&[-6.0])]).unwrap();
    assert!((scores[0].value + 2.0 / 3.0 / std::f64::consts::LN_2).abs() < 1e-12);
}

#[test]
fn aggregates_as_lm_eval_does() {
    let list = "metric_list: [{metric: acc}, {metric: f1}, {metric: mcc}, {metric: brier_score}]\n";
    let golds = [0, 1, 1, 0, 1, 0, 1, 1, 0, 1];
    let said = [0, 1, 0, 0, 1, 1, 1, 1, 0, 0];
    let items = golds.iter().enumerate();
    let items: Vec<String> = items
        .map(|(i, gold)| format!("{{\"question\": \"{i}.\", \"choices\": [\"a\", \"b\"], \"answer\": {gold}}}"))
        .collect();
    let task = of(&format!("{CHOOSE}{list}"), &items.join("\n")).unwrap();
    let answers = said.map(|said| logs(if said == 0 { &[-0.5, -1.5] } else { &[-1.5, -0.5] }));
    let rows = task.aggregate(&task.marked(task.split(Split::Report), &answers).unwrap(), 3000);
    // lm_eval 0.4.13 with scikit-learn's formulas; standard errors with bootstrap_iters=3000.
    for (metric, value, stderr) in [
        ("acc", 0.7, Some(0.152_752_523_165_194_66)),
        ("f1", 0.727_272_727_272_727_3, Some(0.167_617_908_321_273_9)),
        ("mcc", 0.408_248_290_463_863, Some(0.305_295_899_339_224_35)),
        ("brier_score", 0.421_929_270_613_032_3, None),
    ] {
        let row = rows.iter().find(|row| row.metric == metric).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(row.value, value), "{metric}: {}", row.value);
        assert_eq!(row.stderr.is_some(), stderr.is_some(), "{metric}");
        assert!(near(row.stderr.unwrap_or_default(), stderr.unwrap_or_default()), "{metric}: {:?}", row.stderr);
    }
}

#[test]
fn says_what_every_harness_would_read() {
    let task = generate("1000", "");
    let marked = task.marked(task.split(Split::Report), &[text("答えは1,000です。")]).unwrap();
    let right: Vec<(&str, bool)> = marked[0].reads.iter().map(|read| (read.rule, read.right)).collect();
    let expected = [
        ("sakana", false),
        ("stability", true),
        ("simple-evals", true),
        ("eleuther-flexible", true),
        ("eleuther-strict", true),
        ("strict", true),
    ];
    assert_eq!(right, expected);
    // A right answer in words has other rules than a number.
    let task = generate("\"東京\"", "");
    let marked = task.marked(task.split(Split::Report), &[text("東京")]).unwrap();
    assert_eq!(
        marked[0].reads.iter().map(|read| read.rule).collect::<Vec<_>>(),
        ["eleuther", "any-gold", "stability", "nfkc"]
    );
    let number = generate("\"1,000\"", "process_results: !function evomerge.number\nmetric_list: [{metric: acc}]\n");
    check(&number, &[(text("答えは千です。"), true), (text("答えは1001です。"), false)]);
    let error = of(
        &format!("{GENERATE}process_results: !function evomerge.number\nmetric_list: [{{metric: acc}}]\n"),
        "{\"question\": \"q\", \"sum\": \"x\"}",
    );
    assert!(error.err().unwrap().starts_with("i.jsonl:1: doc_to_target: `x` is not a number"));
}

#[test]
fn measures_likeness_of_texts() {
    // Without a dictionary, characters are counted, and names say so.
    let task = generate(
        "\"北海道\"",
        "metric_list: [{metric: exact_match}, {metric: f1}, {metric: char_f1}, {metric: !function ja_leaderboard_xlsum.rouge2, aggregation: !function ja_leaderboard_xlsum.rouge2_agg}]\n",
    );
    let marked = task.marked(task.split(Split::Report), &[text("北海")]).unwrap();
    let names: Vec<&str> = marked[0].filtered[0].scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["exact_match", "f1_char", "char_f1", "rouge2_char"]);
    let value = |name: &str| marked[0].filtered[0].scores.iter().find(|score| score.0 == name).unwrap().1.value();
    assert_eq!((value("f1_char"), value("char_f1"), value("rouge2_char")), (Some(0.8), Some(0.8), Some(2.0 / 3.0)));
    let task = generate("\"北海道\"", "").with_metric("char_f1").unwrap();
    assert_eq!(task.mark(task.split(Split::Report), &[text("北海")]).unwrap()[0].value.to_bits(), 0.8_f64.to_bits());
    // The model that identifies languages is a file, which is missing here.
    let error = of(&format!("{GENERATE}metric_list: [{{metric: p_ja}}]\n"), "").err().unwrap();
    let hint = "hint: `evomerge data fetch lid176` gets it";
    assert_eq!(error, format!("t.yaml: the model that tells whether an answer is Japanese is not here\n{hint}"));
}

#[test]
fn counts_the_tokens_of_the_model_only_where_asked_to() {
    let rouge = "process_results: !function evomerge.rouge\nmetric_list: [{metric: rouge2}]\n";
    let tokens = format!("{rouge}metadata: {{evomerge: {{rouge_of_tokens: true}}}}\n");
    let task = generate("\"北海道\"", &tokens);
    let ids = task.split(Split::Report);
    assert_eq!(task.requests(ids)[0].compared.as_deref(), Some("北海道"));
    // Two of three pairs are in the right answer. No dictionary is needed, and no name ends in `_char`.
    let answer = Answer { compared: Some([vec![5, 6, 7, 8], vec![5, 6, 7]]), ..text("北海道だ") };
    let marked = task.marked(ids, &[answer]).unwrap();
    let names: Vec<&str> = marked[0].filtered[0].scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["rouge1", "rouge2", "rougeL"]);
    assert!((marked[0].main - 0.8).abs() < 1e-12, "{}", marked[0].main);
    let words = generate("\"北海道\"", rouge);
    assert_eq!(words.requests(words.split(Split::Report))[0].compared, None);
    assert_ne!(words.fingerprint(), task.fingerprint());
    let refusal = |lines: &str| of(&format!("{GENERATE}{lines}"), "").err().unwrap();
    let of_numbers = refusal("metadata: {evomerge: {rouge_of_tokens: true}}\n");
    assert!(of_numbers.contains("is for `process_results: !function evomerge.rouge`"), "{of_numbers}");
    let filtered = refusal(&format!("{tokens}{}", filter("{function: lowercase}")));
    assert!(filtered.contains("counts all of an answer"), "{filtered}");
}

#[test]
fn keeps_tokens_and_truncation() {
    let task = generate("18", "");
    let mut answer = text("18");
    if let crate::request::Said::Text { truncated, tokens, .. } = &mut answer.said {
        (*truncated, *tokens) = (true, 40);
    }
    let scores = task.mark(task.split(Split::Report), &[answer]).unwrap();
    assert_eq!(scores, [ItemScore { value: 1.0, tokens: 40, truncated: true }]);
    assert_eq!(serde_json::to_string(&scores).unwrap(), r#"[{"value":1.0,"tokens":40,"truncated":true}]"#);
}

#[test]
fn finds_the_solutions_of_the_sansu_family_right() {
    for (name, file) in [("mgsm-ja-mini", "mgsm-ja-mini.test"), ("mgsm-en-mini", "mgsm-en-mini.test")] {
        let folder = repository().join("recipes/sansu/tasks");
        let task = read(&folder.join(format!("{name}.yaml")), Fractions::default()).unwrap();
        let items = fs::read_to_string(folder.join(format!("{file}.jsonl"))).unwrap();
        let solutions: Vec<Answer> = items
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|item| text(item["answer"].as_str().unwrap()))
            .collect();
        let ids = task.split(Split::Report);
        let right = |answers: &[Answer]| {
            task.mark(ids, answers).unwrap().iter().map(|score| score.value as usize).sum::<usize>()
        };
        assert_eq!(right(&solutions), 500, "{name}");
        // The solutions of neighbouring items are wrong, apart from a few that are equal by chance.
        let shifted: Vec<Answer> = solutions.iter().cycle().skip(1).take(500).cloned().collect();
        assert!(right(&shifted) < 25, "{name}");
    }
}

/// `xwinograd_ja` of Stability AI's harness: the right sentence must be likelier than the other.
#[test]
fn a_tie_is_wrong_where_the_task_says_so() {
    let items = |answer: usize| format!("{{\"question\": \"q\", \"answer\": {answer}, \"choices\": [\"ab\", \"cd\"]}}");
    let cases = |answer: usize, tie: bool| {
        let right = |likelier: usize| likelier == answer;
        [(logs(&[-2.0, -3.0]), right(0)), (logs(&[-3.0, -2.0]), right(1)), (logs(&[-2.0, -2.0]), tie)]
    };
    for (lines, ties) in [
        ("", [true, false]),
        ("metadata: {evomerge: {tie_is_wrong: false}}\n", [true, false]),
        ("metadata: {evomerge: {tie_is_wrong: true}}\n", [false, false]),
    ] {
        for (answer, tie) in ties.into_iter().enumerate() {
            check(&of(&format!("{CHOOSE}{lines}"), &items(answer)).unwrap(), &cases(answer, tie));
        }
    }
    let wrong = of(&format!("{GENERATE}metadata: {{evomerge: {{tie_is_wrong: true}}}}\n"), "");
    assert!(wrong.err().unwrap().contains("`tie_is_wrong` is for `output_type: multiple_choice`"));
}

#[test]
fn scores_stand_apart_by_a_field() {
    let item = |n: usize, subject: &str| format!("{{\"question\": \"{n}\", \"sum\": 1, \"subject\": \"{subject}\"}}\n");
    let items = [item(1, "歴史"), item(2, "化学"), item(3, "歴史")].concat();
    let task = of(&format!("{GENERATE}metadata: {{evomerge: {{parts: subject}}}}\n"), &items).unwrap();
    let marked = task.marked(task.split(Split::Report), &[text("1"), text("2"), text("3")]).unwrap();
    let parts = task.parts(&marked).unwrap();
    let scores = [("化学".to_owned(), vec![0.0]), ("歴史".to_owned(), vec![1.0, 0.0])];
    assert_eq!((parts.field, parts.scores), ("subject", scores.into()));
    let plain = of(GENERATE, &items).unwrap();
    assert_eq!(plain.parts(&marked), None);
}
