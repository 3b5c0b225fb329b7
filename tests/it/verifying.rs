//! `verify`: files that it accepts, and files that it refuses.

use crate::{
    kit::{Dir, family},
    queue::{merges, ok},
    search::{SEARCH, small_study},
};
use serde_json::{Value, json};
use std::fs;

/// Checks the error and the hint of `verify` for a merge that `spoil` has changed.
fn check(spoil: impl Fn(&Dir), error: &str, hint: &str) {
    let dir = merges();
    ok(&dir, &["merge", "merge.yaml", "-o", "out"]);
    spoil(&dir);
    let said = dir.run(&["verify", "out"]);
    assert_eq!((said.code, said.error(), said.hint()), (Some(1), error, Some(hint)));
}

/// Changes the record.
fn record(change: impl Fn(&mut Value)) -> impl Fn(&Dir) {
    move |dir| {
        let path = dir.path("out/evomerge.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        fs::write(&path, record.to_string()).unwrap();
    }
}

#[test]
fn a_file_that_was_not_merged_is_named() {
    check(
        |dir| drop(dir.write("out/chat_template.jinja", "{{ x }}")),
        "out: holds `chat_template.jinja`, which was not merged",
        "a loader may read it: move it elsewhere, or merge again",
    );
    let dir = merges();
    ok(&dir, &["merge", "merge.yaml", "-o", "out"]);
    dir.write("out/.gitattributes", "*.safetensors filter=lfs\n");
    dir.write("out/README.md", "an edited card");
    let said = ok(&dir, &["verify", "out"]);
    assert!(said.err.contains("note: .gitattributes: not written by the merge, and not checked"), "{}", said.err);
}

#[test]
fn a_record_that_lacks_what_it_must_have_is_no_proof() {
    check(
        record(|record| record["inputs"][0]["files"] = json!({})),
        "out/evomerge.json: it has no hash of config.json of ../a, so it proves nothing",
        "merge again",
    );
    check(
        record(|record| drop(record["outputs"].as_object_mut().unwrap().remove("config.json"))),
        "out: holds `config.json`, which was not merged",
        "a loader may read it: move it elsewhere, or merge again",
    );
    check(
        |dir| {
            record(|record| drop(record["outputs"].as_object_mut().unwrap().remove("config.json")))(dir);
            fs::remove_file(dir.path("out/config.json")).unwrap();
        },
        "cannot read out/config.json: no such file or directory",
        "the recipe in its evomerge.json was changed since: merge again",
    );
    check(
        record(|record| record["inputs"][0]["files"]["ghost"] = json!("missing")),
        "../a: ghost is missing",
        "the model was changed since: merge again, or get the one that was merged",
    );
    check(
        record(|record| record["outputs"]["../a/config.json"] = json!("")),
        "out/evomerge.json: `../a/config.json` is not the name of a file beside it",
        "the record was changed: merge again",
    );
    check(
        record(|record| record["outputs"] = json!({})),
        "out/evomerge.json: was merged without hashes",
        "merge again without `--no-hash`",
    );
}

#[test]
fn a_searchs_model_is_proved_like_a_merge() {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    // The search chooses between models, so the answer has one of them.
    for entry in fs::read_dir(family().join("math-b")).unwrap().flatten() {
        dir.write(&format!("other/{}", entry.file_name().display()), fs::read(entry.path()).unwrap());
    }
    let chosen = format!("model: {{choose: [other, {}/math-b]}}", family().display());
    let math = format!("model: {}/math-b", family().display());
    dir.write("search.yaml", text.replace(&math, &chosen).replace("budget: 240", "budget: 40"));
    ok(&dir, SEARCH);
    for args in [&["verify", "out/model"][..], &["verify", "out"], &["verify", "--quick", "out"]] {
        let said = ok(&dir, args);
        assert!(said.out.contains(" files match their hashes"), "{}", said.out);
        assert_eq!(said.out.contains("merging again"), !args.contains(&"--quick"));
    }
    for args in [&["inspect", "out"][..], &["diff", "out", "other"]] {
        assert_eq!(dir.run(args).hint(), Some("this is a search's directory: its model is out/model"));
    }
    let path = dir.path("out/model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(dir.run(&["verify", "out"]).error().starts_with("out/model/model.safetensors: its SHA-256 is "));
    fs::remove_dir_all(dir.path("out/model")).unwrap();
    let said = dir.run(&["verify", "out"]);
    assert_eq!(said.error(), "out: a search that has no model with a record yet");
}
