//! Charts of fitness, step size and hypervolume over a search, and of objectives against each
//! other.

use super::{
    super::{curve::CurvePoint, names, summary::Summary},
    axes::{Field, PlotAxis},
};
use crate::{
    draw::screen::grouped,
    language::{Language, study as texts},
};
use std::fmt::{Display, Write as _};

/// Draws best, mean and spread of the generations; `None` before the first.
pub(crate) fn fitness(summary: &Summary) -> Option<String> {
    let (steps, language) = (&summary.convergence, summary.language);
    let last = steps.last()?;
    let all = steps.iter().chain(&summary.random_search);
    let values = all.clone().flat_map(|step| {
        let interval = step.best_ci95.into_iter().flatten();
        [step.best, step.least, step.mean].into_iter().flatten().chain(interval)
    });
    let y_name = language.fill(&texts::FITNESS_100, &[("estimated", &"")]);
    let (points, count) = (|x: f64| format!("{x:.0}"), |x: f64| grouped(x.max(0.0) as u64));
    let x = evaluations(all.map(|step| step.evaluations as f64), language, &count);
    let mut field = Field::new(x, PlotAxis::over(values.map(|value| 100.0 * value), &y_name, &points), 340.0);
    let at = |of: fn(&CurvePoint) -> Option<f64>, steps: &[CurvePoint]| -> Vec<(f64, f64)> {
        steps.iter().filter_map(|step| Some((step.evaluations as f64, 100.0 * of(step)?))).collect()
    };
    let mut spread = at(|step| step.most, steps);
    spread.extend(at(|step| step.least, steps).into_iter().rev());
    field.area("band", &spread);
    field.line("random", &at(|step| step.best, &summary.random_search));
    for step in steps {
        if let Some([low, high]) = step.best_ci95 {
            field.line("bar", &[(step.evaluations as f64, 100.0 * low), (step.evaluations as f64, 100.0 * high)]);
        }
    }
    field.line("mean", &at(|step| step.mean, steps));
    field.line("best", &at(|step| step.best, steps));
    for step in steps {
        let Some(best) = step.best else { continue };
        field.dot("dot", (step.evaluations as f64, 100.0 * best), 3.0, &says(step, language));
    }
    let generations = language.count(steps.len(), &texts::GENERATION);
    let evaluations = language.count(last.evaluations, &texts::ITEM_EVALUATION);
    let values: [(&str, &dyn Display); 2] = [("generations", &generations), ("evaluations", &evaluations)];
    Some(field.svg(&language.fill(&texts::FITNESS_OVER, &values)))
}

/// Draws the step size; `None` if fewer than two generations have one.
pub(crate) fn step_size(summary: &Summary) -> Option<String> {
    let sigma = summary.convergence.iter();
    let sigma: Vec<(f64, f64)> =
        sigma.filter_map(|step| Some((step.evaluations as f64, step.sigma?.log10()))).collect();
    if sigma.len() < 2 {
        return None;
    }
    let (count, power) = (|x: f64| grouped(x.max(0.0) as u64), |x: f64| format!("{:.2}", 10f64.powf(x)));
    let name = summary.language.text(&texts::STEP_SIZE);
    let x = evaluations(sigma.iter().map(|point| point.0), summary.language, &count);
    let mut field = Field::new(x, PlotAxis::over(sigma.iter().map(|point| point.1), name, &power), 170.0);
    field.line("mean", &sigma);
    Some(field.svg(name))
}

/// Axis of item evaluations.
fn evaluations(values: impl Iterator<Item = f64>, language: Language, show: &dyn Fn(f64) -> String) -> PlotAxis<'_> {
    PlotAxis::over(values, language.text(&texts::ITEM_EVALUATIONS), show).whole()
}

fn says(step: &CurvePoint, language: Language) -> String {
    let evaluations = grouped(step.evaluations as u64);
    let values: [(&str, &dyn Display); 2] = [("generation", &step.generation), ("evaluations", &evaluations)];
    let mut text = language.fill(&texts::GENERATION_SAYS, &values);
    for (name, value) in [(&texts::BEST, step.best), (&texts::MEAN, step.mean), (&texts::WORST, step.least)] {
        if let Some(value) = value {
            write!(text, ", {} {:.1}", language.text(name), 100.0 * value).expect("a String takes all that is written");
        }
    }
    text
}

/// Draws the first objective against each of the others; empty for a single objective, or if no
/// candidate was ranked.
pub(crate) fn front(summary: &Summary) -> Vec<String> {
    if summary.candidates.iter().all(|one| one.values.is_none()) {
        return Vec::new();
    }
    (1..summary.objectives.len()).map(|other| scatter(summary, other)).collect()
}

/// Draws the growth of the front's hypervolume.
pub(crate) fn hypervolume(summary: &Summary) -> Option<String> {
    let (growth, language) = (summary.hypervolume.as_ref()?, summary.language);
    let steps = summary.convergence.iter().zip(&growth.share);
    let points: Vec<(f64, f64)> = steps.map(|(step, share)| (step.evaluations as f64, *share)).collect();
    let (count, share) = (|x: f64| grouped(x.max(0.0) as u64), |x: f64| format!("{x:.2}"));
    let name = language.text(&texts::HYPERVOLUME);
    let x = evaluations(points.iter().map(|point| point.0), language, &count);
    let mut field = Field::new(x, PlotAxis::over(points.iter().map(|point| point.1), name, &share), 200.0);
    field.line("best", &points);
    for ((x, y), step) in points.iter().zip(&summary.convergence) {
        let generation = language.fill(&texts::GENERATION_NUMBER, &[("n", &step.generation)]);
        field.dot("dot", (*x, *y), 2.5, &format!("{generation}: {y:.4}"));
    }
    Some(field.svg(name))
}

fn scatter(summary: &Summary, other: usize) -> String {
    let (first, second) = (&summary.objectives[0], &summary.objectives[other]);
    let pair = |values: &[Option<f64>]| values[0].zip(values[other]);
    let candidates: Vec<(f64, f64, String)> = summary
        .candidates
        .iter()
        .filter(|one| one.phase == "evolution")
        .filter_map(|one| {
            let values = one.values.as_ref()?;
            let says: [(&str, &dyn Display); 2] = [("generation", &one.generation), ("number", &one.number)];
            let says = summary.language.fill(&texts::CANDIDATE_SAYS, &says);
            Some((values[0], values[other], says))
        })
        .collect();
    let finalists = || summary.finalists.iter().filter_map(|one| Some((one, pair(&one.values)?)));
    let (show_x, show_y) = (|x: f64| second.show(x), |y: f64| first.show(y));
    let xs = candidates.iter().map(|point| point.1).chain(finalists().map(|(_, point)| point.1));
    let ys = candidates.iter().map(|point| point.0).chain(finalists().map(|(_, point)| point.0));
    let mut field =
        Field::new(PlotAxis::over(xs, &second.name, &show_x), PlotAxis::over(ys, &first.name, &show_y), 340.0);
    let told = |y: f64, x: f64| format!("{} {}, {} {}", first.name, first.show(y), second.name, second.show(x));
    for (y, x, says) in &candidates {
        field.dot("faint", (*x, *y), 3.0, &format!("{says}: {}", told(*y, *x)));
    }
    let mut edge: Vec<(f64, f64)> = finalists().filter(|(one, _)| one.on_front).map(|(_, (y, x))| (x, y)).collect();
    edge.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    if summary.objectives.len() == 2 {
        field.line("random", &edge);
    }
    // The answer, the first finalist, is drawn last, over the others.
    let mut shown: Vec<_> = finalists().enumerate().filter(|(place, (one, _))| one.on_front || *place == 0).collect();
    shown.reverse();
    for (place, (one, (y, x))) in shown {
        let says = format!("{}: {}", names::shown(&one.name, summary.language), told(y, x));
        let (class, radius) = if place == 0 { ("win", 6.5) } else { ("dot", 5.0) };
        field.dot(class, (x, y), radius, &says);
    }
    field.svg(&summary.language.fill(&texts::AGAINST, &[("first", &first.name), ("second", &second.name)]))
}
