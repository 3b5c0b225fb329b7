//! Replays of recorded runs of the reference implementation: searches of numbers.

use super::reals;
use crate::optimizer::{
    CmaEs, CmaEsMargin, Genome, SepCmaEs,
    margin::IntegerLattice,
    strategy::{Strategy, default_population},
};
use nalgebra::DVector;
use serde::Deserialize;

/// A run of `cmaes` 0.13.1: its feedback and its states.
#[derive(Deserialize)]
struct Replay {
    algo: String,
    f: String,
    n: usize,
    mean0: Vec<f64>,
    sigma0: f64,
    params: Option<Params>,
    gens: Vec<Generation>,
}

#[derive(Deserialize)]
struct Params {
    lam: usize,
    mu_eff: f64,
    cc: f64,
    c1: f64,
    cmu: f64,
    c_sigma: f64,
    d_sigma: f64,
    chi_n: f64,
    weights: Vec<f64>,
}

#[derive(Deserialize)]
struct Generation {
    told: Vec<Told>,
    after: State,
}

#[derive(Deserialize)]
struct Told {
    x: Genome,
    enc: Option<Genome>,
    f: f64,
}

impl Generation {
    fn points(&self) -> Vec<Genome> {
        self.told.iter().map(|told| told.x.clone()).collect()
    }

    fn fitness(&self) -> Vec<f64> {
        self.told.iter().map(|told| -told.f).collect()
    }
}

#[derive(Deserialize)]
struct State {
    mean: Vec<f64>,
    sigma: f64,
    p_sigma: Vec<f64>,
    pc: Vec<f64>,
    #[serde(rename = "C")]
    c: Matrix,
    #[serde(rename = "A")]
    a: Option<Vec<f64>>,
}

/// A covariance matrix, or its diagonal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Matrix {
    Full(Vec<Vec<f64>>),
    Diagonal(Vec<f64>),
}

impl Matrix {
    fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Full(rows) => rows.concat(),
            Self::Diagonal(diagonal) => diagonal.clone(),
        }
    }
}

fn replays(algorithms: &[&str]) -> Vec<Replay> {
    let all: Vec<Replay> =
        serde_json::from_str(include_str!("../../../../tests/data/optimizers/cma_replay.json")).unwrap();
    all.into_iter().filter(|replay| algorithms.contains(&replay.algo.as_str())).collect()
}

/// Checks that each number agrees with the reference's to 1e-9, relative to its size.
pub(super) fn check_close(place: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{place}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= 1e-9 * theirs.abs(), "{place}: {ours} is not {theirs}");
    }
}

/// Checks the mean, σ, both paths and C after a generation.
fn check_state(place: &str, ours: [&[f64]; 5], theirs: &State) {
    let parts = [&theirs.mean, &vec![theirs.sigma], &theirs.p_sigma, &theirs.pc, &theirs.c.numbers()];
    for ((name, ours), theirs) in ["mean", "sigma", "p_sigma", "p_c", "C"].into_iter().zip(ours).zip(parts) {
        check_close(&format!("{place}: {name}"), ours, theirs);
    }
}

#[test]
fn has_the_reference_strategy_parameters() {
    for Replay { algo, n, params, .. } in replays(&["CMA", "CMA-LRA", "SepCMA"]) {
        let p = params.unwrap();
        let s = if algo == "SepCMA" { Strategy::separable(n, p.lam) } else { Strategy::new(n, p.lam) };
        assert_eq!(default_population(n), p.lam);
        check_close("weights", &s.weights[..p.weights.len()], &p.weights);
        check_close(
            "parameters",
            &[s.mu_eff, s.c_c, s.c_1, s.c_mu, s.c_sigma, s.d_sigma, s.chi_n],
            &[p.mu_eff, p.cc, p.c1, p.cmu, p.c_sigma, p.d_sigma, p.chi_n],
        );
    }
}

#[test]
fn replays_the_reference() {
    let replays = replays(&["CMA", "CMA-LRA"]);
    assert_eq!(replays.len(), 24);
    for replay in replays {
        let mut search = CmaEs::new(reals(&replay.mean0, replay.sigma0, None, 0), replay.algo == "CMA-LRA");
        for (number, generation) in replay.gens.iter().enumerate() {
            search.update(&generation.points(), &generation.fitness());
            let g = &search.gaussian;
            let d = &g.distribution;
            check_state(
                &format!("{} {} n={} generation {number}", replay.algo, replay.f, replay.n),
                [d.mean.as_slice(), &[d.sigma], g.p_sigma.as_slice(), g.p_c.as_slice(), d.c.as_slice()],
                &generation.after,
            );
        }
    }
}

#[test]
fn replays_the_reference_with_a_diagonal_matrix() {
    let replays = replays(&["SepCMA"]);
    assert_eq!(replays.len(), 12);
    for replay in replays {
        let mut search = SepCmaEs::new(reals(&replay.mean0, replay.sigma0, None, 0));
        for (number, generation) in replay.gens.iter().enumerate() {
            search.update(&generation.points(), &generation.fitness());
            let s = &search;
            check_state(
                &format!("{} n={} generation {number}", replay.f, replay.n),
                [s.mean.as_slice(), &[s.sigma], s.p_sigma.as_slice(), s.p_c.as_slice(), s.c.as_slice()],
                &generation.after,
            );
        }
    }
}

#[test]
fn replays_the_reference_with_margin() {
    let replays = replays(&["CMAwM"]);
    assert_eq!(replays.len(), 2);
    for replay in replays {
        let mut search = CmaEsMargin::new(reals(&replay.mean0, replay.sigma0, None, 0));
        // The first half are reals, the others 0 or 1.
        let n_reals = replay.n / 2;
        for lattice in &mut search.lattices[n_reals..] {
            *lattice = Some(IntegerLattice { first: 0.0, step: 1.0, levels: 2 });
        }
        for (number, generation) in replay.gens.iter().enumerate() {
            let steps: Vec<DVector<f64>> = generation.told.iter().map(|told| search.gaussian.step(&told.x)).collect();
            for (told, y) in generation.told.iter().zip(&steps) {
                let widened = search.gaussian.point(&y.component_mul(&search.a));
                let ours = (n_reals..replay.n).map(|at| search.lattices[at].unwrap().nearest(widened[at]) as f64);
                assert_eq!(ours.collect::<Vec<f64>>(), told.enc.as_ref().unwrap()[n_reals..]);
            }
            search.update(&steps, &generation.fitness());
            let g = &search.gaussian;
            let d = &g.distribution;
            let place = format!("n={} generation {number}", replay.n);
            check_state(
                &place,
                [d.mean.as_slice(), &[d.sigma], g.p_sigma.as_slice(), g.p_c.as_slice(), d.c.as_slice()],
                &generation.after,
            );
            check_close(&place, search.a.as_slice(), generation.after.a.as_ref().unwrap());
        }
    }
}
