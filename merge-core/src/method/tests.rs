//! Each method's two forms agree, and hold what its formula promises.

use super::*;
use crate::{dtype::Dtype, random::Stream, weights::Stored};
use candle_core::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;

/// Longer than two blocks and no multiple of one.
const LEN: usize = 2 * BLOCK + 1234;

/// Computes a merge by its kernel, block by block, on any number of threads.
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

/// A base and `n` models a little off it, with the given parameters on top of the method's defaults.
fn inputs(method: &dyn Method, n: usize, given: &[(&'static str, Value)]) -> Inputs<'static> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let base: Vec<f32> = (0..LEN).map(|_| rng.random_range(-1.0..1.0)).collect();
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
    Inputs { base, models, settings: settings(Scope::Merge), shape: &[LEN] }
}

fn values(stored: &Values<'_>) -> Vec<f32> {
    let mut out = vec![0.0; stored.len()];
    stored.read(0, &mut out).unwrap();
    out
}

fn check_forms(name: &str, n: usize, given: &[(&'static str, Value)]) {
    let method = method(name).unwrap();
    let inputs = inputs(method, n, given);
    let (kernel, tensors) = (by_kernel(method, &inputs, 2), by_tensors(method, &inputs));
    for (i, (k, t)) in kernel.iter().zip(&tensors).enumerate() {
        // A few roundings of values of about one.
        assert!((k - t).abs() <= 1e-6, "{name} {given:?}: element {i}: kernel {k}, tensors {t}");
    }
    assert_eq!(kernel, by_kernel(method, &inputs, 1), "{name}: one thread and two give the same bits");
}

#[test]
fn kernel_and_tensor_form_agree() {
    use Value::{Flag, Number};
    for weight in [0.4, -0.7, 1.5] {
        for normalize in [true, false] {
            let common = [("weight", Number(weight)), ("normalize", Flag(normalize))];
            check_forms("linear", 3, &common);
            check_forms("task_arithmetic", 3, &[common.as_slice(), &[("lambda", Number(0.8))]].concat());
            for rescale in [true, false] {
                for density in [0.0, 0.3, 1.0] {
                    let dare = [("density", Number(density)), ("rescale", Flag(rescale)), ("lambda", Number(1.2))];
                    check_forms("dare_ties", 3, &[common.as_slice(), &dare].concat());
                }
            }
        }
    }
}

#[test]
fn every_method_is_in_the_test_above_and_declares_each_parameter_once() {
    let names: Vec<_> = METHODS.iter().map(|method| method.name()).collect();
    assert_eq!(names, ["linear", "task_arithmetic", "dare_ties"]);
    for method in METHODS {
        let mut params: Vec<_> = method.params().iter().map(|param| param.name).collect();
        params.sort_unstable();
        params.dedup();
        assert_eq!(params.len(), method.params().len(), "{}", method.name());
    }
}

/// With one model there is no conflict of signs: what is left of `x − b` is either nothing, or the rescaled whole.
#[test]
fn dare_keeps_the_share_asked_for_and_the_l1_norm() {
    let method = method("dare_ties").unwrap();
    let given = [("weight", Value::Number(1.0)), ("density", Value::Number(0.3))];
    let inputs = inputs(method, 1, &given);
    let (base, model) = (values(inputs.base.as_ref().unwrap()), values(&inputs.models[0].values));
    let merged = by_kernel(method, &inputs, 2);
    let l1 = |of: &dyn Fn(usize) -> f32| (0..LEN).map(|i| f64::from(of(i)).abs()).sum::<f64>();
    let kept: Vec<usize> = (0..LEN).filter(|i| merged[*i].to_bits() != base[*i].to_bits()).collect();
    let (share, n) = (kept.len() as f64 / LEN as f64, LEN as f64);
    assert!((share - 0.3).abs() <= 4.0 * (0.3 * 0.7 / n).sqrt(), "kept {share}");
    let (whole, thinned) = (l1(&|i| model[i] - base[i]), l1(&|i| merged[i] - base[i]));
    // Each of the merged elements is rounded to f32 after the base is added.
    assert!((whole / thinned - 1.0).abs() < 1e-5, "L1 {whole} and {thinned}");
    let factor = whole / kept.iter().map(|i| f64::from((model[*i] - base[*i]).abs())).sum::<f64>();
    for i in kept {
        let expected = f64::from(base[i]) + factor * f64::from(model[i] - base[i]);
        assert!((f64::from(merged[i]) - expected).abs() < 1e-6, "element {i}");
    }
}

#[test]
fn consensus_sums_only_the_majoritys_sign() {
    let method = method("dare_ties").unwrap();
    let inputs = inputs(method, 3, &[("weight", Value::Number(0.5))]);
    let base = values(inputs.base.as_ref().unwrap());
    let models: Vec<Vec<f32>> = inputs.models.iter().map(|model| values(&model.values)).collect();
    for (i, merged) in by_kernel(method, &inputs, 2).into_iter().enumerate() {
        let d: Vec<f64> = models.iter().map(|x| 0.5 * f64::from(x[i] - base[i])).collect();
        let sign = if d.iter().sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let expected = f64::from(base[i]) + d.iter().filter(|d| *d * sign > 0.0).sum::<f64>();
        assert!((f64::from(merged) - expected).abs() < 1e-6, "element {i}");
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
