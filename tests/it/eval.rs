//! `evomerge eval`: scores with intervals, models held against each other, answers remembered, files for other tools.

use crate::kit::{Dir, family};
use serde_json::Value;
use std::fs;

/// `evomerge eval` in a directory of its own that remembers there, on the first 24 items.
fn eval(dir: &Dir, models: &[&str], more: &[&str]) -> crate::kit::Said {
    let models: Vec<String> = models.iter().map(|model| family().join(model).display().to_string()).collect();
    let tasks = ["mgsm-ja-mini.yaml", "ja-solution-mini.yaml"].map(|task| family().join("tasks").join(task));
    let tasks: Vec<String> = tasks.iter().map(|task| task.display().to_string()).collect();
    let mut args = vec!["eval"];
    args.extend(models.iter().map(String::as_str));
    args.push("--tasks");
    args.extend(tasks.iter().map(String::as_str));
    args.extend(["--limit", "24", "--memory", "memory"]);
    args.extend(more);
    dir.run(&args)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_was_answered_is_remembered_and_no_other_model_is_given_it() {
    let dir = Dir::new();
    let first = eval(&dir, &["ja"], &["--json"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains(": 48 answers, 0 of them remembered"), "{}", first.err);
    let again = eval(&dir, &["ja"], &["--json", "--threads", "1", "--batch", "3"]);
    assert!(again.err.contains(": 48 answers, 48 of them remembered; 0 tokens computed"), "{}", again.err);
    assert_eq!(again.out, first.out);
    let other = eval(&dir, &["base"], &["--json"]);
    assert!(other.err.contains(": 48 answers, 0 of them remembered"), "{}", other.err);
    assert_ne!(json(&other.out)["scores"], json(&first.out)["scores"]);
}

#[test]
fn bf16_dot_products_are_used_where_they_are_and_remembered_apart() {
    let dir = Dir::new();
    let exact = eval(&dir, &["ja"], &["--json"]);
    let dot = eval(&dir, &["ja"], &["--json", "--bf16-dot"]);
    if dot.err.contains("this processor has no bf16 dot products") {
        assert_eq!(dot.code, Some(1), "{}", dot.err);
        return;
    }
    assert!(dot.err.contains(": 48 answers, 0 of them remembered"), "{}", dot.err);
    assert_ne!(json(&dot.out)["measures"], json(&exact.out)["measures"], "margins are rounded");
    let anew = eval(&Dir::new(), &["ja"], &["--json", "--bf16-dot", "--threads", "1", "--batch", "3"]);
    assert_eq!(anew.out, dot.out);
    let elsewhere = eval(&dir, &["ja"], &["--bf16-dot", "--device", "cuda:0"]);
    assert!(elsewhere.err.contains("--bf16-dot is for processors, not for cuda:0"), "{}", elsewhere.err);
}

#[test]
fn models_are_held_against_the_first_item_by_item() {
    let dir = Dir::new();
    let said = eval(&dir, &["ja", "base"], &["--json"]);
    let all = json(&said.out);
    let of = |model: usize| {
        let score = &all["models"][model]["scores"]["ja-solution-mini"];
        assert_eq!(score["n"], 24);
        score["value"].as_f64().unwrap()
    };
    let comparison = &all["comparisons"][0];
    let (task, other) = (&comparison["differences"]["ja-solution-mini"], &comparison["differences"]["mgsm-ja-mini"]);
    assert!((task["value"].as_f64().unwrap() - (of(1) - of(0))).abs() < 1e-12);
    assert_eq!((&task["test"], &other["test"]), (&"mcnemar".into(), &"mcnemar".into()));
    // Holm's adjustment of two: the smaller doubled, the larger no less.
    let p = |difference: &Value, key: &str| difference[key].as_f64().unwrap();
    let (small, large) = if p(task, "p") <= p(other, "p") { (task, other) } else { (other, task) };
    assert!((p(small, "p_holm") - (2.0 * p(small, "p")).min(1.0)).abs() < 1e-12);
    assert!((p(large, "p_holm") - p(large, "p").max(p(small, "p_holm"))).abs() < 1e-12);
    let table = eval(&dir, &["ja", "base"], &[]);
    assert!(table.out.contains("minus") && table.out.contains("p (Holm)"), "{}", table.out);
}

#[test]
fn results_and_samples_are_files_of_lm_evaluation_harness() {
    let dir = Dir::new();
    let said = eval(&dir, &["ja"], &["--json", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let files: Vec<String> =
        dir.tree().into_iter().filter(|path| path.starts_with("out/") && path.contains(".json")).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let results = files.iter().find(|file| file.contains("/results_")).unwrap();
    let results = json(&fs::read_to_string(dir.path(results)).unwrap());
    let task = &results["results"]["ja-solution-mini"];
    assert!(task["acc,none"].is_f64() && task["acc_stderr,none"].is_f64(), "{task}");
    assert_eq!(results["n-samples"]["ja-solution-mini"], serde_json::json!({ "original": 300, "effective": 24 }));
    let samples = files.iter().find(|file| file.contains("/samples_mgsm-ja-mini_")).unwrap();
    let samples = fs::read_to_string(dir.path(samples)).unwrap();
    let rows: Vec<Value> = samples.lines().map(json).collect();
    assert_eq!(rows.len(), 24);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["doc_id"], i);
        assert!(row["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap().ends_with("答え："), "{row}");
        assert!(row["exact_match"].is_number() && row["evomerge"]["item"].is_string(), "{row}");
        assert_eq!(row["evomerge"]["answers"][0]["broken"], false, "{row}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let dir = Dir::new();
    let model = family().join("ja").display().to_string();
    let check = |args: &[&str], error: &str| {
        let mut command = dir.command(&[&["eval"], args].concat());
        command.env("EVOMERGE_DATA", dir.path("data"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with(&format!("error: {error}")), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    };
    let data = dir.path("data").display().to_string();
    check(&[&model, "--tasks", "jnli"], &format!("the data of jnli is not in {data}"));
    check(&[&model, "--tasks", "jnly"], "there is no task `jnly`\n\nhint: did you mean `jnli`?");
    check(&[&model, "--tasks", "jnli", "--protocol", "sakana"], "the protocol sakana has no jnli");
    check(&[&model, "--tasks", "jnli", "--protocol", "stabilty-0.3"], "there is no protocol `stabilty-0.3`");
    check(&[&model, "--tasks", "marc-ja"], "the data of marc-ja is not here, and cannot be downloaded");
    let task = family().join("tasks/mgsm-ja-mini.yaml").display().to_string();
    check(&["--tasks", &task], "no model is named");
    check(&[&model, "--tasks", &task, &task], "task mgsm-ja-mini is named twice");
    check(&[&model, "--tasks", &task, "--limit", "1"], "task mgsm-ja-mini: 1 item is too few for an interval");
    check(&["--tasks", &task, "--server", "nowhere"], "`nowhere` is no address of a server");
    fs::write(dir.path("items.jsonl"), "{\"q\": \"1+1=\", \"a\": \"2\"}\n{\"q\": \"1+2=\", \"a\": \"3\"}\n").unwrap();
    let text = "task: apart\ndataset_path: json\ndataset_kwargs: {data_files: {test: items.jsonl}}\ntest_split: test\n\
        output_type: multiple_choice\ndoc_to_text: q\ndoc_to_target: a\ndoc_to_choice: [\"2\", \"3\"]\n\
        metadata: {evomerge: {encoding: {pairs: separate}}}\n";
    fs::write(dir.path("apart.yaml"), text).unwrap();
    // Before the model, which would be asked first, and before the server, which is not there.
    let apart = ["--tasks", "apart.yaml", "--server", "http://127.0.0.1:9"];
    let refused =
        "task apart: prompt and choice become tokens each by itself, but a server encodes them together\n\nhint: ";
    check(&[&[&*model], &apart[..]].concat(), refused);
    check(&[&apart[..], &["--chat"]].concat(), "task apart: a conversation cannot be scored");
}
