//! Input files: how they are opened, what is read of a model, and where results behind links go.

use crate::kit::{Dir, tiny_tensors};
use serde_json::Value;
use std::{fs, os::unix::fs::symlink, process::Command};

const RECIPE: &str =
    "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.5}}\n- {model: b, parameters: {weight: 0.5}}\n";

/// Two tiny models and a recipe of both.
fn both() -> Dir {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.75);
    dir.write("r.yaml", RECIPE);
    dir
}

#[test]
fn only_files_are_opened() {
    let check = |file: &str, args: &[&str], error: &str| {
        let dir = both();
        let path = dir.path(file);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let said = dir.run(args);
        assert_eq!(said.code, Some(1), "{file}: {}", said.err);
        assert!(said.error().ends_with(error), "{file}: {}", said.err);
        assert!(said.hint().is_some(), "{file}");
    };
    let merge = ["merge", "r.yaml", "-o", "out"];
    check("b/model.safetensors", &merge, "b/model.safetensors: it is a pipe, not a file");
    check("b/model.safetensors", &["inspect", "b"], "cannot open b/model.safetensors: it is a pipe, not a file");
    check("b/config.json", &merge, "cannot read b/config.json: it is a pipe, not a file");
    check("a/generation_config.json", &merge, "cannot read a/generation_config.json: it is a pipe, not a file");
    check("r.yaml", &merge, "cannot read r.yaml: it is a pipe, not a file");
    check("r.yaml", &["search", "r.yaml", "-o", "out"], "cannot read r.yaml: it is a pipe, not a file");
    check("t.yaml", &["eval", "a", "--tasks", "t.yaml"], "cannot read t.yaml: it is a pipe, not a file");
}

#[test]
fn a_directory_or_a_name_that_none_can_have_in_a_shards_place_is_the_users_to_mend() {
    let dir = both();
    fs::remove_file(dir.path("b/model.safetensors")).unwrap();
    fs::create_dir(dir.path("b/model.safetensors")).unwrap();
    let said = dir.run(&["inspect", "b"]);
    assert_eq!((said.code, said.error()), (Some(1), "cannot open b/model.safetensors: is a directory"));
}

#[test]
fn a_result_goes_behind_a_link_and_the_link_stays() {
    let dir = both();
    fs::create_dir_all(dir.path("disk/empty")).unwrap();
    for (target, link) in [("disk/empty", "empty"), ("disk/new", "new"), ("disk/earlier", "earlier")] {
        symlink(target, dir.path(link)).unwrap();
    }
    for (link, place) in [("empty", "disk/empty"), ("new/", "disk/new"), ("earlier", "disk/earlier")] {
        assert_eq!(dir.run(&["merge", "r.yaml", "-o", link, "--dry-run"]).code, Some(0), "{link}");
        let said = dir.run(&["merge", "r.yaml", "-o", link, "--no-sync"]);
        assert_eq!(said.code, Some(0), "{link}: {}", said.err);
        assert!(
            dir.path(place).join("model.safetensors").is_file() && dir.path(link.trim_end_matches('/')).is_symlink()
        );
    }
    let weights = || fs::read(dir.path("disk/earlier/model.safetensors")).unwrap();
    let before = weights();
    dir.write("r.yaml", RECIPE.replacen("0.5", "0.25", 1));
    let said = dir.run(&["merge", "r.yaml", "-o", "earlier", "--replace", "--no-sync"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(weights() != before && dir.path("earlier").is_symlink());
    assert!(dir.tree().iter().all(|path| !path.contains(".partial")), "{:?}", dir.tree());
}

#[test]
fn tensors_that_loaders_compute_need_not_be_in_every_model() {
    let buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let with = |dir: &Dir, name: &str, len: usize| {
        let mut tensors = tiny_tensors(0.25);
        tensors.insert(buffer.to_owned(), (vec![len], vec![1.0; len]));
        dir.checkpoint(name, &tensors);
    };
    let merged = |older: &[(&str, usize)]| {
        let dir = both();
        for (name, len) in older {
            with(&dir, name, *len);
        }
        let said = dir.run(&["merge", "r.yaml", "-o", "out", "--no-sync"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let bytes = fs::read(dir.path("out/model.safetensors")).unwrap();
        let has = bytes.windows(buffer.len()).any(|piece| piece == buffer.as_bytes());
        (has, said.err.contains("note:").then(|| said.err.lines().next().unwrap().to_owned()))
    };
    let note = format!(
        "note: `{buffer}` left out of the result: some models lack it or have it in another form, and loaders do not read it"
    );
    assert_eq!(merged(&[("a", 4)]), (false, Some(note.clone())));
    assert_eq!(merged(&[("b", 4)]), (false, Some(note.clone())));
    assert_eq!(merged(&[("a", 4), ("b", 5)]), (false, Some(note)));
    assert_eq!(merged(&[("a", 4), ("b", 4)]), (true, None));
}

#[test]
fn what_python_writes_into_a_configuration_is_there_again() {
    let dir = both();
    for name in ["a", "b"] {
        let config: Value = serde_json::from_slice(&fs::read(dir.path(name).join("config.json")).unwrap()).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        dir.write(
            &format!("{name}/config.json"),
            text.replacen('{', "{\"time_step_limit\": [0.0, Infinity], \"x\": NaN, ", 1),
        );
        dir.write(&format!("{name}/generation_config.json"), "{\"eos_token_id\": 2, \"penalty\": -Infinity}");
    }
    let said = dir.run(&["merge", "r.yaml", "-o", "out", "--no-sync"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let config = fs::read_to_string(dir.path("out/config.json")).unwrap();
    assert!(config.contains("0.0,\n    Infinity\n") && config.contains("\"x\": NaN"), "{config}");
    assert!(fs::read_to_string(dir.path("out/generation_config.json")).unwrap().contains("-Infinity"));
    assert_eq!(dir.run(&["inspect", "out"]).code, Some(0));
}

#[test]
fn variables_in_the_hubs_variables_are_expanded() {
    let dir = both();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = format!("hf/hub/models--acme--a/snapshots/{commit}");
    dir.tiny(&snapshot, 0.25);
    dir.write("hf/hub/models--acme--a/refs/main", commit);
    for home in ["~/hf", "$HOME/hf", "${HOME}/hf"] {
        let mut command = dir.command(&["inspect", "acme/a"]);
        command.env("HF_HOME", home).env("HOME", dir.path("")).env("HF_HUB_OFFLINE", "1");
        let out = command.output().unwrap();
        assert!(out.status.success(), "{home}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let place = dir.path("hf/hub/models--acme--a");
    let said = dir.run(&["inspect", place.to_str().unwrap()]);
    let hint = format!("this is the hub's cache: name {}/snapshots/{commit}, or acme/a", place.display());
    assert_eq!(said.hint(), Some(hint.as_str()));
}

#[test]
fn letters_that_cannot_be_seen_are_named() {
    let check = |line: &str, hint: &str| {
        let dir = both();
        dir.write(
            "r.yaml",
            format!("merge_method: linear\nmodels:\n  - model: a\n    parameters:\n{line}\n  - {{model: b, parameters: {{weight: 0.5}}}}\n"),
        );
        let said = dir.run(&["plan", "r.yaml"]);
        assert_eq!(said.code, Some(1), "{line}: {}", said.err);
        assert!(said.hint().unwrap_or_default().starts_with(hint), "{line}: {}", said.err);
    };
    check("      weight:\u{a0}0.5", "there is a no-break space (U+00A0) at line 5, column 14: write an ordinary one");
    check("      weight：0.5", "there is a full-width `:` (U+FF1A) at line 5, column 13: write `:`");
    check(
        "\u{3000}\u{3000}\u{3000}weight: 0.5",
        "there is a full-width space (U+3000) at line 5, column 1: write an ordinary one",
    );
    check("      weight\u{200b}: 0.5", "there is a zero-width space (U+200B) at line 5, column 13: remove it");
    check("      weight: ０.５", "there is a full-width `0` (U+FF10) at line 5, column 15: write `0`");
    check("\tweight: 0.5", "there is a tab (U+0009) at line 5, column 1: write spaces");
}

#[test]
fn what_a_model_is_called_is_no_command_to_a_terminal() {
    let dir = Dir::new();
    let mut tensors = tiny_tensors(0.25);
    tensors.insert("\u{1b}]0;PWNED\u{7}.weight".to_owned(), (vec![2], vec![0.0; 2]));
    dir.checkpoint("a", &tensors);
    let config = fs::read_to_string(dir.path("a/config.json")).unwrap();
    let config = config.replace("LlamaForCausalLM", "\\u001b]0;PWNED\\u0007\\u202earch");
    assert!(config.contains("PWNED"), "the configuration names an architecture");
    dir.write("a/config.json", config);
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for (args, shown) in [
        (&["inspect", "a"][..], true),
        (&["inspect", "\u{1b}[2Ja"][..], true),
        (&["merge", "\u{1b}[2J", "-o", "out"][..], true),
        (&["\u{1b}[2J"][..], false),
    ] {
        let said = dir.run(args);
        assert!(!said.out.contains(bad) && !said.err.contains(bad), "{args:?}: {said:?}");
        assert!(!shown || said.out.contains("\\u{1b}") || said.err.contains("\\u{1b}"), "{args:?}: {said:?}");
    }
    let said = dir.run(&["inspect", "a", "--json"]);
    assert!(serde_json::from_str::<Value>(&said.out).unwrap().to_string().contains('\u{202e}'), "{said:?}");
    assert!(!said.out.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn names_in_japanese_leave_columns_where_they_are() {
    let dir = both();
    for name in ["レシピ集の線形平均", "short"] {
        assert_eq!(dir.run(&["submit", "--name", name, "r.yaml"]).code, Some(0));
    }
    let said = dir.run(&["jobs"]);
    let before = |line: &str| {
        let text = line.split_once("merge").unwrap_or_else(|| panic!("{said:?}")).0;
        text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>()
    };
    let columns: Vec<usize> = said.out.lines().filter(|line| line.contains("merge")).map(before).collect();
    assert!(columns.len() == 2 && columns[0] == columns[1], "{}", said.out);
}

#[test]
fn data_that_cannot_be_written_is_said_once() {
    let dir = Dir::new();
    for args in [&["methods"][..], &["--help"], &["schema"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = dir.command(args).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(3), "{args:?}: {err}");
        assert_eq!(err.matches("error: cannot write to standard output").count(), 1, "{args:?}: {err}");
    }
}

#[test]
fn each_method_is_shown_with_a_recipe_that_is_one() {
    let dir = Dir::new();
    dir.tiny("path/to/a", 0.25);
    dir.tiny("path/to/b", 0.75);
    dir.tiny("path/to/base", 0.5);
    let text = dir.run(&["methods"]).out;
    assert!(text.lines().all(|line| !line.contains("179769")), "{text}");
    assert!(text.contains("    nuslerp_row_wise  merge      true or false  default false  "), "{text}");
    let all: Value = serde_json::from_str(&dir.run(&["methods", "--json"]).out).unwrap();
    for method in all.as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        dir.write("r.yaml", method["recipe"].as_str().unwrap());
        let said = dir.run(&["plan", "r.yaml"]);
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        let one = dir.run(&["methods", name]).out;
        let recipe = method["recipe"].as_str().unwrap().lines().next().unwrap();
        assert!(one.starts_with(name) && one.contains(recipe) && one.contains(method["reference"].as_str().unwrap()));
        assert_eq!(&serde_json::from_str::<Value>(&dir.run(&["methods", name, "--json"]).out).unwrap(), method);
    }
    let said = dir.run(&["methods", "tise"]);
    assert_eq!((said.code, said.error()), (Some(1), "there is no method `tise`"));
    assert_eq!(said.hint(), Some("did you mean `ties`? `evomerge methods` lists them all"));
}
