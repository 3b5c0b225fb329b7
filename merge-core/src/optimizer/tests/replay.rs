//! Runs recorded from the reference implementation, told again to ours.

use crate::optimizer::{
    CmaEs, Genome,
    strategy::{Strategy, default_population},
};
use serde::Deserialize;

/// A run of `cmaes` 0.13.1: what it was told and what it became.
#[derive(Deserialize)]
struct Replay {
    algo: String,
    f: String,
    n: usize,
    mean0: Vec<f64>,
    sigma0: f64,
    params: Params,
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
    f: f64,
}

#[derive(Deserialize)]
struct State {
    mean: Vec<f64>,
    sigma: f64,

    p_sigma: Vec<f64>,
    pc: Vec<f64>,
    #[serde(rename = "C")]
    c: Vec<Vec<f64>>,
}

fn replays() -> Vec<Replay> {
    serde_json::from_str(include_str!("../../../../tests/data/optimizers/cma_replay.json")).unwrap()
}

/// Each number agrees with the reference's to 1e-9, relative to its own size.
fn check_close(place: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{place}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= 1e-9 * theirs.abs(), "{place}: {ours} is not {theirs}");
    }
}

#[test]
fn has_the_reference_strategy_parameters() {
    for Replay { n, params: p, .. } in replays() {
        let s = Strategy::new(n, p.lam);
        assert_eq!(default_population(n), p.lam);
        check_close("weights", &s.weights, &p.weights);
        check_close(
            "parameters",
            &[s.mu_eff, s.c_c, s.c_1, s.c_mu, s.c_sigma, s.d_sigma, s.chi_n],
            &[p.mu_eff, p.cc, p.c1, p.cmu, p.c_sigma, p.d_sigma, p.chi_n],
        );
    }
}

#[test]
fn replays_the_reference() {
    let replays = replays();
    assert_eq!(replays.len(), 24);
    for replay in replays {
        let mut search = CmaEs::new(replay.mean0, replay.sigma0, None, replay.algo == "CMA-LRA", 0);
        for (generation, Generation { told, after }) in replay.gens.iter().enumerate() {
            let points: Vec<Genome> = told.iter().map(|t| t.x.clone()).collect();
            let fitness: Vec<f64> = told.iter().map(|t| -t.f).collect();
            search.update(&points, &fitness);
            let place = |what| format!("{} {} n={} generation {generation}: {what}", replay.algo, replay.f, replay.n);
            check_close(&place("mean"), search.mean(), &after.mean);
            check_close(&place("sigma"), &[search.sigma()], &[after.sigma]);
            check_close(&place("p_sigma"), search.p_sigma.as_slice(), &after.p_sigma);
            check_close(&place("p_c"), search.p_c.as_slice(), &after.pc);
            check_close(&place("C"), search.distribution.c.as_slice(), &after.c.concat());
        }
    }
}
