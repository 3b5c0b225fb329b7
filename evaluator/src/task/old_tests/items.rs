//! Item files: lines, duplicates, splits and leaks.

use super::{CHOOSE, Fractions, GENERATE, ItemId, Split, Task, fs, of, read, sums, task};
use crate::request::{Ask, Limit, Prompt};

const SPLITS: &str = "answer: {field: sum}\nitems: {search: a.jsonl, report: b.jsonl}\n";

/// Reads items of a definition and compares the error, hint and all.
#[track_caller]
fn check(definition: &str, items: &str, expected: &str) {
    assert_eq!(of(definition, items).unwrap_err(), expected);
}

fn generate() -> String {
    format!("{GENERATE}answer: {{field: sum}}\nitems: i.jsonl\n")
}

#[test]
fn names_the_line_of_a_wrong_item() {
    let sound = sums([1]);
    for (line, expected) in [
        (
            "{\"question\": 1",
            "i.jsonl:3:14: not JSON: EOF while parsing an object\nhint: an item is one JSON object on one line",
        ),
        ("{'a': 1}", "i.jsonl:3:2: not JSON: key must be a string\nhint: an item is one JSON object on one line"),
        (
            "[1]",
            "i.jsonl:3: not a JSON object\nhint: an item is one line such as {\"question\": \"…\", \"answer_number\": 18}",
        ),
        (
            "{\"qestion\": \"1\", \"sum\": 1}",
            "i.jsonl:3: the item has no field `question`\nhint: did you mean `qestion`? its fields are `qestion`, `sum`",
        ),
        (
            "{\"question\": [], \"sum\": 1}",
            "i.jsonl:3: `question` is neither text nor a number\nhint: the prompt names `{question}`",
        ),
        ("{\"question\": \"q\"}", "i.jsonl:3: the item has no field `sum`\nhint: its fields are `question`"),
        (
            "{\"question\": \"q\", \"sum\": null}",
            "i.jsonl:3: `sum`: neither a number nor text\nhint: the right answer is a number such as 18",
        ),
        (
            "{\"question\": \"q\", \"sum\": \"18個\"}",
            "i.jsonl:3: `sum`: `18個` is not a number\nhint: write digits only, such as 18, -3 or 0.5",
        ),
        (
            "{\"question\": \"q\", \"sum\": 1e30}",
            "i.jsonl:3: `sum`: `1e+30` is not a number\nhint: write digits only, such as 18, -3 or 0.5",
        ),
    ] {
        check(&generate(), &format!("{sound}\n{line}\n"), expected);
    }
    for (line, expected) in [
        (
            "{\"question\": \"q\", \"choices\": [\"a\"], \"answer\": 0}",
            "i.jsonl:1: `choices` is not a list of two texts or more",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", 1], \"answer\": 0}",
            "i.jsonl:1: `choices` is not a list of two texts or more",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": 2}",
            "i.jsonl:1: `answer`: 2 is not the index of one of the 2 choices\nhint: indices are whole numbers from 0",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": \"a\"}",
            "i.jsonl:1: `answer`: \"a\" is not the index of one of the 2 choices\nhint: indices are whole numbers from 0",
        ),
    ] {
        check(CHOOSE, line, expected);
    }
    check(&generate(), "", "i.jsonl: no item in it\nhint: put one JSON object on each line");
}

#[test]
fn refuses_bytes_that_are_no_text() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.yaml"), generate()).unwrap();
    fs::write(dir.path().join("i.jsonl"), b"{\"question\": \"\xff\", \"sum\": 1}\n").unwrap();
    let error = read(&dir.path().join("t.yaml"), Fractions::default()).unwrap_err().to_string();
    assert!(error.ends_with("i.jsonl:1:15: not JSON: invalid unicode code point"), "{error}");
}

#[test]
fn finds_item_files_beside_the_definition_first() {
    let error = task(&[("t.yaml", &generate())], Fractions::default()).unwrap_err();
    let expected = "t.yaml: there is no item file i.jsonl\n\
                    hint: item files are looked for beside the task file, then in the current directory";
    assert_eq!(error, expected);
    // Tests run in the crate's folder: a file that is there is found, and is no JSON.
    let here = generate().replace("i.jsonl", "Cargo.toml");
    let error = task(&[("t.yaml", &here)], Fractions::default()).unwrap_err();
    assert!(error.starts_with("Cargo.toml:1:"), "{error}");
    let beside = task(&[("t.yaml", &here), ("Cargo.toml", &sums([1]))], super::REPORT_ONLY).unwrap();
    assert_eq!(beside.split(Split::Report).len(), 1);
}

#[test]
fn fills_prompts_from_fields() {
    let definition = generate().replace("問題：{question}\\n答え：", "{{{question}}} {sum}{question}");
    let task = of(&definition, "{\"question\": \"{sum}\", \"sum\": 2.50}").unwrap();
    let requests = task.requests(task.split(Split::Report));
    assert_eq!(requests[0].prompt, Prompt::plain("{{sum}} 2.5{sum}"));
    assert_eq!(requests[0].ask, Ask::Generate { stop: vec![], limit: Limit::Tokens(40) });
}

#[test]
fn knows_an_item_by_its_content() {
    let ids = |items: &str| of(&generate(), items).unwrap().split(Split::Report).to_vec();
    let first = ids("{\"question\": \"あ\", \"sum\": 1, \"more\": {\"b\": 1, \"a\": [2]}}");
    assert_eq!(first, ids("{ \"more\":{\"a\":[2],\"b\":1}, \"sum\":1, \"question\":\"\\u3042\" }"));
    assert_ne!(first, ids("{\"question\": \"あ\", \"sum\": 2, \"more\": {\"b\": 1, \"a\": [2]}}"));
    // printf '{"sum":1,"question":"あ"}' | sha256sum
    let plain = ids("{\"question\": \"あ\", \"sum\": 1}")[0];
    assert_eq!(plain.to_string(), "691ba0c9ac103211855bf48e7dd5d0fb");
}

#[test]
fn keeps_the_first_of_duplicates_and_counts_the_rest() {
    let items = format!("{}{}\n{}", sums([1, 2]), sums([2, 1, 2]), sums([3]));
    let twice = of(&generate(), &items).unwrap();
    let once = of(&generate(), &sums([1, 2, 3])).unwrap();
    assert_eq!((twice.duplicates(), once.duplicates()), (3, 0));
    assert_eq!(twice.split(Split::Report), once.split(Split::Report));
}

#[test]
fn refuses_a_question_in_two_splits() {
    let definition = format!("{GENERATE}{SPLITS}");
    // The same item; the same question in other digits and with another answer.
    for other in ["{\"question\": \"7+1\", \"sum\": 8}", "{\"question\": \" ７＋１\", \"sum\": 9, \"id\": 5}"] {
        let files = [
            ("t.yaml", definition.as_str()),
            ("a.jsonl", &sums([6, 7])),
            ("b.jsonl", &format!("{}\n{other}", sums([8]))),
        ];
        let expected = "b.jsonl:3: the question of this item of `report` is in `search` too, at a.jsonl:2\n\
                        hint: remove it from one of them: what was searched on can't be reported on";
        assert_eq!(task(&files, Fractions::default()).unwrap_err(), expected);
    }
    // In one split it is no leak.
    let same = "{\"question\": \"7+1\", \"sum\": 8, \"id\": 1}\n{\"question\": \"7+1\", \"sum\": 8, \"id\": 2}";
    assert_eq!(of(&generate(), same).unwrap().split(Split::Report).len(), 2);
    // Divided by hash, the two may fall apart.
    let error = task(
        &[("t.yaml", &generate()), ("i.jsonl", &(sums(0..50) + &sums(0..50).replace('}', ", \"id\": 1}")))],
        Fractions::default(),
    );
    assert!(error.unwrap_err().contains(": the question of this item of "));
}

#[test]
fn refuses_an_empty_split() {
    let definition = format!("{GENERATE}{SPLITS}");
    let empty = task(&[("t.yaml", &definition), ("a.jsonl", &sums([1])), ("b.jsonl", "\n \r\n")], Fractions::default());
    assert_eq!(empty.unwrap_err(), "b.jsonl: no item in it\nhint: put one JSON object on each line");
    let few = task(&[("t.yaml", &generate()), ("i.jsonl", &sums([1]))], Fractions::default()).unwrap_err();
    let hint =
        "hint: it has too few items to be divided: add some, change the fractions, or name a file for each split";
    assert_eq!(few, format!("i.jsonl: no item falls into the split `select`\n{hint}"));
}

#[test]
fn has_only_the_splits_it_names() {
    let definition = format!("{GENERATE}answer: {{field: sum}}\nitems: {{report: i.jsonl}}\n");
    let task = of(&definition, &sums([1, 2])).unwrap();
    assert_eq!(Split::ALL.map(|split| task.split(split).len()), [0, 0, 2]);
    assert_eq!(Split::ALL.map(Split::name), ["search", "select", "report"]);
}

#[test]
fn divides_one_file_so_that_new_items_move_no_other() {
    let split = |items: &str, fractions| {
        let task = task(&[("t.yaml", &generate()), ("i.jsonl", items)], fractions).unwrap();
        Split::ALL.map(|split| task.split(split).to_vec())
    };
    let few = split(&sums(0..2000), Fractions::default());
    let many = split(&(sums(5000..6000) + &sums((0..2000).rev())), Fractions::default());
    let is_within = |few: &[ItemId], many: &[ItemId]| few.iter().all(|id| many.contains(id));
    for (few, many) in few.iter().zip(&many) {
        assert!(is_within(few, many), "an item moved");
    }
    for (ids, share) in few.iter().zip([0.6, 0.2, 0.2]) {
        let found = ids.len() as f64 / 2000.0;
        // Four standard errors.
        assert!((found - share).abs() < 4.0 * (share * (1.0 - share) / 2000.0_f64).sqrt(), "{found} is not {share}");
    }
    let other = split(&sums(0..2000), Fractions { search: 0.5, select: 0.0, report: 0.5 });
    assert_eq!(other[1], []);
    assert!(is_within(&other[0], &few[0]), "a smaller share is a part of a larger one");
}
