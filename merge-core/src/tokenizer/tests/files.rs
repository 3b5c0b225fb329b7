//! Models in memory: padding, types, sidecars and errors.

use super::*;
use crate::{
    error::Result,
    model::{Config, Index, Meta, Weights, dtype::Dtype, weights::tests::Memory},
};
use std::{collections::BTreeMap, sync::Arc};

/// A model with only an embedding, `rows` by 2, whose element `i` is `start + i`.
fn model(tokenizer: &Value, rows: usize, dtype: Dtype, start: f32) -> Memory {
    let values: Vec<f32> = (0..2 * rows).map(|i| start + i as f32).collect();
    let mut bytes = vec![0; values.len() * dtype.size()];
    dtype.narrow(&values, &mut bytes);
    let mut model = Memory::new(|_| 0.0);
    model.index = Index::from([("model.embed_tokens.weight".to_owned(), Meta { dtype, shape: vec![rows, 2] })]);
    model.tensors = BTreeMap::from([("model.embed_tokens.weight".to_owned(), bytes)]);
    model.config = object(json!({ "vocab_size": rows }));
    write(&mut model, "tokenizer.json", tokenizer);
    model
}

fn object(value: Value) -> Config {
    Config(serde_json::from_value(value).unwrap())
}

fn write(model: &mut Memory, name: &str, value: &Value) {
    model.sidecars.insert(name.to_owned(), value.to_string().into_bytes());
}

fn unify_all(spec: &Spec<'_>, models: impl IntoIterator<Item = Memory>) -> Result<UnifiedModels> {
    let models = ["a", "b", "c"].into_iter().zip(models.into_iter().map(|model| Arc::new(model) as Arc<dyn Weights>));
    unify(spec, &models.collect::<Vec<_>>())
}

fn embedding(weights: &dyn Weights) -> (Dtype, Vec<f32>) {
    let tensor = weights.tensor("model.embed_tokens.weight").unwrap();
    let mut values = vec![0.0; tensor.len()];
    tensor.read(0, &mut values).unwrap();
    (tensor.dtype(), values)
}

fn sidecar(weights: &dyn Weights, name: &str) -> Value {
    serde_json::from_slice(&weights.sidecar(name).unwrap().unwrap()).unwrap()
}

#[test]
fn padding_is_the_mean_of_the_rows() {
    let (a, b) = (words(&["u", "x"], &[]), words(&["u", "y"], &[]));
    let spec = Spec { pad_to_multiple_of: Some(4), ..spec(VocabularySource::Union, &[]) };
    let models = [model(&a, 2, Dtype::F32, 0.0), model(&b, 2, Dtype::F32, 10.0)];
    let UnifiedModels { models: unified, .. } = unify_all(&spec, models).unwrap();
    // u, x, y, and the mean of the three.
    assert_eq!(embedding(&*unified[0]).1, [0.0, 1.0, 2.0, 3.0, 12.0, 13.0, 14.0 / 3.0, 17.0 / 3.0]);
    assert_eq!(embedding(&*unified[1]).1, [10.0, 11.0, 2.0, 3.0, 12.0, 13.0, 8.0, 9.0]);
    assert_eq!(unified[0].config(), &object(json!({ "vocab_size": 4 })));
}

#[test]
fn means_of_many_rows_are_the_same_for_any_number_of_threads() {
    let names: Vec<String> = (0..5000).map(|id| format!("w{id}")).collect();
    let tokenizer = words(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let spec = Spec { pad_to_multiple_of: Some(64), ..spec(VocabularySource::Base, &[]) };
    let padding = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let UnifiedModels { models: unified, .. } =
                unify_all(&spec, [model(&tokenizer, 5000, Dtype::F32, 0.1)]).unwrap();
            embedding(&*unified[0]).1.split_off(2 * 5000)
        })
    };
    let one = padding(1);
    assert_eq!(one.len(), 2 * 56);
    // The mean of 0.1 + 2i over i < 5000 is 4999.1.
    assert!(one.chunks(2).all(|row| (row[0] - 4999.1).abs() < 1e-3 && (row[1] - 5000.1).abs() < 1e-3), "{one:?}");
    assert_eq!(padding(3), one);
}

#[test]
fn a_row_of_a_wider_type_widens_the_tensor() {
    let (a, b) = (words(&["u"], &[]), words(&["u", "y"], &[]));
    let models = || [model(&a, 1, Dtype::BF16, 1.0), model(&b, 2, Dtype::F32, 0.1)];
    let UnifiedModels { models: unified, .. } = unify_all(&spec(VocabularySource::Union, &[]), models()).unwrap();
    assert_eq!(embedding(&*unified[0]), (Dtype::F32, vec![1.0, 2.0, 0.1 + 2.0, 0.1 + 3.0]));
    let bytes = unified[0].bytes("model.embed_tokens.weight").unwrap();
    let copied: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    assert_eq!(copied, embedding(&*unified[0]).1);
    // Without rows of the other model, the type stays.
    let UnifiedModels { models: unified, .. } = unify_all(&spec(VocabularySource::Base, &[]), models()).unwrap();
    assert_eq!(embedding(&*unified[0]), (Dtype::BF16, vec![1.0, 2.0]));
}

#[test]
fn files_that_speak_of_tokens_follow() {
    let (a, b) = (words(&["u", "x"], &["<s>", "<pad>"]), words(&["y", "u"], &["<e>"]));
    let mut base = model(&a, 3, Dtype::F32, 0.0);
    let decoder = json!({ "2": { "content": "<s>", "special": true }, "3": { "content": "<pad>", "special": true } });
    let roles = json!({ "bos_token": "<s>", "pad_token": { "content": "<pad>" }, "eos_token": null,
                        "additional_special_tokens": ["<pad>", "<s>"], "added_tokens_decoder": decoder });
    write(&mut base, "tokenizer_config.json", &roles);
    write(&mut base, "special_tokens_map.json", &json!({ "bos_token": "<s>", "pad_token": "<pad>" }));
    write(&mut base, "added_tokens.json", &json!({ "<s>": 2, "<pad>": 3 }));
    for name in ["tokenizer.model", "vocab.json"] {
        base.sidecars.insert(name.to_owned(), b"old".to_vec());
    }
    let UnifiedModels { models: unified, notes } =
        unify_all(&spec(VocabularySource::Union, &[]), [base, model(&b, 3, Dtype::F32, 10.0)]).unwrap();
    assert_eq!(
        notes,
        ["tokenizer.model is left out: it was not made for the result's tokens, and tokenizer.json has them all"]
    );
    // Both models have the same files.
    for weights in &unified {
        let config = sidecar(&**weights, "tokenizer_config.json");
        let decoder = config["added_tokens_decoder"].as_object().unwrap();
        let known: Vec<(&str, &str)> =
            decoder.iter().map(|(id, token)| (id.as_str(), token["content"].as_str().unwrap())).collect();
        assert_eq!(known, [("2", "<s>"), ("3", "y"), ("4", "<e>")]);
        assert_eq!((config.get("pad_token"), &config["bos_token"]), (None, &json!("<s>")));
        assert_eq!(config["additional_special_tokens"], json!(["<s>"]));
        assert_eq!(sidecar(&**weights, "special_tokens_map.json"), json!({ "bos_token": "<s>" }));
        assert_eq!(sidecar(&**weights, "added_tokens.json"), json!({ "<s>": 2, "y": 3, "<e>": 4 }));
        assert_eq!(weights.sidecar("tokenizer.model").unwrap(), None);
        assert_eq!(weights.sidecar("vocab.json").unwrap(), Some(b"old".to_vec()), "the tokenizer's model is as it was");
    }
}

#[test]
fn an_unchanged_tokenizer_keeps_its_files_to_the_byte() {
    let a = words(&["u", "x"], &["<s>"]);
    let mut first = model(&a, 8, Dtype::F32, 0.0);
    first.sidecars.insert("tokenizer.model".to_owned(), b"pieces".to_vec());
    let before = first.sidecars.clone();
    let UnifiedModels { models: unified, notes } =
        unify_all(&spec(VocabularySource::Union, &[]), [first, model(&a, 8, Dtype::F32, 1.0)]).unwrap();
    for (name, bytes) in before {
        assert_eq!(unified[1].sidecar(&name).unwrap(), Some(bytes), "{name}");
    }
    assert_eq!((unified[0].config(), notes.len()), (&object(json!({ "vocab_size": 8 })), 0));
    assert!(unified[0].tensor("model.embed_tokens.weight").unwrap().lent().is_some());
}

#[test]
fn ids_in_configurations_follow_their_tokens() {
    let (a, b) = (words(&["<e>", "<s>", "u"], &["<gone>"]), words(&["u", "<s>", "x", "<e>"], &[]));
    let mut first = model(&a, 4, Dtype::F32, 0.0);
    let part = json!({ "vocab_size": 4, "pad_token_id": 3 });
    first.config = object(json!({ "vocab_size": 4, "bos_token_id": 1, "eos_token_id": [0, 3], "pad_token_id": -1,
                                  "text_config": part, "hidden_size": 2 }));
    write(&mut first, "generation_config.json", &json!({ "eos_token_id": 0, "temperature": 0.5 }));
    let UnifiedModels { models: unified, .. } =
        unify_all(&spec(VocabularySource::Model(1), &[]), [first, model(&b, 4, Dtype::F32, 0.0)]).unwrap();
    let expected = json!({ "vocab_size": 4, "bos_token_id": 1, "eos_token_id": [3], "pad_token_id": -1,
                           "text_config": { "vocab_size": 4, "pad_token_id": null }, "hidden_size": 2 });
    assert_eq!(unified[0].config(), &object(expected));
    let generation = sidecar(&*unified[0], "generation_config.json");
    assert_eq!(generation, json!({ "eos_token_id": 3, "temperature": 0.5 }));
}

#[test]
fn added_tokens_that_only_the_configuration_knows_are_tokens() {
    let mut first = model(&words(&["u"], &[]), 2, Dtype::F32, 0.0);
    let decoder = json!({ "1": { "content": "<pad>", "special": true } });
    write(&mut first, "tokenizer_config.json", &json!({ "added_tokens_decoder": decoder }));
    let tokenizer = read("a", &first).unwrap();
    assert_eq!(texts(&tokenizer), ["u", "<pad>"]);
}

#[test]
fn what_cannot_be_unified_is_refused() {
    let refused = |models: [Memory; 2], message: &str| {
        let Err(error) = unify_all(&spec(VocabularySource::Union, &[]), models) else {
            panic!("not refused: {message}")
        };
        assert_eq!(error.to_string(), message);
        assert!(error.advice().is_some());
    };
    let (a, b) = (words(&["u"], &[]), words(&["u", "y"], &[]));
    let good = || model(&a, 1, Dtype::F32, 0.0);
    let mut bare = model(&b, 2, Dtype::F32, 0.0);
    bare.sidecars.clear();
    refused([good(), bare], "`b`: there is no tokenizer.json in memory");
    let mut wide = model(&b, 1, Dtype::F32, 0.0);
    wide.index.get_mut("model.embed_tokens.weight").unwrap().shape = vec![2, 1];
    refused([good(), wide], "`b`: the rows of `model.embed_tokens.weight` are [1], not [2]");
    let mut headed = good();
    headed.index.insert("lm_head.weight".to_owned(), Meta { dtype: Dtype::F32, shape: vec![1, 2] });
    refused([headed, model(&b, 2, Dtype::F32, 0.0)], "`b`: there is no `lm_head.weight` in it to take rows from");
    let mut none = model(&b, 2, Dtype::F32, 0.0);
    (none.index, none.config) = (Index::new(), Config::default());
    refused([good(), none], "`b`: it has no embedding of tokens, so that a tokenizer cannot be chosen for it");
}

#[test]
fn embeddings_and_heads_are_told_from_the_rest() {
    let names = [
        ("bert.embeddings.position_embeddings.weight", 1),
        ("bert.embeddings.word_embeddings.weight", 8),
        ("cls.predictions.bias", 8),
        ("cls.predictions.transform.dense.weight", 4),
        ("gpt_neox.embed_in.weight", 8),
        ("lm_head.bias", 8),
        ("model.layers.0.mlp.output.weight", 8),
        ("model.norm.weight", 8),
        ("output.weight", 8),
        ("transformer.wpe.weight", 8),
        ("transformer.wte.weight", 8),
    ];
    let meta = |rows| Meta { dtype: Dtype::F32, shape: vec![rows, 2] };
    let index: Index = names.iter().map(|(name, rows)| ((*name).to_owned(), meta(*rows))).collect();
    let expected = [
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.bias",
        "gpt_neox.embed_in.weight",
        "lm_head.bias",
        "output.weight",
        "transformer.wte.weight",
    ];
    assert_eq!(vocabulary_tensors(&index, 8), expected);
}
