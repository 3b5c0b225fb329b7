//! The configuration gives the number of layers, and must describe the weights beside it.

use crate::{
    kit::Dir,
    merges::{json, merge, refusal, tensors},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Writes a checkpoint with stacks (prefix, number of layers, number of matrices in each) and other
/// tensors. Every element of a tensor is `more` plus the tensor's number in the order of names.
fn model(dir: &Dir, name: &str, config: &Value, stacks: &[(&str, usize, usize)], others: &[&str], more: f32) {
    let in_stack = stacks.iter().flat_map(|(prefix, layers, count)| {
        (0..*layers).flat_map(move |layer| (0..*count).map(move |tensor| format!("{prefix}{layer}.t{tensor}.weight")))
    });
    let names: std::collections::BTreeSet<String> =
        in_stack.chain(others.iter().map(|name| (*name).to_owned())).collect();
    let filled = |(number, name): (usize, String)| (name, (vec![2, 2], vec![number as f32 + more; 4]));
    let tensors: BTreeMap<_, _> = names.into_iter().enumerate().map(filled).collect();
    dir.checkpoint(name, &tensors);
    dir.write(&format!("{name}/config.json"), config.to_string());
}

const ENDS: &[&str] = &["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"];

/// Value of a tensor's elements, which are all equal.
fn first(dir: &Dir, name: &str, tensor: &str) -> f32 {
    f32::from_le_bytes(tensors(&dir.path(name))[tensor].2[..4].try_into().unwrap())
}

fn note<'s>(err: &'s str, part: &str) -> Option<&'s str> {
    err.lines().find(|line| line.contains(part))
}

#[test]
fn the_language_model_of_a_model_that_sees_is_what_is_sliced() {
    let dir = Dir::new();
    let (lm, tower) = ("language_model.model.layers.", "vision_tower.encoder.layers.");
    let config = json!({"model_type": "llava", "text_config": {"model_type": "llama", "num_hidden_layers": 4,
        "layer_types": ["a", "b", "c", "d"]}, "vision_config": {"num_hidden_layers": 3}});
    for (name, more) in [("a", 0.0), ("b", 1.0)] {
        let ends = ["language_model.lm_head.weight", "language_model.model.embed_tokens.weight"];
        model(&dir, name, &config, &[(lm, 4, 4), (tower, 3, 9)], &ends, more);
    }
    let whole = "merge_method: slerp\nbase_model: a\nslices:\n- sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [0, 4]}]\nparameters: {t: [0, 1]}\n";
    let said = merge(&dir, "whole", whole);
    let told = "`a`: its 4 layers are `language_model.model.layers.` (text_config.num_hidden_layers); merged by name, and not counted as its layers: 3 of `vision_tower.encoder.layers.`";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    assert_eq!(json(&dir.path("whole/config.json")), json(&dir.path("a/config.json")));

    let stack = "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 3]}]\n- sources: [{model: a, layer_range: [1, 3]}]\n";
    merge(&dir, "stacked", stack);
    let config = json(&dir.path("stacked/config.json"));
    assert_eq!(config["text_config"]["num_hidden_layers"], 5);
    assert_eq!(config["text_config"]["layer_types"], json!(["a", "b", "c", "b", "c"]));
    assert_eq!(config["vision_config"], json!({"num_hidden_layers": 3}));
    let (a, stacked) = (tensors(&dir.path("a")), tensors(&dir.path("stacked")));
    for (layer, from) in [0, 1, 2, 1, 2].into_iter().enumerate() {
        assert!(stacked[&format!("{lm}{layer}.t3.weight")] == a[&format!("{lm}{from}.t3.weight")], "layer {layer}");
    }
    assert_eq!(stacked.keys().filter(|name| name.starts_with(tower)).count(), 27);

    let inspected: Value = serde_json::from_str(&dir.run(&["inspect", "a", "--json"]).out).unwrap();
    assert_eq!(inspected["layers"], 4);
    let expected = json!([
        {"name": "language_model.model.layers", "layers": 4, "counted": true},
        {"name": "vision_tower.encoder.layers", "layers": 3, "counted": false},
    ]);
    assert_eq!(inspected["stacks"], expected);
    assert_eq!(inspected["head"], "own");
    let text = dir.run(&["inspect", "a"]).out;
    let line = "layers            4 of language_model.model.layers; beside them 3 of vision_tower.encoder.layers";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn a_layer_behind_the_last_one_is_not_counted_and_stays_behind() {
    let dir = Dir::new();
    let config = || json!({"model_type": "x", "num_hidden_layers": 4, "num_nextn_predict_layers": 1});
    let others = [ENDS, &["model.layers.4.eh_proj.weight"]].concat();
    for (name, more) in [("a", 0.0), ("b", 30.0)] {
        model(&dir, name, &config(), &[("model.layers.", 5, 1)], &others, more);
    }
    let gradient = "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: [1, 0]}}\n- {model: b, parameters: {weight: [0, 1]}}\n";
    let said = merge(&dir, "all", gradient);
    let told = "`a`: its 4 layers are `model.layers.` (num_hidden_layers); merged by name, and not counted as its layers: 1 after the last of them";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    for (layer, part) in [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0].into_iter().enumerate() {
        let tensor = format!("model.layers.{layer}.t0.weight");
        let expected = first(&dir, "a", &tensor) + 30.0 * part;
        assert!((first(&dir, "all", &tensor) - expected).abs() < 1e-4, "layer {layer}");
    }
    merge(
        &dir,
        "sliced",
        "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 4]}]\n- sources: [{model: b, layer_range: [2, 4]}]\n",
    );
    let sliced = tensors(&dir.path("sliced"));
    let b = tensors(&dir.path("b"));
    assert!(sliced["model.layers.6.eh_proj.weight"] == b["model.layers.4.eh_proj.weight"], "it is the last slice's");
    assert!(sliced["model.layers.4.t0.weight"] == b["model.layers.2.t0.weight"]);
    assert_eq!(json(&dir.path("sliced/config.json"))["num_hidden_layers"], 6);
    merge(
        &dir,
        "path",
        "merge_method: passthrough\npath:\n- {model: a, layer_range: [0, 4]}\n- {model: a, layer_range: [0, 1]}\n",
    );
    let path = tensors(&dir.path("path"));
    assert!(path["model.layers.5.eh_proj.weight"] == tensors(&dir.path("a"))["model.layers.4.eh_proj.weight"]);

    let (error, hint) =
        refusal(&dir, "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 5]}]\n");
    assert_eq!(error, "refused.yaml:3:37: layer_range: `a` has 4 layers");
    assert_eq!(hint, "a range is [first, last + 1]");
}

const STACK: &str = "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n- sources: [{model: b, layer_range: [1, 2]}]\n";
const AVERAGE: &str = "merge_method: linear\nparameters: {weight: 0.5}\nmodels:\n- model: a\n- model: b\n";
const PATH: &str =
    "merge_method: passthrough\npath:\n- {model: a, layer_range: [0, 2]}\n- {model: b, layer_range: [1, 2]}\n";

/// Two models of two layers, whose configurations also have these keys.
fn pair(a: &Value, b: &Value) -> Dir {
    let dir = Dir::new();
    for (name, keys) in [("a", a), ("b", b)] {
        let mut config = json!({"model_type": "llama", "num_hidden_layers": 2});
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        model(&dir, name, &config, &[("model.layers.", 2, 4)], ENDS, 0.0);
    }
    dir
}

#[test]
fn layers_of_which_config_json_would_no_longer_be_true_are_refused() {
    let keys = json!({"first_k_dense_replace": 1});
    let dir = pair(&keys, &keys);
    let again = STACK.replace("[1, 2]", "[0, 2]");
    let hint = "config.json would no longer describe the weights: keep these layers where they are, or move whole periods of the pattern";
    let why = "a: config.json: `first_k_dense_replace: 1` follows from a layer's number, and layer 2 of the result is layer 0 of b";
    assert_eq!(refusal(&dir, &again), (format!("refused.yaml:3:3: {why}"), hint.to_owned()));
    let again = PATH.replace("[1, 2]", "[0, 2]");
    assert_eq!(refusal(&dir, &again), (format!("refused.yaml:3:3: {why}"), hint.to_owned()));
    merge(&dir, "kept", STACK);
    assert_eq!(json(&dir.path("kept/config.json"))["first_k_dense_replace"], 1);
    merge(&dir, "none", &STACK.replace("[0, 2]", "[1, 2]"));
    assert_eq!(json(&dir.path("none/config.json"))["first_k_dense_replace"], 0);

    let dir = pair(&json!({"scale_depth": 1.4}), &json!({"scale_depth": 1.4}));
    let why = "refused.yaml:3:3: a: config.json: `scale_depth: 1.4` follows from how many layers there are, and the result has 3, not 2";
    assert_eq!(refusal(&dir, STACK), (why.to_owned(), hint.to_owned()));
}

#[test]
fn configurations_that_compute_otherwise_are_told_or_refused() {
    let dir = pair(
        &json!({"rope_theta": 1e4, "max_position_embeddings": 64}),
        &json!({"rope_theta": 1e6, "max_position_embeddings": 4096}),
    );
    let said = merge(&dir, "average", AVERAGE);
    let told = "`b`: its config.json is not that of `a`, which the result takes: rope_theta is 1000000, not 10000; max_position_embeddings is 4096, not 64";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    assert_eq!(json(&dir.path("average/config.json"))["rope_theta"], 1e4);
    let hint =
        "the result has one config.json for all its layers: only layers that compute alike can stand among each other";
    let why = "a and b: config.json: rope_theta is 10000 and 1000000";
    assert_eq!(refusal(&dir, STACK), (format!("refused.yaml:4:21: {why}"), hint.to_owned()));
    assert_eq!(refusal(&dir, PATH), (format!("refused.yaml:4:11: {why}"), hint.to_owned()));

    let dir = pair(&json!({"num_attention_heads": 4}), &json!({"num_attention_heads": 8}));
    let hint = "the same tensors compute something else in them: only models of one architecture can be merged";
    let why = "refused.yaml:5:10: a and b: config.json: num_attention_heads is 4 and 8";
    assert_eq!(refusal(&dir, AVERAGE), (why.to_owned(), hint.to_owned()));

    // Settings outside the layers come from one model in a stack, too.
    let dir = pair(&json!({"max_position_embeddings": 64}), &json!({"max_position_embeddings": 128}));
    let said = merge(&dir, "stacked", STACK);
    assert!(note(&said.err, "max_position_embeddings is 128, not 64").is_some(), "{}", said.err);
    // All layers of both models are averaged, slice by slice.
    let dir = pair(&json!({"rope_theta": 1e4}), &json!({"rope_theta": 1e6}));
    let both = |from: usize| {
        format!(
            "- sources: [{{model: a, layer_range: [{from}, {to}]}}, {{model: b, layer_range: [{from}, {to}]}}]\n",
            to = from + 1
        )
    };
    let said = merge(
        &dir,
        "sliced",
        &format!("merge_method: linear\nparameters: {{weight: 0.5}}\nslices:\n{}{}", both(0), both(1)),
    );
    assert!(note(&said.err, "rope_theta is 1000000, not 10000").is_some(), "{}", said.err);

    let dir = pair(&json!({"transformers_version": "4"}), &json!({"torch_dtype": "float16", "bos_token_id": 7}));
    let said = merge(&dir, "alike", AVERAGE);
    assert_eq!(note(&said.err, "its config.json"), None);
}

/// A key that is absent has the default of its class.
#[test]
fn what_a_configuration_leaves_to_its_class_is_compared() {
    let neox = |parallel: bool| {
        let silent = json!({"model_type": "gpt_neox"});
        pair(&silent, &json!({"model_type": "gpt_neox", "use_parallel_residual": parallel}))
    };
    let said = merge(&neox(true), "average", AVERAGE);
    assert_eq!(note(&said.err, "its config.json"), None);
    let (error, _) = refusal(&neox(false), AVERAGE);
    let why = "a and b: config.json: use_parallel_residual is true by default and false";
    assert_eq!(error, format!("refused.yaml:5:10: {why}"));

    let dir = pair(&json!({"model_type": "mixtral"}), &json!({"model_type": "mixtral", "rope_theta": 1e4}));
    let said = merge(&dir, "average", AVERAGE);
    assert!(note(&said.err, "rope_theta is 10000, not 1000000 by default").is_some(), "{}", said.err);
    assert!(refusal(&dir, STACK).0.ends_with("rope_theta is 1000000 by default and 10000"));
}

/// Lists with an entry for each layer are split with the layers; other lists apply to all layers,
/// even if they are as long.
#[test]
fn layers_with_other_lists_or_numbers_for_all_do_not_stand_among_each_other() {
    let one_of_each = STACK.replace("[0, 2]", "[0, 1]");
    let refused = |a: Value, b: Value, why: &str| {
        let dir = pair(&a, &b);
        let why = format!("a and b: config.json: {why}");
        assert_eq!(refusal(&dir, &one_of_each).0, format!("refused.yaml:4:21: {why}"));
        assert_eq!(refusal(&dir, PATH).0, format!("refused.yaml:4:11: {why}"));
        dir
    };
    let longrope = |factors: [f64; 2]| json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "long_factor": factors, "short_factor": [1, 1]}});
    let dir =
        refused(longrope([1.5, 2.5]), longrope([1.5, 3.5]), "rope_scaling.long_factor is [1.5,2.5] and [1.5,3.5]");
    let said = merge(&dir, "average", AVERAGE);
    assert!(note(&said.err, "rope_scaling.long_factor is [1.5,3.5], not [1.5,2.5]").is_some(), "{}", said.err);
    let sections = |sections: [u32; 2]| json!({"model_type": "qwen2_vl", "rope_scaling": {"type": "mrope", "mrope_section": sections}});
    refused(sections([2, 2]), sections([1, 3]), "rope_scaling.mrope_section is [2,2] and [1,3]");
    let depth = |scale: f64| json!({"model_type": "minicpm", "scale_depth": scale});
    refused(depth(1.4), depth(1.5), "scale_depth is 1.4 and 1.5");
    let shared = |count: u32| json!({"model_type": "gemma3n_text", "num_kv_shared_layers": count});
    refused(shared(0), shared(1), "num_kv_shared_layers is 0 and 1");

    let types = |types: [&str; 2]| json!({"layer_types": types});
    let dir = pair(&types(["w", "x"]), &types(["y", "z"]));
    let said = merge(&dir, "stacked", &one_of_each);
    assert_eq!(note(&said.err, "its config.json"), None);
    assert_eq!(json(&dir.path("stacked/config.json"))["layer_types"], json!(["w", "z"]));
}

#[test]
fn more_layers_counted_than_there_are_and_layers_in_several_lists_are_refused() {
    let dir = pair(&json!({}), &json!({"num_hidden_layers": 3}));
    let error = "refused.yaml:5:10: b: config.json: num_hidden_layers is 3, and the layers of `model.layers.` are 2";
    let hint = "if layers are missing, download the model again; if these are all, set num_hidden_layers to 2";
    assert_eq!(refusal(&dir, AVERAGE), (error.to_owned(), hint.to_owned()));

    let dir = pair(&json!({}), &json!({"num_hidden_layers": 1}));
    let error =
        "refused.yaml:5:10: a and b: config.json: num_hidden_layers is 2 and 1, and both have 2 layers of tensors";
    let hint = "one of the two counts wrongly: correct it in its config.json";
    assert_eq!(refusal(&dir, AVERAGE), (error.to_owned(), hint.to_owned()));

    // All layers of a base count, even if it is not listed.
    let dir = pair(&json!({}), &json!({}));
    model(&dir, "base", &json!({"num_hidden_layers": 3}), &[("model.layers.", 3, 4)], ENDS, 0.0);
    let (error, _) = refusal(&dir, &AVERAGE.replace("linear", "task_arithmetic\nbase_model: base"));
    assert_eq!(error, "refused.yaml:2:13: a lacks `model.layers.2.t0.weight` and 3 more, which base has");

    let dir = Dir::new();
    for name in ["a", "b"] {
        model(&dir, name, &json!({"n_layers": 2}), &[("attentions.", 2, 4), ("ffns.", 2, 2)], &["embed.weight"], 0.0);
    }
    merge(&dir, "average", AVERAGE);
    let error =
        "refused.yaml:3:21: a: config.json: n_layers is 2, and both `attentions.` and `ffns.` have that many layers";
    let hint = "layers that lie in several lists cannot be moved; `models` merges them, and `modules` takes parts of a model apart";
    assert_eq!(refusal(&dir, STACK), (error.to_owned(), hint.to_owned()));
}

#[test]
fn what_is_said_to_be_quantised_and_is_not_is_merged() {
    let dir = pair(&json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}), &json!({}));
    let said = merge(&dir, "average", AVERAGE);
    let told = "a: config.json says that it is quantised by `bitsandbytes`, but all its tensors are plain numbers: they are taken as they are, without `quantization_config`";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    assert!(json(&dir.path("average/config.json")).get("quantization_config").is_none());
    let inspected: Value = serde_json::from_str(&dir.run(&["inspect", "a", "--json"]).out).unwrap();
    assert_eq!((&inspected["quantization"], &inspected["notes"]), (&Value::Null, &json!([told])));
}

#[test]
fn layers_of_different_kinds_are_not_averaged_without_a_word() {
    let dir = Dir::new();
    let kinds = |types: [&str; 4]| json!({"model_type": "llama", "num_hidden_layers": 4, "layer_types": types});
    let (ours, others) = (["sliding", "full", "sliding", "full"], ["full", "full", "sliding", "full"]);
    for (name, types) in [("a", ours), ("b", ours), ("c", others)] {
        model(&dir, name, &kinds(types), &[("model.layers.", 4, 4)], ENDS, 0.0);
    }
    let slice = |a: &str, from: [usize; 2], b: &str, to: [usize; 2]| {
        format!("- sources: [{{model: {a}, layer_range: {from:?}}}, {{model: {b}, layer_range: {to:?}}}]\n")
    };
    let slerp = |slices: &str| format!("merge_method: slerp\nbase_model: a\nparameters: {{t: 0.5}}\nslices:\n{slices}");
    let why = "refused.yaml:5:3: a: config.json: `layer_types` makes layer 0 of a and layer 1 of b of different kinds, which become one layer";
    let hint = "only layers of one kind can be merged with each other: shift a `layer_range` by whole periods of the pattern, or not at all";
    let shifted = slerp(&slice("a", [0, 3], "b", [1, 4]));
    assert_eq!(refusal(&dir, &shifted), (why.to_owned(), hint.to_owned()));
    merge(&dir, "period", &slerp(&slice("a", [0, 2], "b", [2, 4])));
    // With equal layer numbers it may be intended, so there is only a note, as with `models`.
    let halves = |a: &str, b: &str| slice(a, [0, 2], b, [0, 2]) + &slice(a, [2, 4], b, [2, 4]);
    let said = merge(&dir, "noted", &slerp(&halves("a", "c")));
    assert!(note(&said.err, "layer_types is").is_some(), "{}", said.err);
    let thirds = slice("a", [0, 1], "a", [0, 1]).replace(", {model: a, layer_range: [0, 1]}", "")
        + &slice("b", [0, 1], "c", [0, 1]);
    let said = merge(
        &dir,
        "thirds",
        &format!(
            "merge_method: linear\nbase_model: a\nfixes: [listed_only]\nparameters: {{weight: 0.5}}\nslices:\n{thirds}"
        ),
    );
    let told = "a: config.json: `layer_types` makes layer 0 of b and layer 0 of c of different kinds, which become one layer, and they are merged all the same";
    assert!(note(&said.err, told).is_some(), "{}", said.err);

    let dense = json!({"first_k_dense_replace": 1});
    let dir = pair(&dense, &dense);
    let error = refusal(&dir, &slerp(&slice("a", [0, 1], "b", [1, 2]))).0;
    assert!(error.contains("`first_k_dense_replace"), "{error}");
}

#[test]
fn a_language_model_that_leaves_its_count_to_its_class_is_sliced() {
    let dir = Dir::new();
    let config = json!({"model_type": "llava", "text_config": {"model_type": "llama"}, "vision_config": {"num_hidden_layers": 3}});
    let stacks = [("language_model.model.layers.", 4, 4), ("vision_tower.encoder.layers.", 3, 9)];
    model(&dir, "a", &config, &stacks, &["language_model.model.embed_tokens.weight"], 0.0);
    let stack = "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 4]}]\n- sources: [{model: a, layer_range: [2, 4]}]\n";
    let said = merge(&dir, "stacked", stack);
    let told = "`a`: its 4 layers are `language_model.model.layers.`; merged by name, and not counted as its layers: 3 of `vision_tower.encoder.layers.`";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    let made = json(&dir.path("stacked/config.json"));
    assert_eq!(made["text_config"], json!({"model_type": "llama", "num_hidden_layers": 6}));
    assert_eq!(made["vision_config"], config["vision_config"]);
}

#[test]
fn what_predicts_further_ahead_and_only_one_model_has_is_left_out() {
    let dir = Dir::new();
    let config = |types: &[&str], ahead: usize| json!({"model_type": "x", "num_hidden_layers": 2, "layer_types": types, "num_nextn_predict_layers": ahead});
    model(
        &dir,
        "a",
        &config(&["a", "b", "b"], 1),
        &[("model.layers.", 3, 4)],
        &[ENDS, &["mtp.fc.weight"]].concat(),
        0.0,
    );
    model(&dir, "b", &config(&["a", "b", "b"], 1), &[("model.layers.", 2, 4)], ENDS, 0.0);
    let said = merge(&dir, "average", AVERAGE);
    let told = "`model.layers.2.t0.weight` and 4 more of `a` left out of the result: they predict tokens further ahead, and `b` has none of them";
    assert!(note(&said.err, told).is_some(), "{}", said.err);
    assert_eq!(json(&dir.path("average/config.json")), config(&["a", "b"], 0));
    assert!(tensors(&dir.path("average")).keys().eq(tensors(&dir.path("b")).keys()));
}
