//! Paths through layers: planned, merged, verified, and refused if they cannot be exact.

use crate::{
    kit::{Dir, family, root, walk},
    merges::{json, merge, refusal, tensors, with_data},
    search::small_study,
};
use safetensors::Dtype;
use std::fs;

const SCALED: &str = "merge_method: passthrough
path:
- {model: data/models/llama-a, layer_range: [0, 1], scale: 2}
- repeats: 2
  hops:
  - {model: data/models/llama-a, layer_range: [1, 3], use: [true, false]}
  - {model: data/models/llama-b, layer_range: [2, 3], scale: 0.5}
";

#[test]
fn a_path_is_a_plain_checkpoint_with_its_scales_in_what_layers_add() {
    let dir = with_data();
    dir.write("r.yaml", SCALED);
    let plan = dir.run(&["plan", "r.yaml"]);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let line = |tensor: &str| plan.out.lines().find(|line| line.contains(tensor)).unwrap().to_owned();
    assert!(line(" model.layers.2.mlp.down_proj.weight").contains("scale=2"), "{}", plan.out);
    assert!(line(" model.layers.2.mlp.up_proj.weight").contains("copy"), "{}", plan.out);
    merge(&dir, "out", SCALED);
    assert_eq!(dir.run(&["verify", "out"]).code, Some(0));
    assert_eq!(dir.run(&["inspect", "out"]).code, Some(0));
    assert_eq!(json(&dir.path("out/config.json"))["num_hidden_layers"], 5);
    let out = tensors(&dir.path("out"));
    let [a, b] = ["a", "b"].map(|name| tensors(&root().join("tests/data/models").join(format!("llama-{name}"))));
    // Relative to the first hop's scale, which the embedding takes: 1, 1, 1/2, 1/2, 1/4.
    let hops = [(&a, 0, 1.0), (&a, 1, 1.0), (&b, 2, 2.0), (&a, 1, 2.0), (&b, 2, 4.0f32)];
    let times = |bytes: &[u8], factor: f32| -> Vec<u8> {
        let values = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        values.flat_map(|x| (factor * x).to_le_bytes()).collect()
    };
    for (name, tensor) in &out {
        let of_layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let (source, factor) = match of_layer {
            None => (&a[name], if name.contains("embed") { 2.0 } else { 1.0 }),
            Some((number, rest)) => {
                let (model, layer, gain) = hops[number.parse::<usize>().unwrap()];
                let adds = rest.contains("o_proj") || rest.contains("down_proj");
                (&model[&format!("model.layers.{layer}.{rest}")], if adds { gain } else { 1.0 })
            }
        };
        assert_eq!((tensor.0, &tensor.1), (Dtype::F32, &source.1), "{name}");
        assert!(tensor.2 == times(&source.2, factor), "{name}");
    }
}

#[test]
fn a_merge_becomes_a_part_of_a_path() {
    let inner = "name: both\nmerge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: data/models/llama-a\n- model: data/models/llama-b\n";
    let outer = "merge_method: passthrough\nbase_model: both\npath:\n- {model: both, layer_range: [0, 4], scale: 0.9}\n\
                 - {model: data/models/llama-c, layer_range: [3, 4]}\n";
    let dir = with_data();
    merge(&dir, "once", &format!("{outer}---\n{inner}"));
    merge(&dir, "both", inner);
    merge(&dir, "twice", outer);
    let file = |name: &str| fs::read(dir.path(name).join("model.safetensors")).unwrap();
    assert!(file("once") == file("twice"));
}

/// Checks the error and the hint for a path through models beside the recipe.
fn check(dir: &Dir, hops: &str, error: &str, hint: &str) {
    assert_eq!(
        refusal(dir, &format!("merge_method: passthrough\npath: {hops}\n")),
        (error.to_owned(), hint.to_owned())
    );
}

#[test]
fn refuses_what_does_not_fold_exactly_before_a_weight_is_read() {
    let dir = with_data();
    for name in ["gpt2", "gpt-neox", "stablelm", "gemma2", "gemma3", "llama-linear", "llama"] {
        walk(&root().join("tests/data/architectures").join(name), &mut |file| {
            dir.write(&format!("{name}/{}", file.file_name().unwrap().display()), fs::read(file).unwrap());
        });
    }
    // It has the weights of `llama` and a configuration of its own.
    fs::copy(dir.path("llama/model.safetensors"), dir.path("llama-linear/model.safetensors")).unwrap();
    let without = "without scales, a path goes through layers of any architecture";
    for (name, model_type, why) in [
        ("gpt2", "gpt2", "its norms are layer norms"),
        ("gpt-neox", "gpt_neox", "its attention and MLP stand side by side, behind layer norms"),
        ("stablelm", "stablelm", "its norms are layer norms"),
        ("gemma2", "gemma2", "its norms after attention and MLP undo a division of their weights"),
        ("gemma3", "gemma3_text", "its norms after attention and MLP undo a division of their weights"),
    ] {
        let what = format!(
            "refused.yaml:2:7: the scales of the path cannot be folded into `{name}`: `{model_type}` reads its hidden state in another way: {why}"
        );
        check(&dir, &format!("[{{model: {name}, layer_range: [0, 2], scale: 1.1}}]"), &what, without);
        merge(
            &dir,
            &format!("{name}-again"),
            &format!("merge_method: passthrough\npath: [{{model: {name}, layer_range: [0, 2]}}]"),
        );
    }
    check(
        &dir,
        "[{model: llama, layer_range: [0, 3]}]",
        "refused.yaml:2:36: layer_range: `llama` has 2 layers",
        "a range is [first, last + 1]",
    );
    check(
        &dir,
        "[{model: llama, layer_range: [0, 2], use: false}]",
        "refused.yaml:2:7: path: no layer is used",
        "write `use: true` for at least one layer",
    );
    check(
        &dir,
        "[{model: llama, layer_range: [0, 2], scale: 1e-60}]",
        "refused.yaml:2:16: path: the scales up to hop 1 make 1.00e-120, which does not fold",
        "scales have to be above 0, and their product near 1",
    );
    let (error, hint) = refusal(
        &dir,
        "merge_method: passthrough\npath:\n- {model: llama, layer_range: [0, 1]}\n- {model: llama-linear, layer_range: [0, 1]}\n",
    );
    assert!(
        error.starts_with("refused.yaml:4:11: llama and llama-linear: config.json: rope_theta is 10000 and 500"),
        "{error}"
    );
    let alike =
        "the result has one config.json for all its layers: only layers that compute alike can stand among each other";
    assert_eq!(hint, alike);
    let (error, _) = refusal(
        &dir,
        "merge_method: passthrough\npath_form: evomistral\npath: [{model: llama, layer_range: [0, 1]}]\n",
    );
    assert_eq!(error, "refused.yaml:2:12: path_form: `evomistral` is a form of Mistral models, and `llama` is `llama`");
}

#[test]
fn the_scales_of_a_path_are_searched_and_the_winner_is_exported() {
    let dir = Dir::new();
    small_study(&dir);
    let search = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let (_, block) = search.split_once("search:\n").unwrap();
    let hops = [("ja", 0, 3, "1"), ("math-a", 2, 3, "{search: [0.9, 1.1]}"), ("ja", 3, 6, "{search: [0.8, 1.2]}")];
    let path = hops.map(|(name, start, end, scale)| {
        format!("- {{model: {}, layer_range: [{start}, {end}], scale: {scale}}}\n", family().join(name).display())
    });
    let path = path.concat();
    dir.write("path.yaml", format!("merge_method: passthrough\npath:\n{path}dtype: bfloat16\nsearch:\n{block}"));
    let said = dir.run(&["search", "path.yaml", "-o", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("evolved"), "{}", said.out);
    assert_eq!(json(&dir.path("out/model/config.json"))["num_hidden_layers"], 7);
    // The answer is an ordinary recipe of the same model.
    let best = dir.run(&["merge", "out/best.yaml", "-o", "again"]);
    assert_eq!(best.code, Some(0), "{}", best.err);
    let bytes = |dir_: &str| fs::read(dir.path(dir_).join("model.safetensors")).unwrap();
    assert!(bytes("again") == bytes("out/model"));
}
