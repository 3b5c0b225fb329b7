//! Tests: a model that changes after it was opened is noticed, and the error names the file.

use super::*;
use crate::model::weights::tests::Memory;
use std::{fs, io::Write as _};
use tempfile::tempdir;

/// Opens two models, changes a file of one, and checks the errors found without reading, by hashing
/// files that may have changed, and by hashing all files.
fn check(change: impl Fn(&Path), expected: [Option<&str>; 3]) {
    let dir = tempdir().expect("a directory");
    for name in ["a", "b"] {
        Memory::new(|i| i as f32).write(&dir.path().join(name));
    }
    let text =
        "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: {weight: 1}}\n";
    let recipe = Recipe::parse(text, &dir.path().join("r.yaml")).expect("a good recipe");
    let sources = Sources::open(&recipe, &[], &FilesOnly).expect("good models");
    let hashes = sources.sha256().expect("readable");
    change(&dir.path().join("b"));
    let said = [sources.check_untouched(), sources.check_unchanged(&hashes), sources.prove(&hashes)];
    let said = said.map(|result| result.err().map(|e| e.to_string()));
    assert_eq!(said, expected.map(|text| text.map(str::to_owned)));
    if expected[1].is_none() {
        assert_eq!(sources.check_untouched(), Ok(()), "what was hashed and is the same counts as untouched");
    }
}

#[test]
fn a_file_that_is_written_to_replaced_or_removed_is_noticed() {
    let changed = Some("b: model.safetensors was changed while it was used");
    check(|_| (), [None; 3]);
    check(
        |dir| {
            let mut file = fs::OpenOptions::new().write(true).open(dir.join("model.safetensors")).expect("it is there");
            file.write_all(b"other").expect("room");
        },
        [changed; 3],
    );
    check(
        |dir| {
            fs::copy(dir.join("config.json"), dir.join("other")).expect("room");
            fs::rename(dir.join("other"), dir.join("model.safetensors")).expect("room");
        },
        [changed; 3],
    );
    check(
        |dir| fs::remove_file(dir.join("model.safetensors")).expect("it is there"),
        [Some("b: model.safetensors was removed while it was used"); 3],
    );
    let config = Some("b: config.json was changed while it was used");
    check(|dir| fs::write(dir.join("config.json"), "{}").expect("room"), [config; 3]);
}

#[test]
fn a_file_that_was_only_touched_is_the_same_when_it_is_hashed() {
    let touched = Some("b: model.safetensors was changed while it was used");
    let rewrite = |dir: &Path| {
        let path = dir.join("model.safetensors");
        let bytes = fs::read(&path).expect("readable");
        fs::write(dir.join("other"), bytes).expect("room");
        fs::rename(dir.join("other"), path).expect("room");
    };
    check(rewrite, [touched, None, None]);
}
