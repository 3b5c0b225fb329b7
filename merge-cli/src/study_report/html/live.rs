//! Chart of the lead of the evolution and of random search over the best parent.

use super::axes::{Field, PlotAxis, WIDTH};
use crate::{
    language::{Language, study as texts},
    lead::{LeadPoint, Leads},
};
use merge_core::study::Curves;
use std::fmt::Display;

/// The chart as a separate SVG file; `None` if nothing was compared.
pub(crate) fn live(curves: &Curves, models: &[String], width: Option<u32>, language: Language) -> Option<String> {
    Some(lead(curves, models, width, language)?.replacen("<svg ", "<svg xmlns='http://www.w3.org/2000/svg' ", 1))
}

/// The chart; `None` if nothing was compared. `models` are the names of the parents, `width` is the
/// available width in pixels.
pub(crate) fn lead(curves: &Curves, models: &[String], width: Option<u32>, language: Language) -> Option<String> {
    let leads = Leads::of(curves)?;
    let gain = leads.gain(models)?;
    let of = |all: &[LeadPoint], value: fn(&LeadPoint) -> f64| -> Vec<(f64, f64)> {
        all.iter().map(|ahead| (ahead.generation, value(ahead))).collect()
    };
    let (whole, points) = (|x: f64| format!("{x:.0}"), |x: f64| format!("{x:+.0}"));
    let (mean, random) = (of(&leads.evolution, |ahead| ahead.points), of(&leads.random, |ahead| ahead.points));
    let mut band = of(&leads.evolution, |ahead| ahead.high);
    band.extend(of(&leads.evolution, |ahead| ahead.low).into_iter().rev());
    let xs = || mean.iter().chain(&random).map(|point| point.0);
    let x = PlotAxis::over(xs(), language.text(&texts::GENERATIONS), &whole).whole();
    let ys = band.iter().chain(&random).map(|point| point.1).chain([0.0]);
    let width = width.map_or(WIDTH, f64::from).clamp(280.0, WIDTH);
    let y = PlotAxis::over(ys, language.text(&texts::AXIS_POINTS), &points);
    let mut field = Field::new(x, y, 340.0).of_width(width);
    field.area("band", &band);
    let last = xs().fold(1.0, f64::max);
    field.line("parent", &[(1.0, 0.0), (last, 0.0)]);
    field.line("random", &random);
    field.line("best", &mean);
    for ahead in &leads.evolution {
        let [points, low, high] = [ahead.points, ahead.low, ahead.high].map(|points| format!("{points:+.1}"));
        let generation = format!("{:.0}", ahead.generation);
        let values: [(&str, &dyn Display); 5] = [
            ("generation", &generation),
            ("points", &points),
            ("low", &low),
            ("high", &high),
            ("parent", &gain.parent),
        ];
        field.dot("dot", (ahead.generation, ahead.points), 3.0, &language.fill(&texts::LEAD_SAYS, &values));
    }
    let generations = language.count(leads.evolution.len(), &texts::GENERATION);
    let values: [(&str, &dyn Display); 2] = [("generations", &generations), ("gain", &gain.to_text(language))];
    Some(field.svg(&language.fill(&texts::LEAD_OVER, &values)))
}
