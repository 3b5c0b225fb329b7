//! Methods other than task arithmetic: their two forms agree, and give the results of mergekit and of their formulas.

use super::*;
use safetensors::SafeTensors;
use std::{fs, path::Path};

/// Inputs of a shape, from given elements.
fn given(
    method: &dyn Method,
    base: Option<&[f32]>,
    models: &[&[f32]],
    shape: &'static [usize],
    given: Given<'_>,
) -> Inputs<'static> {
    let mut inputs = inputs(method, models.len(), given, shape);
    for (input, x) in inputs.models.iter_mut().zip(models) {
        input.values = of(x);
    }
    inputs.base = base.map(of);
    inputs
}

fn of(x: &[f32]) -> Values<'static> {
    Box::new(Stored::new(Dtype::F32, Cow::Owned(x.iter().flat_map(|x| x.to_le_bytes()).collect())))
}

fn check_agree(name: &str, inputs: &Inputs<'_>) {
    let method = method(name).unwrap();
    let (kernel, tensors) = (by_kernel(method, inputs, 2), by_tensors(method, inputs));
    for (i, (k, t)) in kernel.iter().zip(&tensors).enumerate() {
        // A few roundings.
        assert!(
            (k - t).abs() <= 1e-6 * k.abs().max(1.0),
            "{name} {:?}: element {i}: kernel {k}, tensors {t}",
            inputs.settings
        );
    }
    let one = by_kernel(method, inputs, 1);
    assert_eq!(kernel, one, "{name}: one thread and two give the same bits");
}

#[test]
fn kernel_and_tensor_form_agree_on_rows_and_whole_tensors() {
    use Value::{Flag, Number};
    const WEIGHT: (&str, Value) = ("weight", Number(0.7));
    let cases: &[(&str, usize, Given<'_>)] = &[
        ("slerp", 1, &[("t", Number(0.3))]),
        ("slerp", 1, &[("t", Number(-0.5))]),
        ("nuslerp", 2, &[WEIGHT]),
        ("nuslerp", 2, &[WEIGHT, ("nuslerp_flatten", Flag(false))]),
        ("nuslerp", 2, &[WEIGHT, ("nuslerp_flatten", Flag(false)), ("nuslerp_row_wise", Flag(true))]),
        ("multislerp", 1, &[WEIGHT]),
        ("multislerp", 3, &[WEIGHT]),
        ("multislerp", 4, &[WEIGHT, ("normalize_weights", Flag(false)), ("eps", Number(0.01))]),
        ("karcher", 1, &[]),
        ("karcher", 3, &[]),
        ("karcher", 4, &[("tol", Number(1e-9)), ("max_iter", Number(3.0))]),
        ("passthrough", 1, &[("scale", Number(-0.3))]),
        ("sce", 1, &[("select_topk", Number(0.5))]),
        ("sce", 3, &[]),
        ("sce", 4, &[("select_topk", Number(0.3))]),
        ("sce", 2, &[("select_topk", Number(0.0))]),
        ("ram", 1, &[]),
        ("ram", 3, &[("epsilon", Number(0.05))]),
        ("ramplus_tl", 3, &[("epsilon", Number(0.05)), ("alpha", Number(3.0))]),
        ("model_stock", 2, &[]),
        ("model_stock", 3, &[("filter_wise", Flag(true))]),
        ("nearswap", 1, &[("t", Number(0.02))]),
        ("arcee_fusion", 1, &[]),
    ];
    let tested = |method: &&&dyn Method| cases.iter().any(|(name, ..)| *name == method.name());
    assert_eq!(METHODS.iter().filter(tested).count(), 11, "every method of this kind");
    // Rows that end within blocks and beyond them, one row, one column, and many dimensions.
    let shapes: &[&[usize]] = &[&[18, 1889], &[1889, 18], &[LEN], &[LEN, 1], &[2, LEN / 2], &[3, 2, 5667]];
    for (name, n, given) in cases {
        let method = method(name).unwrap();
        for shape in shapes {
            let mut inputs = inputs(method, *n, given, shape);
            check_agree(name, &inputs);
            if method.base() == Base::Optional {
                inputs.base = super::inputs(&slerp::Slerp, 1, &[("t", Number(0.0))], shape).base;
                check_agree(name, &inputs);
            }
        }
    }
}

type Given<'g> = &'g [(&'static str, Value)];

/// A tensor's name, shape and elements.
type Read = (String, Vec<usize>, Vec<f32>);

/// Every tensor of a model.
fn model(path: &str) -> Vec<Read> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path).join("model.safetensors");
    let bytes = fs::read(data).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |data: &[u8]| data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut tensors: Vec<Read> =
        file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec(), numbers(view.data()))).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// Checks that both forms give mergekit's result of a recipe, tensor by tensor.
fn check_case(case: &str, name: &str, base: Option<&str>, models: &[(&str, Given<'_>)], merge: Given<'_>) {
    let method = method(name).unwrap();
    let base = base.map(|base| model(&format!("models/{base}")));
    let read: Vec<Vec<Read>> = models.iter().map(|(name, _)| model(&format!("models/{name}"))).collect();
    for (number, (tensor, shape, theirs)) in model(&format!("cases/{case}/expected")).iter().enumerate() {
        let mut inputs = inputs(method, models.len(), merge, shape);
        inputs.base = base.as_ref().map(|base| of(&base[number].2));
        for ((input, read), (_, given)) in inputs.models.iter_mut().zip(&read).zip(models) {
            input.values = of(&read[number].2);
            input.settings = Settings(given.to_vec());
        }
        for ours in [by_kernel(method, &inputs, 2), by_tensors(method, &inputs)] {
            for (i, (x, y)) in ours.iter().zip(theirs).enumerate() {
                assert!((x - y).abs() <= 1e-6 + 1e-5 * y.abs(), "{case}: {tensor}: element {i}: {x}, theirs {y}");
            }
        }
    }
}

#[test]
fn gives_what_mergekit_gives() {
    use Value::Number;
    let w = |weight: f64| [("weight", Number(weight))];
    let (w3, w9, w5) = (w(0.3), w(0.9), w(0.5));
    let [a, b, c] = ["llama-a", "llama-b", "llama-c"].map(|name| (name, [].as_slice()));
    let (wa, wb, wc) = ((a.0, w3.as_slice()), (b.0, w9.as_slice()), (c.0, w5.as_slice()));
    let base = Some("llama-base");
    check_case("slerp", "slerp", Some(a.0), &[b], &[("t", Number(0.4))]);
    check_case("nuslerp", "nuslerp", None, &[wa, wb], &[("weight", Number(0.0))]);
    check_case("nuslerp-base", "nuslerp", base, &[wa, wb], &[("weight", Number(0.0))]);
    check_case("multislerp", "multislerp", None, &[wa, wb, wc], &[("weight", Number(0.0))]);
    check_case("karcher", "karcher", None, &[a, b, c], &[]);
    check_case("sce", "sce", base, &[a, b, c], &[("select_topk", Number(0.5))]);
    check_case("ram", "ram", base, &[a, b, c], &[]);
    check_case("model-stock", "model_stock", base, &[a, b, c], &[]);
    check_case("nearswap", "nearswap", Some(a.0), &[b], &[("t", Number(0.002))]);
    check_case("arcee-fusion", "arcee_fusion", base, &[a], &[]);
}

/// The middle layers of mergekit's result are scaled: `o_proj` by 0, `down_proj` by 1/2.
#[test]
fn passthrough_scales() {
    let method = method("passthrough").unwrap();
    let expected = model("cases/passthrough-scale/expected");
    let source = model("models/llama-a");
    let mut seen = 0;
    for (name, shape, theirs) in &expected {
        let Some(layer) = ["2", "3"].into_iter().find(|layer| name.starts_with(&format!("model.layers.{layer}.")))
        else {
            continue;
        };
        let from = name.replace(&format!(".{layer}."), if layer == "2" { ".1." } else { ".2." });
        let (.., x) = source.iter().find(|(name, ..)| *name == from).unwrap();
        let scale = if name.contains("o_proj") {
            0.0
        } else if name.contains("down_proj") {
            0.5
        } else {
            1.0
        };
        let mut inputs = inputs(method, 1, &[("scale", Value::Number(scale))], shape);
        inputs.models[0].values = of(x);
        assert_eq!(&by_kernel(method, &inputs, 1), theirs, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 18, "two layers of nine tensors");
}

fn check(name: &str, inputs: &Inputs<'_>, expected: &[f64]) {
    let method = method(name).unwrap();
    for merged in [by_kernel(method, inputs, 1), by_tensors(method, inputs)] {
        assert_eq!(merged.len(), expected.len());
        for (x, y) in merged.iter().zip(expected) {
            assert!((f64::from(*x) - y).abs() <= 1e-6 * y.abs().max(1.0), "{name}: {merged:?}, expected {expected:?}");
        }
    }
}

/// A vector in the plane, by its angle in degrees.
fn at(degrees: f64, length: f64) -> [f64; 2] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [length * cos, length * sin]
}

fn stored(x: [f64; 2]) -> [f32; 2] {
    x.map(|x| x as f32)
}

#[test]
fn slerp_goes_along_the_arc() {
    let (base, x) = (stored(at(20.0, 1.0)), stored(at(110.0, 1.0)));
    for t in [-0.5, 0.0, 0.25, 1.0, 1.5] {
        let inputs = given(&slerp::Slerp, Some(&base), &[&x], &[2], &[("t", Value::Number(t))]);
        check("slerp", &inputs, &at(20.0 + 90.0 * t, 1.0));
    }
    // Almost parallel, or opposite: a straight line.
    for angle in [21.0, 200.0] {
        let x = stored(at(angle, 2.0));
        let inputs = given(&slerp::Slerp, Some(&base), &[&x], &[2], &[("t", Value::Number(0.25))]);
        let [a, b] = [at(20.0, 1.0), at(angle, 2.0)];
        check("slerp", &inputs, &[0.75 * a[0] + 0.25 * b[0], 0.75 * a[1] + 0.25 * b[1]]);
    }
}

/// mergekit's own regression test: rows colinear with [1, 0], and one that is not, at a quarter of the way.
#[test]
fn nuslerp_goes_straight_where_rows_are_colinear() {
    use Value::{Flag, Number};
    let settings = |columns: bool| {
        [("nuslerp_flatten", Flag(false)), ("nuslerp_row_wise", Flag(columns)), ("weight", Number(1.0))]
    };
    let turned = stored(at(22.5, 1.0));
    let rows = |columns: bool, x1: &[f32], x2: &[f32], base: Option<&[f32]>| {
        let mut inputs =
            given(&nuslerp::Nuslerp, base, &[x1, x2], if columns { &[2, 3] } else { &[3, 2] }, &settings(columns));
        inputs.models[1].settings = Settings(vec![("weight", Number(1.0 / 3.0))]);
        inputs
    };
    let quarter = at(22.5 / 4.0, 1.0);
    let (x1, x2) = ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [1.25, 0.0, 0.5, 0.0, turned[0], turned[1]]);
    check("nuslerp", &rows(false, &x1, &x2, None), &[1.0625, 0.0, 0.875, 0.0, quarter[0], quarter[1]]);
    let transposed = |x: [f32; 6]| [x[0], x[2], x[4], x[1], x[3], x[5]];
    let expected = [1.0625, 0.875, quarter[0], 0.0, 0.0, quarter[1]];
    check("nuslerp", &rows(true, &transposed(x1), &transposed(x2), None), &expected);
    // The same for differences from a base.
    let moved = |x: [f32; 6]| x.map(|x| x - 0.5);
    let expected = [0.5625, -0.5, 0.375, -0.5, quarter[0] - 0.5, quarter[1] - 0.5];
    check("nuslerp", &rows(false, &moved(x1), &moved(x2), Some(&[-0.5; 6])), &expected);
}

#[test]
fn nuslerp_goes_half_way_where_weights_cancel_out() {
    let x = [stored(at(0.0, 1.0)), stored(at(60.0, 1.0))];
    let mut inputs = given(&nuslerp::Nuslerp, None, &[&x[0], &x[1]], &[2], &[("weight", Value::Number(1.0))]);
    inputs.models[1].settings = Settings(vec![("weight", Value::Number(-1.0))]);
    check("nuslerp", &inputs, &at(30.0, 1.0));
}

#[test]
fn karcher_is_the_mean_angle_and_the_mean_length() {
    let steps = [("max_iter", Value::Number(100.0)), ("tol", Value::Number(1e-9))];
    let mean = |vectors: &[[f64; 2]], expected: [f64; 2]| {
        let vectors: Vec<[f32; 2]> = vectors.iter().map(|x| stored(*x)).collect();
        let models: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        check("karcher", &given(&karcher::Karcher, None, &models, &[2], &steps), &expected);
    };
    // mergekit's own regression test.
    mean(&[at(0.0, 1.0), at(0.0, 2.0)], [1.5, 0.0]);
    // On a circle, the Karcher mean is the mean of the angles; the direction of the sum of these would be 26.6°.
    mean(&[at(0.0, 1.0), at(0.0, 1.0), at(90.0, 4.0)], at(30.0, 2.0));
    // A vector of length zero has no direction, but counts in the mean length.
    mean(&[at(10.0, 3.0), [0.0, 0.0], at(70.0, 3.0)], at(40.0, 2.0));
    mean(&[[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]);
}

#[test]
fn karcher_and_multislerp_refuse_what_has_no_mean() {
    let refused = |method: &dyn Method, vectors: &[[f64; 2]]| {
        let vectors: Vec<[f32; 2]> = vectors.iter().map(|x| stored(*x)).collect();
        let models: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        let weight = [("weight", Value::Number(1.0))];
        let error = method.kernel(&given(method, None, &models, &[2], &weight)).err().expect("no mean");
        assert!(error.advice().is_some_and(|hint| hint.contains("`linear`")), "{error:?}");
    };
    refused(&karcher::Karcher, &[at(0.0, 1.0), at(0.0, 1.0), at(180.0, 2.0)]);
    refused(&karcher::Karcher, &[at(50.0, 1.0), at(230.0, 1.0)]);
    refused(&multislerp::Multislerp, &[at(0.0, 1.0), at(120.0, 1.0), at(240.0, 1.0)]);
}

#[test]
fn multislerp_is_the_mean_direction_and_the_mean_length() {
    let weight = [("weight", Value::Number(2.0))];
    let mean = |base: Option<[f64; 2]>, vectors: &[[f64; 2]], expected: [f64; 2]| {
        let vectors: Vec<[f32; 2]> = vectors.iter().map(|x| stored(*x)).collect();
        let models: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        let base = base.map(stored);
        let inputs = given(&multislerp::Multislerp, base.as_ref().map(<[f32; 2]>::as_slice), &models, &[2], &weight);
        check("multislerp", &inputs, &expected);
    };
    mean(None, &[at(0.0, 1.0), at(90.0, 3.0)], at(45.0, 2.0));
    mean(None, &[at(10.0, 1.0), at(50.0, 1.0), at(90.0, 1.0)], at(50.0, 1.0));
    mean(Some([1.0, 1.0]), &[[2.0, 1.0], [1.0, 4.0]], [1.0 + 2f64.sqrt(), 1.0 + 2f64.sqrt()]);
    // Two opposite vectors: their plain mean. One: itself. Models equal to the base: the base.
    mean(None, &[at(30.0, 3.0), at(210.0, 1.0)], at(30.0, 1.0));
    mean(Some([1.0, 1.0]), &[[2.0, 1.0]], [2.0, 1.0]);
    mean(Some([0.3, 0.7]), &[[0.3, 0.7]; 3], [0.3, 0.7]);
}

#[test]
fn settings_without_a_result_are_refused() {
    let model = |w| Settings(vec![("weight", Value::Number(w))]);
    let merge = |normalize| Settings(vec![("normalize_weights", Value::Flag(normalize))]);
    let multislerp = &multislerp::Multislerp;
    assert!(multislerp.refusal(&merge(true), &[model(0.5), model(-0.5)]).is_some());
    assert!(multislerp.refusal(&merge(false), &[model(0.5), model(-0.5)]).is_none());
    assert!(multislerp.refusal(&merge(true), &[model(0.0)]).is_none(), "one model is what it is");
    let steps = |n| Settings(vec![("max_iter", Value::Number(n)), ("tol", Value::Number(0.0))]);
    assert!(karcher::Karcher.refusal(&steps(2.5), &[]).is_some());
    assert!(karcher::Karcher.refusal(&steps(2.0), &[]).is_none());
}

/// Equation 7 of the paper for two models at 60° and at 90°: t = 2·cos θ / (1 + cos θ).
#[test]
fn model_stock_goes_as_far_as_models_agree() {
    let (b, x1, x2) = ([1.0, 1.0, -1.0, 0.5], [2.0, 1.0, 0.0, 0.5], [1.5f32, 1.0 + 0.75f32.sqrt(), -1.0, 1.5]);
    let whole = |i: usize, t: f64| f64::from(b[i]) + t * (f64::from(x1[i] + x2[i]) / 2.0 - f64::from(b[i]));
    let rows = [("filter_wise", Value::Flag(true))];
    let inputs = given(&model_stock::ModelStock, Some(&b), &[&x1, &x2], &[2, 2], &rows);
    check("model_stock", &inputs, &[whole(0, 2.0 / 3.0), whole(1, 2.0 / 3.0), whole(2, 0.0), whole(3, 0.0)]);
    // Both rows together: each offset has the length √2, and their product is 1/2.
    let t = 2.0 * 0.25 / 1.25;
    let inputs = given(&model_stock::ModelStock, Some(&b), &[&x1, &x2], &[2, 2], &[]);
    check("model_stock", &inputs, &[0, 1, 2, 3].map(|i| whole(i, t)));
}

#[test]
fn nearswap_takes_what_is_near() {
    let (b, x) = ([1.0, 1.0, 1.0, 1.0], [1.0, 1.125, 1.5, -1.0]);
    let inputs = given(&nearswap::Nearswap, Some(&b), &[&x], &[4], &[("t", Value::Number(0.25))]);
    check("nearswap", &inputs, &[1.0, 1.125, 1.25, 0.75]);
}

#[test]
fn ram_keeps_unique_changes_and_averages_shared_ones() {
    let b = [1.0; 5];
    let models: [&[f32]; 2] = [&[2.0, 3.0, 1.0, 1.0, 2.0], &[4.0, 1.0, 1.0, 0.5, 1.0]];
    let inputs = given(&ram::RAM, Some(&b), &models, &[5], &[]);
    check("ram", &inputs, &[3.0, 3.0, 1.0, 0.5, 2.0]);
    // The first model shares one change and has two of its own, the second shares one and has one:
    // ratios of 0.5 and 1, of which at most 0.6 counts.
    let inputs = given(&ram::RAMPLUS_TL, Some(&b), &models, &[5], &[("alpha", Value::Number(0.6))]);
    check("ramplus_tl", &inputs, &[3.0, 1.0 + 1.05 * 2.0, 1.0, 1.0 - 1.06 * 0.5, 1.0 + 1.05]);
}

/// Calculated by hand: three of four elements differ between the models; ⌊0.7·3⌋ = 2 of them are kept.
#[test]
fn sce_selects_weighs_and_erases() {
    let b = [0.0; 4];
    let models: [&[f32]; 2] = [&[3.0, 5.0, -1.0, 0.5], &[1.0, 5.0, 2.0, 0.6]];
    let inputs = given(&sce::Sce, Some(&b), &models, &[4], &[("select_topk", Value::Number(0.7))]);
    // Sums of squares of the kept elements: 9 + 1 and 1 + 4. In the third, only the second model has the sum's sign.
    check("sce", &inputs, &[(3.0 * 10.0 + 1.0 * 5.0) / 15.0, 0.0, 2.0, 0.0]);
    let inputs = given(&sce::Sce, Some(&b), &models, &[4], &[]);
    let (w1, w2) = (35.25, 30.36);
    let mean = |a: f64, b: f64| (a * w1 + b * w2) / (w1 + w2);
    check("sce", &inputs, &[mean(3.0, 1.0), 5.0, 2.0, mean(0.5, 0.6)]);
}
