//! Chart of a layer route: a band for each source, a lane in it for each run, layers from left to
//! right.

use super::super::route::{RoutePicture, times};
use crate::{
    draw::{escaped, screen},
    language::{Language, study as texts},
};
use std::fmt::{Display, Write as _};

const STRING: &str = "a String takes all that is written";
const WIDTH: f64 = 860.0;
const LANE: f64 = 34.0;
const GAP: f64 = 14.0;
const TOP: f64 = 22.0;

/// Draws a layer route.
pub(crate) fn path(route: &RoutePicture, language: Language) -> String {
    let layers = route.sources.iter().map(|(_, layers)| *layers).max().unwrap_or(1).max(1);
    let longest = route.sources.iter().map(|(name, _)| screen::width(name)).max().unwrap_or(0) as f64;
    let left = (7.0 * longest + 16.0).min(300.0);
    let cell = ((WIDTH - left) / layers as f64).clamp(10.0, 64.0);
    let mut body = String::new();
    let every = [1, 2, 5, 10].into_iter().find(|n| f64::from(*n) * cell >= 22.0).unwrap_or(20) as usize;
    for layer in (0..layers).step_by(every) {
        let x = left + (layer as f64 + 0.5) * cell;
        writeln!(body, "<text class='soft mid' x='{x:.1}' y='12'>{layer}</text>").expect(STRING);
    }
    // Runs of one source have lanes of their own, so a layer that is used twice is seen twice.
    let mut lanes = vec![0.0; route.runs.len()];
    let mut y = TOP;
    for (number, (name, count)) in route.sources.iter().enumerate() {
        let runs: Vec<usize> = (0..route.runs.len()).filter(|run| route.runs[*run].source == number).collect();
        let bands = runs.len().max(1);
        let middle = y + LANE * bands as f64 / 2.0 + 4.0;
        writeln!(body, "<text class='end' x='{:.1}' y='{middle:.1}'>{}</text>", left - 8.0, escaped(name))
            .expect(STRING);
        for band in 0..bands {
            let top = y + LANE * band as f64;
            for layer in 0..*count {
                let x = left + layer as f64 * cell;
                writeln!(
                    body,
                    "<rect class='cell' x='{x:.1}' y='{:.1}' width='{:.1}' height='{}' rx='3'/>",
                    top + 2.0,
                    cell - 2.0,
                    LANE - 4.0
                )
                .expect(STRING);
            }
            if let Some(run) = runs.get(band) {
                lanes[*run] = top + LANE / 2.0;
            }
        }
        y += LANE * bands as f64 + GAP;
    }
    let steps: Vec<(usize, usize, f64, f64, f64)> = route
        .runs
        .iter()
        .zip(&lanes)
        .flat_map(|(run, y)| {
            run.steps
                .iter()
                .map(|(layer, scale)| (run.source, *layer, *scale, left + (*layer as f64 + 0.5) * cell - 1.0, *y))
        })
        .collect();
    let points: Vec<String> = steps.iter().map(|(.., x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(body, "<polyline class='route' points='{}'/>", points.join(" ")).expect(STRING);
    for (place, (source, layer, scale, x, y)) in steps.iter().enumerate() {
        let (model, scale_says) = (&route.sources[*source].0, format!("{scale:.4}"));
        let values: [(&str, &dyn Display); 5] = [
            ("step", &(place + 1)),
            ("steps", &steps.len()),
            ("layer", layer),
            ("model", model),
            ("scale", &scale_says),
        ];
        let says = escaped(&language.fill(&texts::ROUTE_SAYS, &values));
        let radius = if place == 0 || place + 1 == steps.len() { 6.0 } else { 4.0 };
        writeln!(body, "<circle class='node' cx='{x:.1}' cy='{y:.1}' r='{radius}'><title>{says}</title></circle>")
            .expect(STRING);
        let label = times(*scale);
        if !label.is_empty() && cell >= 30.0 {
            writeln!(body, "<text class='mid tiny' x='{x:.1}' y='{:.1}'>{label}</text>", y - 7.0).expect(STRING);
        }
    }
    let width = left + cell * layers as f64;
    let says = escaped(language.text(&texts::SECTION_PATH));
    format!(
        "<svg class='layers' viewBox='0 0 {width:.0} {y:.0}' width='{width:.0}' height='{y:.0}' role='img' aria-label='{says}'>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study_report::route::RouteRun;

    #[test]
    fn every_step_is_on_the_line_and_every_run_in_its_lane() {
        let runs = vec![
            RouteRun { source: 0, steps: vec![(0, 1.0), (1, 0.5)] },
            RouteRun { source: 1, steps: vec![(1, 1.0)] },
            RouteRun { source: 0, steps: vec![(1, 1.0)] },
        ];
        let route = RoutePicture { sources: vec![("a<b".to_owned(), 2), ("math".to_owned(), 2)], runs };
        let drawn = path(&route, Language::En);
        let line = drawn.split("class='route' points='").nth(1).unwrap().split('\'').next().unwrap();
        let heights: Vec<&str> = line.split(' ').map(|point| point.split_once(',').unwrap().1).collect();
        assert_eq!(heights, ["39.0", "39.0", "121.0", "73.0"]);
        assert!(drawn.contains("×0.5<") && drawn.contains("a&lt;b") && !drawn.contains("a<b"));
    }
}
