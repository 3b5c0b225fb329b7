//! Merges are what mergekit 0.1.5 makes of the same recipes, within a rounding of the stored type.

use crate::kit::{Dir, root};
use safetensors::{Dtype, SafeTensors};
use std::{collections::BTreeMap, fs, path::Path};

/// Every case that the repository carries.
const CASES: &[&str] =
    &["linear", "linear-filters-bf16", "linear-gradient", "linear-three-fp16", "sharded-input", "task-arithmetic"];

/// A tensor's type and shape, and its elements as the numbers they stand for and as they are stored.
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

/// Numbers the values of a 16-bit float in order, so that neighbours differ by one.
fn ordinal(bits: u16) -> i64 {
    let magnitude = i64::from(bits & 0x7fff);
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[test]
fn merges_what_mergekit_merges() {
    let data = root().join("tests/data");
    for case in CASES {
        let dir = Dir::new();
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
        for (name, (dtype, shape, values, stored)) in &ours {
            let (their_dtype, their_shape, their_values, their_stored) = &theirs[name];
            assert_eq!((dtype, shape), (their_dtype, their_shape), "{case}: {name}");
            if *dtype == Dtype::F32 {
                for (x, y) in values.iter().zip(their_values) {
                    assert!((x - y).abs() <= 1e-6 + 1e-5 * y.abs(), "{case}: {name}: {x} and {y}");
                }
            } else {
                let differ = stored.iter().zip(their_stored).filter(|(x, y)| x != y).count();
                assert!(differ * 200 <= stored.len(), "{case}: {name}: {differ} of {} elements differ", stored.len());
                for (x, y) in stored.iter().zip(their_stored) {
                    assert!((x - y).abs() <= 1, "{case}: {name}: {x} and {y} are not neighbours");
                }
            }
        }
        let layers = |path: &Path| {
            let config: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            (config["num_hidden_layers"].clone(), config["dtype"].clone())
        };
        assert_eq!(layers(&dir.path("merged/config.json")), layers(&expected.join("config.json")), "{case}");
    }
}
