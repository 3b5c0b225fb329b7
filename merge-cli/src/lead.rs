//! Smoothed lead of a search's generations over the best parent, for terminal, page and queue.
//!
//! Candidates and parents answer the same items: their difficulty cancels out. The noise that is left
//! is averaged over neighbouring generations, weighted by precision, except the part they share.

use crate::language::{Language, study as texts};
use merge_core::study::{Curves, Point, best_parent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lead of one generation: its mean score minus the best parent's, in percentage points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LeadPoint {
    /// Number of the generation, from 1.
    pub(crate) generation: f64,
    pub(crate) points: f64,
    /// Bounds of the 95% interval.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Leads of all generations over one parent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leads {
    /// Position of the best parent among the models.
    pub(crate) parent: usize,
    pub(crate) evolution: Vec<LeadPoint>,
    pub(crate) random: Vec<LeadPoint>,
}

/// Lead of a search over its best parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Gain {
    /// Smoothed lead of the last generations over the best parent, on the same items, in points.
    pub(crate) points: f64,
    /// 95% interval of `points`.
    pub(crate) ci95: [f64; 2],
    /// Name of the best parent.
    pub(crate) parent: String,
}

impl Leads {
    /// The leads over the best parent; `None` if no generation was compared with all parents.
    pub(crate) fn of(curves: &Curves) -> Option<Self> {
        let parent = best_parent(curves.evolution.iter().map(|point| &point.beside))?;
        Some(Self { parent, evolution: smooth(&curves.evolution, parent), random: smooth(&curves.random, parent) })
    }

    /// The lead of the evolution's last generation.
    pub(crate) fn gain(&self, models: &[String]) -> Option<Gain> {
        let last = self.evolution.last()?;
        let parent = models.get(self.parent).cloned().unwrap_or_default();
        Some(Gain { points: last.points, ci95: [last.low, last.high], parent })
    }
}

/// The moving average of the leads: over a tenth of the generations on either side, at least 2 and
/// at most 15, with less weight for distant ones. Generations without a lead nearby are left out.
fn smooth(points: &[Point], parent: usize) -> Vec<LeadPoint> {
    let reach = (points.len() / 10).clamp(2, 15);
    let lead = |place: usize| points[place].beside.leads.get(parent).copied().flatten();
    let near = |place: usize| {
        let around = place.saturating_sub(reach)..(place + reach + 1).min(points.len());
        let (mut sum, mut weights, mut own, mut shared) = (0.0, 0.0, 0.0, 0.0);
        for other in around {
            let Some(lead) = lead(other) else { continue };
            let weight = (1 + reach - other.abs_diff(place)) as f64 / lead.variance;
            sum += weight * lead.value;
            weights += weight;
            own += weight * weight * (lead.variance - lead.shared);
            shared += weight * lead.shared;
        }
        let variance = own / (weights * weights) + shared / weights;
        let (value, error) = (100.0 * sum / weights, 100.0 * variance.sqrt());
        (weights > 0.0).then_some(LeadPoint {
            generation: place as f64 + 1.0,
            points: value,
            low: value - 1.96 * error,
            high: value + 1.96 * error,
        })
    };
    (0..points.len()).filter_map(near).collect()
}

impl Gain {
    /// Formats the lead as `+12.3 [+8.0, +16.6] to the best parent`.
    pub(crate) fn to_text(&self, language: Language) -> String {
        language.fill(&texts::GAIN_TO_PARENT, &[("gain", &self.figures())])
    }

    /// Formats the lead as `+12.3 [+8.0, +16.6]`.
    pub(crate) fn figures(&self) -> String {
        let [low, high] = self.ci95;
        format!("{:+.1} [{low:+.1}, {high:+.1}]", self.points)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use merge_core::study::{Lead, ParentComparison};

    /// A generation with these leads over the parents.
    pub(crate) fn point(leads: &[Option<f64>], variance: f64) -> Point {
        let leads = leads.iter().map(|lead| lead.map(|value| Lead { value, variance, shared: 0.0 })).collect();
        Point {
            best: Some(0.5),
            mean: Some(0.25),
            sigma: Some(0.2),
            goals: vec![Some(0.5), Some(0.25)],
            front: Vec::new(),
            beside: ParentComparison { leads, asked: 0 },
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn generations_are_compared_with_the_parent_that_is_least_behind() {
        let curve = vec![point(&[Some(-0.2), Some(0.1)], 0.01), point(&[Some(-0.1), Some(0.3)], 0.01)];
        let leads = Leads::of(&Curves { evolution: curve, random: Vec::new() }).unwrap();
        assert_eq!(leads.parent, 0);
        // The weights are 3/5 for the generation itself and 2/5 for the other.
        let points: Vec<f64> = leads.evolution.iter().map(|ahead| ahead.points).collect();
        assert!(close(points[0], (3.0 * -20.0 + 2.0 * -10.0) / 5.0) && close(points[1], -14.0), "{points:?}");
        // Each lead's standard error is 0.1; this is the weighted mean's.
        let error = 100.0 * (0.01 * 13.0f64).sqrt() / 5.0;
        assert!(close(leads.evolution[1].high, -14.0 + 1.96 * error));
        let gain = leads.gain(&["ja".to_owned()]).unwrap();
        assert_eq!(gain.to_text(Language::En), "-14.0 [-28.1, +0.1] to the best parent");
        assert_eq!(gain.parent, "ja");
    }

    #[test]
    fn what_generations_have_in_common_is_not_averaged_out() {
        let error = |shared: f64, n: usize| {
            let mut one = point(&[Some(0.1)], 0.01);
            one.beside.leads = vec![Some(Lead { value: 0.1, variance: 0.01, shared })];
            let leads = Leads::of(&Curves { evolution: vec![one; n], random: Vec::new() }).unwrap();
            let ahead = leads.evolution[n / 2];
            ((ahead.high - ahead.points) / 196.0).powi(2)
        };
        // All generations have the same items: more of them reduce no noise.
        assert!(close(error(0.01, 1), 0.01) && close(error(0.01, 41), 0.01));
        // Each generation has a quarter of the search items.
        assert!(close(error(0.0025, 41), 0.0025 + 0.75 * error(0.0, 41)));
        assert!(error(0.0, 41) < 0.003);
    }

    #[test]
    fn a_generation_that_was_not_compared_is_between_its_neighbours_and_none_is_nowhere() {
        let curve = vec![point(&[Some(0.1)], 0.01), point(&[None], 0.01), point(&[Some(0.3)], 0.01)];
        let leads = Leads::of(&Curves { evolution: curve, random: Vec::new() }).unwrap();
        assert!(close(leads.evolution[1].points, 20.0));
        assert_eq!(Leads::of(&Curves::default()), None);
        assert_eq!(Leads::of(&Curves { evolution: vec![point(&[None], 0.01)], random: Vec::new() }), None);
    }
}
