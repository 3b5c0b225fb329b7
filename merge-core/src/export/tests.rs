//! Tests of exports: shards and their files, failures, destinations, and small files.

use super::*;
use crate::{
    checkpoint::Checkpoint,
    model::{
        hash::hex,
        weights::tests::{Memory, SHAPES},
    },
};
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};
use tempfile::tempdir;

/// Exports in shards of `shard_len` bytes, and checks the number of tensors in each file.
fn check(shard_len: usize, expected: &[(&str, usize)]) {
    let (dir, model) = (tempdir().expect("a directory"), Memory::new(|i| 0.5 - i as f32));
    let dir = dir.path().join("merged");
    let export = Export::begin(&dir).expect("nobody else writes there");
    export.weights(&model, &Options { shard_len, ..Options::default() }).expect("the disk has room");
    let hashes = export.sha256().expect("what is written can be read");
    export.publish().expect("nothing is there");

    let mut names = SHAPES.iter().map(|(name, _)| (*name).to_owned());
    for (file, n_tensors) in expected {
        let bytes = fs::read(dir.join(file)).expect(file);
        assert_eq!(hashes[*file], hex(&Sha256::digest(&bytes)));
        let (header_len, header) = SafeTensors::read_metadata(&bytes).expect(file);
        assert_eq!(header.metadata().as_ref().map(|metadata| metadata["format"].as_str()), Some("pt"));
        assert_eq!(header_len % 8, 0, "data is aligned");
        let mut end = 0;
        for name in names.by_ref().take(*n_tensors) {
            let place = header.info(&name).expect("names are in order").data_offsets;
            assert_eq!(place, (end, end + model.index[&name].byte_len()), "{name}");
            assert_eq!(bytes[size_of::<u64>() + header_len..][place.0..place.1], model.tensors[&name]);
            end = place.1;
        }
        assert_eq!(bytes.len(), size_of::<u64>() + header_len + end, "{file} ends with its last tensor");
    }
    assert_eq!(names.next(), None, "every tensor is in a file");
    let listing = fs::read_to_string(dir.join("model.safetensors.index.json"));
    assert_eq!(listing.is_ok(), expected.len() > 1, "one file needs no index");
    if let Ok(listing) = listing {
        let listing: Value = serde_json::from_str(&listing).expect("JSON");
        assert_eq!(listing["metadata"]["total_size"], 120);
        assert_eq!(listing["weight_map"]["lm_head.weight"], expected[0].0);
        assert_eq!(listing["weight_map"].as_object().map(Map::len), Some(SHAPES.len()));
    }

    let opened = Checkpoint::open(&dir).expect("what is written can be read");
    assert_eq!((opened.index(), opened.config()), (model.index(), model.config()));
    for name in model.index.keys() {
        assert_eq!(opened.bytes(name), model.bytes(name));
    }
}

#[test]
fn shards_are_filled_in_order_and_reopen_as_one_model() {
    // The tensors have 32, 32, 8, 16, 8, 16 and 8 bytes.
    check(120, &[("model.safetensors", 7)]);
    check(119, &[("model-00001-of-00002.safetensors", 6), ("model-00002-of-00002.safetensors", 1)]);
    let four = [1, 2, 3, 1].into_iter().enumerate();
    let four: Vec<(String, usize)> =
        four.map(|(i, n)| (format!("model-{:05}-of-00004.safetensors", i + 1), n)).collect();
    check(40, &four.iter().map(|(file, n)| (file.as_str(), *n)).collect::<Vec<_>>());
    let seven: Vec<String> = (1..=7).map(|number| format!("model-{number:05}-of-00007.safetensors")).collect();
    check(1, &seven.iter().map(|file| (file.as_str(), 1)).collect::<Vec<_>>());
}

#[test]
fn a_failed_export_leaves_nothing_and_the_next_one_clears_what_a_crash_has_left() {
    let parent = tempdir().expect("a directory");
    let (dir, beside) = (parent.path().join("merged"), parent.path().join(".merged.partial"));
    let mut model = Memory::new(|i| i as f32);
    let whole = model.tensors.remove("model.norm.weight").expect("it was there");
    let error = export(&model, &dir, "").expect_err("a tensor is missing");
    assert_eq!(error.to_string(), "there is no tensor `model.norm.weight`");
    model.tensors.insert("model.norm.weight".to_owned(), [f32::INFINITY; 2].map(f32::to_le_bytes).concat());
    let error = export(&model, &dir, "").expect_err("a tensor is not finite");
    assert_eq!(error.to_string(), "`model.norm.weight`: element 0 is NaN or infinite");
    assert_eq!(fs::read_dir(parent.path()).expect("it exists").count(), 0);

    fs::create_dir(&beside).expect("nothing is there");
    fs::write(beside.join("model-00001-of-00009.safetensors"), "half of it").expect("room");
    model.tensors.insert("model.norm.weight".to_owned(), whole);
    export(&model, &dir, "").expect("all is there");
    let mut files: Vec<_> =
        fs::read_dir(&dir).expect("it exists").map(|entry| entry.expect("readable").file_name()).collect();
    files.sort();
    assert_eq!(files, ["README.md", "config.json", "model.safetensors"]);
    assert!(!beside.exists());
}

#[test]
fn a_destination_must_be_new_or_empty_and_no_input() {
    let parent = tempdir().expect("a directory");
    let at = |name: &str| parent.path().join(name);
    fs::create_dir_all(at("empty")).expect("room");
    fs::create_dir_all(at("input")).expect("room");
    fs::write(at("file"), "").expect("room");
    let refusal = |name: &str| {
        let inputs = [at("input")];
        let error = check_destination(&at(name), inputs.iter().map(PathBuf::as_path)).err()?;
        Some(error.to_string().replace(&format!("{}/", parent.path().display()), ""))
    };
    let refusals = ["new", "empty", "file", "input", "empty/../input"].map(refusal);
    let expected = [
        None,
        None,
        Some("file: exists already"),
        Some("input: is one of the models to be merged"),
        Some("empty/../input: is one of the models to be merged"),
    ];
    assert_eq!(refusals, expected.map(|refusal| refusal.map(str::to_owned)));
}

#[test]
fn a_small_file_is_replaced_in_one_step() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("best.yaml");
    for text in ["the first, which is longer", "the second"] {
        replace_file(&path, text).expect("room");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("it exists").count(), 1);
    let error = replace_file(&dir.path().join("no/best.yaml"), "x").expect_err("there is no such directory");
    assert!(error.to_string().ends_with("no such file or directory"), "{error}");
}
