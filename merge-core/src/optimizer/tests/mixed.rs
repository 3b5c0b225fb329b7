//! Replays of recorded runs of the reference implementation: searches of numbers and choices.

use super::replay::check_close;
use crate::optimizer::{
    CatCma, CatCmaMargin, Coordinate, OptimizerStart,
    cat_cma::{DrawnPoint, Mixed},
};
use nalgebra::{DMatrix, DVector};
use serde::Deserialize;

/// A run of `cmaes` 0.13.1 with reals and choices of K options.
#[derive(Deserialize)]
struct Replay {
    algo: String,
    n_co: usize,
    n_ca: usize,
    #[serde(rename = "K")]
    k: usize,
    lam: usize,
    #[serde(default)]
    q_min: Vec<f64>,
    gens: Vec<Generation>,
}

#[derive(Deserialize)]
struct Generation {
    told: Vec<Told>,
    after: State,
}

#[derive(Deserialize)]
struct Told {
    #[serde(alias = "v")]
    x: Vec<f64>,
    v_raw: Option<Vec<f64>>,
    c: Vec<Chosen>,
    f: f64,
}

/// An option, by its number or as a one-hot vector.
#[derive(Deserialize)]
#[serde(untagged)]
enum Chosen {
    Number(usize),
    OneHot(Vec<usize>),
}

impl Chosen {
    fn option(&self) -> usize {
        match self {
            Self::Number(option) => *option,
            Self::OneHot(options) => options.iter().position(|one| *one == 1).unwrap(),
        }
    }
}

#[derive(Deserialize)]
struct State {
    mean: Vec<f64>,
    sigma: f64,
    #[serde(rename = "C")]
    c: Vec<Vec<f64>>,
    q: Vec<Vec<f64>>,
    #[serde(rename = "Delta")]
    divisor: Option<f64>,
    gamma: Option<f64>,
    s: Option<Vec<f64>>,
    #[serde(rename = "A", default)]
    a: Vec<f64>,
    #[serde(default)]
    mutation_rates: Vec<f64>,
}

impl Generation {
    fn fitness(&self) -> Vec<f64> {
        self.told.iter().map(|told| -told.f).collect()
    }

    /// The points as draws of our search: steps from its mean, divided by the widening `a`.
    fn drawn(&self, mixed: &Mixed, a: &DVector<f64>, unit: impl Fn(f64) -> f64) -> Vec<DrawnPoint> {
        let drawn = |told: &Told| {
            let v = told.v_raw.as_ref().unwrap_or(&told.x);
            let v: Vec<f64> = v.iter().map(|v| unit(*v)).collect();
            let y = mixed.gaussian.as_ref().unwrap().step(&v).component_div(a);
            DrawnPoint { y, choices: told.c.iter().map(Chosen::option).collect() }
        };
        self.told.iter().map(drawn).collect()
    }
}

fn replays(algo: &str) -> Vec<Replay> {
    let all: Vec<Replay> =
        serde_json::from_str(include_str!("../../../../tests/data/optimizers/catcma_replay.json")).unwrap();
    all.into_iter().filter(|replay| replay.algo == algo).collect()
}

fn start(Replay { n_co, n_ca, k, lam, .. }: &Replay, mean: f64, sigma: f64) -> OptimizerStart {
    let reals = vec![Coordinate::Real { start: mean }; *n_co];
    let choices = vec![Coordinate::Choice { start: vec![1.0 / *k as f64; *k] }; *n_ca];
    OptimizerStart { coordinates: [reals, choices].concat(), sigma, population: Some(*lam), seed: 0 }
}

/// Checks the distributions after a generation; `unit` is the scale and origin of our numbers in terms of theirs.
fn check_state(place: &str, mixed: &Mixed, theirs: &State, unit: (f64, f64)) {
    let (scale, origin) = unit;
    let d = &mixed.gaussian.as_ref().unwrap().distribution;
    let mean: Vec<f64> = d.mean.iter().map(|m| (m - origin) / scale).collect();
    // Near 0 the change of units leaves an absolute error.
    for (ours, theirs) in mean.iter().zip(&theirs.mean) {
        assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3), "{place}: mean: {ours} is not {theirs}");
    }
    check_close(&format!("{place}: sigma"), &[d.sigma], &[theirs.sigma]);
    check_close(&format!("{place}: C"), (&d.c / scale.powi(2)).as_slice(), &theirs.c.concat());
    if let Some(categorical) = &mixed.categorical {
        check_close(&format!("{place}: q"), &categorical.q.concat(), &theirs.q.concat());
    }
}

#[test]
fn replays_cat_cma() {
    let replays = replays("CatCMA");
    assert_eq!(replays.len(), 2);
    for replay in replays {
        // The file lacks its start; it was derived from the first points and the generator's first draws.
        let mut search = CatCma::new(start(&replay, 1.0, 0.7));
        check_close("q_min", &search.mixed.categorical.as_ref().unwrap().q_min, &replay.q_min);
        for (number, generation) in replay.gens.iter().enumerate() {
            let a = DVector::repeat(replay.n_co, 1.0);
            search.update(&generation.drawn(&search.mixed, &a, |v| v), &generation.fitness());
            let place = format!("n={} generation {number}", replay.n_co);
            let theirs = &generation.after;
            check_state(&place, &search.mixed, theirs, (1.0, 0.0));
            let choices = search.mixed.categorical.as_ref().unwrap();
            check_close(&format!("{place}: Δ"), &[choices.divisor], &[theirs.divisor.unwrap()]);
            check_close(&format!("{place}: γ"), &[choices.gamma], &[theirs.gamma.unwrap()]);
            check_close(&format!("{place}: s"), choices.s.as_slice(), theirs.s.as_ref().unwrap());
        }
    }
}

#[test]
fn replays_cat_cma_with_margin() {
    let replays = replays("CatCMAwM");
    assert_eq!(replays.len(), 2);
    for replay in replays {
        // The reference's box is [-3, 3]; it starts in the middle, with 1/6 of the distance to a bound as deviation.
        let mut search = CatCmaMargin::new(start(&replay, 0.5, 1.0));
        let n = replay.n_co;
        search.mixed.gaussian.as_mut().unwrap().distribution.c = DMatrix::identity(n, n) * (0.5_f64 / 6.0).powi(2);
        for (number, generation) in replay.gens.iter().enumerate() {
            let drawn = generation.drawn(&search.mixed, &search.a, |v| (v + 3.0) / 6.0);
            search.update(&drawn, &generation.fitness());
            let place = format!("n={n} generation {number}");
            check_state(&place, &search.mixed, &generation.after, (1.0 / 6.0, 0.5));
        }
    }
}

/// A run of `cmaes` 0.13.1 with integers, recorded by `benches/peers/integers.py`.
#[derive(Deserialize)]
struct WithIntegers {
    reals: usize,
    integers: usize,
    levels: usize,
    choices: usize,
    options: usize,
    mean: Vec<f64>,
    sigma: f64,
    lambda: usize,
    generations: Vec<Generation>,
}

#[test]
fn replays_cat_cma_with_margin_and_integers() {
    let replays: Vec<WithIntegers> =
        serde_json::from_str(include_str!("../../../../tests/data/optimizers/integers_replay.json")).unwrap();
    for (case, replay) in replays.iter().enumerate() {
        let coordinates = [
            vec![Coordinate::Real { start: 0.5 }; replay.reals],
            vec![Coordinate::Integer { levels: replay.levels, start: 0 }; replay.integers],
            vec![Coordinate::Choice { start: vec![1.0 / replay.options as f64; replay.options] }; replay.choices],
        ];
        let coordinates = coordinates.concat();
        let mut search = CatCmaMargin::new(OptimizerStart {
            coordinates,
            sigma: replay.sigma,
            population: Some(replay.lambda),
            seed: 0,
        });
        search.mixed.gaussian.as_mut().unwrap().distribution.mean = DVector::from_column_slice(&replay.mean);
        for (number, generation) in replay.generations.iter().enumerate() {
            let drawn = generation.drawn(&search.mixed, &search.a, |v| v);
            search.update(&drawn, &generation.fitness());
            let place = format!("case {case} generation {number}");
            let theirs = &generation.after;
            check_state(&place, &search.mixed, theirs, (1.0, 0.0));
            check_close(&format!("{place}: A"), search.a.as_slice(), &theirs.a);
            let rates: Vec<f64> = search.integers.iter().map(|integer| integer.mutation_rate).collect();
            check_close(&format!("{place}: mutation rates"), &rates, &theirs.mutation_rates);
        }
    }
}
