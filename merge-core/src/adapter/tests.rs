//! Tests: a merged adapter equals PEFT's result; parts that PEFT would not use are refused.

use super::*;
use crate::checkpoint::tests::write;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/adapters").join(name)
}

fn open(path: &Path) -> Arc<dyn Weights> {
    Arc::new(Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}")))
}

/// All elements of a tensor, read in stretches of any position.
fn numbers(tensor: &dyn Elements) -> Vec<f32> {
    let mut numbers = vec![0.0; tensor.len()];
    for (stretch, part) in numbers.chunks_mut(37).enumerate() {
        tensor.read(stretch * 37, part).expect("it can be read");
    }
    numbers
}

/// Checks an adapter merged into a model against the result of PEFT's `merge_and_unload`.
#[track_caller]
fn check(base: &str, adapter: &str) -> Adapted {
    let merged = Adapted::open(open(&data(base)), &data(adapter)).unwrap_or_else(|e| panic!("{e}"));
    let expected = open(&data(adapter).join("expected.safetensors"));
    assert_eq!(merged.index(), expected.index());
    let mut changed = 0;
    for name in expected.index().keys() {
        let (ours, theirs) = (numbers(&*merged.tensor(name).unwrap()), numbers(&*expected.tensor(name).unwrap()));
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() <= 1e-6 + 1e-5 * b.abs(), "{adapter}: `{name}`[{i}]: {a}, not {b}");
        }
        changed += usize::from(merged.base.bytes(name).is_ok_and(|base| base != expected.bytes(name).unwrap()));
    }
    assert!(changed > 0, "the adapter changes something");
    merged
}

#[test]
fn ranks_and_alphas_differ_by_module() {
    check("llama", "patterns");
}

#[test]
fn scales_by_the_root_of_the_rank_and_takes_biases_over() {
    check("llama", "rslora");
}

#[test]
fn updates_embeddings_and_replaces_what_was_saved_whole() {
    check("llama", "embedding");
}

#[test]
fn a_vocabulary_that_grew_is_in_the_configuration() {
    let merged = check("llama", "resized");
    assert_eq!(merged.config().count("vocab_size").unwrap(), Some(43));
}

#[test]
fn gives_outputs_the_magnitudes_of_dora() {
    check("llama", "dora");
    check("llama", "dora-embedding");
    check("gpt2", "dora-conv1d");
}

#[test]
fn updates_what_is_stored_transposed() {
    check("gpt2", "conv1d");
}

#[test]
fn a_head_of_its_own_unties_the_model() {
    let merged = check("gpt2", "tied");
    assert!(!merged.config().tied().unwrap());
}

#[test]
fn rounds_once_to_the_type_of_the_models_tensor() {
    let (rows, columns, rank) = (5, 300, 7);
    let some = |len: usize, seed: f32| (0..len).map(|i| (i as f32 * seed).sin()).collect::<Vec<f32>>();
    let (left, right) = (some(rows * rank, 1.3), some(rank * columns, 0.7));
    let mut stored = vec![0; 2 * rows * columns];
    Dtype::BF16.narrow(&some(rows * columns, 0.11), &mut stored);
    let base = crate::model::Stored::new(Dtype::BF16, stored.into());
    let mut w = vec![0.0; rows * columns];
    base.read(0, &mut w).unwrap();
    let updated = LowRank::new(Box::new(base), Dtype::BF16, columns, [left.clone(), right.clone()], 0.3);
    let ours = numbers(&updated);
    for (i, x) in ours.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let pair = |k: usize| f64::from(left[row * rank + k]) * f64::from(right[k * columns + column]);
        let exact = f64::from(w[i]) + 0.3 * (0..rank).map(pair).sum::<f64>();
        // Half a step of 8 bits, and the rounding of f32.
        assert!((f64::from(*x) - exact).abs() <= exact.abs() / 256.0 + 1e-6, "{i}: {x}, not {exact}");
        assert_eq!(x.to_bits() & 0xffff, 0);
    }
}

#[test]
fn reads_an_adapter_from_a_pickle() {
    let dir = copy("patterns");
    fs::copy(data("patterns/adapter_model.bin"), dir.path().join("adapter_model.bin")).unwrap();
    fs::remove_file(dir.path().join("adapter_model.safetensors")).unwrap();
    let [pickled, same] = [dir.path(), &data("patterns")].map(|dir| Adapted::open(open(&data("llama")), dir).unwrap());
    for name in same.index().keys() {
        assert_eq!(pickled.bytes(name).unwrap(), same.bytes(name).unwrap(), "{name}");
    }
}

#[test]
fn an_adapter_that_brings_a_tokenizer_brings_all_of_it() {
    let (base, adapter) = (copy("llama"), copy("patterns"));
    for name in ["tokenizer.json", "special_tokens_map.json", "generation_config.json"] {
        fs::write(base.path().join(name), "base").unwrap();
    }
    let side = |name: &str| {
        let merged = Adapted::open(open(base.path()), adapter.path()).unwrap();
        merged.sidecar(name).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(side("tokenizer.json").as_deref(), Some("base"));
    fs::write(adapter.path().join("tokenizer.json"), "adapter").unwrap();
    assert_eq!(side("tokenizer.json").as_deref(), Some("adapter"));
    assert_eq!(side("special_tokens_map.json"), None);
    assert_eq!(side("generation_config.json").as_deref(), Some("base"));
}

fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for entry in fs::read_dir(data(name)).expect("a fixture") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|end| end != "bin") && !path.ends_with("expected.safetensors") {
            fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a file can be copied");
        }
    }
    dir
}

/// Checks that an adapter with these changes of settings and tensor names is refused.
#[track_caller]
fn refused(base: &str, adapter: &str, settings: &[(&str, Value)], renames: &[(&str, &str)], expected: &str) {
    let dir = copy(adapter);
    let path = dir.path().join("adapter_config.json");
    let mut config: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let file = fs::read(&path).unwrap();
    let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(file[8..8 + len].to_vec()).unwrap();
    let header = renames.iter().fold(header, |header, (old, new)| header.replacen(old, new, 1));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + len..]].concat();
    fs::write(&path, bytes).unwrap();
    let error = Adapted::open(open(&data(base)), dir.path()).err().expect("it is refused");
    let message = error.to_string().replace(&dir.path().display().to_string(), "A");
    assert_eq!(message.replace(&data("").display().to_string(), ""), expected);
    assert!(error.advice().is_some(), "{expected}: no hint");
}

#[test]
fn refuses_what_does_not_fit_or_would_not_be_used() {
    const FIRST: &str = "model.layers.0.self_attn";
    let check = |adapter: &str, settings: &[(&str, Value)], rename: (&str, &str), expected: &str| {
        refused("llama", adapter, settings, &[rename], expected);
    };
    let renamed = |old: &str, new: &str, expected: &str| check("patterns", &[], (old, new), expected);
    renamed(
        "q_proj.lora_A",
        "q_proj.lora_C",
        &format!(
            "A/adapter_model.safetensors: `base_model.model.{FIRST}.q_proj.lora_C.weight` is of a kind that is not known"
        ),
    );
    renamed("q_proj.lora_A", "qq_proj.lora_A", &format!("A: the update of `{FIRST}.q_proj.weight` has no lora_A"));
    renamed("v_proj.lora_B", "o_proj.lora_B", &format!("A: the update of `{FIRST}.o_proj.weight` has no lora_A"));
    let stated =
        |adapter: &str, key: &str, value: Value, expected: &str| check(adapter, &[(key, value)], ("", ""), expected);
    stated("patterns", "peft_type", json!("LOHA"), "A/adapter_config.json: peft_type: LOHA is not LORA");
    stated(
        "patterns",
        "rank_pattern",
        json!({ "v_proj": 2 }),
        "A: `base_model.model.model.layers.1.mlp.down_proj.lora_A.weight` and \
         `base_model.model.model.layers.1.mlp.down_proj.lora_B.weight` have ranks 3 and 3; adapter_config.json says 4",
    );
    stated(
        "patterns",
        "use_dora",
        json!(true),
        "A: the update of `model.layers.0.mlp.down_proj.weight` has no lora_magnitude_vector",
    );
    stated(
        "dora",
        "use_dora",
        json!(false),
        "A: `base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector` is there, \
         but adapter_config.json does not say `use_dora`",
    );
}

#[test]
fn refuses_an_adapter_of_another_model() {
    let absent = "A: it changes `transformer.h.0.attn.c_attn.weight`, which llama does not have";
    refused("llama", "conv1d", &[], &[], absent);
    // The model has two heads of keys and four of queries.
    let other = "A: the update of `model.layers.0.self_attn.o_proj.weight` is for [8, 16] numbers, \
                 but the model's is of [16, 16] in float32";
    let to = [
        ("0.self_attn.v_proj.lora_A", "0.self_attn.o_proj.lora_A"),
        ("0.self_attn.v_proj.lora_B", "0.self_attn.o_proj.lora_B"),
    ];
    refused("llama", "patterns", &[("rank_pattern", json!({ "o_proj|v_proj": 2, "1.mlp.down_proj": 3 }))], &to, other);
    // Only one of the two tensors with a row for each token is resized.
    let embedding = "base_model.model.model.embed_tokens";
    let copies = [
        (&*format!("{embedding}.weight"), "base_model.model.a.original_module.weight"),
        (&*format!("{embedding}.modules_to_save.weight"), "base_model.model.b.original_module.weight"),
    ];
    let half = "A: `lm_head.weight` has 43 rows instead of 40, but `model.embed_tokens.weight` is not resized";
    refused("llama", "resized", &[], &copies, half);
}

#[test]
fn a_head_that_is_the_new_embedding_leaves_the_model_tied() {
    let dir = copy("conv1d");
    let zeros = ["lm_head", "transformer.wte"].map(|module| format!("base_model.model.{module}.weight"));
    let zeros = zeros.each_ref().map(|name| (name.as_str(), Dtype::F32, &[24, 12][..]));
    write(&dir.path().join("adapter_model.safetensors"), &zeros);
    let base = open(&data("gpt2"));
    let merged = Adapted::open(Arc::clone(&base), dir.path()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((merged.index(), merged.config()), (base.index(), base.config()));
    assert!(numbers(&*merged.tensor("transformer.wte.weight").unwrap()).iter().all(|x| *x == 0.0));
}
