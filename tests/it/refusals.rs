//! Bad input: a clear error with a hint, the documented exit code, no partial output.

use crate::kit::{Dir, family, safetensors_bytes, tiny_tensors};
use std::fs;

const RECIPE: &str =
    "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.5}}\n- {model: b, parameters: {weight: 0.5}}\n";

/// Checks the error and the hint for two tiny models and a recipe, after `spoil` has broken
/// something.
fn check(spoil: impl Fn(&Dir), error: &str, hint: &str) {
    let dir = Dir::new();
    dir.tiny("a", 0.1);
    dir.tiny("b", 0.2);
    dir.write("r.yaml", RECIPE);
    spoil(&dir);
    let before = dir.tree();
    let said = dir.run(&["merge", "r.yaml", "-o", "merged"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!((said.error(), said.hint().unwrap_or_default()), (error, hint));
    assert!(said.out.is_empty());
    assert_eq!(dir.tree(), before, "nothing is left behind");
}

/// Changes the bytes of model b's only shard.
fn shard(change: impl Fn(Vec<u8>) -> Vec<u8>) -> impl Fn(&Dir) {
    move |dir| {
        let path = dir.path("b/model.safetensors");
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    }
}

/// Replaces a piece of the header of model b's only shard by one of the same length.
fn header(from: &'static str, to: &'static str) -> impl Fn(&Dir) {
    assert_eq!(from.len(), to.len());
    shard(move |bytes| {
        let at = bytes.windows(from.len()).position(|piece| piece == from.as_bytes()).expect("it is in the header");
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    })
}

#[test]
fn a_damaged_shard_is_refused_before_anything_is_written() {
    check(
        shard(|bytes| bytes[..bytes.len() - 10].to_vec()),
        "r.yaml:4:11: b/model.safetensors: damaged: its header describes more or fewer bytes than it has (the file has 5558 bytes)",
        "the file is truncated or not safetensors; download or copy it again",
    );
    check(
        shard(|bytes| [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()),
        "r.yaml:4:11: b/model.safetensors: damaged: its header would reach beyond the file (the file has 5568 bytes)",
        "the file is truncated or not safetensors; download or copy it again",
    );
    check(
        shard(|_| b"PK".to_vec()),
        "r.yaml:4:11: b/model.safetensors: damaged: its header would reach beyond the file (the file has 2 bytes)",
        "the file is truncated or not safetensors; download or copy it again",
    );
    check(
        header("\"data_offsets\":[1024,2048]", "\"data_offsets\":[1000,2024]"),
        "r.yaml:4:11: b/model.safetensors: damaged: the bytes of `model.embed_tokens.weight` overlap another tensor's or leave a gap (the file has 5568 bytes)",
        "the file was written wrongly; download it again, or tell whoever made it",
    );
    check(
        header("\"dtype\":\"F32\",\"shape\":[8,16]", "\"dtype\":\"U32\",\"shape\":[8,16]"),
        "r.yaml:1:15: `model.layers.0.mlp.down_proj.weight` is float32 in one model and uint32 in another",
        "tensors of whole numbers are copied, so they must be the same in all models",
    );
}

#[test]
fn models_that_do_not_fit_together_are_refused() {
    let without = |dir: &Dir| {
        let mut tensors = tiny_tensors(0.2);
        tensors.remove("model.norm.weight");
        dir.checkpoint("b", &tensors);
    };
    check(
        without,
        "r.yaml:4:11: b lacks `model.norm.weight`, which a has",
        "only models of one architecture and size can be merged",
    );
    let with_more = |dir: &Dir| {
        let mut tensors = tiny_tensors(0.2);
        for bias in ["q", "k", "v"] {
            tensors.insert(format!("model.layers.0.self_attn.{bias}_proj.bias"), (vec![8], vec![0.0; 8]));
        }
        dir.checkpoint("b", &tensors);
    };
    check(
        with_more,
        "r.yaml:4:11: a lacks `model.layers.0.self_attn.k_proj.bias` and 2 more, which b has",
        "only models of one architecture and size can be merged",
    );
    let larger = |dir: &Dir| {
        let mut tensors = tiny_tensors(0.2);
        tensors.insert("model.embed_tokens.weight".into(), (vec![33, 8], vec![0.0; 33 * 8]));
        dir.checkpoint("b", &tensors);
    };
    check(
        larger,
        "r.yaml:4:11: a and b: the shapes of `model.embed_tokens.weight` differ: [32, 8] and [33, 8]",
        "their vocabularies differ: `tokenizer: {source: union}` merges them by token, and `{source: base}` keeps the base's",
    );
    let tied = |dir: &Dir| {
        let config = fs::read_to_string(dir.path("b/config.json")).unwrap();
        dir.write("b/config.json", config.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
    };
    check(
        tied,
        "r.yaml:4:11: a and b: one ties its output head to the embedding, the other does not",
        "`tie_word_embeddings: false` gives the result a head, for which a tied model lends its embedding; `true` leaves the heads out",
    );
}

#[test]
fn weights_that_are_no_numbers_are_found_while_merging_and_the_output_is_removed() {
    for (bad, at) in [(f32::NAN, 5), (f32::INFINITY, 100)] {
        let nan = |dir: &Dir| {
            let mut tensors = tiny_tensors(0.2);
            tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().1[at] = bad;
            dir.checkpoint("b", &tensors);
        };
        let message = format!("`b`: `model.layers.0.mlp.up_proj.weight`: element {at} is NaN or infinite");
        check(nan, &message, "the checkpoint is broken: download it again, or leave it out");
    }
}

#[test]
fn a_result_too_large_for_its_type_is_refused() {
    let large = |dir: &Dir| {
        dir.tiny("b", 60_000.0);
        dir.write("r.yaml", RECIPE.replace("0.5}", "1.5}") + "dtype: float16\nparameters: {normalize: false}\n");
    };
    let dir = Dir::new();
    dir.tiny("a", 0.1);
    large(&dir);
    let said = dir.run(&["merge", "r.yaml", "-o", "merged"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().ends_with("a merged value is too large for float16"), "{}", said.err);
    assert!(!dir.path("merged").exists() && !dir.path(".merged.partial").exists());
}

#[test]
fn recipes_are_refused_with_line_and_column() {
    let recipe = |text: &'static str| move |dir: &Dir| drop(dir.write("r.yaml", text));
    check(
        recipe("merge_method: tises\nmodels: [{model: a}]\n"),
        "r.yaml:1:15: there is no method `tises`",
        "did you mean `ties`? `evomerge methods` lists them all",
    );
    check(
        recipe("merge_method: dare_tise\nmodels: [{model: a}]\n"),
        "r.yaml:1:15: there is no method `dare_tise`",
        "did you mean `dare_ties`? `evomerge methods` lists them all",
    );
    check(
        recipe(
            "merge_method: dare_ties\nbase_model: a\nmodels:\n- model: b\n  parameters:\n    weight: 1\n    density: 1.3\n",
        ),
        "r.yaml:7:14: models[0].parameters.density: 1.3 is not between 0 and 1",
        "`evomerge methods` lists what each parameter may be",
    );
    check(
        recipe(
            "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: ./nowhere, parameters: {weight: 1}}\n",
        ),
        "r.yaml:4:11: ./nowhere does not exist",
        "paths are relative to the file they stand in, else to the current directory; models of the hub are named as in `org/name`",
    );
    check(
        recipe(
            "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: {weight: -1}}\n",
        ),
        "r.yaml:1:15: `lm_head.weight`: the weights sum to zero, and `normalize` divides by their sum",
        "change the parameters; `evomerge methods` explains them",
    );
}

#[test]
fn a_missing_model_names_both_places_that_were_looked_in() {
    let dir = Dir::new();
    dir.write("recipes/r.yaml", RECIPE);
    let said = dir.run(&["merge", "recipes/r.yaml", "-o", "merged"]);
    assert_eq!((said.code, said.error()), (Some(1), "recipes/r.yaml:3:11: neither recipes/a nor a exists"));
}

#[test]
fn outputs_are_never_overwritten_and_never_an_input() {
    check(
        |dir| drop(dir.write("merged/mine.txt", "keep")),
        "merged: exists already",
        "choose another directory, or remove this one first",
    );
    let dir = Dir::new();
    dir.tiny("a", 0.1);
    dir.tiny("b", 0.2);
    dir.write("r.yaml", RECIPE);
    let before = fs::read(dir.path("a/model.safetensors")).unwrap();
    let said = dir.run(&["merge", "r.yaml", "-o", "./b/../a"]);
    assert_eq!((said.code, said.error()), (Some(1), "./b/../a: is one of the models to be merged"));
    assert_eq!(fs::read(dir.path("a/model.safetensors")).unwrap(), before);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let dir = Dir::new();
    let model = dir.tiny("a", 0.1);
    fs::copy(family().join("base/tokenizer.json"), model.join("tokenizer.json")).unwrap();
    let task = family().join("tasks/mgsm-ja-mini.yaml");
    let said = dir.run(&["eval", "a", "--tasks", task.to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    let expected =
        "a/tokenizer.json: a tokenizer that doesn't match: it has token 1023, but config.json has vocab_size 32";
    assert_eq!(
        (said.error(), said.hint()),
        (expected, Some("take the tokenizer of the model the embeddings come from"))
    );
}

#[test]
fn a_task_without_items_is_refused() {
    let dir = Dir::new();
    let model = family().join("ja");
    let text = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: t.jsonl}}\ntest_split: test\n\
                doc_to_text: \"{{question}}\"\ndoc_to_target: answer\n";
    dir.write("t.yaml", text);
    dir.write("t.jsonl", "\n");
    let said = dir.run(&["eval", model.to_str().unwrap(), "--tasks", "t.yaml"]);
    assert_eq!((said.code, said.error()), (Some(1), "t.jsonl: no item in it"));
}

#[test]
fn what_is_typed_in_the_wrong_place_is_told_what_is_wanted_there() {
    let dir = Dir::new();
    let model = family().join("ja").display().to_string();
    for args in [["merge", &model, "-o", "out"], ["search", &model, "-o", "out"]] {
        let said = dir.run(&args);
        assert_eq!((said.code, said.hint()), (Some(1), Some("give the YAML file, not a directory")));
    }
    let task = family().join("tasks/mgsm-en-mini.yaml").display().to_string();
    let said = dir.run(&["eval", &model, "--tasks", &task, "--items", "search"]);
    assert_eq!((said.error(), said.hint()), ("task mgsm-en-mini has no search items", Some("it has items to report")));
    assert!(dir.tree().is_empty());
}

#[test]
fn a_header_that_repeats_a_tensor_or_lies_about_its_shards_is_refused() {
    let sharded = |second: &'static str, routes: &'static str| {
        move |dir: &Dir| {
            fs::remove_file(dir.path("b/model.safetensors")).unwrap();
            let one = |name: &str| [(name.to_owned(), (vec![8], vec![0.5; 8]))].into();
            dir.write("b/model-00001-of-00002.safetensors", safetensors_bytes(&one("model.norm.weight")));
            dir.write("b/model-00002-of-00002.safetensors", safetensors_bytes(&one(second)));
            dir.write("b/model.safetensors.index.json", format!("{{\"weight_map\": {{{routes}}}}}"));
        }
    };
    let both = r#""model.norm.weight": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors""#;
    check(
        sharded("model.norm.weight", both),
        "r.yaml:4:11: b/model-00002-of-00002.safetensors: `model.norm.weight` is in `model-00001-of-00002.safetensors` too",
        "delete the shards of the other export, or download the checkpoint again",
    );
    check(
        sharded("y", both),
        "r.yaml:4:11: b/model.safetensors.index.json: `x` is not in `model-00002-of-00002.safetensors`",
        "download the checkpoint again: its index and its shards are of different exports",
    );
    check(
        sharded("x", r#""model.norm.weight": "../secret.safetensors""#),
        "r.yaml:4:11: b/model.safetensors.index.json: `../secret.safetensors` is not the name of a file beside it",
        "download the index again",
    );
}

/// Checks how the error and the hint begin for a recipe of models a and b.
fn check_text(text: impl AsRef<[u8]>, error: &str, hint: &str) {
    let dir = Dir::new();
    dir.tiny("a", 0.1);
    dir.tiny("b", 0.2);
    dir.write("r.yaml", text);
    let before = dir.tree();
    let said = dir.run(&["merge", "r.yaml", "-o", "merged"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.error().starts_with(error), "{error}: {}", said.err);
    assert!(said.hint().unwrap_or_default().starts_with(hint), "{hint}: {}", said.err);
    assert_eq!(dir.tree(), before, "nothing is left behind");
}

#[test]
fn what_is_no_recipe_is_refused() {
    let nothing = "expected a block of keys, found nothing";
    check_text("", &format!("r.yaml:1:1: {nothing}"), "");
    check_text("# all commented out\n", &format!("r.yaml:2:1: {nothing}"), "");
    check_text("hello", "r.yaml:1:1: expected a block of keys, found the text `hello`", "");
    check_text("- a\n", "r.yaml:1:1: expected a block of keys, found 1 entry", "");
    check_text(b"merge_method: \xff\xfe\x00", "r.yaml:1:15: this is not UTF-8 text", "save the file as UTF-8");
    check_text("merge_method: linear\nmodels: &a [*a]\n", "r.yaml:2:13: this is not valid YAML", "look for");
    let deep = format!("merge_method: linear\nmodels: {}", "[".repeat(100_000));
    check_text(deep, "r.yaml:2:", "look for");
    let bomb = ('b'..'j').zip('a'..).fold("a: &a [x]\n".to_owned(), |text, (one, of)| {
        text + &format!("{one}: &{one} [{}]\n", vec![format!("*{of}"); 9].join(","))
    });
    check_text(bomb, "r.yaml:1:", "");
}

#[test]
fn keys_that_nobody_reads_are_refused_at_every_level() {
    let known = "known keys here: ";
    let one = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n";
    for (line, error, hint) in [
        ("qqqq: 1", "r.yaml:3:1: there is no key `qqqq`", known),
        ("parameters: {qqqq: 1}", "r.yaml:3:14: parameters: `linear` has no parameter `qqqq`", "its parameters: "),
        ("tokenizer: {qqqq: 1}", "r.yaml:3:13: tokenizer: there is no key `qqqq`", known),
        ("tokenizer: {tokens: {x: {qqqq: 1}}}", "r.yaml:3:26: tokenizer.tokens.x: there is no key `qqqq`", known),
        ("random: {seed: 1, qqqq: 1}", "r.yaml:3:19: random: there is no key `qqqq`", known),
        ("fixes: [qqqq]", "r.yaml:3:9: fixes[0]: `qqqq` is not known here", "known here: "),
        ("dtype: qqqq", "r.yaml:3:8: dtype: `qqqq` is not known here", "known here: "),
        ("base_model: {path: a, qqqq: 1}", "r.yaml:3:23: base_model: there is no key `qqqq`", known),
        ("chat_template: qqqq", "r.yaml:3:16: chat_template: there is no chat template `qqqq`", "known ones: "),
    ] {
        check_text(format!("{one}{line}\n"), error, hint);
    }
    for (line, error) in [
        ("models: [{model: a, qqqq: 1}]", "r.yaml:2:21: models[0]: there is no key `qqqq`"),
        ("models: [{model: a, parameters: {qqqq: 1}}]", "r.yaml:2:34: models[0].parameters: `linear` has no"),
        ("slices: [{qqqq: 1, sources: [{model: a, layer_range: [0, 1]}]}]", "r.yaml:2:11: slices[0]: there is no key"),
        ("slices: [{sources: [{qqqq: 1, model: a}]}]", "r.yaml:2:22: slices[0].sources[0]: there is no key"),
        ("modules: {default: {qqqq: 1, models: [{model: a}]}}", "r.yaml:2:21: modules.default: there is no key"),
    ] {
        check_text(format!("merge_method: linear\n{line}\n"), error, "");
    }
}

#[test]
fn numbers_that_cannot_be_meant_are_refused() {
    for (line, error) in [
        (
            "models: [{model: a, parameters: {weight: 1e400}}]",
            "r.yaml:2:42: models[0].parameters.weight: expected a finite",
        ),
        (
            "models: [{model: a, parameters: {weight: .nan}}]",
            "r.yaml:2:42: models[0].parameters.weight: expected a finite",
        ),
        ("slices: [{sources: [{model: a, layer_range: [0, 2]}]}]", "r.yaml:2:45: layer_range: `a` has 1 layer"),
        (
            "slices: [{sources: [{model: a, layer_range: [0, 99999999999]}]}]",
            "r.yaml:2:45: layer_range: `a` has 1 layer",
        ),
        (
            "slices: [{sources: [{model: a, layer_range: [1, 0]}]}]",
            "r.yaml:2:45: slices[0].sources[0].layer_range: [1, 0] is reversed",
        ),
        (
            "slices: [{sources: [{model: a, layer_range: [-1, 1]}]}]",
            "r.yaml:2:46: slices[0].sources[0].layer_range[0]: expected a whole",
        ),
        ("random: {seed: 99999999999999999999}", "r.yaml:2:16: random.seed: expected a whole number from 0 up"),
        (
            "models: [{model: a}]\ntokenizer: {pad_to_multiple_of: 18446744073709551615}",
            "r.yaml:3:33: tokenizer.pad_to_multiple_of: a multiple of 18446744073709551615 would be mostly padding",
        ),
    ] {
        check_text(format!("merge_method: linear\n{line}\nparameters: {{weight: 1}}\n"), error, "");
    }
    check_text(
        "merge_method: della\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1, density: 0.1, epsilon: 0.5}}]\n",
        "r.yaml:1:15: `lm_head.weight`: elements are kept with probabilities from density − epsilon",
        "change the parameters",
    );
}

#[test]
fn a_recipe_cannot_be_made_of_itself() {
    check_text(
        "merge_method: linear\nmodels: [{model: r.yaml, parameters: {weight: 1}}]\n",
        "r.yaml:2:18: r.yaml: not a file of tensors, by its name",
        "a recipe is no model: merge it first",
    );
    let document = |name: &str, of: &str| {
        format!("name: {name}\nmerge_method: linear\nmodels: [{{model: {of}, parameters: {{weight: 1}}}}]\n")
    };
    check_text(
        document("x", "y") + "---\n" + &document("y", "x"),
        "r.yaml:1:7: `x`, `y` refer to each other in a circle",
        "no document may use its own result, directly or through others",
    );
    check_text(
        document("x", "x") + "---\n" + &document("y", "a"),
        "r.yaml:1:7: `x` refers to itself",
        "no document may use its own result, directly or through others",
    );
    check_text(
        document("x", "a") + "---\n" + &document("y", "b"),
        "r.yaml:5:7: a file must have exactly one result, but no document refers to `x` or to `y`",
        "name one of them",
    );
}

#[test]
fn links_that_lead_nowhere_are_the_users() {
    let dir = Dir::new();
    std::os::unix::fs::symlink("loop", dir.path("loop")).unwrap();
    let said = dir.run(&["merge", "loop", "-o", "merged"]);
    assert_eq!((said.code, said.error()), (Some(1), "cannot read loop: too many levels of symbolic links"));
    let said = dir.run(&["merge", "nowhere.yaml", "-o", "merged"]);
    assert_eq!((said.code, said.error()), (Some(1), "cannot read nowhere.yaml: no such file or directory"));
}
