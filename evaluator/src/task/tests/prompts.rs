//! Prompts: templates, examples, choices and delimiters, compared with lm-evaluation-harness 0.4.13 and jinja2 3.1.

use super::{Ask, CHOOSE, Fractions, GENERATE, Limit, Request, Split, Task, of, prompts, sums, task};

/// Checks the prompt that a `doc_to_text` makes of one document, or its error.
#[track_caller]
fn check(template: &str, expected: &str) {
    let definition = GENERATE.replace("\"問題：{{question}}\\n答え：\"", &format!("{template:?}"));
    let item = r#"{"question": "あいうえお", "sum": 2, "half": 0.5, "big": 1e16, "none": null, "yes": true, "list": ["a", "b'c", 1, null], "map": {"k": [1.0]}}"#;
    let made = of(&definition, item).map_or_else(|error| error, |task| prompts(&task)[0].clone());
    assert_eq!(made, expected, "{template}");
}

#[test]
fn renders_templates_as_jinja2_does() {
    for (template, expected) in [
        ("{{question}} {{sum}} {{half}} {{big}} {{none}} {{yes}}", "あいうえお 2 0.5 1e+16 None True"),
        ("{{list}} {{map}} {{question}}", "['a', \"b'c\", 1, None] {'k': [1.0]} あいうえお"),
        ("{{question[3:]}}{{question[-1]}}{{question[:2]}}", "えおおあい"),
        ("{{question.split('う')[-1] | trim}}{{question | replace('い', '')}}", "えおあうえお"),
        ("{{none | replace('N', 'x')}} {{sum | string + question}}", "xone 2あいうえお"),
        ("{% for x in list %}- {{ x }}\n{% endfor %}{{question}}\n", "- a\n- b'c\n- 1\n- None\nあいうえお\n"),
        ("{% if none is not none %}a{% else %}{{question}}{% endif %}\n\n", "あいうえお\n\n"),
        ("{% set x = question.strip() %}{{ x | length }}{{ list[0].upper() }}", "5A"),
        ("{{question | regex_replace('(う)(え)', '\\\\2\\\\1$')}}", "あいえう$お"),
        ("{{list | join('、')}}{{question}}", "a、b'c、1、Noneあいうえお"),
        ("<b>{{question}}&\"</b>", "<b>あいうえお&\"</b>"),
        ("question", "あいうえお"),
        (
            "{{question}}{{missing}}",
            "i.jsonl:1: doc_to_text: the item has no field `missing`\n\
             hint: its fields are `question`, `sum`, `half`, `big`, `none`, `yes`, `list`, `map`",
        ),
    ] {
        check(template, expected);
    }
}

/// The prompts of a definition with more lines, and with ten documents as examples.
fn with_examples(definition: &str, more: &str) -> Vec<String> {
    let definition = definition
        .replace("{test: i.jsonl}", "{test: i.jsonl, train: e.jsonl}")
        .replace("doc_to_target: sum", "doc_to_target: '{{sum}}'")
        + "training_split: train\n"
        + more;
    let files = [("t.yaml", definition.as_str()), ("i.jsonl", &sums([1, 2])), ("e.jsonl", &sums(10..20))];
    prompts(&task(&files, Fractions::default()).unwrap())
}

#[test]
fn puts_examples_before_the_question() {
    let all = with_examples(
        GENERATE,
        "num_fewshot: 2\nfewshot_split: train\nfewshot_config: {sampler: first_n}\ndescription: 計算。\n",
    );
    let shots = "計算。問題：10+1\n答え： 11\n\n問題：11+1\n答え： 12\n\n";
    assert_eq!(all, [format!("{shots}問題：1+1\n答え："), format!("{shots}問題：2+1\n答え：")]);
    let own = "num_fewshot: 1\nfewshot_config: {samples: [{question: q, sum: 's'}], doc_to_text: '{{question}}?', \
               target_delimiter: '=', fewshot_delimiter: ';'}\ngen_prefix: 'A'\n";
    assert_eq!(with_examples(GENERATE, own)[0], "q?=A s;問題：1+1\n答え： A");
    // random.Random(1234).sample(range(10), 2), twice, by CPython.
    let drawn = with_examples(GENERATE, "num_fewshot: 2\nfewshot_split: train\ntarget_delimiter: ''\n");
    let shot = |i: usize| format!("問題：{i}+1\n答え：{}\n\n", i + 1);
    assert_eq!(drawn[0], shot(17) + &shot(11) + "問題：1+1\n答え：");
    assert_eq!(drawn[1], shot(10) + &shot(11) + "問題：2+1\n答え：");
}

#[test]
fn leaves_a_document_out_of_its_own_examples() {
    let definition =
        format!("{GENERATE}fewshot_split: test\nnum_fewshot: 3\n").replace("target: sum", "target: '{{sum}}'");
    let task = of(&definition, &sums(0..8)).unwrap();
    for (i, prompt) in prompts(&task).into_iter().enumerate() {
        assert_eq!(prompt.matches(&format!("問題：{i}+1")).count(), 1, "{prompt}");
        assert_eq!(prompt.matches("問題：").count(), 4);
    }
    let few = of(&definition, &sums(0..3)).err().unwrap();
    let expected = "i.jsonl:1: 4 examples are to be chosen from 3 documents\n\
                    hint: ask for fewer with `num_fewshot`, or take them from another `fewshot_split`";
    assert_eq!(few, expected);
}

#[test]
fn shuffles_and_draws_from_one_generator_where_stabilitys_harness_does() {
    let all = with_examples(GENERATE, "metadata: {evomerge: {shuffle: 42}}\nnum_fewshot: 1\nfewshot_split: train\n");
    // r = random.Random(42); docs = [1, 2]; r.shuffle(docs); r.sample(range(10), 1), twice, by CPython.
    let expected = ["2 10", "1 14"];
    let told = all.iter().map(|prompt| {
        let numbers: Vec<&str> = prompt.split(['：', '+']).collect();
        format!("{} {}", numbers[numbers.len() - 3], numbers[1])
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

/// The requests of a task's only document.
fn requests(definition: &str, item: &str) -> Vec<Request> {
    let task = of(definition, item).unwrap();
    task.requests(task.split(Split::Report))
}

#[test]
fn asks_for_each_choice() {
    let item = r#"{"question": "q", "choices": ["a", "b"], "answer": 1}"#;
    let choices = |definition: &str| {
        let asked = requests(definition, item).into_iter().map(|request| match request.ask {
            Ask::Choose { choices } => (request.prompt.text(), choices.join("|")),
            other => panic!("{other:?}"),
        });
        asked.collect::<Vec<_>>()
    };
    let two = |prompt: &str, choices: &str| (prompt.to_owned(), choices.to_owned());
    assert_eq!(choices(CHOOSE), [two("q", " a| b")]);
    assert_eq!(choices(&format!("{CHOOSE}target_delimiter: ''\n")), [two("q", "a|b")]);
    assert_eq!(choices(&CHOOSE.replace("doc_to_choice: choices", "doc_to_choice: [x, y]")), [two("q", " x| y")]);
    assert_eq!(
        choices(&CHOOSE.replace("doc_to_choice: choices", "doc_to_choice: {x: 'いい', y: 'え'}")),
        [two("q", " いい| え")]
    );
    let template = CHOOSE.replace("doc_to_choice: choices", "doc_to_choice: '{{[choices[1], question]}}'");
    assert_eq!(choices(&template), [two("q", " b| q")]);
    let mutual = format!("{CHOOSE}metric_list: [{{metric: acc_mutual_info}}]\n");
    assert_eq!(choices(&mutual), [two("q", " a| b"), two("", " a| b")]);
    // The number of a choice in place of a question: each choice stands before one continuation.
    let before = CHOOSE
        .replace("doc_to_text: '{{question}}'\ndoc_to_target: answer", "doc_to_text: answer\ndoc_to_target: question");
    assert_eq!(choices(&before), [two("a", " q"), two("b", " q")]);
}

#[test]
fn tells_the_length_of_the_right_answer_only_where_asked_to() {
    let item = r#"{"question": "q", "sum": ["いち", "1"]}"#;
    let limit = |definition: &str| match requests(definition, item).remove(0).ask {
        Ask::Generate { limit, stop } => (limit, stop),
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(GENERATE), (Limit::Tokens(40), vec![]));
    let usual = GENERATE.replace("{until: [], max_gen_toks: 40}", "{do_sample: false}");
    assert_eq!(limit(&usual), (Limit::Tokens(256), vec!["\n\n".to_owned()]));
    let gold = format!("{GENERATE}metadata: {{evomerge: {{gold_limit: 3}}}}\n");
    assert_eq!(limit(&gold).0, Limit::LongestOf(vec!["いち".to_owned(), "1".to_owned()], 3));
}

#[test]
fn articles_may_be_cut_at_sentences_where_the_task_says_so() {
    let ours = "num_fewshot: 1\nfewshot_config: {sampler: first_n, samples: [{question: 一二, sum: 三}]}\n\
        metadata: {evomerge: {cut_at_sentences: question}}\n";
    let task = of(&format!("{GENERATE}{ours}"), "{\"question\": \"四五\", \"sum\": 9}").unwrap();
    let prompt = task.requests(task.split(Split::Report)).remove(0).prompt;
    assert_eq!((prompt.articles, prompt.shots.len()), (vec!["一二".to_owned(), "四五".to_owned()], 1));
    let plain = of(GENERATE, "{\"question\": \"四五\", \"sum\": 9}").unwrap();
    assert!(plain.requests(plain.split(Split::Report))[0].prompt.articles.is_empty());
    let changed = GENERATE.replace("{{question}}", "{{question|upper}}");
    let error = of(
        &format!("{changed}metadata: {{evomerge: {{cut_at_sentences: question}}}}\n"),
        "{\"question\": \"a\", \"sum\": 9}",
    );
    assert!(error.err().unwrap().contains("the question does not hold the field `question` as it is"));
}
