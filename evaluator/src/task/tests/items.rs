//! Item files: lines, duplicates, splits and leaks.

use super::{CHOOSE, Fractions, GENERATE, ItemId, Split, Task, fs, of, prompts, read, sums, task};

/// Divides the whole test split.
const DIVIDED: &str = "metadata: {evomerge: {divide: test}}\n";

/// Reads a definition with items and compares the error, with its hint.
#[track_caller]
fn check(definition: &str, items: &str, expected: &str) {
    assert_eq!(of(definition, items).err().as_deref(), Some(expected));
}

/// A task with a file for the search and one for the report.
fn two_files() -> String {
    GENERATE.replace("{test: i.jsonl}", "{train: a.jsonl, test: b.jsonl}")
        + "metadata: {evomerge: {splits: {search: train, report: test}}}\n"
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
            "i.jsonl:3: doc_to_text: the item has no field `question`\nhint: did you mean `qestion`? its fields are `qestion`, `sum`",
        ),
        (
            "{\"question\": \"q\"}",
            "i.jsonl:3: doc_to_target: the item has no field `sum`\nhint: its fields are `question`",
        ),
    ] {
        check(GENERATE, &format!("{sound}\n{line}\n"), expected);
    }
    for (line, expected) in [
        (
            "{\"question\": \"q\", \"choices\": [\"a\"], \"answer\": 0}",
            "i.jsonl:1: doc_to_choice: not a list of two texts or more",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", 1], \"answer\": 0}",
            "i.jsonl:1: doc_to_choice: ['a', 1] is not a list of texts\nhint: put each choice in quotes",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": 2}",
            "i.jsonl:1: doc_to_target: 2 is not one of the 2 choices\nhint: it is the index of a choice, from 0, or its text",
        ),
        (
            "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": \"c\"}",
            "i.jsonl:1: doc_to_target: 'c' is not one of the 2 choices\nhint: it is the index of a choice, from 0, or its text",
        ),
    ] {
        check(CHOOSE, line, expected);
    }
    check(GENERATE, "", "i.jsonl: no item in it\nhint: put one JSON object on each line");
}

#[test]
fn refuses_bytes_that_are_no_text() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.yaml"), GENERATE).unwrap();
    fs::write(dir.path().join("i.jsonl"), b"{\"question\": \"\xff\", \"sum\": 1}\n").unwrap();
    let error = read(&dir.path().join("t.yaml"), Fractions::default()).err().unwrap().to_string();
    assert!(error.ends_with("i.jsonl:1:15: this is not UTF-8 text"), "{error}");
}

#[test]
fn finds_item_files_beside_the_definition_first() {
    let error = task(&[("t.yaml", GENERATE)], Fractions::default()).err().unwrap();
    let expected = "t.yaml:3:30: there is no item file i.jsonl\n\
                    hint: item files are looked for beside the task file, then in the current directory";
    assert_eq!(error, expected);
    // Tests run in the crate's folder: the file there is found, and is not JSON.
    let here = GENERATE.replace("i.jsonl", "Cargo.toml");
    let error = task(&[("t.yaml", &here)], Fractions::default()).err().unwrap();
    assert!(error.starts_with("Cargo.toml:"), "{error}");
    let beside = task(&[("t.yaml", &here), ("Cargo.toml", &sums([1]))], Fractions::default()).unwrap();
    assert_eq!(beside.split(Split::Report).len(), 1);
}

#[test]
fn reads_lists_and_tables_too() {
    let list = format!("[{}]", sums([1, 2]).trim().replace('\n', ","));
    assert_eq!(prompts(&of(GENERATE, &list).unwrap()), prompts(&of(GENERATE, &sums([1, 2])).unwrap()));
    let within = GENERATE.replace("{data_files:", "{field: items, data_files:");
    assert_eq!(prompts(&of(&within, &format!("{{\"items\": {list}}}")).unwrap()).len(), 2);
    let csv = GENERATE.replace("dataset_path: json", "dataset_path: csv").replace("答え：", "{{a}} {{b}} {{c}}：");
    let table = "question,sum,a,b,c\n\"1,\n1\",2,1,0.5,x\n2+1,3,2,1,\n";
    assert_eq!(prompts(&of(&csv, table).unwrap()), ["問題：1,\n1\n1 0.5 x：", "問題：2+1\n2 1.0 None："]);
    let bare = csv.replace("{data_files:", "{column_names: [question, sum, a, b, c], sep: ';', data_files:");
    assert_eq!(prompts(&of(&bare, "\u{feff}1+1;2;x;y;z\n").unwrap()), ["問題：1+1\nx y z："]);
    let error = of(&csv, "question,sum\n1,2\n1\n").err().unwrap();
    assert!(error.starts_with("i.jsonl:3: not CSV: "), "{error}");
}

#[test]
fn knows_an_item_by_its_content() {
    let ids = |items: &str| of(GENERATE, items).unwrap().split(Split::Report).to_vec();
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
    let twice = of(GENERATE, &items).unwrap();
    let once = of(GENERATE, &sums([1, 2, 3])).unwrap();
    assert_eq!((twice.duplicates(), once.duplicates()), (3, 0));
    assert_eq!(twice.split(Split::Report), once.split(Split::Report));
}

#[test]
fn refuses_a_question_in_two_splits() {
    let definition = two_files();
    // The same item; then the same question in other digits, with another answer.
    for other in ["{\"question\": \"7+1\", \"sum\": 8}", "{\"question\": \" ７＋１\", \"sum\": 9, \"id\": 5}"] {
        let files = [
            ("t.yaml", definition.as_str()),
            ("a.jsonl", &sums([6, 7])),
            ("b.jsonl", &format!("{}\n{other}", sums([8]))),
        ];
        let expected = "b.jsonl:3: the question of this item of `report` is in `search` too, at a.jsonl:2\n\
                        hint: remove it from one of them: what was searched on can't be reported on";
        assert_eq!(task(&files, Fractions::default()).err().as_deref(), Some(expected));
    }
    // Within one split it is no leak.
    let same = "{\"question\": \"7+1\", \"sum\": 8, \"id\": 1}\n{\"question\": \"7+1\", \"sum\": 8, \"id\": 2}";
    assert_eq!(of(GENERATE, same).unwrap().split(Split::Report).len(), 2);
    // If one split is divided by hash, a repeated question stays where its first item is.
    let divided = format!("{GENERATE}{DIVIDED}");
    let (once, again) = (sums(0..50), sums(0..50).replace('}', ", \"id\": 1}"));
    let (single, repeated) = (of(&divided, &once).unwrap(), of(&divided, &(once + &again)).unwrap());
    for split in Split::ALL {
        let (single, repeated) = (single.split(split), repeated.split(split));
        assert!(single.iter().all(|id| repeated.contains(id)) && repeated.len() == 2 * single.len(), "{split:?}");
    }
}

#[test]
fn refuses_an_empty_split() {
    let empty =
        task(&[("t.yaml", &two_files()), ("a.jsonl", &sums([1])), ("b.jsonl", "\n \r\n")], Fractions::default());
    assert_eq!(empty.err().as_deref(), Some("b.jsonl: no item in it\nhint: put one JSON object on each line"));
    let hint = "hint: it has too few items to be divided: add some, change the fractions, or name a split for each use";
    let expected = format!("t.yaml: test: no item falls into the split `select`\n{hint}");
    check(&format!("{GENERATE}{DIVIDED}"), &sums([1]), &expected);
}

#[test]
fn has_only_the_splits_it_names() {
    let task = of(GENERATE, &sums([1, 2])).unwrap();
    assert_eq!(Split::ALL.map(|split| task.split(split).len()), [0, 0, 2]);
    assert_eq!(Split::ALL.map(Split::name), ["search", "select", "report"]);
}

#[test]
fn divides_one_file_so_that_new_items_move_no_other() {
    let definition = format!("{GENERATE}{DIVIDED}");
    let split = |items: &str, fractions| {
        let task = task(&[("t.yaml", &definition), ("i.jsonl", items)], fractions).unwrap();
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
