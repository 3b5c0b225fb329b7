//! Where a search among layers begins: how much each layer is missed when it is left out of the first path.
//!
//! In Sakana's paper a layer that the search left out of a 13B model could be left out of its parent alone, and it got better
//! (<https://arxiv.org/abs/2403.13187>); so leaving each out once is a cheap first stage.

use super::{
    Goal, fitness,
    plan::{Asked, Plan, n_items},
    progress::Phase,
    scoring::{Model, Scored},
};
use crate::{
    error::Result,
    item::ItemScore,
    search::Search,
    template::{Kind, Space},
};

/// No layer is taken for certain to be wanted or not.
const LEAST: f64 = 0.05;

impl Plan<'_> {
    /// The space with its choices beginning as a scan finds them, if one is asked for, and the evaluations it took; `None` if
    /// interrupted.
    ///
    /// Each flag that begins as true is set to false once. By how much the model is worse, in standard errors of the paired
    /// difference, decides how probable true is at first: the logistic function of it.
    pub(super) fn scanned(&self) -> Result<Option<(Space, u64)>> {
        let mut space = self.space.clone();
        if self.study.search.layer_scan.is_none_or(|scan| !scan.value) {
            return Ok(Some((space, 0)));
        }
        let whole = space.init();
        let scanned = scanned(&space);
        let without = scanned.iter().map(|place| {
            let mut genome = whole.clone();
            genome[*place] = 0.0;
            genome
        });
        let genomes: Vec<Vec<f64>> = [whole.clone()].into_iter().chain(without).collect();
        let models: Vec<Model> = genomes.iter().map(|genome| Model::Merge(Box::new(self.fill(genome)))).collect();
        // As many items as a generation takes, the first of those there are: the scan is no part of any comparison.
        let asked: Asked =
            self.goals().iter().map(|goal| goal.search[..goal.items.from.min(goal.search.len())].to_vec()).collect();
        self.scoring.begin(Phase::LayerScan, models.len() * n_items(&asked), None);
        let Some(scored) = self.scoring.score(&models, &asked)? else { return Ok(None) };
        let all = fitness(self.goals(), &scored[0].scores);
        for (place, one) in scanned.into_iter().zip(&scored[1..]) {
            let missed = all - fitness(self.goals(), &one.scores);
            let error = self.standard_error(&scored[0].scores, &one.scores);
            let z = if error > 0.0 { missed / error } else { missed.signum() * f64::from(missed != 0.0) };
            let yes = (1.0 / (1.0 + (-z).exp())).clamp(LEAST, 1.0 - LEAST);
            if let Kind::Choice { init, .. } = &mut space.dimensions[place].kind {
                *init = vec![1.0 - yes, yes];
            }
        }
        let evaluations: usize = scored.iter().map(Scored::n_items).sum();
        Ok(Some((space, evaluations as u64)))
    }

    /// Of the difference of two models' fitness on the same items.
    fn standard_error(&self, a: &[Vec<ItemScore>], b: &[Vec<ItemScore>]) -> f64 {
        let weights: f64 =
            self.goals().iter().zip(a).filter(|(_, scores)| !scores.is_empty()).map(|(g, _)| g.weight).sum();
        let of_goal = |((goal, a), b): ((&Goal, &Vec<ItemScore>), &Vec<ItemScore>)| {
            let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.value - b.value).collect();
            let n = differences.len() as f64;
            if differences.len() < 2 {
                return 0.0;
            }
            let mean = differences.iter().sum::<f64>() / n;
            let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (goal.weight / weights).powi(2) * variance / n
        };
        self.goals().iter().zip(a).zip(b).map(of_goal).sum::<f64>().sqrt()
    }
}

/// The flags that begin as true: each is left out once.
fn scanned(space: &Space) -> Vec<usize> {
    let is_flag = |kind: &Kind| matches!(kind, Kind::Choice { options, .. } if options == &["false", "true"]);
    let init = space.init();
    (0..init.len()).filter(|place| is_flag(&space.dimensions[*place].kind) && init[*place] > 0.5).collect()
}

/// How many models a scan scores, if there is one.
pub(super) fn count(space: &Space, search: &Search) -> usize {
    if search.layer_scan.is_some_and(|scan| scan.value) { 1 + scanned(space).len() } else { 0 }
}
