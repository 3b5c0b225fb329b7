//! Tests of the sums against the formulas in `f64`, and of the tensors that are compared.

use super::*;
use crate::model::{Meta, dtype::Dtype, weights::tests::Memory};
use rayon::ThreadPoolBuilder;

/// Longer than a few blocks, and not a multiple of anything.
const LEN: usize = 100_003;

fn model(value: impl Fn(usize) -> f32) -> Memory {
    let mut model = Memory::new(&value);
    let name = "model.layers.0.up_proj.weight".to_owned();
    model.index.insert(name.clone(), Meta { dtype: Dtype::F32, shape: vec![LEN] });
    model.tensors.insert(name, (0..LEN).flat_map(|i| value(i).to_le_bytes()).collect());
    model
}

fn values() -> [impl Fn(usize) -> f32; 3] {
    // Differences of two of the three models are zero, positive and negative.
    [3, 5, 7].map(|step| move |i: usize| ((i * step) % 11) as f32 * 0.37 - 1.9)
}

fn near(found: Option<f64>, expected: f64) {
    let found = found.expect("is defined");
    assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} and {expected}");
}

#[test]
fn gives_what_the_formulas_give() {
    let [a, b, c] = values();
    let found = compare(&model(&a), &model(&b), Some(&model(&c)), &|_| ()).unwrap();
    let sums = found.tensors["model.layers.0.up_proj.weight"];
    let sum = |of: &dyn Fn(f64, f64, f64) -> f64| {
        (0..LEN).map(|i| of(f64::from(a(i)), f64::from(b(i)), f64::from(c(i)))).sum::<f64>()
    };
    let norm = |of: &dyn Fn(f64, f64, f64) -> f64| sum(&|a, b, c| of(a, b, c).powi(2)).sqrt();
    let (na, nb, nc) = (norm(&|a, _, _| a), norm(&|_, b, _| b), norm(&|_, _, c| c));
    let (nu, nv) = (norm(&|a, _, c| a - c), norm(&|_, b, c| b - c));
    assert_eq!(sums.elements, LEN as u64);
    near(sums.difference(), norm(&|a, b, _| b - a) / na);
    near(sums.cosine(), sum(&|a, b, _| a * b) / na / nb);
    near(sums.task_a(), nu / nc);
    near(sums.task_b(), nv / nc);
    near(sums.task_cosine(), sum(&|a, b, c| (a - c) * (b - c)) / nu / nv);
    let count = |of: &dyn Fn(f64, f64) -> bool| sum(&|a, b, c| f64::from(u8::from(of(a - c, b - c))));
    let both = count(&|u, v| u != 0.0 && v != 0.0);
    let agree = count(&|u, v| u > 0.0 && v > 0.0 || u < 0.0 && v < 0.0);
    assert!(0.0 < agree && agree < both && both < LEN as f64);
    near(sums.sign_agreement(), agree / both);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let [a, b, c] = values().map(model);
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compare(&a, &b, Some(&c), &|_| ()).unwrap())
    };
    assert_eq!(on(1), on(4));
}

#[test]
fn a_model_is_identical_to_itself_and_opposite_to_its_negative() {
    let [a, ..] = values();
    let (same, opposite) = (model(&a), model(|i| -a(i)));
    let found = compare(&same, &same, None, &|_| ()).unwrap().total();
    assert!(found.identical());
    assert_eq!((found.difference(), found.cosine(), found.task_cosine()), (Some(0.0), Some(1.0), None));
    let found = compare(&same, &opposite, None, &|_| ()).unwrap().total();
    assert!(!found.identical());
    assert_eq!((found.difference(), found.cosine()), (Some(2.0), Some(-1.0)));
}

#[test]
fn what_has_no_norm_and_what_is_no_number_is_not_defined() {
    let (zero, one) = (model(|_| 0.0), model(|_| 1.0));
    let found = compare(&zero, &one, Some(&zero), &|_| ()).unwrap().total();
    assert_eq!((found.difference(), found.cosine(), found.task_a(), found.sign_agreement()), (None, None, None, None));
    let nan = model(|i| if i == 1 { f32::NAN } else { 1.0 });
    let found = compare(&nan, &one, Some(&zero), &|_| ()).unwrap().total();
    assert_eq!((found.difference(), found.task_cosine(), found.sign_agreement()), (None, None, None));
    assert!(!found.identical());
}

#[test]
fn compares_what_is_in_common_and_says_what_is_not() {
    let [a, mut b, mut c] = values().map(model);
    let number = |bytes: usize, dtype, shape| (vec![0; bytes], Meta { dtype, shape });
    let set = |model: &mut Memory, name: &str, (bytes, meta): (Vec<u8>, Meta)| {
        model.tensors.insert(name.to_owned(), bytes);
        model.index.insert(name.to_owned(), meta);
    };
    b.index.remove("lm_head.weight");
    set(&mut b, "score.weight", number(8, Dtype::F32, vec![2]));
    set(&mut b, "model.norm.weight", number(12, Dtype::F32, vec![3]));
    set(&mut b, "model.layers.1.norm.weight", number(2, Dtype::I8, vec![2]));
    c.index.remove("model.embed_tokens.weight");
    let read = std::sync::atomic::AtomicU64::new(0);
    let watch = |n| _ = read.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
    let found = compare(&a, &b, Some(&c), &watch).unwrap();
    assert_eq!(read.into_inner(), bytes(&a, &b, Some(&c)));
    let left_out: Vec<_> = found.left_out.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    let expected = [
        ("lm_head.weight", "only in A"),
        ("model.embed_tokens.weight", "not in the base"),
        ("model.layers.1.norm.weight", "holds whole numbers"),
        ("model.norm.weight", "[2] in A, [3] in B"),
        ("score.weight", "only in B"),
    ];
    assert_eq!(left_out, expected);
    assert_eq!(found.tensors.len(), 3);
    b.index.retain(|name, _| name == "score.weight");
    let error = compare(&a, &b, None, &|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "memory, memory: no tensor in common (`lm_head.weight`: only in A)");
}

#[test]
fn a_grid_has_every_tensor_once_in_the_order_of_computing() {
    let [a, b, _] = values().map(model);
    let found = compare(&a, &b, None, &|_| ()).unwrap();
    let grid = found.grid();
    let rows: Vec<_> = grid.rows.iter().map(|row| (row.component.as_str(), row.places.len())).collect();
    assert_eq!(rows, [("embedding", 1), ("mlp up", 2), ("norms", 2), ("final norm", 1), ("head", 1)]);
    assert_eq!(grid.layers, 2);
    assert_eq!(grid.rows.iter().map(|row| row.total.elements).sum::<u64>(), found.total().elements);
    let place = grid.rows[1].places[&ComponentPlace::Layer(0)];
    assert_eq!(place, found.tensors["model.layers.0.up_proj.weight"]);
}
