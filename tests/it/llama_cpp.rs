//! Searches over scales of adapters that llama.cpp holds: a double of its server, with the faults of a real one.

use crate::{
    engine_double::{EngineDouble, EngineFault},
    kit::{Dir, Said, family, safetensors_bytes},
    search::{SEARCH, answer, finished, study_on},
};
use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use merge_core::{checkpoint::Checkpoint, model::Weights as _};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Rank that is enough for any change of the family's projections.
const RANK: usize = 128;

/// Numbers of a tensor.
fn numbers(model: &Checkpoint, name: &str) -> Vec<f32> {
    let mut all = vec![0.0; model.index()[name].len()];
    model.tensor(name).unwrap().read(0, &mut all).unwrap();
    all
}

/// Writes a GGUF file in 16 bits, with a number in its metadata.
fn write_gguf(path: &Path, alpha: Option<f32>, tensors: &[(String, Vec<usize>, Vec<f32>, GgmlDType)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let made: Vec<(&str, QTensor)> = tensors
        .iter()
        .map(|(name, shape, values, dtype)| {
            let tensor = Tensor::from_slice(values, &shape[..], &Device::Cpu).unwrap();
            (name.as_str(), QTensor::quantize(&tensor, *dtype).unwrap())
        })
        .collect();
    let alpha = alpha.map(gguf_file::Value::F32);
    let metadata: Vec<_> = alpha.iter().map(|alpha| ("adapter.lora.alpha", alpha)).collect();
    let named: Vec<(&str, &QTensor)> = made.iter().map(|(name, tensor)| (*name, tensor)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &named).unwrap();
}

/// Writes an adapter that holds all that a model of the family changes in its projections, in the layout of PEFT and as
/// llama.cpp has it. Returns its directory and its file.
fn adapter(dir: &Dir, model: &str, rslora: bool) -> (PathBuf, PathBuf) {
    let [base, tuned] = ["base", model].map(|name| Checkpoint::open(&family().join(name)).unwrap());
    let (mut peft, mut gguf) = (BTreeMap::new(), Vec::new());
    let identity: Vec<f32> = (0..RANK * RANK).map(|i| if i % (RANK + 1) == 0 { 1.0 } else { 0.0 }).collect();
    for (name, meta) in base.index().iter().filter(|(name, _)| name.contains("_proj")) {
        let change: Vec<f32> =
            numbers(&tuned, name).iter().zip(numbers(&base, name)).map(|(tuned, base)| tuned - base).collect();
        let [outputs, inputs] = meta.shape[..] else { panic!("a projection is a matrix") };
        // One of the two matrices is the identity.
        let (a, b) = if inputs == RANK { (identity.clone(), change) } else { (change, identity.clone()) };
        let module = name.strip_suffix(".weight").unwrap();
        peft.insert(format!("base_model.model.{module}.lora_A.weight"), (vec![RANK, inputs], a.clone()));
        peft.insert(format!("base_model.model.{module}.lora_B.weight"), (vec![outputs, RANK], b.clone()));
        // llama.cpp orders the rows of some `B` in another way.
        let turned: Vec<f32> = b.chunks(RANK).rev().flatten().copied().collect();
        gguf.push((format!("{module}.weight.lora_a"), vec![RANK, inputs], a, GgmlDType::F16));
        gguf.push((format!("{module}.weight.lora_b"), vec![outputs, RANK], turned, GgmlDType::F16));
    }
    // The scale is 1: alpha/rank, or alpha/√rank.
    let alpha = if rslora { f64::from(RANK as u32).sqrt() } else { RANK as f64 };
    let config = json!({
        "peft_type": "LORA", "r": RANK, "lora_alpha": alpha, "use_rslora": rslora,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    });
    let name = format!("{model}-lora");
    dir.write(&format!("{name}/adapter_config.json"), config.to_string());
    dir.write(&format!("{name}/adapter_model.safetensors"), safetensors_bytes(&peft));
    let file = dir.path(&format!("files/{name}.gguf"));
    write_gguf(&file, Some(alpha as f32), &gguf);
    (dir.path(&name), file)
}

/// Writes norms and a projection of models of the family as llama.cpp's file of the base.
fn base_file(dir: &Dir, norms: &str, projection: &str) {
    let [of_norms, of_projection] = [norms, projection].map(|name| Checkpoint::open(&family().join(name)).unwrap());
    let norms = of_norms.index().iter().filter(|(name, _)| name.ends_with("norm.weight"));
    let norms = norms.map(|(name, meta)| (name.clone(), meta.shape.clone(), numbers(&of_norms, name), GgmlDType::F32));
    let mut all: Vec<_> = norms.collect();
    let name = "model.layers.0.self_attn.v_proj.weight";
    let shape = of_projection.index()[name].shape.clone();
    all.push(("blk.0.attn_v.weight".to_owned(), shape, numbers(&of_projection, name), GgmlDType::F16));
    write_gguf(&dir.path("files/base.gguf"), None, &all);
}

/// A directory with a small search over two adapters, and those, the second one with rsLoRA.
fn study() -> (Dir, [(PathBuf, PathBuf); 2]) {
    let dir = Dir::new();
    study_on(&dir, [60, 2, 2, 2]);
    let adapters = [adapter(&dir, "ja", false), adapter(&dir, "math-a", true)];
    base_file(&dir, "base", "base");
    let base = family().join("base").display().to_string();
    let model = |name: &str| format!("- model: {base}+{name}\n  parameters: {{weight: {{search: [0.0, 1.5]}}}}\n");
    let models = ["ja-lora", "math-a-lora"].map(model).concat();
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n{models}dtype: bfloat16\nsearch:\n  budget: 8\n  seed: 3\n  \
         optimizer: {{name: cma_es, population: 4}}\n  objective:\n  - {{task: sums.yaml, items: 2}}\n"
    );
    dir.write("search.yaml", text);
    (dir, adapters)
}

fn search(dir: &Dir, engine: &EngineDouble, more: &[&str]) -> Said {
    dir.run(&[SEARCH, &["--engine", &engine.address(), "--engine-timeout", "5"], more].concat())
}

/// Recipe and result of a study, without the baseline that adapters cannot be scaled to.
fn found(dir: &Dir) -> (String, Value) {
    let (recipe, mut result) = answer(dir);
    result["baselines"].as_array_mut().unwrap().retain(|baseline| baseline["name"] != "DARE-TIES, untuned");
    result.as_object_mut().unwrap().shift_remove("verdict");
    (recipe, result)
}

/// What our own forward pass finds.
fn own() -> &'static (String, Value) {
    static OWN: LazyLock<(String, Value)> = LazyLock::new(|| finished(&study().0, found));
    &OWN
}

#[track_caller]
fn check_done(dir: &Dir, said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(&found(dir), own(), "{}", said.err);
}

#[test]
fn a_search_over_adapters_finds_what_our_own_forward_pass_finds() {
    let (dir, adapters) = study();
    let engine = EngineDouble::llama_cpp(&family().join("base"), &adapters);
    let said = search(&dir, &engine, &[]);
    check_done(&dir, &said);
    for what in ["held against evomerge's own forward pass on base+ja-lora: 16 of 16 texts are the same", "% idle"] {
        assert!(said.err.contains(what), "{what}: {}", said.err);
    }
    assert!(!said.err.contains("cannot be read here") && !said.out.contains("DARE-TIES"), "{} {}", said.err, said.out);
    let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    let identity = result["study"]["engine"].as_str().unwrap();
    assert!(identity.starts_with("llama.cpp b11434, base.gguf (F16), files ") && identity.len() == 53, "{identity}");
    // The winner can be served as it was scored; rsLoRA's scale is not llama.cpp's.
    let said_scales = said.err.lines().find_map(|line| line.split("--lora-scaled ").nth(1)).unwrap();
    let scales: Vec<f64> = said_scales.split(',').map(|one| one.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    let recipe = Checkpoint::open(&dir.path("out/model")).is_ok().then(|| found(&dir).0).unwrap();
    let weights: Vec<f64> =
        recipe.lines().filter_map(|line| line.trim().strip_prefix("weight: ")?.parse().ok()).collect();
    for ((scale, weight), factor) in scales.iter().zip(weights).zip([1.0, f64::from(RANK as u32).sqrt()]) {
        assert!((scale - weight * factor).abs() < 1e-5, "{said_scales}: {recipe}");
    }
    let prompts = &engine.state.lock().unwrap().prompts;
    // Twice as many prompts as the server has slots: a longer list would end after its time.
    assert!(prompts.iter().any(|prompts| *prompts > 1) && prompts.iter().all(|prompts| *prompts <= 8), "{prompts:?}");
}

#[test]
fn whatever_happens_to_llama_cpp_no_score_is_another() {
    use EngineFault::{Aborts, AfterLoads, Answers500, IsAway};
    let (dir, adapters) = study();
    let engine = EngineDouble::llama_cpp(&family().join("base"), &adapters);
    engine.fail(&[AfterLoads(2), Answers500, IsAway(2), AfterLoads(3), Aborts]);
    let said = search(&dir, &engine, &[]);
    check_done(&dir, &said);
    for told in ["completion answers 500", "an answer ended by none"] {
        assert!(said.err.contains(told), "{}", said.err);
    }
    assert!(engine.state.lock().unwrap().faults.is_empty());
}

#[test]
fn a_server_that_is_started_again_with_other_adapters_is_asked_no_more() {
    let (dir, adapters) = study();
    let engine = EngineDouble::llama_cpp(&family().join("base"), &adapters);
    engine.fail(&[EngineFault::StartsAgain]);
    let said = search(&dir, &engine, &[]);
    assert!(said.code == Some(3) && said.error().ends_with("no engine is left"), "{}", said.err);
    let order = format!("adapters {}, {}", adapters[1].1.display(), adapters[0].1.display());
    assert!(said.err.contains("it was started again as something else") && said.err.contains(&order), "{}", said.err);
    check_done(&dir, &search(&dir, &EngineDouble::llama_cpp(&family().join("base"), &adapters), &[]));
}

#[test]
fn adapters_whose_files_are_elsewhere_are_known_by_their_names() {
    let (dir, adapters) = study();
    // The other order: names count, not numbers.
    let [ja, math] = adapters.map(|(dir, _)| dir);
    let elsewhere = |dir: &Path| PathBuf::from(format!("/elsewhere/{}.gguf", dir.file_name().unwrap().display()));
    let held = [&math, &ja].map(|dir| (dir.clone(), elsewhere(dir)));
    let said = search(&dir, &EngineDouble::llama_cpp(&family().join("base"), &held), &[]);
    check_done(&dir, &said);
    let note = "its model /elsewhere/base.gguf and 2 adapters cannot be read here, so names tell what is what";
    assert!(said.err.contains(note), "{}", said.err);
}

#[test]
fn what_llama_cpp_cannot_score_is_refused_with_the_reason() {
    let (dir, adapters) = study();
    let refused = |engine: &EngineDouble, text: &str, error: &str, hint: &str| {
        dir.write("other.yaml", text);
        let said = dir.run(&["search", "other.yaml", "-o", "other", "--engine", &engine.address()]);
        assert!(said.error().contains(error) && said.hint().unwrap().contains(hint), "{}", said.err);
        assert!(said.code == Some(1) && !dir.path("other").exists(), "{error}");
    };
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let engine = |adapters: &[(PathBuf, PathBuf)]| EngineDouble::llama_cpp(&family().join("base"), adapters);
    let both = engine(&adapters);
    let none = "llama.cpp holds no LoRA adapter, and is given no weights, only scales";
    refused(&engine(&[]), &text, none, "full models need vLLM or SGLang");
    let missing = format!("none of its adapters is {}: it holds ", adapters[1].0.canonicalize().unwrap().display());
    refused(&engine(&adapters[..1]), &text, &missing, "convert it by convert_lora_to_gguf.py");
    refused(
        &both,
        &text.replace("task_arithmetic", "ties"),
        "`ties` is no weighted sum of task vectors",
        "name models as",
    );
    let layers = text.replace("[0.0, 1.5]", "[0.0, 1.5], per: layer");
    refused(&both, &layers, "in another tensor", "give each one weight for all layers");
    let likelihoods = text.replace("items: 2}", "items: 2}\n  report: [choices.yaml]");
    refused(&both, &likelihoods, "does not tell log-likelihoods of a prompt", "use tasks whose answers are generated");
    let full = text
        .replace(&format!("{}+ja-lora", family().join("base").display()), &family().join("ja").display().to_string());
    refused(&both, &full, "which are two models", "name models as `base+adapter`");
    // A base that an adapter was merged into has the norms of the base.
    for [norms, projection] in [["ja", "base"], ["base", "ja"]] {
        base_file(&dir, norms, projection);
        refused(&engine(&adapters), &text, "their numbers differ", "start llama-server with the base of the search");
    }
    base_file(&dir, "base", "base");
    let twice = [adapters[0].clone(), (adapters[0].0.clone(), dir.path("files/copy.gguf")), adapters[1].clone()];
    fs::copy(&adapters[0].1, &twice[1].1).unwrap();
    refused(&engine(&twice), &text, "files/copy.gguf may be ", "give the files the names of the adapters' directories");
}

#[test]
fn an_eval_of_a_mixture_scores_as_our_own_forward_pass() {
    let (dir, adapters) = study();
    let engine = EngineDouble::llama_cpp(&family().join("base"), &adapters);
    let base = family().join("base").display().to_string();
    let recipe = format!(
        "merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n- {{model: {base}+ja-lora, parameters: {{weight: 1.2}}}}\n\
         dtype: bfloat16\n"
    );
    dir.write("merged.yaml", recipe);
    let eval =
        |more: &[&str]| dir.run(&[&["eval", "merged.yaml", "--tasks", "sums.yaml", "--no-memory"][..], more].concat());
    let (own, theirs) = (eval(&[]), eval(&["--engine", &engine.address()]));
    assert_eq!(own.code, Some(0), "{}", own.err);
    assert_eq!((theirs.code, &theirs.out), (own.code, &own.out), "{}", theirs.err);
}
