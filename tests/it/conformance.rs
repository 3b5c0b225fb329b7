//! Merges equal those of mergekit 0.1.5 for the same recipes, within a rounding of the stored type.

use crate::kit::{Dir, root};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Type, shape, elements as numbers, and elements as stored bits of a tensor.
type Tensor = (Dtype, Vec<usize>, Vec<f64>, Vec<i64>);

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let (values, stored): (Vec<f64>, Vec<i64>) = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .map(|x| (f64::from(x), 0))
                .unzip(),
            Dtype::BF16 => {
                words(view.data()).map(|w| (f64::from(f32::from_bits(u32::from(w) << 16)), ordinal(w))).unzip()
            }
            Dtype::F16 => words(view.data()).map(|w| (half::f16::from_bits(w).to_f64(), ordinal(w))).unzip(),
            other => panic!("no case has {other}"),
        };
        (name.to_owned(), (view.dtype(), view.shape().to_vec(), values, stored))
    };
    file.iter().map(read).collect()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks(2).map(|b| u16::from_le_bytes(b.try_into().unwrap()))
}

/// Rank of a 16-bit float among all values, so that neighbours differ by one.
fn ordinal(bits: u16) -> i64 {
    let magnitude = i64::from(bits & 0x7fff);
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// The rows of a matrix in another order: row `i` of the result is row `order[i]`.
fn reorder<T: Copy>(elements: &[T], order: &[usize]) -> Vec<T> {
    let width = elements.len() / order.len();
    order.iter().flat_map(|row| elements[row * width..(row + 1) * width].iter().copied()).collect()
}

/// For each id of our tokenizer, mergekit's id of the same token. mergekit numbers the tokens of a
/// union anew in every run.
fn ids(ours: &Path, theirs: &Path) -> Vec<usize> {
    let tokens = |path: &Path| -> BTreeMap<String, usize> {
        let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let id = |id: &Value| id.as_u64().unwrap() as usize;
        let plain = json["model"]["vocab"].as_object().unwrap().iter().map(|(token, at)| (token.clone(), id(at)));
        let added = json["added_tokens"].as_array().unwrap();
        let added = added.iter().map(|token| (token["content"].as_str().unwrap().to_owned(), id(&token["id"])));
        plain.chain(added).collect()
    };
    let (ours, theirs) = (tokens(ours), tokens(theirs));
    assert!(ours.keys().eq(theirs.keys()), "the same tokens");
    let mut order = vec![0; ours.len()];
    for (token, id) in ours {
        order[id] = theirs[&token];
    }
    order
}

/// Marks the elements of a tensor of `qwen2-tied-ties` where TIES has a choice: their magnitude in
/// a task vector equals the cut, and not all such elements are kept (half of all elements are).
/// mergekit keeps any of them, we keep those of lowest index.
fn tied(name: &str) -> Vec<bool> {
    let values = |model: &str| {
        let path = root().join("tests/data/models").join(model).join("model.safetensors");
        tensors(&path).remove(name).unwrap().2
    };
    let base = values("qwen2-base");
    let mut tied = vec![false; base.len()];
    for model in ["qwen2-a", "qwen2-b"] {
        let d: Vec<f64> = values(model).iter().zip(&base).map(|(x, b)| (x - b).abs()).collect();
        let mut sorted = d.clone();
        sorted.sort_by(|x, y| y.total_cmp(x));
        let kept = (sorted.len() / 2).max(1);
        let cut = sorted[kept - 1].to_bits();
        if sorted[kept].to_bits() == cut {
            tied.iter_mut().zip(&d).for_each(|(tied, d)| *tied |= d.to_bits() == cut);
        }
    }
    tied
}

fn check(case: &str) {
    let (data, dir) = (root().join("tests/data"), Dir::new());
    // The recipes' paths are relative to the folder that holds models/.
    let recipe = fs::read(data.join(format!("cases/{case}/recipe.yaml"))).unwrap();
    dir.write("recipe.yaml", recipe);
    std::os::unix::fs::symlink(data.join("models"), dir.path("models")).unwrap();
    let said = dir.run(&["merge", "recipe.yaml", "-o", "merged"]);
    assert_eq!(said.code, Some(0), "{case}: {}", said.err);

    let expected = data.join(format!("cases/{case}/expected"));
    let ours = tensors(&dir.path("merged/model.safetensors"));
    let theirs = tensors(&expected.join("model.safetensors"));
    assert!(ours.keys().eq(theirs.keys()), "{case}: the same tensors");
    let order = expected
        .join("tokenizer.json")
        .exists()
        .then(|| ids(&dir.path("merged/tokenizer.json"), &expected.join("tokenizer.json")));
    for (name, (dtype, shape, values, stored)) in &ours {
        let (their_dtype, their_shape, their_values, their_stored) = &theirs[name];
        assert_eq!((dtype, shape), (their_dtype, their_shape), "{case}: {name}");
        let order = order.as_ref().filter(|order| shape[0] == order.len());
        let their_values = order.map_or_else(|| their_values.clone(), |order| reorder(their_values, order));
        if *dtype == Dtype::F32 {
            for (x, y) in values.iter().zip(&their_values) {
                assert!((x - y).abs() <= 1e-6 + 1e-5 * y.abs(), "{case}: {name}: {x} and {y}");
            }
        } else {
            let tied = if case == "qwen2-tied-ties" { tied(name) } else { vec![false; stored.len()] };
            let pairs: Vec<_> =
                stored.iter().zip(their_stored).zip(tied).filter(|(_, tied)| !tied).map(|(pair, _)| pair).collect();
            let differ = pairs.iter().filter(|(x, y)| x != y).count();
            assert!(differ * 200 <= stored.len(), "{case}: {name}: {differ} of {} elements differ", stored.len());
            for (x, y) in pairs {
                assert!((x - y).abs() <= 1, "{case}: {name}: {x} and {y} are not neighbours");
            }
        }
    }
    let config = |path: &Path| {
        let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        ["num_hidden_layers", "dtype", "vocab_size", "tie_word_embeddings"].map(|key| config[key].clone())
    };
    assert_eq!(config(&dir.path("merged/config.json")), config(&expected.join("config.json")), "{case}");
}

#[test]
fn merges_what_mergekit_merges() {
    let mut cases: Vec<String> = fs::read_dir(root().join("tests/data/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 30, "all of them are here");
    for case in cases {
        check(&case);
    }
}
