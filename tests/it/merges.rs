//! Merges of every kind of recipe and model: type, shape and bytes of each tensor, and the other
//! files.

use crate::kit::{Dir, Said, root, tiny_tensors, walk};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

/// Type, shape and bytes of a tensor.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// A directory in which recipes find the test data as `data/`.
pub(crate) fn with_data() -> Dir {
    let dir = Dir::new();
    symlink(root().join("tests/data"), dir.path("data")).unwrap();
    dir
}

/// Merges a recipe, written to `NAME.yaml`, to `NAME`.
pub(crate) fn merge(dir: &Dir, name: &str, recipe: &str) -> Said {
    let file = format!("{name}.yaml");
    dir.write(&file, recipe);
    let said = dir.run(&["merge", &file, "-o", name]);
    assert_eq!(said.code, Some(0), "{recipe}\n{}", said.err);
    said
}

/// Error and hint of a recipe that is refused.
pub(crate) fn refusal(dir: &Dir, recipe: &str) -> (String, String) {
    dir.write("refused.yaml", recipe);
    let before = dir.tree();
    let said = dir.run(&["merge", "refused.yaml", "-o", "refused"]);
    assert_eq!(said.code, Some(1), "{recipe}\n{}", said.err);
    assert_eq!(dir.tree(), before, "nothing is left of {recipe}");
    (said.error().to_owned(), said.hint().unwrap_or_default().to_owned())
}

/// A recipe with `merge_method: linear` of models, each with weight 1.
pub(crate) fn linear(models: &[&str]) -> String {
    let list = models.iter().fold(String::new(), |list, model| list + &format!("- model: {model}\n"));
    format!("merge_method: linear\nparameters: {{weight: 1}}\nmodels:\n{list}")
}

/// All tensors of a file, or of all files in a directory.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let mut all = BTreeMap::new();
    let mut read = |file: &Path| {
        if file.extension().is_some_and(|end| end == "safetensors") {
            let bytes = fs::read(file).unwrap();
            let held = SafeTensors::deserialize(&bytes).unwrap();
            let own = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            all.extend(held.iter().map(|(name, view)| (name.to_owned(), own(view))));
        }
    };
    if path.is_file() {
        read(path);
    } else {
        walk(path, &mut read);
    }
    all
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    walk(from, &mut |file| {
        fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
    });
}

fn model(name: &str) -> BTreeMap<String, Tensor> {
    tensors(&root().join("tests/data/models").join(name))
}

fn floats((dtype, _, bytes): &Tensor) -> Vec<f64> {
    match dtype {
        Dtype::F32 => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        Dtype::F64 => bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::BF16 => bytes.chunks(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        other => panic!("{other} is not read here"),
    }
}

/// Compares within about one rounding of `f32`.
fn close(name: &str, ours: &[f64], expected: impl IntoIterator<Item = f64>) {
    let expected: Vec<f64> = expected.into_iter().collect();
    assert_eq!(ours.len(), expected.len(), "{name}");
    for (x, y) in ours.iter().zip(expected) {
        assert!((x - y).abs() <= 1e-7 + 1e-6 * y.abs(), "{name}: {x} and {y}");
    }
}

fn mean(models: &[&BTreeMap<String, Tensor>], name: &str) -> Vec<f64> {
    let all: Vec<Vec<f64>> = models.iter().map(|model| floats(&model[name])).collect();
    (0..all[0].len()).map(|i| all.iter().map(|x| x[i]).sum::<f64>() / all.len() as f64).collect()
}

#[test]
fn a_merge_of_merges_is_merging_twice() {
    for dtype in ["", "dtype: bfloat16\n", "out_dtype: float16\n"] {
        let inner = format!(
            "name: inner\nmerge_method: dare_ties\nbase_model: data/models/llama-base\nrandom: {{seed: 3}}\n{dtype}\
             parameters: {{density: 0.5}}\nmodels:\n- {{model: data/models/llama-a, parameters: {{weight: 0.7}}}}\n\
             - {{model: data/models/llama-b, parameters: {{weight: 0.4}}}}\n"
        );
        let outer = "merge_method: slerp\nbase_model: inner\nparameters: {t: [0.2, 0.6]}\nout_dtype: float32\n\
                     models:\n- model: inner\n- model: data/models/llama-c\n";
        let dir = with_data();
        merge(&dir, "once", &format!("{outer}---\n{inner}"));
        assert!(!dir.path("inner").exists(), "nothing is written in between");
        let card = fs::read_to_string(dir.path("once/README.md")).unwrap();
        assert!(!card.contains("- inner") && card.contains("- llama-a\n"), "{card}");
        merge(&dir, "inner", &inner);
        merge(&dir, "twice", outer);
        for file in ["model.safetensors", "config.json", "tokenizer.json"] {
            assert!(fs::read(dir.path("once").join(file)).unwrap() == fs::read(dir.path("twice").join(file)).unwrap());
        }
        assert_eq!(dir.run(&["verify", "once"]).code, Some(0));
    }
}

#[test]
fn layers_are_stacked_and_repeated_bit_for_bit() {
    let dir = Dir::new();
    for name in ["a", "b"] {
        copy(&root().join(format!("tests/data/models/qwen2-{name}")), &dir.path(name));
        let mut config = json(&dir.path(name).join("config.json"));
        config["layer_types"] = (0..3).map(|layer| format!("{name}{layer}")).collect();
        dir.write(&format!("{name}/config.json"), config.to_string());
    }
    let slices = [("a", 0, 2), ("b", 1, 2), ("b", 1, 2), ("b", 0, 1)];
    let slice = |(model, start, end): (&str, usize, usize)| {
        format!("- sources: [{{model: {model}, layer_range: [{start}, {end}]}}]\n")
    };
    let recipe = slices.map(slice).concat();
    merge(&dir, "out", &format!("merge_method: passthrough\nslices:\n{recipe}"));
    let config = json(&dir.path("out/config.json"));
    assert_eq!(config["num_hidden_layers"], 5);
    assert_eq!(config["layer_types"], serde_json::json!(["a0", "a1", "b1", "b1", "b0"]));
    let (a, b, out) = (model("qwen2-a"), model("qwen2-b"), tensors(&dir.path("out")));
    assert_eq!(out.len(), 2 + 5 * (a.len() - 2) / 3);
    for (name, tensor) in &out {
        let of_layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let source = match of_layer {
            None if name == "model.norm.weight" => &b[name],
            None => &a[name],
            Some((layer, rest)) => {
                let (of, layer) = [(&a, 0), (&a, 1), (&b, 1), (&b, 1), (&b, 0)][layer.parse::<usize>().unwrap()];
                &of[&format!("model.layers.{layer}.{rest}")]
            }
        };
        assert!(tensor == source, "{name}");
    }
    merge(&dir, "head", &format!("merge_method: passthrough\nslices:\n{recipe}{}", slice(("a", 3, 3))));
    let head = tensors(&dir.path("head"));
    assert_eq!(json(&dir.path("head/config.json"))["num_hidden_layers"], 5);
    for (name, tensor) in &head {
        let expected = if name == "model.norm.weight" { &a[name] } else { &out[name] };
        assert!(tensor == expected, "an empty last slice gives what comes after the layers: {name}");
    }
}

#[test]
fn each_fix_changes_what_it_says() {
    let dir = with_data();
    let [a, b, base] = ["llama-a", "llama-b", "llama-base"].map(model);
    let (head, norm, layer) = ("lm_head.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight");

    let slices = "merge_method: linear\nslices:\n- merge_method: nuslerp\n  sources:\n\
                  \x20 - {model: data/models/llama-a, layer_range: [0, 4], parameters: {weight: 3}}\n\
                  \x20 - {model: data/models/llama-b, layer_range: [0, 4], parameters: {weight: 1}}\n";
    let said = merge(&dir, "slices", slices);
    let note = "note: slices.yaml:3:17: mergekit ignores a slice's own method and takes `linear`";
    assert!(said.err.starts_with(note), "{}", said.err);
    close(layer, &floats(&tensors(&dir.path("slices"))[layer]), mean(&[&a, &a, &a, &b], layer));
    let said = merge(&dir, "slices-fixed", &format!("{slices}fixes: [slice_method]\n"));
    assert!(!said.err.contains("note:"), "{}", said.err);
    let (x, y) = (floats(&a[layer]), floats(&b[layer]));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let cosine = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    let (angle, t) = (cosine.acos(), 0.25);
    assert!(cosine < 0.9995, "an arc, not a line");
    let [p, q] = [(1.0 - t) * angle, t * angle].map(|part| part.sin() / angle.sin());
    let slerp = x.iter().zip(&y).map(|(x, y)| p * x + q * y);
    close(layer, &floats(&tensors(&dir.path("slices-fixed"))[layer]), slerp);

    let gradient = "merge_method: linear\nmodels:\n- {model: data/models/llama-a, parameters: {weight: [0, 1]}}\n\
                    - {model: data/models/llama-b, parameters: {weight: [1, 0]}}\n";
    merge(&dir, "tail", gradient);
    merge(&dir, "tail-fixed", &format!("{gradient}fixes: [tail_gradient]\n"));
    let [tail, fixed] = ["tail", "tail-fixed"].map(|name| tensors(&dir.path(name)));
    for name in tail.keys() {
        let is_tail = [head, norm].contains(&name.as_str());
        assert!(tail[name] == if is_tail { &b } else { &tail }[name], "{name}");
        assert!(fixed[name] == if is_tail { &a } else { &tail }[name], "{name}");
    }

    let unlisted = linear(&["data/models/llama-a", "data/models/llama-b"]) + "base_model: data/models/llama-base\n";
    merge(&dir, "three", &unlisted);
    merge(&dir, "two", &format!("{unlisted}fixes: [listed_only]\n"));
    close(head, &floats(&tensors(&dir.path("three"))[head]), mean(&[&a, &b, &base], head));
    close(head, &floats(&tensors(&dir.path("two"))[head]), mean(&[&a, &b], head));
}

#[test]
fn a_base_that_is_not_listed_is_one_model_more() {
    let dir = with_data();
    let one = "merge_method: passthrough\nbase_model: data/models/llama-base\nmodels: [{model: data/models/llama-a}]\n";
    let (error, hint) = refusal(&dir, one);
    assert_eq!(error, "refused.yaml:3:18: models: `passthrough` merges exactly one model, not 2");
    assert!(hint.contains("`fixes: [listed_only]`"), "{hint}");
    merge(&dir, "out", &format!("{one}fixes: [listed_only]\n"));
    assert!(tensors(&dir.path("out")) == model("llama-a"));
    let own = "merge_method: linear\nbase_model: data/models/llama-base\n\
               models: [{model: data/models/llama-a, parameters: {weight: 1}}]\n";
    let (error, hint) = refusal(&dir, own);
    assert_eq!(error, "refused.yaml:2:13: base_model: `linear` needs `weight`: share of the model in the mean");
    assert!(hint.contains("`fixes: [listed_only]`"), "{hint}");
}

#[test]
fn adapters_are_applied_and_proved() {
    let dir = Dir::new();
    let data = root().join("tests/data/adapters");
    for name in ["llama", "rslora", "dora"] {
        copy(&data.join(name), &dir.path(name));
    }
    let expected = |name: &str| tensors(&data.join(name).join("expected.safetensors"));
    let (rslora, dora) = (expected("rslora"), expected("dora"));
    merge(&dir, "one", "merge_method: passthrough\nmodels: [{model: llama+rslora}]\n");
    let one = tensors(&dir.path("one"));
    assert!(one.keys().eq(rslora.keys()));
    for (name, tensor) in &one {
        close(name, &floats(tensor), floats(&rslora[name]));
    }
    merge(&dir, "two", &linear(&["llama+rslora", "{model: llama, lora: dora}"]));
    for (name, tensor) in &tensors(&dir.path("two")) {
        close(name, &floats(tensor), mean(&[&rslora, &dora], name));
    }
    let inputs = json(&dir.path("two/evomerge.json"))["inputs"].clone();
    let file = "adapter_model.safetensors";
    for name in ["rslora", "dora"] {
        let hash = merge_core::model::hash::sha256_of(&dir.path(name).join(file)).unwrap();
        let hashed = |input: &&Value| input["path"] == name && input["files"][file] == hash;
        assert_eq!(inputs.as_array().unwrap().iter().filter(hashed).count(), 1, "{inputs}");
    }
    assert_eq!(dir.run(&["verify", "two"]).code, Some(0));
    let mut bytes = fs::read(dir.path("dora").join(file)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    dir.write(&format!("dora/{file}"), bytes);
    let said = dir.run(&["verify", "two"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().contains("dora (adapter): adapter_model.safetensors: its SHA-256 is"), "{}", said.err);
}

#[test]
fn files_of_any_kind_are_merged_by_name() {
    let dir = with_data();
    let kinds = tensors(&root().join("tests/data/pickles/kinds.safetensors"));
    for (name, file) in [("pickle", "kinds.bin"), ("safetensors", "kinds.safetensors")] {
        merge(&dir, name, &format!("merge_method: passthrough\nmodels: [{{model: data/pickles/{file}}}]\n"));
        assert!(tensors(&dir.path(name)) == kinds, "{file}");
        assert!(!dir.path(name).join("config.json").exists());
    }
    let mut unet = tiny_tensors(0.5);
    unet.retain(|name, _| name.contains("mlp"));
    for name in ["x", "y"] {
        dir.write(&format!("{name}/diffusion_pytorch_model.safetensors"), crate::kit::safetensors_bytes(&unet));
    }
    merge(&dir, "unet", &linear(&["x", "y/diffusion_pytorch_model.safetensors"]));
    assert!(tensors(&dir.path("unet")) == tensors(&dir.path("x")));
    assert!(!dir.path("unet/config.json").exists());
}

#[test]
fn scaled_floats_become_what_they_stand_for() {
    let dir = with_data();
    merge(&dir, "fp8", "merge_method: passthrough\nmodels: [{model: data/fp8}]\n");
    assert!(tensors(&dir.path("fp8")) == tensors(&root().join("tests/data/fp8/expected.safetensors")));
    assert!(json(&dir.path("fp8/config.json")).get("quantization_config").is_none());
    let mut packed = tiny_tensors(0.1);
    packed.insert("model.layers.0.mlp.up_proj.qweight".to_owned(), (vec![8], vec![0.0; 8]));
    let gptq = dir.checkpoint("gptq", &packed);
    let mut config = json(&gptq.join("config.json"));
    config["quantization_config"] = serde_json::json!({"quant_method": "gptq", "bits": 4});
    dir.write("gptq/config.json", config.to_string());
    let (error, hint) = refusal(&dir, &linear(&["gptq"]));
    assert!(error.ends_with("gptq: `model.layers.0.mlp.up_proj.qweight` is part of a quantised tensor"), "{error}");
    assert_eq!(hint, "merge the checkpoint that it was quantised from, in 16 or 32 bits");
}

#[test]
fn heads_are_tied_or_not_as_asked() {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    let mut tensors_of_b = tiny_tensors(0.75);
    tensors_of_b.remove("lm_head.weight");
    let b = dir.checkpoint("b", &tensors_of_b);
    let mut config = json(&b.join("config.json"));
    config["tie_word_embeddings"] = true.into();
    dir.write("b/config.json", config.to_string());
    let recipe = linear(&["a", "b"]);
    assert!(refusal(&dir, &recipe).0.ends_with("one ties its output head to the embedding, the other does not"));
    let [a, b] = ["a", "b"].map(|name| tensors(&dir.path(name)));
    let (head, embedding) = ("lm_head.weight", "model.embed_tokens.weight");
    for tie in [true, false] {
        let name = format!("tie-{tie}");
        merge(&dir, &name, &format!("{recipe}tie_word_embeddings: {tie}\n"));
        let out = tensors(&dir.path(&name));
        assert_eq!(json(&dir.path(&name).join("config.json"))["tie_word_embeddings"], tie);
        assert_eq!(out.contains_key(head), !tie);
        close(embedding, &floats(&out[embedding]), mean(&[&a, &b], embedding));
        assert_eq!(dir.run(&["inspect", &name]).code, Some(0));
        assert_eq!(dir.run(&["verify", &name]).code, Some(0));
    }
    let (own, lent) = (floats(&a[head]), floats(&b[embedding]));
    let expected = own.iter().zip(&lent).map(|(x, y)| f64::midpoint(*x, *y));
    close(head, &floats(&tensors(&dir.path("tie-false"))[head]), expected);
}

#[test]
fn vocabularies_are_united_and_padded() {
    let dir = with_data();
    let recipe = linear(&["data/models/llama-a", "data/models/llama-ext"]);
    let (error, hint) = refusal(&dir, &recipe);
    assert!(error.contains("the shapes of `lm_head.weight` differ: [300, 48] and [304, 48]"), "{error}");
    assert!(hint.contains("`tokenizer: {source: union}`"), "{hint}");
    let added = |path: &Path| {
        let tokenizer = json(&path.join("tokenizer.json"));
        let tokens = tokenizer["added_tokens"].as_array().unwrap().clone();
        tokens.iter().map(|token| token["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (name, padding, rows) in [("union", "", 304), ("padded", ", pad_to_multiple_of: 64", 320)] {
        merge(&dir, name, &format!("{recipe}tokenizer: {{source: union{padding}}}\n"));
        let out = tensors(&dir.path(name));
        assert_eq!(json(&dir.path(name).join("config.json"))["vocab_size"], rows);
        for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
            assert_eq!(out[tensor].1, [rows, 48]);
        }
        let tokens = added(&dir.path(name));
        assert!(added(&root().join("tests/data/models/llama-ext")).iter().all(|token| tokens.contains(token)));
        assert_eq!(dir.run(&["verify", name]).code, Some(0));
    }
}

#[test]
fn a_chat_template_is_written_for_old_loaders_and_new() {
    let dir = with_data();
    merge(&dir, "out", &(linear(&["data/models/llama-a"]) + "chat_template: chatml\n"));
    let template = fs::read_to_string(dir.path("out/chat_template.jinja")).unwrap();
    assert!(template.contains("<|im_start|>") && template.contains("add_generation_prompt"), "{template}");
    assert_eq!(json(&dir.path("out/tokenizer_config.json"))["chat_template"], template);
}

#[test]
fn whole_numbers_are_copied_where_models_agree() {
    let dir = Dir::new();
    let write = |name: &str, ids: [i64; 3], weights: [f64; 3]| {
        let ids: Vec<u8> = ids.iter().flat_map(|x| x.to_le_bytes()).collect();
        let weights: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
        let views = [("ids", Dtype::I64, &ids), ("w", Dtype::F64, &weights)]
            .map(|(name, dtype, bytes)| (name, TensorView::new(dtype, vec![3], bytes).unwrap()));
        dir.write(&format!("{name}.safetensors"), safetensors::serialize(views, None).unwrap());
    };
    write("a", [1, 2, i64::MAX], [0.5, 1.0, -2.0]);
    write("b", [1, 2, i64::MAX], [1.5, 0.25, 4.0]);
    write("c", [1, 3, i64::MAX], [1.5, 0.25, 4.0]);
    merge(&dir, "out", &linear(&["a.safetensors", "b.safetensors"]));
    let out = tensors(&dir.path("out"));
    assert!(out["ids"] == tensors(&dir.path("a.safetensors"))["ids"]);
    close("w", &floats(&out["w"]), [1.0, 0.625, 1.0]);
    let (error, hint) = refusal(&dir, &linear(&["a.safetensors", "c.safetensors"]));
    assert_eq!(error, "`ids` differs in `a.safetensors` and `c.safetensors`, and is not a float");
    assert_eq!(hint, "tensors of whole numbers are copied, so they must be the same in all models");
}
