//! Tests: a merge that is told as a mixture is the sum that the mixture says; any other merge is refused with the reason.

use super::*;
use crate::{
    merge::sources::{FilesOnly, Sources},
    model::{Weights, whole},
    recipe::Recipe,
};
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::fs;
use tempfile::{TempDir, tempdir};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/adapters")
}

/// Writes an adapter of rank 2 for a projection of both layers of the fixture `llama`.
fn adapter(dir: &Path, phase: f32, module: &str, settings: &str) {
    fs::create_dir(dir).unwrap();
    let config =
        format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["{module}"], {settings}}}"#);
    fs::write(dir.join("adapter_config.json"), config).unwrap();
    let (mut all, mut number) = (Vec::new(), 0.0);
    for layer in 0..2 {
        for (part, shape) in [("lora_A", [2, 16]), ("lora_B", [16, 2])] {
            let mut next = || {
                number += 1.0;
                f32::sin(number + phase) / 8.0
            };
            let values: Vec<u8> = (0..32).flat_map(|_| next().to_le_bytes()).collect();
            all.push((
                format!("base_model.model.model.layers.{layer}.self_attn.{module}.{part}.weight"),
                shape,
                values,
            ));
        }
    }
    let views =
        all.iter().map(|(name, shape, values)| (name, TensorView::new(Dtype::F32, shape.to_vec(), values).unwrap()));
    serialize_to_file(views, None, &dir.join("adapter_model.safetensors")).unwrap();
}

/// A directory with the adapters `a` and `b`, and a recipe.
fn merged(recipe: &str) -> (TempDir, Sources, Result<Merge>) {
    let dir = tempdir().unwrap();
    adapter(&dir.path().join("a"), 0.0, "q_proj", r#""use_rslora": false"#);
    adapter(&dir.path().join("b"), 1.0, "q_proj", r#""use_rslora": true"#);
    fs::create_dir(dir.path().join("copy")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures().join("llama").join(name), dir.path().join("copy").join(name)).unwrap();
    }
    let text = recipe.replace("BASE", &fixtures().join("llama").display().to_string());
    let text = text.replace("FIXTURES", &fixtures().display().to_string());
    let recipe = Recipe::parse(&text, &dir.path().join("r.yaml")).unwrap();
    let sources = Sources::open(&recipe, &[], &FilesOnly).unwrap();
    let merge = Merge::plan(&recipe, &sources.of(&recipe));
    (dir, sources, merge)
}

fn numbers(model: &dyn Weights, name: &str) -> Vec<f32> {
    let bytes = whole(&*model.tensor(name).unwrap()).unwrap().into_owned();
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Checks that a merge is a mixture with these scales, and that each tensor is that sum.
#[track_caller]
fn check(recipe: &str, scales: [f64; 2]) {
    let (dir, sources, merge) = merged(recipe);
    let merge = merge.unwrap();
    let mixture = merge.mixture().unwrap();
    assert_eq!(mixture.base, fixtures().join("llama"));
    let found: Vec<_> = mixture.adapters.iter().map(|one| (one.dir.clone(), one.alpha)).collect();
    assert_eq!(found.len(), 2);
    // rsLoRA's factor is 6/√2.
    let alphas = [6.0, 6.0 * f64::sqrt(2.0)];
    for ((dir, alpha), (name, expected)) in found.iter().zip([("a", alphas[0]), ("b", alphas[1])]) {
        assert!(dir.ends_with(name) && (alpha - expected).abs() < 1e-6, "{dir:?}: {alpha}");
    }
    for (one, scale) in mixture.adapters.iter().zip(scales) {
        assert!((one.scale - scale).abs() < 1e-9, "{}: {}, not {scale}", one.dir.display(), one.scale);
    }
    let model = |name: &str| sources.iter().find(|(other, _)| other.ends_with(name)).unwrap().1;
    let base = crate::checkpoint::Checkpoint::open(&fixtures().join("llama")).unwrap();
    for name in merge.index().keys() {
        let all =
            [numbers(&merge, name), numbers(&base, name), numbers(&**model("+a"), name), numbers(&**model("+b"), name)];
        for i in 0..all[0].len() {
            let [r, x, a, b] = [&all[0], &all[1], &all[2], &all[3]].map(|numbers| f64::from(numbers[i]));
            let expected = x + scales[0] * (a - x) + scales[1] * (b - x);
            assert!((r - expected).abs() < 1e-5, "`{name}`[{i}]: {r}, not {expected}");
        }
    }
    drop(dir);
}

const BOTH: &str =
    "models:\n- {model: BASE+a, parameters: {weight: 0.3}}\n- {model: BASE+b, parameters: {weight: -0.5}}\n";

#[test]
fn weighted_sums_of_adapted_models_are_mixtures() {
    check(&format!("merge_method: task_arithmetic\nbase_model: BASE\n{BOTH}"), [0.3, -0.5]);
    check(&format!("merge_method: task_arithmetic\nbase_model: BASE\n{BOTH}parameters: {{lambda: 2}}"), [0.6, -1.0]);
    check(
        &format!("merge_method: task_arithmetic\nbase_model: BASE\n{BOTH}parameters: {{normalize: true}}"),
        [-1.5, 2.5],
    );
    check(&format!("merge_method: dare_linear\nbase_model: BASE\n{BOTH}"), [0.3, -0.5]);
    // The mean of whole models: the base is in both.
    check(&format!("merge_method: linear\n{BOTH}"), [-1.5, 2.5]);
    check(&format!("merge_method: linear\n{BOTH}- {{model: BASE, parameters: {{weight: 1.2}}}}\n"), [0.3, -0.5]);
    // An adapted base: its adapter is in what differences are taken from.
    check(
        "merge_method: task_arithmetic\nbase_model: BASE+a\nmodels:\n- {model: BASE+b, parameters: {weight: 0.25}}\n",
        [0.75, 0.25],
    );
    check(&format!("merge_method: linear\n{}", BOTH.replace("0.3", "1").replace("-0.5", "0")), [1.0, 0.0]);
}

#[test]
fn what_an_engine_cannot_scale_is_refused_with_the_reason() {
    let refused = |recipe: &str, why: &str| {
        let (dir, _, merge) = merged(recipe);
        let error = merge.unwrap().mixture().expect_err("it is no mixture");
        let said = error.to_string().replace(&dir.path().display().to_string(), "D");
        let said = said.replace(&fixtures().display().to_string(), "F");
        assert!(said.contains(why), "{said}");
        assert!(error.advice().is_some(), "{said}");
    };
    refused(&format!("merge_method: ties\nbase_model: BASE\n{BOTH}"), "`ties` is no weighted sum of task vectors");
    refused(
        &format!("merge_method: linear\n{BOTH}parameters: {{normalize: false}}"),
        "is -0.2 times the base: the weights of `linear` must sum to 1",
    );
    refused(
        "merge_method: task_arithmetic\nbase_model: BASE\nmodels:\n- {model: BASE+a, parameters: {weight: [0, 1]}}\n",
        "D/a has weight 1 in `model.layers.1.self_attn.q_proj.weight`, but 0 in another tensor",
    );
    refused(
        "merge_method: passthrough\nslices:\n- sources: [{model: BASE+a, layer_range: [1, 2]}]\n- sources: [{model: BASE+a, layer_range: [0, 1]}]\n",
        "comes from",
    );
    refused(
        "merge_method: passthrough\nslices:\n- sources: [{model: BASE+a, layer_range: [0, 1]}]\n",
        "it lacks `model.layers.1.",
    );
    for (fixture, why) in [
        ("dora", "F/dora changes `model.layers.0.mlp.up_proj.weight` by more than a low-rank update"),
        ("rslora", "F/rslora changes `model.layers.0.self_attn.k_proj.bias` by more"),
        ("patterns", "the modules of F/patterns have different alphas"),
    ] {
        refused(&format!("merge_method: passthrough\nmodels:\n- model: BASE+FIXTURES/{fixture}\n"), why);
    }
    refused(
        &format!("merge_method: linear\n{BOTH}- {{model: copy, parameters: {{weight: 1}}}}\n"),
        "which are two models",
    );
}
