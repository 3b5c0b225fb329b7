//! Scores in; estimates, intervals and differences out, against published and hand-worked values.

use super::{Estimate, PairedDifference};

#[track_caller]
fn check(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() <= tolerance, "{what}: {actual} is not {expected} ± {tolerance}");
    }
}

/// `ones` ones, then zeros.
fn binary(ones: usize, n: usize) -> Vec<f64> {
    (0..n).map(|i| if i < ones { 1.0 } else { 0.0 }).collect()
}

/// Scores of two models where the first alone is right `wins` times and the second alone `losses` times.
fn pairs(wins: usize, losses: usize, n: usize) -> (Vec<f64>, Vec<f64>) {
    let score = |right: bool| if right { 1.0 } else { 0.0 };
    (0..n).map(|i| (score(i < wins), score(i >= wins && i < wins + losses))).unzip()
}

#[test]
fn gives_wilsons_interval() {
    // R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for (ones, n, published) in
        [(81, 263, [0.2553, 0.3662]), (15, 148, [0.0624, 0.1605]), (0, 20, [0.0, 0.1611]), (1, 29, [0.0061, 0.1718])]
    {
        let estimate = Estimate::of(&binary(ones, n)).unwrap();
        check(&format!("{ones}/{n}"), &estimate.ci95, &published, 5e-5);
        assert_eq!(estimate.n, n);
    }
    // The same formula in Python.
    let all = Estimate::of(&binary(29, 29)).unwrap();
    check("29/29", &all.ci95, &[0.883_030_201_500_259_3, 1.0], 1e-12);
    assert!(all.stderr.abs() < 1e-15 && all.ci95[0] < 1.0, "all right is not certainty");
}

#[test]
fn an_interval_holds_its_mean() {
    // 0 of 24 once had an interval that began at 1.4e-17.
    for n in 2..200 {
        for ones in [0, 1, n / 2, n - 1, n] {
            let Estimate { value, ci95: [low, high], .. } = Estimate::of(&binary(ones, n)).unwrap();
            assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{ones}/{n}: {low} {value} {high}");
        }
    }
}

#[test]
fn gives_the_sample_standard_error() {
    // MGSM, 250 items at 40%: 3.10 points.
    check("mgsm", &[Estimate::of(&binary(100, 250)).unwrap().stderr], &[0.031_046], 5e-7);
    // Mean 2.5, Σ(x − mean)² = 5, so sqrt(5/3/4).
    let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    check("1 to 4", &[estimate.value, estimate.stderr], &[2.5, 0.645_497_224_367_902_8], 1e-12);
    check("not binary", &estimate.ci95, &[1.234_848_688_082_795, 3.765_151_311_917_205], 1e-9);
}

#[test]
fn does_not_guess_a_spread() {
    assert_eq!(Estimate::of(&[]), None);
    assert_eq!(Estimate::of(&[1.0]), None);
    assert_eq!(PairedDifference::of(&[1.0], &[0.0]), None);
}

#[test]
fn compares_two_models_item_by_item() {
    // With a share d of items that differ, the standard error is sqrt(d − Δ²)/sqrt(n): d = 0.2 gives 1.4 and 2.8 points.
    for (n, wins, losses, points) in [(1069, 107, 107, 1.4), (250, 25, 25, 2.8)] {
        let (a, b) = pairs(wins, losses, n);
        let difference = PairedDifference::of(&a, &b).unwrap();
        check("equal models", &[difference.value, difference.stderr * 100.0], &[0.0, points], 0.05);
    }
    let (a, b) = pairs(30, 10, 100);
    let difference = PairedDifference::of(&a, &b).unwrap();
    // sqrt((0.4 − 0.04)/99).
    check("30 against 10", &[difference.value, difference.stderr], &[0.2, 0.060_302_268_915_552_72], 1e-12);
    check("its interval", &difference.ci95, &[0.081_809_7, 0.318_190_3], 1e-6);
    check("the other way round", &[PairedDifference::of(&b, &a).unwrap().value], &[-0.2], 1e-12);
}

#[test]
fn gives_mcnemars_exact_p() {
    // Computed in Python with integers and fractions, rounded once.
    for (wins, losses, p) in [
        (59, 121, 4.434_449_263_755_176e-6),
        (121, 59, 4.434_449_263_755_176e-6),
        (11, 1, 0.006_347_656_25),
        (25, 15, 0.153_859_944_162_832_1),
        (0, 5, 0.0625),
        (0, 0, 1.0),
        (7, 7, 1.0),
        (3000, 2800, 0.008_969_436_001_193_416),
    ] {
        let (a, b) = pairs(wins, losses, wins + losses + 10);
        let mcnemar = PairedDifference::of(&a, &b).unwrap().mcnemar.unwrap();
        check(&format!("{wins} against {losses}"), &[mcnemar / p], &[1.0], 1e-10);
    }
    assert_eq!(PairedDifference::of(&[0.5, 1.0], &[0.0, 1.0]).unwrap().mcnemar, None);
}

#[test]
fn is_data() {
    let json = serde_json::to_string(&Estimate::of(&[0.25, 0.75]).unwrap()).unwrap();
    assert!(json.starts_with(r#"{"value":0.5,"stderr":0.25,"ci95":[0.01"#), "{json}");
    assert!(json.ends_with(r#","n":2}"#), "{json}");
}
