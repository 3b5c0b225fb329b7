//! Tests of the files that make up a model, and of advice for directories without one.

use super::{Zeros, model, names, refused, write};
use crate::{
    checkpoint::Checkpoint,
    model::{Weights as _, dtype::Dtype},
};
use serde_json::json;
use std::{fs, os::unix::fs::symlink};
use tempfile::{TempDir, tempdir};

const A: &[Zeros<'static>] = &[("a", Dtype::F32, &[2])];
const B: &[Zeros<'static>] = &[("b", Dtype::F32, &[2])];
const BOTH: &[Zeros<'static>] = &[A[0], B[0]];
const NEITHER: &str = "neither model.safetensors nor pytorch_model.bin in it";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// A directory with these files of tensors, and optionally an index that says where `a` and `b` are.
fn dir(files: &[(&str, &[Zeros<'_>])], index: Option<[&str; 2]>) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, tensors) in files {
        write(&dir.path().join(name), tensors);
    }
    if let Some([a, b]) = index {
        fs::write(dir.path().join(INDEX), json!({ "weight_map": { "a": a, "b": b } }).to_string()).unwrap();
    }
    dir
}

#[test]
fn what_can_only_mean_one_thing_is_read() {
    let check = |files: &[(&str, &[Zeros<'_>])], index: Option<[&str; 2]>, notes: &[&str]| {
        let dir = dir(files, index);
        let opened = Checkpoint::open(dir.path()).unwrap_or_else(|e| panic!("{files:?}: {e}"));
        assert_eq!(names(&opened), ["a", "b"]);
        let place = format!("{}: ", dir.path().display());
        let found: Vec<&str> = opened.notes().iter().map(|note| note.strip_prefix(&place).unwrap()).collect();
        assert_eq!(found, notes);
    };
    let whole = ("model.safetensors", BOTH);
    let shards = [(SHARDS[0], A), (SHARDS[1], B)];
    check(&shards, Some(SHARDS), &[]);
    // An index of one file, as mlx_lm writes it.
    check(&[whole], Some(["model.safetensors"; 2]), &[]);
    check(
        &[whole],
        Some(SHARDS),
        &["model.safetensors.index.json is ignored: no file that it names is there, and model.safetensors is"],
    );
    check(
        &shards,
        None,
        &["model.safetensors.index.json is missing; the names of the shards say that all 2 are there"],
    );
}

#[test]
fn what_may_mean_two_things_is_refused_without_advice_that_loses_weights() {
    let check = |files: &[(&str, &[Zeros<'_>])], index: Option<[&str; 2]>, error: &str, hint: &str| {
        let dir = dir(files, index);
        let found = Checkpoint::open(dir.path()).err().expect("it is refused");
        let place = dir.path().display().to_string();
        let hint = hint.replace("DIR", &place);
        assert_eq!((found.to_string().as_str(), found.advice()), (&*format!("{place}{error}"), Some(&*hint)));
    };
    let unfinished = "the download was not finished: start it again, and it continues with what is missing";
    check(
        &[("model.safetensors", BOTH), (SHARDS[0], A)],
        Some(SHARDS),
        ": holds both model.safetensors and shards that model.safetensors.index.json lists",
        "they may be of different exports: move model.safetensors, or the index and its shards, to another directory",
    );
    check(
        &[(SHARDS[0], A)],
        Some(SHARDS),
        "/model.safetensors.index.json: names `model-00002-of-00002.safetensors`, which is not there",
        "the download was not finished, or the index is of another export: DIR has model-00001-of-00002.safetensors",
    );
    check(
        &[],
        Some(SHARDS),
        "/model.safetensors.index.json: names `model-00001-of-00002.safetensors` and 1 more, which are not there",
        unfinished,
    );
    check(
        &[(SHARDS[0], A)],
        None,
        ": 1 of 2 shards are there, and no model.safetensors.index.json: shard 2 is missing",
        unfinished,
    );
    check(
        &[(SHARDS[0], A), ("model-00001-of-00003.safetensors", B)],
        None,
        ": holds shards of several exports, in 2 and in 3 files",
        "move those of one export to another directory, or download model.safetensors.index.json",
    );
    check(
        &[],
        Some(["../a", "b"]),
        "/model.safetensors.index.json: `../a` is not the name of a file beside it",
        "download the index again",
    );
    check(
        &[],
        Some(["a\0", "b"]),
        "/model.safetensors.index.json: `a\\0` is not the name of a file beside it",
        "download the index again",
    );
}

#[test]
fn says_what_a_directory_without_weights_is() {
    let check = |files: &[&str], message: &str, hint: &str| {
        let dir = tempdir().unwrap();
        // The directory needs a name: caches are recognised by it.
        let (place, files) = match files.split_first() {
            Some((first, rest)) if first.ends_with('/') => (dir.path().join(first.trim_end_matches('/')), rest),
            _ => (dir.path().to_owned(), files),
        };
        fs::create_dir_all(&place).unwrap();
        for name in files {
            fs::create_dir_all(place.join(name).parent().unwrap()).unwrap();
            let text = if name.ends_with("config.json") { "{}" } else { "c0ffee\n" };
            fs::write(place.join(name), text).unwrap();
        }
        let found = Checkpoint::open(&place).err().expect("it is refused");
        let shown = place.display().to_string();
        assert_eq!(found.to_string(), format!("{shown}: {message}"));
        assert_eq!(found.advice().unwrap().replace(&shown, "DIR"), hint);
    };
    let general = "a checkpoint is a directory with config.json and model.safetensors (or shards and their index)";
    check(&[], "an empty directory", general);
    check(&["notes.txt"], NEITHER, general);
    check(
        &["models--acme--a/", "refs/main", "snapshots/c0ffee/config.json", "snapshots/f00d/config.json"],
        NEITHER,
        "this is the hub's cache: name DIR/snapshots/c0ffee, or acme/a",
    );
    check(
        &["models--acme--a/", "refs/main"],
        NEITHER,
        "this is the hub's cache, with nothing of the model in it: name acme/a to download it",
    );
    check(
        &["datasets--acme--a/", "refs/main"],
        NEITHER,
        "this is the hub's cache of the data set acme/a, which is no model",
    );
    check(
        &["models--acme--a/refs/main"],
        NEITHER,
        "this is the whole cache of the hub: name a model of it as the hub does, such as acme/a",
    );
    check(&["sub/config.json"], NEITHER, "the model is in a subdirectory: name DIR/sub");
    check(&["x/config.json", "y/model.safetensors"], NEITHER, "it holds several models: name one of DIR/x, DIR/y");
    check(
        &["config.json", "model.gguf"],
        NEITHER,
        "this is GGUF, which is made from a checkpoint: name that checkpoint, the directory with safetensors files",
    );
    check(
        &["config.json", "tf_model.h5"],
        NEITHER,
        "this is a format of TensorFlow: load it with transformers (`from_tf=True`) and `save_pretrained` it",
    );
    check(
        &["params.json", "consolidated.00.pth"],
        NEITHER,
        "consolidated.00.pth has the layout and the tensor names of the program that trained it: download the repository's \
         config.json and model*.safetensors; or, to merge it by its own names, name it: DIR/consolidated.00.pth",
    );
    check(
        &["adapter_model.safetensors"],
        NEITHER,
        "this is an adapter without its adapter_config.json: put that beside it, and write `MODEL+ADAPTER`",
    );
    check(
        &["config.json", "model.safetensors.incomplete"],
        NEITHER,
        "the download was not finished: start it again, and it continues with what is missing",
    );
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let dir = tempdir().unwrap();
    symlink("../../blobs/0a", dir.path().join("model.safetensors")).unwrap();
    let found = Checkpoint::open(dir.path()).err().unwrap();
    assert_eq!(found.advice(), Some("model.safetensors is a link to ../../blobs/0a, which is not there"));
    // Another file does not take its place.
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    let found = Checkpoint::open(dir.path()).err().expect("it is refused").to_string();
    assert!(found.ends_with("model.safetensors: a link to ../../blobs/0a, which is not there"), "{found}");
}

#[test]
fn a_file_that_stands_for_another_is_told_from_a_damaged_one() {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4943162336\n", "0".repeat(64));
    let lfs = "it is a pointer of Git LFS, not the file itself";
    let page = "it is a web page, not the file itself";
    for (name, text, expected) in [
        ("model.safetensors", pointer.as_str(), lfs),
        ("config.json", &pointer, lfs),
        (INDEX, &pointer, lfs),
        ("model.safetensors", "\n<!DOCTYPE html><html>", page),
        ("config.json", "<html>", page),
    ] {
        let dir = dir(&[("model.safetensors", BOTH)], None);
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let found = Checkpoint::open(dir.path()).err().expect("it is refused");
        assert_eq!(found.to_string(), format!("cannot read {}: {expected}", path.display()));
        assert!(found.advice().is_some());
    }
}

#[test]
fn a_file_of_another_kind_is_named() {
    let check = |name: &str, hint: &str| {
        let dir = tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, "merge_method: linear\n").unwrap();
        refused(&path, "not a file of tensors, by its name");
        assert_eq!(Checkpoint::open(&path).err().unwrap().advice(), Some(hint));
    };
    check(
        "a.gguf",
        "this is GGUF, which is made from a checkpoint: name that checkpoint, the directory with safetensors files",
    );
    check(
        "a.yaml",
        "a recipe is no model: merge it first, or put it before this one in the same file, with a `name:` and `---`",
    );
    check("a.txt", "tensors are read from .safetensors, and from pickles: .bin, .pt, .pth, .ckpt");
}

#[test]
fn a_file_that_is_cut_short_after_it_was_opened_is_noticed() {
    let dir = model(&json!({}), BOTH);
    let path = dir.path().join("model.safetensors");
    let opened = Checkpoint::open(dir.path()).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    // Another file of that name does not change the one that was opened.
    fs::rename(&path, dir.path().join("was")).unwrap();
    fs::write(&path, "").unwrap();
    assert!(opened.bytes("b").is_ok() && opened.sha256().is_ok());
    fs::rename(dir.path().join("was"), &path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 4).unwrap();
    let expected = format!("{}: had {len} bytes when it was opened, and has {} now", path.display(), len - 4);
    assert_eq!(opened.bytes("b").unwrap_err().to_string(), expected);
    assert_eq!(opened.sha256().unwrap_err().to_string(), expected);
}

#[test]
fn a_configuration_as_python_writes_it_is_read() {
    let dir = dir(&[("model.safetensors", BOTH)], None);
    fs::write(dir.path().join("config.json"), r#"{"time_step_limit": [0.0, Infinity], "x": "NaN", "y": -Infinity}"#)
        .unwrap();
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(opened.config().0["x"], "NaN");
}
