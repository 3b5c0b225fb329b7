//! A search as it runs: best and mean of its generations.

use super::axes::{Axis, Field};
use merge_core::evolve::Point;

/// The picture, if there is a generation.
pub(in super::super) fn live(curve: &[Point]) -> Option<String> {
    let of = |value: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = curve.iter().enumerate();
        points.filter_map(|(place, point)| Some((place as f64 + 1.0, 100.0 * value(point)?))).collect()
    };
    let (best, mean) = (of(|point| point.best), of(|point| point.mean));
    let (_, last) = *best.last()?;
    let (whole, points) = (|x: f64| format!("{x:.0}"), |x: f64| format!("{x:.1}"));
    let values = best.iter().chain(&mean).map(|point| point.1);
    let x = Axis::over(best.iter().map(|point| point.0), "generations", &whole);
    let mut field = Field::new(x, Axis::over(values, "fitness × 100", &points), 340.0);
    field.line("mean", &mean);
    field.line("best", &best);
    for (x, y) in &best {
        field.dot("dot", (*x, *y), 3.0, &format!("generation {x:.0}: best {y:.1}"));
    }
    let drawn = field.svg(&format!("Best and mean fitness of {} generations; the last best is {last:.1}", curve.len()));
    Some(drawn.replacen("<svg ", "<svg xmlns='http://www.w3.org/2000/svg' ", 1))
}
