//! Merged embeddings equal mergekit 0.1.5's, token by token, and programs can load the tokenizer.

use super::*;
use crate::{
    checkpoint::Checkpoint,
    model::{Elements, Weights},
};
use std::{collections::BTreeMap, path::PathBuf, str::FromStr, sync::Arc};

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// Reads a tensor in stretches of odd lengths.
fn read(tensor: &dyn Elements) -> Vec<f32> {
    let mut values = vec![0.0; tensor.len()];
    for (number, stretch) in values.chunks_mut(1001).enumerate() {
        tensor.read(number * 1001, stretch).unwrap();
    }
    let mut bytes = vec![0; tensor.len() * tensor.dtype().size()];
    let split = 4 * 777;
    tensor.copy(0, &mut bytes[..split]).unwrap();
    tensor.copy(777, &mut bytes[split..]).unwrap();
    let copied: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    assert_eq!(copied, values, "copying and reading give the same");
    values
}

/// The models of all cases, which merge `llama-ext` and `llama-a` (the base) at half weight each.
fn unified(spec: &Spec<'_>) -> Vec<Arc<dyn Weights>> {
    let open = |name| Arc::new(Checkpoint::open(&data(&format!("models/{name}"))).unwrap()) as Arc<dyn Weights>;
    unify(spec, &[("llama-ext", open("llama-ext")), ("llama-a", open("llama-a"))]).unwrap().models
}

fn check(case: &str, spec: &Spec<'_>) {
    let ours = unified(spec);
    let tokenizer: Value = serde_json::from_slice(&ours[0].sidecar("tokenizer.json").unwrap().unwrap()).unwrap();
    let expected = data(&format!("cases/{case}/expected"));
    let theirs: Value = serde_json::from_slice(&std::fs::read(expected.join("tokenizer.json")).unwrap()).unwrap();
    let by_text = |tokenizer: &Value| -> BTreeMap<String, usize> {
        texts(tokenizer).into_iter().enumerate().map(|(id, text)| (text, id)).collect()
    };
    let (our_ids, their_ids) = (by_text(&tokenizer), by_text(&theirs));
    assert!(our_ids.keys().eq(their_ids.keys()), "{case}: the same tokens");
    assert_eq!(tokenizer["model"], theirs["model"], "{case}: the same model");

    let expected = Checkpoint::open(&expected).unwrap();
    for weights in &ours {
        assert_eq!(weights.config().count("vocab_size").unwrap(), Some(our_ids.len()));
    }
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        for weights in &ours {
            assert_eq!(weights.index()[name], expected.index()[name], "{case}: {name}");
        }
        let tensors: Vec<Vec<f32>> = ours.iter().map(|weights| read(&*weights.tensor(name).unwrap())).collect();
        let their_values = read(&*expected.tensor(name).unwrap());
        let width = their_values.len() / their_ids.len();
        for (text, id) in &our_ids {
            for column in 0..width {
                let merged = tensors.iter().map(|values| 0.5 * f64::from(values[id * width + column])).sum::<f64>();
                let theirs = f64::from(their_values[their_ids[text] * width + column]);
                assert!(
                    (merged - theirs).abs() <= 1e-6 + 1e-5 * theirs.abs(),
                    "{case}: {name}: `{text}` {merged} {theirs}"
                );
            }
        }
    }
}

#[test]
fn rows_are_mergekits_by_token() {
    let of = |source, rules: &[TokenRule<'static>]| Spec { base: 1, ..spec(source, rules) };
    check("vocab-base", &of(VocabularySource::Base, &[]));
    check("vocab-union", &of(VocabularySource::Union, &[]));
    let rules = [rule("東京", Some(RowSource::Model(0)), true), rule("りんご", Some(RowSource::Zero), false)];
    check("vocab-token-source", &of(VocabularySource::Union, &rules));
}

#[test]
fn all_else_is_lent_as_before() {
    let ours = unified(&Spec { base: 1, ..spec(VocabularySource::Base, &[]) });
    assert_eq!(ours[0].index()["model.norm.weight"].shape, [48]);
    assert!(ours[0].tensor("model.norm.weight").unwrap().lent().is_some());
    // The base's own rows, and the first rows of the other model, have not moved.
    for weights in ours {
        let embedding = weights.tensor("model.embed_tokens.weight").unwrap();
        assert_eq!(embedding.lent().map(<[u8]>::len), Some(300 * 48 * 4));
    }
}

#[test]
fn what_is_written_loads_with_the_same_ids() {
    let rules = [rule("<pad>", Some(RowSource::Zero), false)];
    let ours = unified(&Spec { base: 1, ..spec(VocabularySource::Union, &rules) });
    let text = String::from_utf8(ours[1].sidecar("tokenizer.json").unwrap().unwrap()).unwrap();
    let loaded = tokenizers::Tokenizer::from_str(&text).unwrap();
    let ids = texts(&serde_json::from_str(&text).unwrap());
    assert_eq!(loaded.get_vocab_size(true), ids.len());
    for (id, text) in ids.iter().enumerate() {
        assert_eq!(loaded.token_to_id(text), Some(id as u32), "{text}");
    }
    let encoded = loaded.encode("東京のりんご", false).unwrap();
    assert_eq!(encoded.get_tokens().first().map(String::as_str), Some("東京"));
    assert_eq!(encoded.get_tokens().last().map(String::as_str), Some("りんご"));
}

#[test]
fn every_run_gives_the_same_file() {
    let file =
        || unified(&Spec { base: 1, ..spec(VocabularySource::Union, &[]) })[0].sidecar("tokenizer.json").unwrap();
    let first = file();
    assert!((0..5).all(|_| file() == first));
}
