//! Definition files: what is refused, and in which words.

use super::{CHOOSE, Fractions, GENERATE, Path, REPORT_ONLY, Task, of, repository, task};
use crate::task::definition::parse;

/// Reads a definition beside one item and compares the error, hint and all.
#[track_caller]
fn check(definition: &str, expected: &str) {
    let item = r#"{"question": "1+1", "sum": 2, "choices": ["1", "2"], "answer": 1}"#;
    assert_eq!(of(definition, item).unwrap_err(), expected);
}

/// A sound `generate` task with more lines, whose first is the fifth.
fn generate(lines: &str) -> String {
    format!("{GENERATE}{lines}")
}

#[test]
fn says_where_yaml_is_wrong() {
    let all = "`task`, `kind`, `prompt`, `stop`, `max_tokens`, `answer`, `choices`, `language`, `items`, `license`";
    check(
        &generate("anwser: {field: sum}\n"),
        &format!("t.yaml:5:1: there is no key `anwser` here\nhint: did you mean `answer`? known are {all}"),
    );
    check(
        &generate("answer: {feild: n}\nitems: i.jsonl\n"),
        "t.yaml:5:10: there is no key `feild` here\nhint: did you mean `field`? known are `field`, `pattern`",
    );
    check(
        &generate("answer: {field: sum}\nitems: {serach: i.jsonl}\n"),
        "t.yaml:6:9: there is no key `serach` here\nhint: did you mean `search`? known are `search`, `select`, `report`",
    );
    check(
        "task: x\nkind: generates\n",
        "t.yaml:2:7: there is no value `generates` here\nhint: did you mean `generate`? known are `generate`, `multiple_choice`, `likelihood`",
    );
    check(&generate("answer: {field: sum}\n"), "t.yaml:5:1: the key `items` is missing");
    check(&generate("task: again\n"), "t.yaml:5:1: the key `task` is there twice");
    check(&generate("answer: 5\n"), "t.yaml:5:9: expected `key: value` pairs");
    check(
        &generate("answer: {field: 5}\n"),
        "t.yaml:5:17: expected text, found 5\nhint: if text is meant, write \"5\"",
    );
    check("task: x\nkind: generate\nprompt: '{q}'\nmax_tokens: many\n", "t.yaml:4:13: expected a whole number");
    check("task: x\nkind: generate\nprompt: '{q}'\nmax_tokens: -1\n", "t.yaml:4:13: expected a whole number");
    check(
        &generate("answer: {field: sum}\nitems: [i.jsonl]\n"),
        "t.yaml:6:1: expected a file name, or a file name for each of `search`, `select` and `report`, found sequence",
    );
    check(
        &generate("answer: {field: sum}\nitems: {}\n"),
        "t.yaml:6:8: `items` names no file for `search`, `select` or `report`",
    );
    check(&generate("language: en\n"), "t.yaml:5:11: there is no value `en` here\nhint: known are `ja`");
    check("task: [\n", "t.yaml:1:7: expected string scalar");
    check("", "t.yaml:1:1: unexpected end of file");
}

#[test]
fn refuses_what_a_kind_does_not_have() {
    let rest = "answer: {field: sum}\nitems: i.jsonl\n";
    check(
        &generate(&format!("choices: {{field: choices}}\n{rest}")),
        "t.yaml:5:10: `choices` is for `kind: multiple_choice`\nhint: remove it, or make the task `multiple_choice`",
    );
    for (line, place, key) in [
        ("stop: [a]", "t.yaml:7:7", "stop"),
        ("max_tokens: 4", "t.yaml:7:13", "max_tokens"),
        ("language: ja", "t.yaml:7:11", "language"),
    ] {
        let expected =
            format!("{place}: `{key}` is for `kind: generate`\nhint: remove it, or make the task `generate`");
        check(&format!("{CHOOSE}{line}\n"), &expected);
    }
    check(
        &CHOOSE.replace("{field: answer}", "{field: answer, pattern: '(a)'}"),
        "t.yaml:5:34: `answer.pattern` is for `kind: generate`\nhint: remove it, or make the task `generate`",
    );
    check(
        &CHOOSE.replace("choices: {field: choices}\n", ""),
        "t.yaml:2:7: the task needs `choices`\nhint: add `choices: {field: choices}`",
    );
    check(
        &format!("{GENERATE}{rest}").replace("max_tokens: 40\n", ""),
        "t.yaml:2:7: the task needs `max_tokens`\nhint: add `max_tokens: 256`",
    );
}

#[test]
fn refuses_values_that_make_no_sense() {
    let rest = "answer: {field: sum}\nitems: i.jsonl\n";
    let sound = format!("{GENERATE}{rest}");
    check(&sound.replace("40", "0"), "t.yaml:4:13: an answer of 0 tokens is never right");
    check(&sound.replace("sums", "''"), "t.yaml:1:7: the task has no name");
    check(&format!("{sound}stop: [a, '']\n"), "t.yaml:7:11: an empty stop text would end every answer at once");
    for (pattern, message) in [
        ("答えは(", "the pattern `答えは(` is not a regular expression: unclosed group"),
        (
            "答えは[0-9]+",
            "the pattern `答えは[0-9]+` captures nothing\nhint: put the number in parentheses, such as `答えは(-?\\d+)です`",
        ),
        ("答え：(.+)", "the pattern can never match, for `：` is `:` in normalised text\nhint: write `:`"),
        ("答え（(.+)", "the pattern can never match, for `（` is `(` in normalised text\nhint: write `\\(`"),
    ] {
        let definition = sound.replace("{field: sum}", &format!("{{field: sum, pattern: '{pattern}'}}"));
        check(&definition, &format!("t.yaml:5:31: {message}"));
    }
    for (prompt, message) in [
        ("hello", "the prompt is the same for every item\nhint: name the item's fields in it, such as `{question}`"),
        ("{question", "the `{` in the prompt belongs to no field\nhint: a field is written `{question}`, a brace `{{`"),
        ("{}", "the `{` in the prompt belongs to no field\nhint: a field is written `{question}`, a brace `{{`"),
        (
            "{question}}",
            "the `}` in the prompt belongs to no field\nhint: a field is written `{question}`, a brace `}}`",
        ),
    ] {
        let definition = sound.replace("問題：{question}\\n答え：", prompt);
        check(&definition, &format!("t.yaml:3:9: {message}"));
    }
}

#[test]
fn refuses_fractions_that_are_not_shares() {
    for (search, select, report) in [(0.5, 0.5, 0.5), (-0.5, 0.5, 1.0), (f64::NAN, 0.5, 0.5), (2.0, -1.0, 0.0)] {
        let error = task(&[("t.yaml", "")], Fractions { search, select, report }).unwrap_err();
        let expected = format!(
            "the split fractions search {search}, select {select}, report {report} are not three shares of 1\n\
             hint: give three numbers from 0 to 1 that sum to 1, such as 0.6, 0.2 and 0.2"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn never_panics_on_a_damaged_definition() {
    let sound =
        format!("{GENERATE}stop: ['問']\nlanguage: ja\nanswer: {{field: sum, pattern: '(.)'}}\nitems: i.jsonl\n");
    let read = |text: &str| parse(Path::new("t.yaml"), text).map(|_| ());
    assert_eq!(read(&sound), Ok(()));
    for (at, _) in sound.char_indices() {
        for junk in ["", "{", "}", "]", "\t", "&a", "*a", "!", "- ", ": ", "\"", "'", "|", "\u{0}", "９"] {
            let cut = read(&format!("{}{junk}", &sound[..at]));
            let put = read(&format!("{}{junk}{}", &sound[..at], &sound[at..]));
            for error in [cut, put].into_iter().filter_map(Result::err) {
                assert!(error.to_string().starts_with("t.yaml:"), "{error}");
            }
        }
    }
}

#[test]
fn changes_its_fingerprint_with_what_changes_a_score() {
    let sound = format!("{GENERATE}answer: {{field: sum}}\nitems: i.jsonl\n");
    let item = r#"{"question": "1+1", "sum": 2, "other": 2}"#;
    let fingerprint = |definition: &str, name: &str| {
        let definition = definition.replace("i.jsonl", name);
        task(&[("t.yaml", &definition), (name, item)], REPORT_ONLY).unwrap().fingerprint()
    };
    let first = fingerprint(&sound, "i.jsonl");
    for (from, to) in [
        ("問題：", "Q: "),
        ("40", "41"),
        ("field: sum", "field: other"),
        ("field: sum", "field: sum, pattern: '(.)'"),
        ("items:", "stop: [a]\nitems:"),
        ("items:", "language: ja\nitems:"),
    ] {
        assert_ne!(fingerprint(&sound.replace(from, to), "i.jsonl"), first, "{to}");
    }
    for (from, to) in
        [("sums", "more sums"), ("items:", "license: MIT\nitems:"), ("items: i.jsonl", "items: {report: i.jsonl}")]
    {
        assert_eq!(fingerprint(&sound.replace(from, to), "i.jsonl"), first, "{to}");
    }
    assert_eq!(fingerprint(&sound, "moved.jsonl"), first);
    // Pinned: raise MARKING_VERSION when marking changes, and then this.
    assert_eq!(first[..4], [95, 111, 127, 109]);
}

#[test]
fn has_a_schema_that_names_every_key() {
    let schema = serde_json::to_value(super::super::schema()).unwrap();
    let keys: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["task", "kind", "prompt", "stop", "max_tokens", "answer", "choices", "language", "items", "license"];
    assert_eq!(keys, expected);
    assert_eq!(schema["required"], serde_json::json!(["task", "kind", "prompt", "answer", "items"]));
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn reads_the_files_of_the_repository() {
    for (name, metric, search, select, report) in [
        ("mgsm-ja-mini", "exact_match", 1000, 200, 500),
        ("ja-solution-mini", "acc", 200, 200, 300),
        ("mgsm-en-mini", "exact_match", 0, 0, 500),
    ] {
        let path = repository().join(format!("recipes/sansu/tasks/{name}.yaml"));
        let task = super::read(&path, Fractions::default()).unwrap();
        let sizes = super::Split::ALL.map(|split| task.split(split).len());
        assert_eq!((task.name(), task.metric(), sizes), (name, metric, [search, select, report]));
        assert_eq!((task.duplicates(), task.license()), (0, Some("Apache-2.0")));
    }
}
