//! Estimates on data drawn from the model, compared with the plain mean of as many answers.

use super::*;
use rand::{Rng, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Items and abilities drawn from the model; draws the models' answers.
struct World {
    items: Vec<IrtItem>,
    abilities: Vec<Vec<f64>>,
    generator: ChaCha8Rng,
}

impl World {
    fn new(n_models: usize, n_items: usize, seed: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = || generator.sample::<f64, _>(StandardNormal);
        let items = (0..n_items).map(|_| IrtItem {
            discrimination: vec![1.2 + 0.4 * normal(), 0.8 * normal()],
            difficulty: 1.5 * normal(),
        });
        let items = items.collect();
        let abilities = (0..n_models).map(|_| vec![normal(), normal()]).collect();
        Self { items, abilities, generator }
    }

    fn answer(&mut self, ability: &[f64]) -> Vec<f64> {
        self.items.iter().map(|item| f64::from(self.generator.random::<f64>() < item.probability(ability))).collect()
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Mean absolute errors of the plain mean, mp-IRT and gmp-IRT, over four choices of anchors and 100
/// merges of three parents. Items are fitted to 60 models; a tenth of the other 57's answers is
/// missing.
fn check(n_answers: usize) -> [f64; 3] {
    let mut world = World::new(60, 400, 1);
    let abilities = world.abilities.clone();
    let mut table: Vec<Vec<Option<f64>>> =
        abilities.iter().map(|theta| world.answer(theta).into_iter().map(Some).collect()).collect();
    for row in table.iter_mut().skip(3) {
        for score in row.iter_mut().filter(|_| world.generator.random_ratio(1, 10)) {
            *score = None;
        }
    }
    let IrtFit { items, abilities: known } = fit(&table, 2, 0.1);
    let mut errors = [0.0; 3];
    for seed in 0..4 {
        let chosen = anchors(&items, n_answers, seed);
        for _ in 0..100 {
            let lambda: Vec<f64> = (0..3).map(|_| world.generator.random_range(0.0..1.0)).collect();
            let theta: Vec<f64> = (0..2).map(|d| (0..3).map(|k| lambda[k] * abilities[k][d]).sum()).collect();
            let scores = world.answer(&theta);
            let random = index::sample(&mut world.generator, scores.len(), n_answers);
            let plain = mean(&random.iter().map(|item| scores[item]).collect::<Vec<_>>());
            let answer =
                |(item, weight): &(usize, f64)| ItemAnswer { item: *item, score: scores[*item], weight: *weight };
            let answers: Vec<ItemAnswer> = chosen.iter().map(answer).collect();
            let mp = mp_irt(&items, &answers, &merged_ability(&items, &answers, &known[..3], 1.0));
            let estimates = [plain, mp, generalised(&answers, mp, 0.5)];
            for (error, estimate) in errors.iter_mut().zip(estimates) {
                *error += (estimate - mean(&scores)).abs() / 400.0;
            }
        }
    }
    errors
}

#[test]
fn estimates_are_nearer_than_the_mean_of_as_many_answers() {
    for n_answers in [20, 50] {
        let [plain, mp, gmp] = check(n_answers);
        assert!(mp < 0.9 * plain && gmp < 0.95 * plain, "{n_answers}: {plain} {mp} {gmp}");
    }
}

#[test]
fn finds_the_items_that_the_answers_were_drawn_from() {
    let mut world = World::new(300, 60, 2);
    for (item, theta) in world.items.iter_mut().map(|item| &mut item.discrimination).zip(0..) {
        *item = vec![0.6 + 0.02 * f64::from(theta)];
    }
    let abilities: Vec<Vec<f64>> = world.abilities.iter().map(|theta| vec![theta[0]]).collect();
    let table: Vec<Vec<Option<f64>>> =
        abilities.iter().map(|theta| world.answer(theta).into_iter().map(Some).collect()).collect();
    let fitted = fit(&table, 1, 0.1);
    let correlation = |a: &[f64], b: &[f64]| {
        let (a_mean, b_mean) = (mean(a), mean(b));
        let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - a_mean, b - b_mean)).sum::<f64>();
        sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
    };
    let difficulties = |items: &[IrtItem]| items.iter().map(|item| item.difficulty).collect::<Vec<_>>();
    assert!(correlation(&difficulties(&fitted.items), &difficulties(&world.items)) > 0.97);
    // The sign of the axis is arbitrary.
    assert!(correlation(&fitted.abilities.concat(), &abilities.concat()).abs() > 0.95);
}

#[test]
fn mixes_what_is_seen_with_what_is_expected() {
    let items: Vec<IrtItem> =
        [0.0, 1.0, -1.0, 2.0].map(|difficulty| IrtItem { discrimination: vec![1.0], difficulty }).into();
    let answers = [(0, 1.0, 0.75), (3, 0.0, 0.25)].map(|(item, score, weight)| ItemAnswer { item, score, weight });
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let expected = f64::midpoint(sigmoid(0.5 - 1.0), sigmoid(0.5 + 1.0));
    let close = |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-12, "{ours} is not {theirs}");
    close(mp_irt(&items, &answers, &[0.5]), f64::midpoint(0.75, expected));
    close(generalised(&answers, 0.2, 0.5), f64::midpoint(0.75, 0.2));
    // If all items were asked, nothing is estimated.
    close(mp_irt(&items[..1], &[ItemAnswer { item: 0, score: 1.0, weight: 1.0 }], &[0.5]), 1.0);
}

/// For 2 right and 1 wrong answers to three equal items, the likelihood is greatest at P = 2/3.
#[test]
fn ability_is_where_the_answers_are_most_likely() {
    let items = vec![IrtItem { discrimination: vec![2.0], difficulty: 0.5 }; 3];
    let answers = [1.0, 1.0, 0.0].map(|score| ItemAnswer { item: 0, score, weight: 0.0 });
    let theta = ability(&items, &answers, 0.0);
    assert!((items[0].probability(&theta) - 2.0 / 3.0).abs() < 1e-6);
    // A mix of one parent can only scale its ability.
    let merged = merged_ability(&items, &answers, &[vec![0.1]], 0.0);
    assert!((merged[0] - theta[0]).abs() < 1e-6);
    // With all answers right the likelihood has no maximum, but the fit still ends.
    assert!(ability(&items, &[answers[0]], 0.0)[0].is_finite());
}

#[test]
fn anchors_stand_for_all_items() {
    let World { items, .. } = World::new(1, 300, 3);
    let chosen = anchors(&items, 20, 7);
    assert_eq!(chosen.len(), 20);
    assert!((chosen.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(chosen, anchors(&items, 20, 7));
    assert_ne!(chosen, anchors(&items, 20, 8));
    // One anchor is enough for equal items, and no items have none.
    assert_eq!(anchors(&vec![items[0].clone(); 9], 3, 7), [(0, 1.0)]);
    assert_eq!(anchors(&[], 3, 7), []);
}
