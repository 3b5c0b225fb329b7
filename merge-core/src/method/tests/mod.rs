//! The two forms of each method agree, and keep the promises of its formula.

mod family;
mod geometric;

use super::*;
use crate::{
    model::{
        Stored,
        blocks::{BLOCK, block_len},
        dtype::Dtype,
    },
    random::Stream,
};
use candle_core::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;

/// Longer than two blocks, and not a multiple of a block.
const LEN: usize = 2 * BLOCK + 1234;

/// Computes a merge by its kernel, block by block, on `threads` threads.
fn by_kernel(method: &dyn Method, inputs: &Inputs<'_>, threads: usize) -> Vec<f32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let kernel = method.kernel(inputs).unwrap();
        let mut out = vec![0.0; inputs.len()];
        let step = block_len(kernel.granule());
        out.par_chunks_mut(step).enumerate().for_each(|(number, out)| {
            let start = number * step;
            let read = |values: &Values<'_>| {
                let mut block = vec![0.0; out.len()];
                values.read(start, &mut block).unwrap();
                block
            };
            let base = inputs.base.as_ref().map(&read).unwrap_or_default();
            let models: Vec<Vec<f32>> = inputs.models.iter().map(|model| read(&model.values)).collect();
            kernel.compute(&Block { start, base: &base, models: &models }, out);
        });
        out
    })
}

fn by_tensors(method: &dyn Method, inputs: &Inputs<'_>) -> Vec<f32> {
    let shape = inputs.shape;
    let tensor = |values: &Values<'_>| {
        let mut all = vec![0.0; values.len()];
        values.read(0, &mut all).unwrap();
        Tensor::from_vec(all, shape, &Device::Cpu).unwrap()
    };
    let inputs = TensorInputs {
        base: inputs.base.as_ref().map(tensor),
        models: inputs.models.iter().map(|m| (tensor(&m.values), m.settings.clone(), m.draws.clone())).collect(),
        settings: inputs.settings.clone(),
    };
    method.tensors(&inputs).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A base and `n` models near it; the given parameters replace the method's defaults.
fn inputs<'a>(method: &dyn Method, n: usize, given: &[(&'static str, Value)], shape: &'a [usize]) -> Inputs<'a> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let base: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let settings = |scope: Scope| {
        let params = method.params().iter().filter(|param| param.scope == scope);
        let value = |param: &Param| given.iter().find(|(name, _)| *name == param.name).map(|(_, value)| *value);
        Settings(params.map(|param| (param.name, value(param).or(param.default).unwrap())).collect())
    };
    let stored = |values: &[f32]| -> Values<'static> {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Box::new(Stored::new(Dtype::F32, Cow::Owned(bytes)))
    };
    let models = (0..n).map(|i| {
        let moved: Vec<f32> = base.iter().map(|b| b + rng.random_range(-0.1..0.1)).collect();
        let draws = Draws::Counter(Stream::new(3, &[&i.to_string()]));
        Input { values: stored(&moved), settings: settings(Scope::Model), draws }
    });
    let models = models.collect();
    let base = (method.base() == Base::Required).then(|| stored(&base));
    Inputs { base, models, settings: settings(Scope::Merge), shape }
}

fn values(stored: &Values<'_>) -> Vec<f32> {
    let mut out = vec![0.0; stored.len()];
    stored.read(0, &mut out).unwrap();
    out
}

/// Checks that the two forms agree, and that the number of threads changes no bit.
fn check_forms(name: &str, n: usize, given: &[(&'static str, Value)]) {
    check_forms_of_shape(name, n, given, &[LEN]);
}

fn check_forms_of_shape(name: &str, n: usize, given: &[(&'static str, Value)], shape: &[usize]) {
    let method = method(name).unwrap();
    let inputs = inputs(method, n, given, shape);
    let (kernel, tensors) = (by_kernel(method, &inputs, 2), by_tensors(method, &inputs));
    for (i, (k, t)) in kernel.iter().zip(&tensors).enumerate() {
        // A few roundings of values of about one.
        assert!((k - t).abs() <= 1e-6, "{name} {given:?} {shape:?}: element {i}: kernel {k}, tensors {t}");
    }
    assert_eq!(kernel, by_kernel(method, &inputs, 1), "{name}: one thread and two give the same bits");
}

#[test]
fn every_method_has_a_name_of_its_own_and_declares_each_parameter_once() {
    let twice = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    assert!(!twice(METHODS.iter().map(|method| method.name()).collect()));
    for method in METHODS {
        assert!(!twice(method.params().iter().map(|param| param.name).collect()), "{}", method.name());
    }
}

#[test]
fn both_forms_of_linear_agree() {
    use Value::{Flag, Number};
    for weight in [0.4, -0.7, 1.5] {
        for normalize in [true, false] {
            check_forms("linear", 3, &[("weight", Number(weight)), ("normalize", Flag(normalize))]);
        }
    }
}

#[test]
fn linear_refuses_weights_that_sum_to_zero_only_if_it_divides_by_them() {
    let linear = method("linear").unwrap();
    let refusal = |weights: [f64; 2], normalize| {
        let model = |w| Settings(vec![("weight", Value::Number(w))]);
        linear.refusal(&Settings(vec![("normalize", Value::Flag(normalize))]), &weights.map(model))
    };
    assert!(refusal([0.5, -0.5], true).is_some());
    assert!(refusal([0.5, -0.5], false).is_none());
    assert!(refusal([0.5, 0.5], true).is_none());
}
