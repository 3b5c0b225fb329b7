//! Different names of the same tensors: before and after a version of transformers, in adapters, in
//! paths, and in published recipes.

use crate::kit::{Dir, safetensors_bytes, tiny_tensors};
use crate::merges::{json, linear, merge, refusal, tensors};
use serde_json::json;
use std::collections::BTreeMap;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A tiny Llama with vision, with these prefixes of its decoder, head and vision tower.
fn seeing(dir: &Dir, name: &str, value: f32, [decoder, head, eye]: [&str; 3]) {
    let mut tensors: Tensors = tiny_tensors(value)
        .into_iter()
        .map(|(name, tensor)| match name.strip_prefix("model.") {
            Some(rest) => (format!("{decoder}{rest}"), tensor),
            None => (format!("{head}{name}"), tensor),
        })
        .collect();
    tensors.insert(format!("{eye}vision_tower.patch.weight"), (vec![2, 2], vec![value; 4]));
    dir.checkpoint(name, &tensors);
}

const OLD: [&str; 3] = ["language_model.model.", "language_model.", ""];
const NEW: [&str; 3] = ["model.language_model.", "", "model."];

/// An adapter of these modules, given by their names and shapes.
fn adapter(dir: &Dir, name: &str, modules: &[(&str, [usize; 2])]) {
    let mut tensors = Tensors::new();
    for (module, [outputs, inputs]) in modules {
        let a = (0..2 * inputs).map(|i| i as f32 / 64.0).collect();
        let b = (0..2 * outputs).map(|i| 0.5 - i as f32 / 32.0).collect();
        tensors.insert(format!("base_model.model.{module}.lora_A.weight"), (vec![2, *inputs], a));
        tensors.insert(format!("base_model.model.{module}.lora_B.weight"), (vec![*outputs, 2], b));
    }
    dir.write(&format!("{name}/adapter_model.safetensors"), safetensors_bytes(&tensors));
    let settings = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "rank_pattern": {}});
    dir.write(&format!("{name}/adapter_config.json"), settings.to_string());
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn two_spellings_of_one_model_are_merged_under_the_first_ones_names() {
    let dir = Dir::new();
    seeing(&dir, "old", 0.25, OLD);
    seeing(&dir, "new", 0.75, NEW);
    seeing(&dir, "same", 0.75, OLD);
    let note = "note: old and new are two spellings of one model's names: `lm_head.weight` is taken for \
                `language_model.lm_head.weight`, and all others likewise";
    assert!(merge(&dir, "mixed", &linear(&["old", "new"])).err.contains(note));
    assert!(!merge(&dir, "plain", &linear(&["old", "same"])).err.contains("spellings"));
    assert!(tensors(&dir.path("mixed")) == tensors(&dir.path("plain")));
    merge(&dir, "turned", &linear(&["new", "old"]));
    assert!(tensors(&dir.path("turned")).contains_key("model.language_model.norm.weight"));
    assert_eq!(dir.run(&["verify", "mixed"]).code, Some(0));
}

#[test]
fn other_names_that_are_not_known_are_said_to_be_the_only_difference() {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    let renamed = tiny_tensors(0.5).into_iter().map(|(name, tensor)| (name.replace("self_attn", "attention"), tensor));
    dir.checkpoint("b", &renamed.collect());
    let (error, hint) = refusal(&dir, &linear(&["a", "b"]));
    assert_eq!(error, "refused.yaml:5:10: b lacks `model.layers.0.self_attn.k_proj.weight` and 3 more, which a has");
    assert_eq!(
        hint,
        "only the names of their tensors differ: store one of them anew with the version of its program that stored the other"
    );
}

#[test]
fn an_adapter_may_spell_its_models_names_otherwise() {
    let dir = Dir::new();
    seeing(&dir, "old", 0.25, OLD);
    seeing(&dir, "new", 0.25, NEW);
    dir.tiny("text", 0.25);
    let module = "layers.0.self_attn.o_proj";
    for (name, decoder) in [("by-old", OLD[0]), ("by-new", NEW[0]), ("by-text", "model.")] {
        adapter(&dir, name, &[(&format!("{decoder}{module}"), [8, 8])]);
    }
    let mut made = Vec::new();
    for (model, decoder) in [("old", OLD[0]), ("new", NEW[0]), ("text", "model.")] {
        for lora in ["by-old", "by-new", "by-text"] {
            let out = format!("{model}-{lora}");
            merge(&dir, &out, &format!("merge_method: passthrough\nmodels: [{{model: {model}+{lora}}}]\n"));
            made.push(tensors(&dir.path(&out)).remove(&format!("{decoder}{module}.weight")).unwrap());
        }
    }
    let before = tensors(&dir.path("text")).remove(&format!("model.{module}.weight")).unwrap();
    assert!(made.iter().all(|one| *one == made[0]) && made[0] != before);
}

#[test]
fn an_adapter_of_a_tied_head_needs_a_head() {
    let dir = Dir::new();
    let mut tied = tiny_tensors(0.25);
    tied.remove("lm_head.weight");
    dir.checkpoint("tied", &tied);
    let config = json(&dir.path("tied/config.json")).to_string();
    dir.write("tied/config.json", config.replace("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true"));
    adapter(&dir, "lora", &[("lm_head", [32, 8]), ("model.layers.0.self_attn.o_proj", [8, 8])]);
    let recipe = "merge_method: passthrough\nmodels: [{model: tied+lora}]\n";
    for asked in ["", "tie_word_embeddings: true\n"] {
        let (error, hint) = refusal(&dir, &format!("{recipe}{asked}"));
        assert_eq!(
            error,
            "refused.yaml:2:18: lora: it changes `lm_head.weight`, but tied has no output head of its own: its embedding is the head"
        );
        assert_eq!(
            hint,
            "`tie_word_embeddings: false` in the recipe gives the model a head of its own, which the adapter then changes"
        );
    }
    merge(&dir, "out", &format!("{recipe}tie_word_embeddings: false\n"));
    let made = tensors(&dir.path("out"));
    let embedding = &tensors(&dir.path("tied"))["model.embed_tokens.weight"];
    assert!(made["model.embed_tokens.weight"] == *embedding);
    let (head, embedding) = (floats(&made["lm_head.weight"].2), floats(&embedding.2));
    for (i, (head, row)) in head.iter().zip(&embedding).enumerate() {
        let (output, input) = (i / 8, i % 8);
        let b = |k: usize| 0.5 - (2 * output + k) as f32 / 32.0;
        let a = |k: usize| (k * 8 + input) as f32 / 64.0;
        let expected = row + 2.0 * (b(0) * a(0) + b(1) * a(1));
        assert!((head - expected).abs() < 1e-5, "{i}: {head} and {expected}");
    }
    assert_eq!(json(&dir.path("out/config.json"))["tie_word_embeddings"], false);
}

#[test]
fn what_published_recipes_carry_without_effect_is_taken_and_told() {
    let dir = Dir::new();
    ["base", "a", "b"].into_iter().zip([0.25, 0.5, 0.75]).for_each(|(name, value)| drop(dir.tiny(name, value)));
    let methods = [
        ("slerp", "base_model: a\nmodels: [{model: a}, {model: b}]\n", "t: 0.5, embed_slerp: true", "embed_slerp"),
        ("linear", "models: [{model: a}, {model: b}]\n", "weight: 1, int8_mask: true", "int8_mask"),
        ("model_stock", "base_model: base\nmodels: [{model: a}, {model: b}]\n", "int8_mask: 1", "int8_mask"),
        ("ties", "base_model: base\nmodels: [{model: a}, {model: b}]\n", "weight: 1, int8_mask: true", "int8_mask"),
        (
            "task_arithmetic",
            "base_model: base\nmodels: [{model: a}, {model: b}]\n",
            "weight: 1, density: 0.5",
            "density",
        ),
    ];
    for (method, models, parameters, name) in methods {
        let recipe = format!("merge_method: {method}\n{models}parameters: {{{parameters}}}\n");
        let said = merge(&dir, method, &recipe);
        let has_note = |line: &str| line.starts_with("note: ") && line.contains(&format!("`{name}` has no effect: "));
        assert!(said.err.lines().any(has_note), "{recipe}{}", said.err);
    }
    let beside = "int8_mask: true\nembed_slerp: false\nmerge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";
    let said = merge(&dir, "beside", beside);
    assert!(said.err.starts_with("note: beside.yaml:1:12: `int8_mask` has no effect: "), "{}", said.err);
    assert!(said.err.contains("\nnote: beside.yaml:2:14: `embed_slerp` has no effect: "), "{}", said.err);
    assert!(tensors(&dir.path("beside")) == tensors(&dir.path("linear")));
}

#[test]
fn parameters_that_would_mean_something_elsewhere_are_refused() {
    let dir = Dir::new();
    for name in ["base", "a", "b"] {
        dir.tiny(name, 0.5);
    }
    let stock = "merge_method: model_stock\nbase_model: base\nmodels: [{model: a}, {model: b}]\n";
    let (error, hint) = refusal(&dir, &format!("{stock}parameters: {{normalize: false}}\n"));
    assert_eq!(error, "refused.yaml:4:14: parameters: `model_stock` has no parameter `normalize`");
    assert!(hint.starts_with("it is a parameter of `linear`, "), "{hint}");
    let (error, hint) = refusal(&dir, &format!("{stock}normalize: false\n"));
    assert_eq!(error, "refused.yaml:4:1: `normalize` is a parameter, and stands outside of `parameters`");
    assert_eq!(hint, "mergekit ignores it there: write it under `parameters`, or remove it");
}

#[test]
fn files_of_other_programs_are_known_for_what_they_are() {
    let dir = Dir::new();
    let moe = "base_model: a\ngate_mode: hidden\nexperts: [{source_model: a, positive_prompts: [x]}]\n";
    let expected = (
        "refused.yaml:2:1: this is a recipe of mergekit-moe, which makes a mixture of experts of several models",
        "evomerge cannot build a mixture of experts: build it with mergekit-moe; it can then be merged with others of its kind",
    );
    let (error, hint) = refusal(&dir, moe);
    assert_eq!((error.as_str(), hint.as_str()), expected);
    let said = dir.run(&["search", "refused.yaml", "-o", "out"]);
    assert_eq!((said.error(), said.hint()), (expected.0, Some(expected.1)));
    let (error, hint) = refusal(&dir, "genome: {models: [a]}\ntasks: []\n");
    assert_eq!(error, "refused.yaml:1:1: this is a file of mergekit-evolve, not a recipe");
    assert_eq!(hint, "`evomerge search --from-mergekit refused.yaml -o DIR` searches what it says");
}

#[test]
fn a_path_is_one_model_however_it_is_written() {
    let dir = Dir::new();
    dir.tiny("in/a", 0.25);
    dir.tiny("in/b", 0.5);
    merge(
        &dir,
        "slerp",
        "merge_method: slerp\nbase_model: ./in/a/\nmodels: [{model: in/a}, {model: in/b}]\nparameters: {t: 0.5}\n",
    );
    let path = "merge_method: passthrough\nbase_model: in//a\npath:\n- {model: ./in/a, layer_range: [0, 1]}\n- {model: in/a/, layer_range: [0, 1]}\n";
    merge(&dir, "path", path);
    let (error, _) = refusal(&dir, &linear(&["in/a", "./in/a/"]));
    assert_eq!(error, "refused.yaml:5:10: models[1].model: `in/a` is listed twice");
}
