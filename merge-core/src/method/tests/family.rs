//! Task arithmetic in all its variants.

use super::*;
use crate::random::Twister;
use Value::{Flag, Number};
use safetensors::SafeTensors;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

const FAMILY: [&str; 8] =
    ["task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties"];

type Given = (&'static str, Value);

/// Given parameters that a method lacks are ignored.
#[test]
fn both_forms_agree() {
    for name in FAMILY {
        for (normalize, weight) in [(true, 0.4), (false, -0.7)] {
            for (rescale, exact) in [(true, false), (true, true), (false, false)] {
                for density in [0.0, 0.3, 1.0] {
                    let given: [Given; 7] = [
                        ("weight", Number(weight)),
                        ("normalize", Flag(normalize)),
                        ("lambda", Number(1.2)),
                        ("rescale", Flag(rescale)),
                        ("exact_rescale", Flag(exact)),
                        ("density", Number(density)),
                        ("gamma", Number(0.1)),
                    ];
                    check_forms(name, 3, &given);
                }
            }
        }
    }
}

#[test]
fn della_ranks_in_rows_of_any_shape() {
    let given = [("weight", Number(0.8)), ("density", Number(0.4)), ("epsilon", Number(0.3))];
    for shape in
        [&[] as &[usize], &[1], &[7, 1], &[40, 2], &[300, 129], &[6, 20_000], &[9, 70, 3, 3], &[2, 1 << 20 | 1]]
    {
        for exact in [false, true] {
            check_forms_of_shape(
                "della_linear",
                2,
                &[given.as_slice(), &[("exact_rescale", Flag(exact))]].concat(),
                shape,
            );
        }
    }
}

/// The result of thinning one task vector, in the order of its elements: `kept` is zero for dropped elements.
struct Thinned {
    d: Vec<f64>,
    kept: Vec<f64>,
}

fn thinned(name: &str, given: &[Given], shape: &[usize]) -> Thinned {
    let method = method(name).unwrap();
    let given = [&[("weight", Number(1.0)), ("normalize", Flag(false))], given].concat();
    let inputs = inputs(method, 1, &given, shape);
    let (base, model) = (values(inputs.base.as_ref().unwrap()), values(&inputs.models[0].values));
    let difference = |x: &[f32]| x.iter().zip(&base).map(|(x, b)| f64::from(*x) - f64::from(*b)).collect();
    Thinned { d: difference(&model), kept: difference(&by_kernel(method, &inputs, 2)) }
}

impl Thinned {
    /// Factor of every kept element, with its position.
    fn factors(&self) -> Vec<(usize, f64)> {
        let kept = |(i, (d, kept)): (usize, (&f64, &f64))| (*kept != 0.0).then(|| (i, kept / d));
        self.d.iter().zip(&self.kept).enumerate().filter_map(kept).collect()
    }

    /// Positions from the smallest magnitude to the greatest.
    fn ascending(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.d.len()).collect();
        order.sort_by(|i, j| self.d[*i].abs().total_cmp(&self.d[*j].abs()));
        order
    }
}

fn l1(d: &[f64]) -> f64 {
    d.iter().map(|d| d.abs()).sum()
}

/// Checks that the share of `kept` in `n` draws with chance `p` is within four standard errors.
fn check_share(kept: usize, n: usize, p: f64) {
    let share = kept as f64 / n as f64;
    assert!((share - p).abs() <= 4.0 * (p * (1.0 - p) / n as f64).sqrt(), "kept {share} of {n}, not {p}");
}

#[test]
fn dare_keeps_the_share_asked_for_and_the_l1_norm_or_the_mean() {
    for name in ["dare_linear", "dare_ties"] {
        let density = ("density", Number(0.3));
        let norm = thinned(name, &[density], &[LEN]);
        let plain = thinned(name, &[density, ("rescale", Flag(false))], &[LEN]);
        let exact = thinned(name, &[density, ("exact_rescale", Flag(true))], &[LEN]);
        check_share(norm.factors().len(), LEN, 0.3);
        // Sums of merged elements, each rounded to f32 after the base was added.
        assert!((l1(&norm.d) / l1(&norm.kept) - 1.0).abs() < 1e-5, "the L1 norm stays");
        let factor = l1(&plain.d) / l1(&plain.kept);
        for (thinned, factor) in [(norm, factor), (plain, 1.0), (exact, 1.0 / 0.3)] {
            for (i, kept) in thinned.kept.iter().enumerate().filter(|(_, kept)| **kept != 0.0) {
                assert!((kept - factor * thinned.d[i]).abs() < 1e-6, "{name}: element {i}: {kept}");
            }
        }
    }
}

/// Over many draws, an element's mean stays: with the inverse of the chance, not with the factor of the L1 norm.
#[test]
fn the_papers_factor_preserves_the_mean() {
    for (name, epsilon) in [("dare_linear", 0.0), ("della_linear", 0.2)] {
        let given = [("density", Number(0.4)), ("epsilon", Number(epsilon)), ("exact_rescale", Flag(true))];
        let Thinned { d, kept } = thinned(name, &given, &[LEN / 100, 100]);
        // The mean of signed elements is near zero and says little; their magnitudes have a mean far from zero.
        let n = d.len() as f64;
        let excess: Vec<f64> = d.iter().zip(&kept).map(|(d, kept)| (kept - d) * d.signum()).collect();
        let mean = excess.iter().sum::<f64>() / n;
        let variance = excess.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() <= 4.0 * (variance / n).sqrt(), "{name}: {mean}, of {}", l1(&d) / n);
    }
}

#[test]
fn della_keeps_by_rank() {
    let (rows, row, bands) = (500, 200, 10);
    let given = [("density", Number(0.5)), ("epsilon", Number(0.3)), ("exact_rescale", Flag(true))];
    let thinned = thinned("della_linear", &given, &[rows, row]);
    let mut kept = vec![0; bands];
    for start in (0..rows * row).step_by(row) {
        let one =
            Thinned { d: thinned.d[start..start + row].to_vec(), kept: thinned.kept[start..start + row].to_vec() };
        for (rank, i) in one.ascending().into_iter().enumerate() {
            let p = 0.2 + 0.6 * rank as f64 / (row - 1) as f64;
            if one.kept[i] != 0.0 {
                kept[rank * bands / row] += 1;
                assert!((one.kept[i] - one.d[i] / p).abs() < 2e-6, "rank {rank}: {} of {}", one.kept[i], one.d[i]);
            }
        }
    }
    for (band, kept) in kept.into_iter().enumerate() {
        let middle = (band as f64 + 0.5) * (row / bands) as f64 - 0.5;
        check_share(kept, rows * row / bands, 0.2 + 0.6 * middle / (row - 1) as f64);
    }
}

/// Few magnitudes, as between 16-bit checkpoints: many equal elements in a row; lower positions rank lower.
#[test]
fn della_ranks_equal_magnitudes_by_place() {
    let della = method("della_linear").unwrap();
    let given = [("weight", Number(1.0)), ("density", Number(0.5)), ("epsilon", Number(0.4))];
    let mut inputs = inputs(della, 1, &given, &[3, 20_000]);
    let stored = |values: Vec<f32>| -> Values<'static> {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Box::new(Stored::new(Dtype::F32, Cow::Owned(bytes)))
    };
    inputs.base = Some(stored(vec![0.0; 60_000]));
    inputs.models[0].values = stored((0..60_000).map(|i| [0.0, 1.0, -1.0, 2.0, 1.5][i * i % 5]).collect());
    assert_eq!(by_kernel(della, &inputs, 2), by_tensors(della, &inputs));
}

#[test]
fn ties_keeps_the_greatest_and_breadcrumbs_all_but_the_very_greatest() {
    let n = LEN;
    let (density, gamma) = (0.3, 0.02);
    let cut = |share: f64| (share * n as f64) as usize;
    let cases: [(&str, f64, std::ops::Range<usize>); 5] = [
        ("ties", density, n - cut(density)..n),
        ("ties", 1e-9, n - 1..n),
        ("breadcrumbs", density, n - cut(gamma) - cut(density)..n - cut(gamma)),
        ("breadcrumbs_ties", density, n - cut(gamma) - cut(density)..n - cut(gamma)),
        // Fewer are left than are asked for: the greatest are still dropped, but fewer of them.
        ("breadcrumbs", 0.99, 0..cut(0.99)),
    ];
    for (name, density, expected) in cases {
        let thinned = thinned(name, &[("density", Number(density)), ("gamma", Number(gamma))], &[n]);
        let mut expected = thinned.ascending()[expected].to_vec();
        expected.sort_unstable();
        let kept: Vec<usize> = thinned.factors().into_iter().map(|(i, _)| i).collect();
        assert_eq!(kept, expected, "{name} {density}");
    }
}

#[test]
fn consensus_sums_only_the_majoritys_sign() {
    for (name, normalize) in [("dare_ties", false), ("ties", true)] {
        let method = method(name).unwrap();
        let inputs = inputs(method, 3, &[("weight", Number(0.5))], &[LEN]);
        let base = values(inputs.base.as_ref().unwrap());
        let models: Vec<Vec<f32>> = inputs.models.iter().map(|model| values(&model.values)).collect();
        for (i, merged) in by_kernel(method, &inputs, 2).into_iter().enumerate() {
            let d: Vec<f64> = models.iter().map(|x| 0.5 * f64::from(x[i] - base[i])).collect();
            let sign = if d.iter().sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
            let agree: Vec<f64> = d.into_iter().filter(|d| *d * sign > 0.0).collect();
            let divisor = if normalize { 0.5 * agree.len() as f64 } else { 1.0 };
            let expected = f64::from(base[i]) + agree.iter().sum::<f64>() / divisor;
            assert!((f64::from(merged) - expected).abs() < 1e-6, "{name}: element {i}");
        }
    }
}

#[test]
fn refuses_chances_that_are_none_and_factors_that_contradict() {
    let refusal = |name: &str, given: &[Given]| {
        let method = method(name).unwrap();
        let inputs = inputs(method, 1, &[&[("weight", Number(1.0))], given].concat(), &[1]);
        method.refusal(&inputs.settings, &[inputs.models[0].settings.clone()])
    };
    for (density, epsilon, refused) in [
        (0.1, 0.15, true),
        (0.9, 0.15, true),
        (0.15, 0.15, true),
        (0.5, 0.15, false),
        (1.0, 0.15, false),
        (0.0, 0.15, false),
    ] {
        let given = [("density", Number(density)), ("epsilon", Number(epsilon))];
        assert_eq!(refusal("della", &given).is_some(), refused, "{density} {epsilon}");
        assert_eq!(refusal("dare_ties", &given), None);
    }
    let contradiction = [("exact_rescale", Flag(true)), ("rescale", Flag(false)), ("density", Number(0.5))];
    assert!(refusal("dare_linear", &contradiction).is_some());
    assert!(refusal("della", &contradiction).is_some());
}

fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")
}

/// The tensors of a file: type, shape and bytes of each.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(path: &str) -> Tensors {
    let file = fs::read(data().join(path).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let dtype = Dtype::from_safetensors(&view.dtype().to_string()).unwrap();
        (name.to_owned(), (dtype, view.shape().to_vec(), view.data().to_vec()))
    };
    file.iter().map(tensor).collect()
}

/// Checks that a merge equals mergekit 0.1.5's result for this case, with mergekit's own masks if it draws any.
///
/// `own(model, tensor)` gives the parameters of a model for a tensor.
fn conforms(case: &str, name: &str, family: &str, own: impl Fn(usize, &str) -> Vec<Given>, n: usize, merge: &[Given]) {
    let method = method(name).unwrap();
    let base = tensors(&format!("models/{family}-base"));
    let models: Vec<Tensors> = ["a", "b", "c"][..n].iter().map(|x| tensors(&format!("models/{family}-{x}"))).collect();
    let settings = |scope: Scope, given: &[Given]| {
        let params = method.params().iter().filter(|param| param.scope == scope);
        let value = |param: &Param| given.iter().find(|(name, _)| *name == param.name).map(|(_, value)| *value);
        Settings(params.map(|param| (param.name, value(param).or(param.default).unwrap())).collect())
    };
    let (twister, mut drawn) = (Arc::new(Twister::new(0)), 0);
    let expected = tensors(&format!("cases/{case}/expected"));
    assert!(expected.keys().eq(base.keys()));
    for (tensor, (dtype, shape, bytes)) in &expected {
        let values = |of: &Tensors| -> Values<'static> {
            let (dtype, _, bytes) = of[tensor].clone();
            Box::new(Stored::new(dtype, Cow::Owned(bytes)))
        };
        let model = |(i, model): (usize, &Tensors)| {
            let settings = settings(Scope::Model, &own(i, tensor));
            let draws = Draws::Mergekit { twister: Arc::clone(&twister), offset: drawn };
            drawn += if method.draws(&settings) { shape.iter().product::<usize>() as u64 } else { 0 };
            Input { values: values(model), settings, draws }
        };
        let models = models.iter().enumerate().map(model).collect();
        let inputs = Inputs { base: Some(values(&base)), models, settings: settings(Scope::Merge, merge), shape };
        let merged = by_kernel(method, &inputs, 2);
        let tied = tied(&inputs, name);
        let mut theirs = vec![0.0; merged.len()];
        dtype.widen(bytes, &mut theirs);
        if *dtype == Dtype::F32 {
            for (i, (x, y)) in merged.iter().zip(&theirs).enumerate() {
                assert!(
                    tied[i] || (x - y).abs() <= 1e-6 + 1e-5 * y.abs(),
                    "{case}: {tensor}: element {i}: {x} and {y}"
                );
            }
        } else {
            let mut ours = vec![0; bytes.len()];
            dtype.narrow(&merged, &mut ours);
            // Neighbouring 16-bit floats of one sign are neighbours as integers.
            let stored = ours.chunks(2).zip(bytes.chunks(2)).zip(&tied).filter(|(_, tied)| !**tied);
            let differences = stored.map(|((x, y), _)| {
                let [x, y] = [x, y].map(|b| i32::from(i16::from_le_bytes([b[0], b[1]])));
                (x - y).abs()
            });
            let differences: Vec<i32> = differences.filter(|difference| *difference > 0).collect();
            assert!(differences.iter().all(|difference| *difference == 1), "{case}: {tensor}: {differences:?}");
            assert!(differences.len() * 200 <= merged.len(), "{case}: {tensor}: {} differ", differences.len());
        }
    }
}

/// Elements that tie with the last element that TIES keeps of a task vector, if some of these ties
/// are dropped: mergekit keeps any of them, we those of lowest index.
fn tied(inputs: &Inputs<'_>, name: &str) -> Vec<bool> {
    let mut tied = vec![false; inputs.len()];
    for model in inputs.models.iter().filter(|model| name == "ties" && model.settings.number("density") < 1.0) {
        let (x, b) = (values(&model.values), values(inputs.base.as_ref().unwrap()));
        let d: Vec<f32> = x.iter().zip(&b).map(|(x, b)| (x - b).abs()).collect();
        let mut sorted = d.clone();
        sorted.sort_by(|x, y| y.total_cmp(x));
        let kept = ((model.settings.number("density") * d.len() as f64) as usize).max(1);
        if sorted.get(kept) == Some(&sorted[kept - 1]) {
            tied.iter_mut().zip(&d).for_each(|(tied, d)| *tied |= d.to_bits() == sorted[kept - 1].to_bits());
        }
    }
    tied
}

/// Parameters of each model that are the same for every tensor.
fn fixed<const N: usize>(names: [&'static str; N], of: &'static [[f64; N]]) -> impl Fn(usize, &str) -> Vec<Given> {
    move |model, _| names.into_iter().zip(of[model].map(Number)).collect()
}

#[test]
fn task_arithmetic_is_mergekits() {
    conforms("task-arithmetic", "task_arithmetic", "llama", fixed(["weight"], &[[0.3], [0.9], [0.5]]), 3, &[]);
}

#[test]
fn ties_is_mergekits() {
    let own = fixed(["weight", "density"], &[[0.5, 0.4], [0.9, 0.6], [0.3, 0.8]]);
    conforms("ties", "ties", "llama", own, 3, &[]);
    let own = fixed(["weight", "density"], &[[0.5, 0.4], [0.9, 0.6], [-0.2, 0.8]]);
    conforms("ties-raw-lambda", "ties", "llama", own, 3, &[("normalize", Flag(false)), ("lambda", Number(1.3))]);
    let own = fixed(["weight", "density"], &[[0.6, 0.5], [0.5, 0.5]]);
    conforms("qwen2-tied-ties", "ties", "qwen2", own, 2, &[]);
    // Interpolates a list over four layers; tensors outside of layers take the first value.
    let gradient = |list: &[f64], tensor: &str| {
        let layer = tensor.strip_prefix("model.layers.").map_or(0, |rest| rest[..1].parse().unwrap());
        let place = f64::from(layer) / 3.0 * (list.len() - 1) as f64;
        let (at, rest) = (place as usize, place.fract());
        Number(list[at] * (1.0 - rest) + rest * list.get(at + 1).unwrap_or(&0.0))
    };
    let own = |model: usize, tensor: &str| match model {
        0 => vec![("weight", Number(1.0)), ("density", gradient(&[1.0, 0.7, 0.1], tensor))],
        1 => vec![("weight", gradient(&[0.0, 0.3, 0.7, 1.0], tensor)), ("density", Number(0.5))],
        _ => vec![("weight", Number(if tensor.contains("mlp") { 0.5 } else { 0.0 })), ("density", Number(0.33))],
    };
    conforms("ties-gradient-bf16", "ties", "llama", own, 3, &[("normalize", Flag(true))]);
}

#[test]
fn breadcrumbs_is_mergekits() {
    let own = fixed(["weight", "density", "gamma"], &[[0.5, 0.8, 0.05], [0.9, 0.6, 0.02]]);
    conforms("breadcrumbs", "breadcrumbs", "llama", own, 2, &[]);
}

#[test]
fn random_masks_are_mergekits() {
    let own = fixed(["weight", "density"], &[[0.5, 0.4], [0.9, 0.6]]);
    conforms("dare-ties-mergekit-rng", "dare_ties", "llama", own, 2, &[]);
    let own = fixed(["weight", "density", "epsilon"], &[[0.5, 0.4, 0.1], [0.9, 0.6, 0.1]]);
    conforms("della-mergekit-rng", "della", "llama", own, 2, &[]);
}
