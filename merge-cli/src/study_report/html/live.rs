//! A search as it runs: how far its generations are ahead of the best parent, and random search's beside them.

use super::axes::{Field, PlotAxis, WIDTH};
use crate::{
    draw::screen::counted,
    lead::{Ahead, Leads},
};
use merge_core::study::Curves;

/// The picture as a file of its own, if something was compared.
pub(crate) fn live(curves: &Curves, models: &[String], width: Option<u32>) -> Option<String> {
    Some(drawn(curves, models, width)?.replacen("<svg ", "<svg xmlns='http://www.w3.org/2000/svg' ", 1))
}

/// The picture, if something was compared; `models` is what the parents are called, `width` how many pixels there are for it.
pub(crate) fn drawn(curves: &Curves, models: &[String], width: Option<u32>) -> Option<String> {
    let leads = Leads::of(curves)?;
    let gain = leads.gain(models)?;
    let of = |all: &[Ahead], value: fn(&Ahead) -> f64| -> Vec<(f64, f64)> {
        all.iter().map(|ahead| (ahead.generation, value(ahead))).collect()
    };
    let (whole, points) = (|x: f64| format!("{x:.0}"), |x: f64| format!("{x:+.0}"));
    let (mean, random) = (of(&leads.evolution, |ahead| ahead.points), of(&leads.random, |ahead| ahead.points));
    let mut band = of(&leads.evolution, |ahead| ahead.high);
    band.extend(of(&leads.evolution, |ahead| ahead.low).into_iter().rev());
    let xs = || mean.iter().chain(&random).map(|point| point.0);
    let x = PlotAxis::over(xs(), "generations", &whole);
    let ys = band.iter().chain(&random).map(|point| point.1).chain([0.0]);
    let width = width.map_or(WIDTH, f64::from).clamp(280.0, WIDTH);
    let mut field = Field::new(x, PlotAxis::over(ys, "points to the best parent", &points), 340.0).of_width(width);
    field.area("band", &band);
    let last = xs().fold(1.0, f64::max);
    field.line("parent", &[(1.0, 0.0), (last, 0.0)]);
    field.line("random", &random);
    field.line("best", &mean);
    for ahead in &leads.evolution {
        let Ahead { generation, points, low, high } = ahead;
        let says = format!("generation {generation:.0}: {points:+.1} [{low:+.1}, {high:+.1}] to {}", gain.parent);
        field.dot("dot", (*generation, *points), 3.0, &says);
    }
    Some(field.svg(&format!("{}; the last are {}", counted(leads.evolution.len(), "generation"), gain.says())))
}
