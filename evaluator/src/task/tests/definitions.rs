//! Definition files: refusals, with their messages.

use super::{CHOOSE, Fractions, GENERATE, Split, Task, fs, of, repository, task};
use crate::task::definition::{Overrides, check as check_definition, read};

/// Reads a definition beside one item and compares the error, with its hint.
#[track_caller]
fn check(definition: &str, expected: &str) {
    let item = r#"{"question": "1+1", "sum": 2, "choices": ["1", "2"], "answer": 1}"#;
    assert_eq!(of(definition, item).err().as_deref(), Some(expected));
}

/// A valid `generate_until` task with more lines, which begin at line 9.
fn generate(lines: &str) -> String {
    format!("{GENERATE}{lines}")
}

#[test]
fn says_where_yaml_is_wrong() {
    let error = of(&generate("num_fewshots: 3\n"), "").err().unwrap();
    let begin =
        "t.yaml:9:1: there is no key `num_fewshots`\nhint: did you mean `num_fewshot`? known keys here: `include`, ";
    assert!(error.starts_with(begin), "{error}");
    check(
        &generate("fewshot_config: {spilt: train}\n"),
        "t.yaml:9:18: fewshot_config: there is no key `spilt`\nhint: did you mean `split`? known keys here: `sampler`, `split`, \
         `process_docs`, `fewshot_indices`, `samples`, `doc_to_text`, `doc_to_choice`, `doc_to_target`, `gen_prefix`, \
         `fewshot_delimiter`, `target_delimiter`",
    );
    check(
        &generate("metadata: {evomerge: {encodding: {}}}\n"),
        "t.yaml:9:23: metadata.evomerge: there is no key `encodding`\nhint: did you mean `encoding`? known keys here: `encoding`, \
         `gold_limit`, `cut_at_sentences`, `rouge_of_tokens`, `tie_is_wrong`, `shuffle`, `stratified`, `language`, `main`, `splits`, \
         `divide`, `parts`, `licence`, `source`, `protocol`, `notes`",
    );
    check(
        "task: x\noutput_type: generate_untill\n",
        "t.yaml:2:14: output_type: `generate_untill` is not known here\nhint: did you mean `generate_until`? known here: \
         `generate_until`, `multiple_choice`, `loglikelihood`, `loglikelihood_rolling`",
    );
    check(
        &generate("metric_list: [{metric: exact_mach}]\n"),
        "t.yaml:9:24: metric_list: there is no measure `exact_mach` of `generate_until`\n\
         hint: did you mean `exact_match`? there are: `exact_match`, `f1`, `rouge1`, `rouge2`, `rougeL`, `char_f1`, `p_ja`",
    );
    check(&generate("task: again\n"), "t.yaml:9:1: the key `task` appears twice\nhint: keep one of them");
    check(
        &generate("num_fewshot: many\n"),
        "t.yaml:9:14: num_fewshot: expected a whole number from 0 up, found the text `many`",
    );
    check(&generate("fewshot_config: 5\n"), "t.yaml:9:17: fewshot_config: expected a block of keys, found 5");
    check(
        "test_split: x\n",
        "t.yaml: the key `task` is missing\nhint: it is the task's name; a file that other files include is no task",
    );
    check("task: t\ndoc_to_text: a\n", "t.yaml: `doc_to_target` is missing\nhint: add `doc_to_target: \"{{answer}}\"`");
    check("[]", "t.yaml:1:1: expected `key: value` pairs");
}

#[test]
fn refuses_by_name_what_is_not_supported() {
    let not = "this key is not supported\nhint: models here read text alone";
    check(&generate("doc_to_image: image\n"), &format!("t.yaml:9:15: doc_to_image: {not}"));
    check(&generate("doc_to_audio: [a]\n"), &format!("t.yaml:9:15: doc_to_audio: {not}"));
    check(
        &generate("unsafe_code: true\n"),
        "t.yaml:9:14: unsafe_code: answers are never run as programs here\nhint: remove the key, or the task",
    );
    check(
        &generate("process_docs: !function utils.process_doc\n"),
        "t.yaml:9:25: process_docs: the function `utils.process_doc` is not built in, and Python is not run\n\
         hint: built in here: `ja_leaderboard_jcommonsenseqa.process_docs`, `ja_leaderboard_xwinograd.process_docs`",
    );
    check(
        &GENERATE.replace("doc_to_target: sum", "doc_to_target: !function utils.target"),
        "t.yaml:7:26: doc_to_target: the function `utils.target` is not built in, and Python is not run\n\
         hint: write a template or a field's name",
    );
    check(
        &generate("process_docs: !other x\n"),
        "t.yaml:9:22: process_docs: the tag `!other` means nothing here\nhint: only `!function` does",
    );
    check(
        &GENERATE.replace("max_gen_toks: 40", "do_sample: true"),
        "t.yaml:8:43: generation_kwargs: answers would be drawn at random\nhint: answers are greedy here, so that they can be repeated",
    );
    check(
        &generate("fewshot_config: {fewshot_indices: [1]}\n"),
        "t.yaml:9:35: fewshot_config: lm-evaluation-harness 0.4.13 takes no notice of `fewshot_indices`\n\
         hint: write the examples as `samples`, or use `sampler: first_n`",
    );
}

#[test]
fn refuses_what_a_kind_of_question_does_not_have() {
    check(
        &format!("{CHOOSE}generation_kwargs: {{}}\n"),
        "t.yaml:9:20: generation_kwargs: this task generates no text\nhint: remove it, or set `output_type: generate_until`",
    );
    check(
        &CHOOSE.replace("doc_to_choice: choices\n", ""),
        "t.yaml:5:14: output_type: `doc_to_choice` is missing\nhint: add `doc_to_choice: choices`, or a list",
    );
    check(
        &format!("{CHOOSE}metadata: {{evomerge: {{language: ja}}}}\n"),
        "t.yaml:9:33: metadata: `language` is for `output_type: generate_until`\nhint: remove it",
    );
    check(
        &format!("{CHOOSE}filter_list: [{{name: a, filter: [{{function: lowercase}}, {{function: take_first}}]}}]\n"),
        "t.yaml:9:34: filter_list: likelihoods are not filtered\nhint: only `take_first` is allowed here",
    );
    check(
        &format!("{CHOOSE}metadata: {{evomerge: {{main: mcc}}}}\nmetric_list: [{{metric: mcc}}]\n"),
        "t.yaml:9:29: metadata: `mcc` is computed over all items together\nhint: tables and searches go by a measure that each item has",
    );
    check(
        &format!("{CHOOSE}metadata: {{evomerge: {{main: gold_margine}}}}\n"),
        "t.yaml:9:29: metadata: there is no measure `gold_margine` of this task\nhint: did you mean `gold_margin`? there are: \
         `acc`, `acc_norm`, `acc_bytes`, `likelihood`, `gold_margin`, `gold_logprob_per_byte`",
    );
}

#[test]
fn refuses_values_that_make_no_sense() {
    check(&GENERATE.replace("40", "0"), "t.yaml:8:46: generation_kwargs: an answer of 0 tokens is never right");
    check(&GENERATE.replace("sums", "''"), "t.yaml:1:7: task: the task has no name");
    check(
        &GENERATE.replace("[]", "[a, '']"),
        "t.yaml:8:28: generation_kwargs: an empty stop text would end every answer at once",
    );
    check(
        &GENERATE.replace("{{question}}", "question"),
        "t.yaml:6:14: doc_to_text: the question is the same for every item\nhint: name the item's fields in it, such as `{{question}}`",
    );
    check(
        &GENERATE.replace("{{question}}", "{{question |}}"),
        "t.yaml:6:14: doc_to_text: this is no Jinja template: unexpected end of variable block, expected identifier in line 1 of it",
    );
    let filter = |steps: &str| generate(&format!("filter_list: [{{name: a, filter: [{steps}]}}]\n"));
    check(
        &filter("{function: regex, regex_pattern: '答えは('}, {function: take_first}"),
        "t.yaml:9:67: filter_list: the pattern `答えは(` is not a regular expression: Parsing error at position 10: Opening parenthesis without closing parenthesis",
    );
    check(
        &filter("{function: regex}"),
        "t.yaml:9:34: filter_list: the filter leaves a list of answers, but only a single one can be marked\nhint: end it with `- function: take_first`",
    );
    check(
        &filter("{function: take_first}, {function: lowercase}, {function: take_first}"),
        "t.yaml:9:34: filter_list: a step after `take_first` would work on single letters\nhint: put `take_first` last",
    );
    check(
        &filter("{function: lowercase, k: 1}, {function: take_first}"),
        "t.yaml:9:59: filter_list: `k` has no effect in this function\nhint: remove it",
    );
    check(
        &generate("num_fewshot: 2\n"),
        "t.yaml:9:14: num_fewshot: a document could be its own example\n\
         hint: name the split examples come from, as in `fewshot_split: test`",
    );
    check(
        &generate("num_fewshot: 2\nfewshot_split: trian\n"),
        "t.yaml:10:16: fewshot_split: there is no split `trian`\nhint: the data has: `test`",
    );
}

#[test]
fn refuses_a_split_that_the_data_does_not_have_asked_or_not() {
    let has = "hint: did you mean `test`? the data has: `test`";
    let tset = |key: &str, place: &str| format!("t.yaml:{place}: {key}: there is no split `tset`\n{has}");
    let divided = |more: &str| GENERATE.replace("test_split: test\n", more) + "metadata: {evomerge: {divide: test}}\n";
    for (key, line) in [
        ("test_split", "test_split: tset\n"),
        ("validation_split", "validation_split: tset\n"),
        ("training_split", "training_split: tset\n"),
        ("fewshot_split", "fewshot_split: tset\n"),
        ("fewshot_config", "fewshot_config: {split: tset}\n"),
    ] {
        let column = line.find("tset").unwrap() + 1;
        check(&divided(line), &tset(key, &format!("4:{column}")));
    }
    check(&generate("training_split: tset\n"), &tset("training_split", "9:17"));
    let splits = generate("metadata: {evomerge: {splits: {report: test, search: tset}}}\n");
    check(&splits, &tset("metadata", "9:54"));
}

#[test]
fn refuses_what_would_have_no_effect() {
    check(
        &generate("num_fewshot: 1\nfewshot_split: test\nfewshot_config: {samples: [{question: a, sum: 1}]}\n"),
        "t.yaml:11:27: fewshot_config: examples come from a split, and `samples` has no effect beside it\n\
         hint: remove one of the two",
    );
    check(
        &generate("fewshot_config: {sampler: first_n}\nmetadata: {evomerge: {stratified: true}}\n"),
        "t.yaml:9:27: fewshot_config: `stratified` draws examples, and `first_n` takes the first ones\n\
         hint: remove one of the two",
    );
    check(
        "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: i.jsonl}}\ntest_split: test\n\
         output_type: loglikelihood_rolling\ndoc_to_target: question\nnum_fewshot: 2\n",
        "t.yaml:7:14: num_fewshot: `loglikelihood_rolling` takes no examples\nhint: remove it",
    );
    check(
        &generate("metric_list: [{metric: char_f1, ignore_case: true}]\n"),
        "t.yaml:9:24: metric_list: `ignore_case` has no effect on `char_f1`\nhint: it is for `exact_match`",
    );
    check(
        &generate("dataset_name: main\n"),
        "t.yaml:9:15: dataset_name: files of `json` have no parts\nhint: remove it",
    );
    check(
        &GENERATE.replace("i.jsonl}", "i.jsonl}, sep: x"),
        "t.yaml:3:52: dataset_kwargs: `sep` is for `dataset_path:` `csv`\nhint: remove one of the two",
    );
    check(
        &generate("metadata: {evomerge: {parts: subject}}\n"),
        "i.jsonl:1: parts: the item has no field `subject`\nhint: its fields are `question`, `sum`, `choices`, `answer`",
    );
}

#[test]
fn refuses_numbers_that_cannot_be_meant() {
    let most = |key: &str, place: &str, most: &str| {
        let number = "1000000000000000000";
        format!("t.yaml:{place}: {key}: {number} is too large a number here\nhint: {most} is the largest")
    };
    let eighteen = "1000000000000000000";
    check(&generate(&format!("num_fewshot: {eighteen}\n")), &most("num_fewshot", "9:14", "10000"));
    check(&generate(&format!("repeats: {eighteen}\n")), &most("repeats", "9:10", "10000"));
    check(&GENERATE.replace("40", eighteen), &most("generation_kwargs", "8:46", "100000000"));
    let limit = generate(&format!("metadata: {{evomerge: {{gold_limit: {eighteen}}}}}\n"));
    check(&limit, &most("metadata", "9:35", "100000000"));
}

#[test]
fn a_template_without_end_is_an_error_of_its_item() {
    let asks = |template: &str| GENERATE.replace("問題：{{question}}\\n答え：", template);
    let fields = "hint: the item's fields are `question`, `sum`, `choices`, `answer`";
    let unfilled = |what: &str| format!("i.jsonl:1: doc_to_text: the template cannot be rendered: {what}\n{fields}");
    check(
        &asks("{{ question|indent(1000000000) }}"),
        &unfilled("rendering takes more than 2000000 steps (64 bytes of text count as one step)"),
    );
    check(
        &asks("{{ question }}{{ ('a'*40 ~ '!')|regex_replace('(a|aa)+(?=b)$','x') }}"),
        &unfilled("the pattern `(a|aa)+(?=b)$`: the search stopped after 10000000 backtracking steps"),
    );
    check(
        &asks("{% set x = namespace() %}{% set x.a = x %}{{ x }}{{ question }}"),
        &unfilled("a namespace cannot hold a namespace, which could be itself"),
    );
    check(
        &asks(&format!("{{{{ {}question }}}}", "not ".repeat(100_000))),
        "t.yaml:6:14: doc_to_text: this is no Jinja template: it has more than 10000 operators, brackets and tags",
    );
}

#[test]
fn files_that_include_each_other_without_end_are_refused() {
    let mut files = vec![("t.yaml".to_owned(), "include: [0.yaml, 0.yaml]\n".to_owned() + GENERATE)];
    files.extend((0..30).map(|i| (format!("{i}.yaml"), format!("include: [{0}.yaml, {0}.yaml]\n", i + 1))));
    files.push(("30.yaml".to_owned(), "repeats: 1\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let error = task(&files, Fractions::default()).err().unwrap();
    assert!(error.contains(": include: more than 1000 files are included"), "{error}");
}

#[test]
fn refuses_fractions_that_are_not_shares() {
    for (search, select, report) in [(0.5, 0.5, 0.5), (-0.5, 0.5, 1.0), (f64::NAN, 0.5, 0.5), (2.0, -1.0, 0.0)] {
        let error = task(&[("t.yaml", "")], Fractions { search, select, report }).err();
        let expected = format!(
            "the split fractions search {search}, select {select}, report {report} are not three shares of 1\n\
             hint: give three numbers from 0 to 1 that sum to 1, such as 0.6, 0.2 and 0.2"
        );
        assert_eq!(error, Some(expected));
    }
}

#[test]
fn takes_over_the_keys_of_included_files() {
    let base = GENERATE.replace("task: sums\n", "tag: all\n");
    let files = |own: &str, base: &str| {
        let files = [("t.yaml", own), ("base", base), ("i.jsonl", r#"{"question": "1+1", "sum": 2}"#)];
        task(&files, Fractions::default()).map(|task| super::prompts(&task)[0].clone())
    };
    let own = "include: base\ntask: sums\ndoc_to_text: 'Q: {{question}}'\n";
    assert_eq!(files(own, &base), Ok("Q: 1+1".to_owned()));
    // A mistake is reported in the file where it stands.
    let error = files(own, &base.replace("sum\n", "summ\ndoc_to_txt: x\n")).unwrap_err();
    assert!(error.starts_with("base:8:1: there is no key `doc_to_txt`"), "{error}");
    let error = files("include: base\ntask: sums\n", &base.replace("{{question}}", "{{question")).unwrap_err();
    assert!(error.starts_with("base:6:14: doc_to_text: this is no Jinja template"), "{error}");
    let missing = "t.yaml:1:10: include: there is no file bases\nhint: included files are looked for beside the file";
    assert_eq!(files(&own.replace("base", "bases"), &base), Err(missing.to_owned()));
    let circle = files(own, &format!("include: t.yaml\n{base}")).unwrap_err();
    assert_eq!(circle, "base:1:10: include: t.yaml includes itself in a circle");
}

#[test]
fn never_panics_on_a_damaged_definition() {
    let sound = format!(
        "{GENERATE}filter_list: [{{name: a, filter: [{{function: regex, regex_pattern: '(.)'}}, {{function: take_first}}]}}]\n\
         process_docs: !function a.b\nmetadata: {{version: 1, evomerge: {{splits: {{report: test}}}}}}\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        read(&path, &Overrides::default()).and_then(|written| check_definition(&written))
    };
    assert_eq!(read(&sound), Ok(()));
    // Every third place only, since each reads the text twice.
    for (at, _) in sound.char_indices().step_by(3) {
        for junk in ["", "{", "}", "]", "\t", "&a", "*a", "!", "- ", ": ", "\"", "'", "|", "\u{0}", "９"] {
            let cut = read(&format!("{}{junk}", &sound[..at]));
            let put = read(&format!("{}{junk}{}", &sound[..at], &sound[at..]));
            for error in [cut, put].into_iter().filter_map(Result::err) {
                assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            }
        }
    }
}

#[test]
fn changes_its_fingerprint_with_what_changes_a_score() {
    let sound = format!("{GENERATE}metric_list: [{{metric: exact_match}}]\n");
    let item = r#"{"question": "1+1", "sum": 2, "other": 2}"#;
    let fingerprint = |definition: &str| of(definition, item).unwrap().fingerprint();
    let first = fingerprint(&sound);
    for (from, to) in [
        ("問題：", "Q: "),
        ("40", "41"),
        ("doc_to_target: sum", "doc_to_target: other"),
        ("until: []", "until: [a]"),
        ("exact_match", "exact_match, ignore_case: true"),
        ("metric_list", "description: hello\nmetric_list"),
        ("metric_list", "metadata: {evomerge: {language: ja}}\nmetric_list"),
        ("metric_list", "metadata: {evomerge: {encoding: {pairs: separate}}}\nmetric_list"),
        ("metric_list", "metadata: {evomerge: {cut_at_sentences: question}}\nmetric_list"),
        ("metric_list", "num_fewshot: 1\nfewshot_config: {samples: [{question: a, sum: b}]}\nmetric_list"),
    ] {
        assert_ne!(fingerprint(&sound.replace(from, to)), first, "{to}");
    }
    for (from, to) in [
        ("sums", "more sums"),
        ("metric_list", "metadata: {evomerge: {licence: MIT}, version: 2}\nmetric_list"),
        ("metric_list", "metadata: {evomerge: {splits: {report: test}}}\nmetric_list"),
        ("metric_list", "tag: all\nmetric_list"),
    ] {
        assert_eq!(fingerprint(&sound.replace(from, to)), first, "{to}");
    }
    // Another measure gives another score.
    let choose = |by: &str| {
        of(CHOOSE, r#"{"question": "a", "choices": ["b", "c"], "answer": 0}"#).unwrap().with_metric(by).unwrap()
    };
    assert_ne!(choose("acc").fingerprint(), choose("gold_margin").fingerprint());
    // Pinned: when asking or marking changes, raise VERSION, then update this.
    assert_eq!(first[..4], [198, 6, 209, 97]);
}

#[test]
fn changes_its_fingerprint_with_the_examples() {
    let definition = GENERATE.replace("{test: i.jsonl}", "{test: i.jsonl, train: e.jsonl}")
        + "training_split: train\nfewshot_split: train\nnum_fewshot: 1\n";
    let definition = definition.replace("doc_to_target: sum", "doc_to_target: '{{sum}}'");
    let fingerprint = |items: &str, examples: &str| {
        let files = [("t.yaml", definition.as_str()), ("i.jsonl", items), ("e.jsonl", examples)];
        task(&files, Fractions::default()).unwrap().fingerprint()
    };
    let first = fingerprint(&super::sums([1, 2]), &super::sums([5, 6]));
    assert_eq!(fingerprint(&super::sums([1, 2]), &super::sums([5, 6])), first);
    // In another place, an item has other examples, so its old score must not be used.
    assert_ne!(fingerprint(&super::sums([2, 1]), &super::sums([5, 6])), first);
    assert_ne!(fingerprint(&super::sums([1, 2]), &super::sums([5, 7])), first);
}

#[test]
fn has_a_schema_that_names_every_key() {
    let schema = serde_json::to_value(super::super::schema()).unwrap();
    let keys: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    for key in
        ["task", "include", "dataset_path", "doc_to_text", "fewshot_config", "metric_list", "filter_list", "metadata"]
    {
        assert!(keys.contains(&key), "{key}");
    }
    assert!(!keys.contains(&"doc_to_image"));
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["$defs"]["StepFunction"]["oneOf"].as_array().unwrap().len(), 9);
}

#[test]
fn reads_the_files_of_the_repository() {
    for (name, metric, search, select, report) in [
        ("mgsm-ja-mini", "exact_match", 1000, 200, 500),
        ("ja-solution-mini", "acc", 200, 200, 300),
        ("mgsm-en-mini", "exact_match", 0, 0, 500),
        ("mgsm-ja-likelihood", "likelihood", 1000, 0, 0),
    ] {
        let path = repository().join(format!("recipes/sansu/tasks/{name}.yaml"));
        let task = super::read(&path, Fractions::default()).unwrap();
        let sizes = Split::ALL.map(|split| task.split(split).len());
        assert_eq!((task.name(), task.metric().as_str(), sizes), (name, metric, [search, select, report]));
        assert_eq!((task.duplicates(), task.licence()), (0, Some("Apache-2.0")));
    }
}
