//! Promises about a merge's directory: it can be verified, replaced, interrupted and estimated.

use crate::{
    kit::{Dir, Said, root, safetensors_bytes, tiny_tensors},
    merges::{copy, json, linear, merge, refusal, tensors, with_data},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

/// Two tiny models, and their merge `out`.
fn merged() -> Dir {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.75);
    merge(&dir, "out", &linear(&["a", "b"]));
    dir
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Content of each file in a directory, by name.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_merge_can_be_proved_until_something_changes() {
    let check = |change: &dyn Fn(&Dir), args: &[&str], error: &str| {
        let dir = merged();
        change(&dir);
        let said = dir.run(&[&["verify", "out"], args].concat());
        if error.is_empty() {
            assert_eq!((said.code, said.out.lines().count()), (Some(0), 3 - args.len()), "{}", said.err);
        } else {
            assert_eq!(said.code, Some(1), "{error}");
            assert!(said.error().starts_with(error) && said.hint().is_some(), "{}", said.err);
        }
    };
    let recipe = |from: &'static str, to: &'static str| {
        move |dir: &Dir| {
            let text = fs::read_to_string(dir.path("out/evomerge.json")).unwrap();
            assert!(text.contains(from), "{text}");
            dir.write("out/evomerge.json", text.replace(from, to));
        }
    };
    check(&|_| {}, &[], "");
    check(&|_| {}, &["--quick"], "");
    for args in [&[][..], &["--quick"]] {
        let shard = |dir: &Dir| flip(&dir.path("out/model.safetensors"));
        check(&shard, args, "out/model.safetensors: its SHA-256 is ");
        check(&|dir| flip(&dir.path("out/config.json")), args, "out/config.json: its SHA-256 is ");
        check(&|dir| flip(&dir.path("b/model.safetensors")), args, "../b: model.safetensors: its SHA-256 is ");
        check(&|dir| fs::remove_dir_all(dir.path("a")).unwrap(), args, "out/evomerge.json:3:10: neither out/../a");
        check(&|dir| fs::remove_file(dir.path("out/config.json")).unwrap(), args, "cannot read out/config.json: ");
        check(&recipe("../b", "../a/../a"), args, "out/evomerge.json:4:10: `../a/../a` and `../a` are the same model");
        check(&recipe("linear", "lineal"), args, "out/evomerge.json:1:15: there is no method `lineal`");
    }
    check(&recipe("weight: 1", "weight: [1, 2]"), &[], "");
    let other = recipe("parameters:\\n  weight: 1", "parameters:\\n  weight: 1\\n  normalize: false");
    check(&other, &[], "out: `lm_head.weight` is not what merging again makes");
    check(
        &recipe("merge_method", "dtype: bfloat16\\nmerge_method"),
        &[],
        "out: has other tensors than its recipe makes",
    );
}

#[test]
fn without_hashes_nothing_is_proved() {
    let dir = merged();
    assert_eq!(dir.run(&["merge", "out.yaml", "-o", "bare", "--no-hash", "--no-sync"]).code, Some(0));
    let said = dir.run(&["verify", "bare"]);
    let hint = Some("merge again without `--no-hash`");
    assert_eq!((said.code, said.hint()), (Some(1), hint), "{}", said.err);
    let said = dir.run(&["verify", "a"]);
    assert_eq!(
        (said.code, said.hint()),
        (Some(1), Some("only what `evomerge merge` or `evomerge search` has written can be verified"))
    );
}

#[test]
fn a_tree_that_has_moved_can_still_be_proved() {
    let dir = Dir::new();
    dir.tiny("tree/models/a", 0.25);
    dir.tiny("tree/models/b", 0.75);
    dir.write("tree/recipes/r.yaml", linear(&["../models/a", "../models/b"]));
    assert_eq!(dir.run(&["merge", "tree/recipes/r.yaml", "-o", "tree/merged/x"]).code, Some(0));
    fs::create_dir(dir.path("elsewhere")).unwrap();
    fs::rename(dir.path("tree"), dir.path("elsewhere/tree")).unwrap();
    let said = dir.run(&["verify", "elsewhere/tree/merged/x"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn a_merge_is_replaced_as_a_whole_and_nothing_else_is() {
    let dir = with_data();
    let recipe = linear(&["data/models/llama-a", "data/models/llama-b"]);
    dir.write("r.yaml", &recipe);
    let run = |args: &[&str]| dir.run(&[&["merge", "r.yaml", "-o", "out"], args].concat());
    assert_eq!(run(&["--shard-size", "100KB"]).code, Some(0));
    let sharded = contents(&dir.path("out"));
    let shards = sharded.keys().filter(|name| name.starts_with("model-")).count();
    assert!(shards > 3 && sharded.contains_key("model.safetensors.index.json"), "{:?}", sharded.keys());
    let all = tensors(&dir.path("out"));
    let said = run(&[]);
    let hint =
        "choose another directory, or remove this one first; `--replace` replaces a merge when the new one is whole";
    assert_eq!((said.code, said.error(), said.hint()), (Some(1), "out: exists already", Some(hint)));
    assert!(contents(&dir.path("out")) == sharded);

    // Left by an attempt that crashed.
    dir.write(".out.partial/model-00001-of-00009.safetensors", "half of it");
    assert_eq!(run(&["--replace"]).code, Some(0));
    let whole = contents(&dir.path("out"));
    let weights: Vec<&str> = whole.keys().map(String::as_str).filter(|name| name.starts_with("model")).collect();
    assert_eq!((weights, whole.len()), (vec!["model.safetensors"], sharded.len() - shards), "no stale shard");
    assert!(tensors(&dir.path("out")) == all && !dir.path(".out.partial").exists());

    let refused = |error: &str| {
        let before = contents(&dir.path("out"));
        let said = run(&["--replace"]);
        assert_eq!((said.code, said.error()), (Some(1), error), "{}", said.err);
        assert!(said.hint().is_some() && contents(&dir.path("out")) == before, "{}", said.err);
    };
    dir.write("out/mine.txt", "mine");
    refused("out: holds `mine.txt`, which was not merged");
    fs::remove_file(dir.path("out/mine.txt")).unwrap();
    dir.write("out/evomerge.json", "{}");
    refused("out/evomerge.json: missing field `evomerge` at line 1 column 2");
    fs::remove_file(dir.path("out/evomerge.json")).unwrap();
    refused("out: exists already");

    fs::write(dir.path("r.yaml"), linear(&["out", "out2"])).unwrap();
    copy(&dir.path("out"), &dir.path("out2"));
    fs::write(dir.path("out/evomerge.json"), &whole["evomerge.json"]).unwrap();
    refused("out: is one of the models to be merged");
}

/// Two raw models of 96 MB, and a merge of them that takes some time.
fn large() -> Dir {
    let dir = Dir::new();
    let numbers: Vec<f32> = (0..24 << 20).map(|i| (i % 1021) as f32 / 64.0).collect();
    let tensors = [("w".to_owned(), (vec![24 << 10, 1 << 10], numbers))].into();
    let path = dir.write("a.safetensors", safetensors_bytes(&tensors));
    fs::hard_link(path, dir.path("b.safetensors")).unwrap();
    dir.write("large.yaml", linear(&["a.safetensors", "b.safetensors"]));
    dir
}

/// Waits until a merge to `out` has begun to write.
fn begun(dir: &Dir, child: &mut Child) {
    let start = Instant::now();
    while !dir.path(".out.partial/model.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20), "it never began");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_merge_that_is_killed_leaves_what_was_there() {
    let dir = large();
    dir.tiny("x", 0.5);
    merge(&dir, "out", &linear(&["x"]));
    let before = contents(&dir.path("out"));
    let args = ["merge", "large.yaml", "-o", "out", "--replace", "--threads", "1"];
    for delay in [0, 15, 40, 80] {
        let mut child = dir.command(&args).spawn().unwrap();
        begun(&dir, &mut child);
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        let now = contents(&dir.path("out"));
        if now != before {
            // The merge was complete when it was killed.
            assert_eq!(dir.run(&["verify", "--quick", "out"]).code, Some(0));
            break;
        }
        assert!(dir.path(".out.partial").exists());
    }
    assert_eq!(dir.run(&args).code, Some(0));
    assert_eq!(dir.run(&["verify", "--quick", "out"]).code, Some(0));
    assert!(!dir.path(".out.partial").exists() && !dir.path("out/config.json").exists());
}

#[test]
fn a_merge_that_is_interrupted_leaves_nothing() {
    let dir = large();
    let before = dir.tree();
    for signal in ["INT", "TERM"] {
        let mut child = dir.command(&["merge", "large.yaml", "-o", "out", "--threads", "1"]).spawn().unwrap();
        begun(&dir, &mut child);
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(130), "{}", said.err);
        assert!(said.err.contains("stopping; nothing is written"), "{}", said.err);
        assert_eq!(dir.tree(), before);
    }
}

#[test]
fn a_plan_writes_nothing_and_is_what_is_then_done() {
    let dir = with_data();
    dir.write("r.yaml", linear(&["data/models/llama-a", "data/models/llama-b"]) + "dtype: bfloat16\n");
    let before = dir.tree();
    let dry = dir.run(&["merge", "r.yaml", "-o", "out", "--dry-run", "--json"]);
    let plan = dir.run(&["plan", "r.yaml", "--json"]);
    assert_eq!((dry.code, &dry.out), (plan.code, &plan.out));
    assert_eq!(dir.run(&["plan", "r.yaml"]).code, Some(0));
    assert_eq!(dir.tree(), before);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let said = dir.run(&["merge", "r.yaml", "-o", "out", "--json"]);
    let done: Value = serde_json::from_str(&said.out).unwrap();
    let all = tensors(&dir.path("out"));
    let bytes: usize = all.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(
        (&plan["bytes_written"], &done["bytes"], &done["tensors"]),
        (&bytes.into(), &bytes.into(), &all.len().into())
    );
    assert_eq!(plan["bytes_read"], 4 * bytes);
    let steps = plan["tensors"].as_array().unwrap();
    let foretold = steps.iter().map(|step| (step["tensor"].as_str().unwrap(), step["writes"].as_u64().unwrap()));
    assert!(foretold.eq(all.iter().map(|(name, (_, _, bytes))| (name.as_str(), bytes.len() as u64))));
}

/// For each method, the parameters that it requires, and the number of models beside the base.
const METHODS: [(&str, &str, usize); 20] = [
    ("linear", "weight: 0.4", 2),
    ("slerp", "t: 0.3", 1),
    ("nuslerp", "weight: 0.4", 2),
    ("multislerp", "weight: 0.4", 2),
    ("karcher", "", 2),
    ("passthrough", "scale: 0.9", 1),
    ("task_arithmetic", "weight: 0.4", 2),
    ("ties", "weight: 0.4, density: 0.6", 2),
    ("dare_linear", "weight: 0.4, density: 0.6", 2),
    ("dare_ties", "weight: 0.4, density: 0.6", 2),
    ("della", "weight: 0.4, density: 0.6", 2),
    ("della_linear", "weight: 0.4, density: 0.6", 2),
    ("breadcrumbs", "weight: 0.4, density: 0.6", 2),
    ("breadcrumbs_ties", "weight: 0.4, density: 0.6", 2),
    ("sce", "select_topk: 0.6", 2),
    ("ram", "", 2),
    ("ramplus_tl", "", 2),
    ("model_stock", "", 2),
    ("nearswap", "t: 0.01", 1),
    ("arcee_fusion", "", 1),
];

/// A recipe of a method for the first of these models, with a base if the method needs one.
fn recipe_of((method, parameters, n): (&str, &str, usize), models: [&str; 2], base: &str) -> String {
    let list = models[..n].iter().fold(String::new(), |list, model| list + &format!("- model: {model}\n"));
    let whole = ["linear", "nuslerp", "multislerp", "karcher", "passthrough"].contains(&method);
    let base = if whole { String::new() } else { format!("base_model: {base}\n") };
    format!("merge_method: {method}\n{base}parameters: {{{parameters}}}\nmodels:\n{list}")
}

#[test]
fn the_number_of_threads_changes_no_byte_of_any_method() {
    let dir = with_data();
    let listed: Value = serde_json::from_str(&dir.run(&["methods", "--json"]).out).unwrap();
    let listed = listed.as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap().to_owned());
    assert!(listed.eq(METHODS.map(|(name, ..)| name)));
    for method in METHODS {
        let models = ["data/models/llama-a", "data/models/llama-b"];
        dir.write("r.yaml", recipe_of(method, models, "data/models/llama-base"));
        let [one, two] = ["1", "2"].map(|threads| {
            let out = format!("{}-{threads}", method.0);
            let said = dir.run(&["merge", "r.yaml", "-o", &out, "--threads", threads, "--no-sync"]);
            assert_eq!(said.code, Some(0), "{}: {}", method.0, said.err);
            contents(&dir.path(&out))
        });
        assert!(one == two, "{}", method.0);
        let source = root().join("tests/data/models/llama-a/model.safetensors");
        assert!(one["model.safetensors"] != fs::read(source).unwrap(), "{} merges", method.0);
    }
}

#[test]
fn every_method_names_the_number_that_is_none() {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("base", 0.5);
    let name = "model.layers.0.mlp.up_proj.weight";
    for (at, bad) in [(3, f32::NAN), (77, f32::NEG_INFINITY)] {
        let mut broken = tiny_tensors(0.75);
        broken.get_mut(name).unwrap().1[at] = bad;
        dir.checkpoint("bad", &broken);
        let copy = ("passthrough", "scale: 1", 1);
        for method in METHODS.into_iter().chain([copy]) {
            for (models, base) in [(["bad", "a"], "base"), (["a", "base"], "bad")] {
                let recipe = recipe_of(method, models, base);
                if recipe.contains("bad") {
                    let (error, hint) = refusal(&dir, &recipe);
                    assert!(error.contains(&format!("`{name}`: element {at} is NaN or infinite")), "{recipe}{error}");
                    assert!(error.contains("bad"), "{recipe}{error}");
                    assert_eq!(hint, "the checkpoint is broken: download it again, or leave it out");
                }
            }
        }
    }
}

#[test]
fn a_restriction_of_one_model_is_one_of_the_merge() {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.75);
    dir.write("a/README.md", "---\nlicense: apache-2.0\n---\n# A\n");
    dir.write("b/README.md", "---\nlicense: cc-by-nc-4.0\n---\n# B\n");
    dir.write("r.yaml", linear(&["a", "b"]));
    let said = dir.run(&["merge", "r.yaml", "-o", "out", "--json"]);
    let card = fs::read_to_string(dir.path("out/README.md")).unwrap();
    let front = card.split("---\n").nth(1).unwrap();
    assert!(front.contains("license: other\n") && front.contains("cc-by-nc-4.0"), "{front}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    for text in [&card, &said.err, json["restriction"].as_str().unwrap(), json["licences"].as_str().unwrap()] {
        assert!(text.contains("non-commercial") && text.contains("cc-by-nc-4.0"), "{text}");
    }
}

#[test]
fn models_of_the_hub_are_found_in_its_cache() {
    let dir = Dir::new();
    dir.tiny("here", 0.25);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let cache = format!("cache/hub/models--org--name/snapshots/{commit}");
    dir.tiny(&cache, 0.75);
    dir.write("cache/hub/models--org--name/refs/main", commit);
    let run = |models: &[&str], out: &str| {
        dir.write("r.yaml", linear(models));
        let mut command = dir.command(&["merge", "r.yaml", "-o", out]);
        for unset in ["HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN"] {
            command.env_remove(unset);
        }
        let home = dir.path("cache");
        Said::of(command.env("HF_HOME", home).env("HF_HUB_OFFLINE", "1").output().unwrap())
    };
    for (out, name) in [("x", "org/name".to_owned()), ("y", format!("hf://org/name@{commit}"))] {
        let said = run(&["here", &name], out);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(json(&dir.path(out).join("evomerge.json"))["inputs"][1]["model"], *name);
        assert!(tensors(&dir.path(out)) == tensors(&dir.path("x")));
    }
    let said = run(&["here", "org/another"], "z");
    assert_eq!(said.code, Some(1));
    assert!(said.error().starts_with("r.yaml:5:10: org/another at main is not in "), "{}", said.err);
    assert!(said.error().contains("HF_HUB_OFFLINE") && said.hint().is_some(), "{}", said.err);
    assert!(!dir.path("z").exists());
}
