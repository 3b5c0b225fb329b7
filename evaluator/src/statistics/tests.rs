//! Scores in; estimates, intervals and differences out, compared with published and hand-worked values.

use super::{
    Estimate, PairedDifference, Test, combined,
    labels::Confusion,
    several::{holm, optimism},
};

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
        check(&format!("{ones}/{n}"), &estimate.ci95.unwrap(), &published, 5e-5);
        assert_eq!(estimate.n, n);
    }
    // The same formula in Python.
    let all = Estimate::of(&binary(29, 29)).unwrap();
    check("29/29", &all.ci95.unwrap(), &[0.883_030_201_500_259_3, 1.0], 1e-12);
    assert!(all.stderr.unwrap().abs() < 1e-15 && all.ci95.unwrap()[0] < 1.0, "all right is not certainty");
}

#[test]
fn an_interval_holds_its_mean() {
    // 0 of 24 once had an interval that began at 1.4e-17.
    for n in 1..200 {
        for ones in [0, 1, n / 2, n - 1, n] {
            let Estimate { value, ci95, .. } = Estimate::of(&binary(ones, n)).unwrap();
            let [low, high] = ci95.unwrap();
            assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{ones}/{n}: {low} {value} {high}");
        }
    }
}

#[test]
fn gives_the_sample_standard_error() {
    // MGSM, 250 items at 40%: 3.10 points.
    check("mgsm", &[Estimate::of(&binary(100, 250)).unwrap().stderr.unwrap()], &[0.031_046], 5e-7);
    // Mean 2.5, Σ(x − mean)² = 5, so sqrt(5/3/4).
    let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    check("1 to 4", &[estimate.value, estimate.stderr.unwrap()], &[2.5, 0.645_497_224_367_902_8], 1e-12);
}

#[test]
fn does_not_guess_a_spread() {
    assert_eq!((Estimate::of(&[]), PairedDifference::of(&[], &[])), (None, None));
    // A single answer, right or wrong: Clopper and Pearson, whose ends are the 2.5% quantiles of one toss.
    let one = Estimate::of(&[1.0]).unwrap();
    assert_eq!((one.value, one.stderr, one.ci95, one.n), (1.0, None, Some([0.025, 1.0]), 1));
    assert_eq!(Estimate::of(&[0.0]).unwrap().ci95, Some([0.0, 0.975]));
    // One number of any size, or several that are all the same, have no interval.
    let none = |scores: &[f64]| {
        (Estimate::of(scores).unwrap().ci95, PairedDifference::of(scores, &[0.0; 12][..scores.len()]).unwrap().ci95)
    };
    for scores in [&[-3.0][..], &[-3.0; 4], &[-3.0; 12]] {
        assert_eq!(none(scores), (None, None), "{scores:?}");
    }
    let golds = [0, 1, 0, 1];
    assert_eq!(Estimate::of_labels(&golds, &golds, Confusion::macro_f1).unwrap().ci95, None);
    assert_eq!(Estimate::of_statistic(&[7.0; 3], |_| 1.0).unwrap().ci95, None);
}

#[test]
fn few_scores_have_an_interval_that_is_not_too_short() {
    // Student's: 2.5 ± 3.182·0.645, from any table.
    check("1 to 4", &Estimate::of(&[1.0, 2.0, 3.0, 4.0]).unwrap().ci95.unwrap(), &[0.445_739, 4.554_261], 1e-6);
    let difference = PairedDifference::of(&[1.0, 2.0, 3.0, 4.0], &[0.0; 4]).unwrap();
    check("their differences from 0", &difference.ci95.unwrap(), &[0.445_739, 4.554_261], 1e-6);
    // Shares have the interval of right and wrong answers with the same mean: Wilson's formula in Python.
    let half = Estimate::of(&[0.5; 10]).unwrap();
    check("ten times a half", &half.ci95.unwrap(), &[0.236_593, 0.763_407], 1e-6);
    check("two", &Estimate::of(&[0.25, 0.75]).unwrap().ci95.unwrap(), &[0.094_531, 0.905_469], 1e-6);
    // Statistics that are not means have none: a bootstrap of two items says no more than the two.
    let sum = |items: &[f64]| items.iter().sum::<f64>();
    assert_eq!(Estimate::of_statistic(&[1.0, 2.0], sum).unwrap().ci95, None);
    assert_eq!(Estimate::of_labels(&[0, 1, 0], &[0, 1, 1], Confusion::macro_f1).unwrap().ci95, None);
    let ten: [f64; 10] = std::array::from_fn(|i| i as f64);
    assert!(Estimate::of_statistic(&ten, sum).unwrap().ci95.is_some());
}

#[test]
fn scores_of_which_nearly_all_are_the_same_have_the_widest_interval() {
    let mut shares = [0.0; 40];
    shares[..4].copy_from_slice(&[0.001, 0.5, 0.7, 0.3]);
    let right = |ones: f64| {
        let p = ones / 40.0;
        super::intervals::proportion(p, 40)
    };
    check("four of forty", &Estimate::of(&shares).unwrap().ci95.unwrap(), &right(1.501), 1e-12);
    let few = PairedDifference::of(&[0.501, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], &[0.5; 10]).unwrap();
    let [low, high] = few.ci95.unwrap();
    assert!(low < -0.2 && high > 0.2, "[{low}, {high}]");
    shares[4] = 0.2;
    let [_, high] = Estimate::of(&shares).unwrap().ci95.unwrap();
    assert!(high < right(1.701)[1], "five are resampled");
}

#[test]
fn gives_tangos_interval() {
    for (wins, losses, n, published, source) in [
        // M. W. Fagerland, S. Lydersen, P. Laake, BMC Medical Research Methodology 14 (2014): airway hyper-responsiveness.
        (1, 7, 21, [-0.517, -0.026], "Bentur 2009"),
        // R package contingencytables 3.1.0, tests of chapter 8.
        (6, 16, 161, [-0.1240, -0.0054], "Cavo 2012"),
        // R. G. Newcombe, Statistics in Medicine 17 (1998), 2635: 36, 12, 2 and 0 of 50.
        (12, 2, 50, [0.0611, 0.3447], "Newcombe 1998"),
        // A single item: Clopper and Pearson's interval of a proportion, stretched to differences.
        (0, 0, 1, [-0.975, 0.975], "closed form"),
        (1, 0, 1, [-0.95, 1.0], "closed form"),
        // No item differs: ± z²/(n + z²).
        (0, 0, 4, [-0.4899, 0.4899], "closed form"),
        (0, 0, 50, [-0.0713, 0.0713], "closed form"),
    ] {
        let digits = if source == "Bentur 2009" { 5e-4 } else { 6e-5 };
        let (a, b) = pairs(wins, losses, n);
        let [low, high] = PairedDifference::of(&a, &b).unwrap().ci95.unwrap();
        check(source, &[low, high], &published, digits);
        let [low_back, high_back] = PairedDifference::of(&b, &a).unwrap().ci95.unwrap();
        check(&format!("{source}, the other way round"), &[-high_back, -low_back], &[low, high], 1e-9);
    }
    for n in 1..40 {
        for (wins, losses) in [(0, 0), (1, 0), (n, 0), (0, n), (n / 2, n - n / 2), (n / 3, n / 4)] {
            let (a, b) = pairs(wins, losses, n);
            let PairedDifference { value, ci95, .. } = PairedDifference::of(&a, &b).unwrap();
            let [low, high] = ci95.unwrap();
            assert!(-1.0 <= low && low <= value && value <= high && high <= 1.0, "{wins}/{losses}/{n}: {low} {high}");
            assert!(high - low > 0.05, "{wins}/{losses}/{n}: {low} {high}");
        }
    }
}

#[test]
fn equal_shares_are_not_certainly_equal() {
    let same = PairedDifference::of(&[0.5, 0.7, 0.1, 0.9], &[0.5, 0.7, 0.1, 0.9]).unwrap();
    check("four", &same.ci95.unwrap(), &[-0.4899, 0.4899], 6e-5);
    // Each of a hundred is a tenth better: the same as ten of a hundred right.
    let better = PairedDifference::of(&[0.6; 100], &[0.5; 100]).unwrap();
    let (a, b) = pairs(10, 0, 100);
    check("a tenth", &better.ci95.unwrap(), &PairedDifference::of(&a, &b).unwrap().ci95.unwrap(), 1e-9);
}

#[test]
fn compares_two_models_item_by_item() {
    // If a share d of items differs, the standard error is sqrt(d − Δ²)/sqrt(n): d = 0.2 gives 1.4 and 2.8 points.
    for (n, wins, losses, points) in [(1069, 107, 107, 1.4), (250, 25, 25, 2.8)] {
        let (a, b) = pairs(wins, losses, n);
        let difference = PairedDifference::of(&a, &b).unwrap();
        check("equal models", &[difference.value, difference.stderr.unwrap() * 100.0], &[0.0, points], 0.05);
    }
    let (a, b) = pairs(30, 10, 100);
    let difference = PairedDifference::of(&a, &b).unwrap();
    // sqrt((0.4 − 0.04)/99).
    check("30 against 10", &[difference.value, difference.stderr.unwrap()], &[0.2, 0.060_302_268_915_552_72], 1e-12);
    // A bootstrap of scipy 1.17.1 gives [0.08, 0.31]; Tango's score interval, in Python.
    check("its interval", &difference.ci95.unwrap(), &[0.079_484, 0.316_961], 1e-6);
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
        let difference = PairedDifference::of(&a, &b).unwrap();
        check(&format!("{wins} against {losses}"), &[difference.p / p], &[1.0], 1e-10);
        assert_eq!(difference.test, Test::McNemar);
    }
}

/// 400 scores, 30% of them 0 and 25% of them 1; the Python that made the numbers below used the same.
fn scores() -> Vec<f64> {
    (0..400u32)
        .map(|i| f64::from(i * i * 7919 % 1000) / 1000.0)
        .map(|x| {
            if x < 0.3 {
                0.0
            } else if x > 0.75 {
                1.0
            } else {
                x
            }
        })
        .collect()
}

#[test]
fn gives_the_bca_interval() {
    // scipy 1.17.1: stats.bootstrap(method="BCa"), 400,000 resamples; with 10,000, ends move by 2% of the length.
    let estimate = Estimate::of(&scores()).unwrap();
    check("mean", &[estimate.value, estimate.stderr.unwrap()], &[0.54183, 0.019_204_887_320_483_845], 1e-12);
    check("400 scores", &estimate.ci95.unwrap(), &[0.504_035, 0.579_253], 0.0015);
    // Skewed scores: the percentiles would be [0.028, 0.236].
    let mut skewed = [0.0; 24];
    for (at, score) in [(8, 0.1), (11, 0.2), (15, 1.0), (18, 0.5), (19, 0.9), (23, 0.3)] {
        skewed[at] = score;
    }
    check("skewed", &Estimate::of(&skewed).unwrap().ci95.unwrap(), &[0.04, 0.276], 0.008);
    // A ratio of sums.
    let items: Vec<(f64, f64)> =
        scores()[..200].iter().enumerate().map(|(i, x)| (x * 3.0 + 1.0, 1.0 + (i % 7) as f64)).collect();
    let ratio = |items: &[(f64, f64)]| {
        items.iter().map(|(above, _)| above).sum::<f64>() / items.iter().map(|(_, below)| below).sum::<f64>()
    };
    let estimate = Estimate::of_statistic(&items, ratio).unwrap();
    check("ratio", &[estimate.value], &[0.651_410_579_345_088_2], 1e-12);
    check("its spread", &[estimate.stderr.unwrap()], &[0.029_187], 0.001);
    check("its interval", &estimate.ci95.unwrap(), &[0.597_679, 0.712_092], 0.003);
}

#[test]
fn bootstraps_measures_of_classification() {
    let golds: Vec<usize> = (0..240).map(|i| i * i % 7 % 3).collect();
    let answers: Vec<usize> =
        golds.iter().enumerate().map(|(i, gold)| if i * 37 % 10 < 6 { *gold } else { i % 3 }).collect();
    // scikit-learn 1.7 for the values, scipy 1.17.1 with 60,000 resamples for the interval.
    let mcc = Estimate::of_labels(&golds, &answers, Confusion::mcc).unwrap();
    check("mcc", &[mcc.value], &[0.564_508_417_119_825_4], 1e-12);
    check("its spread", &[mcc.stderr.unwrap()], &[0.045_071], 0.001);
    check("its interval", &mcc.ci95.unwrap(), &[0.471_872, 0.649_431], 0.005);
    let confusion = Confusion::of(&golds, &answers);
    let others = [confusion.balanced_accuracy(), confusion.macro_f1()];
    check("others", &others, &[0.719_375_779_508_883_9, 0.690_339_547_787_214_8], 1e-12);
    // A class that is only answered, a missing one, and one that is never answered.
    let odd = Confusion::of(&[0, 0, 1, 1, 1, 3], &[0, 2, 1, 1, 0, 3]);
    let odd = [odd.mcc(), odd.balanced_accuracy(), odd.macro_f1()];
    check("odd", &odd, &[0.543_557_306_504_609, 0.722_222_222_222_222_2, 0.575], 1e-12);
    check("constant", &[Confusion::of(&[0, 1, 1], &[1, 1, 1]).mcc()], &[0.0], 0.0);
    check("nothing", &[Confusion::of(&[], &[]).macro_f1()], &[0.0], 0.0);
    // Both ways to resample give the same.
    let pairs: Vec<(usize, usize)> = golds.iter().copied().zip(answers.iter().copied()).collect();
    let by_items = Estimate::of_statistic(&pairs, |pairs| {
        let (golds, answers): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
        Confusion::of(&golds, &answers).mcc()
    });
    check("by items", &by_items.unwrap().ci95.unwrap(), &mcc.ci95.unwrap(), 1e-12);
}

#[test]
fn tests_differences_that_are_no_counts() {
    // All 256 combinations of signs, in Python.
    let d = [0.1, 0.2, -0.05, 0.3, 0.15, 0.25, 0.1, -0.1];
    let difference = PairedDifference::of(&d, &[0.0; 8]).unwrap();
    assert_eq!(difference.test, Test::SignFlip);
    check("8 differences", &[difference.p], &[0.070_312_5], 0.008);
    // 400,000 flips, in numpy.
    let scores = scores();
    let b: Vec<f64> = scores[5..65].iter().map(|x| (x - 0.04).clamp(0.0, 1.0)).collect();
    let difference = PairedDifference::of(&scores[..60], &b).unwrap();
    check("60 differences", &[difference.p], &[0.678_68], 0.015);
    check("none", &[PairedDifference::of(&[0.5, 0.7], &[0.5, 0.7]).unwrap().p], &[1.0], 0.0);
}

#[test]
fn has_the_same_interval_each_time() {
    let scores = scores();
    let once = Estimate::of(&scores);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| Estimate::of(&scores)), once);
}

#[test]
fn adjusts_for_several_tasks() {
    // statsmodels 0.15: multipletests(method="holm").
    check("holm", &holm(&[0.01, 0.04, 0.03, 0.005, 0.5, 0.04]), &[0.05, 0.12, 0.12, 0.03, 0.5, 0.12], 1e-12);
    check("none", &holm(&[]), &[], 0.0);
    check("one", &holm(&[0.7]), &[0.7], 0.0);
}

#[test]
fn adds_estimates_up() {
    // R. G. Newcombe, Statistics in Medicine 17 (1998), 873, table II, method 10: differences of independent proportions.
    for ((a, m), (b, n), published) in [
        ((56, 70), (48, 80), [0.0524, 0.3339]),
        ((9, 10), (3, 10), [0.1705, 0.8090]),
        ((10, 10), (0, 20), [0.6791, 1.0]),
        ((10, 10), (0, 10), [0.6075, 1.0]),
    ] {
        let [first, second] = [(a, m), (b, n)].map(|(ones, n)| Estimate::of(&binary(ones, n)).unwrap());
        let parts = [(1.0, first.value, first.ci95.unwrap()), (-1.0, second.value, second.ci95.unwrap())];
        check(&format!("{a}/{m} - {b}/{n}"), &combined(&parts), &published, 6e-5);
    }
}

#[test]
fn expects_the_winners_curse() {
    // E[max of M normals], by scipy's quad.
    for (n, expected) in [
        (0, 0.0),
        (1, 0.0),
        (2, 0.564_189_583_547_756_6),
        (3, 0.846_284_375_321_634_7),
        (10, 1.538_752_730_835_173),
        (100, 2.507_593_636_441_689),
        (1000, 3.241_435_769_133_475_6),
    ] {
        check(&format!("of {n}"), &[optimism(n, 1.0, 0.0)], &[expected], 1e-12);
    }
    // Points at 40%, as published for 250, 1,000 and 100 items: independent, and at a correlation of one half.
    for (items, candidates, correlation, points) in [
        (250u32, 20, 0.0, 5.8),
        (250, 20, 0.5, 4.1),
        (250, 100, 0.0, 7.8),
        (250, 100, 0.5, 5.5),
        (250, 1000, 0.0, 10.1),
        (250, 1000, 0.5, 7.1),
        (1000, 1000, 0.0, 5.0),
        (1000, 1000, 0.5, 3.5),
        (100, 1000, 0.0, 15.9),
    ] {
        let stderr = (0.4 * 0.6 / f64::from(items)).sqrt();
        check("points", &[100.0 * optimism(candidates, stderr, correlation)], &[points], 0.06);
    }
}

#[test]
fn is_data() {
    let estimate = Estimate::of(&[0.25, 0.75]).unwrap();
    let [low, high] = estimate.ci95.unwrap();
    let json = serde_json::to_string(&estimate).unwrap();
    assert_eq!(json, format!(r#"{{"value":0.5,"stderr":0.25,"ci95":[{low},{high}],"n":2}}"#));
    let json = serde_json::to_string(&Estimate::of(&[-2.0]).unwrap()).unwrap();
    assert_eq!(json, r#"{"value":-2.0,"stderr":null,"ci95":null,"n":1}"#);
    let difference = PairedDifference::of(&[1.0, 0.0], &[1.0, 0.0]).unwrap();
    let [low, high] = difference.ci95.unwrap();
    let json = serde_json::to_string(&difference).unwrap();
    let expected = format!(r#"{{"value":0.0,"stderr":0.0,"ci95":[{low},{high}],"n":2,"p":1.0,"test":"mcnemar"}}"#);
    assert_eq!(json, expected);
}
