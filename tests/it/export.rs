//! A merge on disk is the merge that was scored, to the last bit, and a checkpoint like any other.

use crate::kit::{Dir, family};
use merge_core::{
    checkpoint::Checkpoint,
    merge::{
        Merge,
        sources::{FilesOnly, Sources},
    },
    model::Weights as _,
    recipe::Recipe,
};
use serde_json::Value;
use std::{fs, process::Command};

/// A recipe with random masks, sign consensus and a weight for each layer: the hardest case.
fn recipe() -> String {
    let model = |name: &str, weight: &str| {
        format!("- model: {}\n  parameters: {{weight: {weight}, density: 0.6}}\n", family().join(name).display())
    };
    let models = model("ja", "[1.0, 0.4, 0.8]") + &model("math-a", "0.7") + &model("math-b", "0.5");
    format!(
        "merge_method: dare_ties\nbase_model: {}\nmodels:\n{models}random: {{seed: 4}}\n",
        family().join("base").display()
    )
}

#[test]
fn exported_bytes_are_the_bytes_that_are_scored() {
    let dir = Dir::new();
    let path = dir.write("r.yaml", recipe());
    let said = dir.run(&["merge", "r.yaml", "-o", "merged"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let recipe = Recipe::read(&path).unwrap();
    let sources = Sources::open(&recipe, &[], &FilesOnly).unwrap();
    let merge = Merge::plan(&recipe, &sources).unwrap();
    let exported = Checkpoint::open(&dir.path("merged")).unwrap();
    assert_eq!(merge.index(), exported.index());
    for name in merge.index().keys() {
        assert!(merge.bytes(name).unwrap() == exported.bytes(name).unwrap(), "{name}");
        let base = sources.iter().find(|(name, _)| name.ends_with("base")).unwrap().1;
        assert!(exported.bytes(name).unwrap() != base.bytes(name).unwrap(), "{name} was merged");
    }

    let task = family().join("tasks/ja-solution-mini.yaml");
    let eval =
        |model: &str| dir.run(&["eval", model, "--json", "--tasks", task.to_str().unwrap(), "--items", "select"]);
    let [scored, loaded] = ["r.yaml", "merged"].map(|model| serde_json::from_str::<Value>(&eval(model).out).unwrap());
    assert_eq!(scored["scores"], loaded["scores"]);
    assert_eq!(scored["scores"]["ja-solution-mini"]["n"], 200);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let dir = Dir::new();
    dir.write("r.yaml", recipe());
    for threads in ["1", "2", "3"] {
        let status =
            dir.command(&["merge", "r.yaml", "-o", threads]).env("RAYON_NUM_THREADS", threads).status().unwrap();
        assert!(status.success());
    }
    let bytes = ["1", "2", "3"].map(|threads| fs::read(dir.path(threads).join("model.safetensors")).unwrap());
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn an_export_has_all_that_a_loader_and_a_reader_need() {
    let dir = Dir::new();
    dir.write("r.yaml", recipe() + "out_dtype: float32\n");
    assert_eq!(dir.run(&["merge", "r.yaml", "-o", "merged"]).code, Some(0));
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        assert_eq!(
            fs::read(dir.path("merged").join(name)).unwrap(),
            fs::read(family().join("base").join(name)).unwrap()
        );
    }
    let config: Value = serde_json::from_slice(&fs::read(dir.path("merged/config.json")).unwrap()).unwrap();
    assert_eq!((config["torch_dtype"].as_str(), config["num_hidden_layers"].as_u64()), (Some("float32"), Some(6)));
    let bytes = fs::read(dir.path("merged/model.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let card = fs::read_to_string(dir.path("merged/README.md")).unwrap();
    let hash = "7caa57de4d11aee7aa23553ca106f21e1d748dfb6cc3edfa8eaa00756746c9b5";
    for part in ["- base (base)\n", "tags:\n- merge", "merge_method: dare_ties", "density: 0.6", hash] {
        assert!(card.contains(part), "{part}: {card}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_of_the_user() {
    let dir = Dir::new();
    dir.write("r.yaml", recipe());
    let said = dir.run(&["merge", "r.yaml", "-o", "/sys/merged"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.error().starts_with("cannot create /sys/.merged.partial: "), "{}", said.err);
}

/// The test mounts a file system, which only root may do.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = Dir::new();
    dir.write("r.yaml", recipe());
    let disk = dir.write("disk/.keep", "");
    let disk = disk.parent().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        // Skipped: no small file system can be mounted here.
        return;
    }
    let said = dir.run(&["merge", "r.yaml", "-o", "disk/merged"]);
    let left: Vec<_> = fs::read_dir(disk).unwrap().collect();
    assert!(Command::new("umount").arg(disk).status().unwrap().success());
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.error().contains("disk/.merged.partial/model.safetensors: no space left on device"), "{}", said.err);
    assert_eq!(said.hint(), Some("free some space, then run the same command again"));
    assert!(left.is_empty(), "{left:?}");
}
