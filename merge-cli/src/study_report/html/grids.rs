//! Charts of numbers as colours: weights over layers and models, lives of finalists, drift of the
//! search.

use super::super::{names, origins::Life, summary::Summary, weights::WeightMap};
use crate::{
    draw::{
        escaped,
        picture::{CellSize, HeatMap, LETTER, grid, hex, scale},
        screen,
    },
    language::{Language, study as texts},
};
use std::fmt::{Display, Write as _};

const STRING: &str = "a String takes all that is written";
const WIDTH: f64 = 860.0;

/// Draws the values of a parameter over layers and models.
pub(crate) fn weights(map: &WeightMap, language: Language) -> String {
    // A page has room for `knot 1`.
    let picture = HeatMap { columns: map.columns.clone(), ..map.picture(language) };
    let longest = map.rows.iter().map(|row| screen::width(&row.name)).max().unwrap_or(0) as f64;
    let left = (LETTER * longest + 12.0).min(300.0);
    let n = map.columns.len().max(1) as f64;
    let cell = CellSize { width: ((WIDTH - left) / n).clamp(8.0, 64.0), height: 28.0 };
    let layer = |column: &str| match column.parse::<usize>() {
        Ok(_) => language.fill(&texts::LAYER_NUMBER, &[("n", &column)]),
        Err(_) => column.to_owned(),
    };
    let mut body = String::new();
    let below = grid(&mut body, &picture, (left, 14.0), cell, &layer);
    let (width, height) = ((left + cell.width * n + 60.0).max(left + 320.0), below + 8.0);
    let says = escaped(&language.fill(&texts::OVER_LAYERS, &[("parameter", &map.parameter)]));
    format!(
        "<svg class='heat' viewBox='0 0 {width:.0} {height:.0}' width='{width:.0}' height='{height:.0}' role='img' aria-label='{says}'>\n{body}</svg>\n"
    )
}

/// Draws a line for each finalist over the generations; `None` if there are none.
pub(crate) fn lives(summary: &Summary) -> Option<String> {
    let (finalists, generations, language) =
        (&summary.genealogy.finalists, summary.convergence.len(), summary.language);
    if finalists.is_empty() || generations == 0 {
        return None;
    }
    let finalists: Vec<(String, &Life)> =
        finalists.iter().map(|one| (names::shown(&one.name, language), one)).collect();
    let longest = finalists.iter().map(|(name, _)| screen::width(name)).max().unwrap_or(0) as f64;
    let left = (LETTER * longest + 12.0).min(300.0);
    let step = (WIDTH - left - 70.0) / generations as f64;
    let mut body = String::new();
    for (line, (name, one)) in finalists.iter().enumerate() {
        let y = 22.0 * line as f64 + 4.0;
        let (middle, base, class) = (y + 8.0, y + 12.0, if line == 0 { "win" } else { "dot" });
        let end = left + step * generations as f64;
        writeln!(body, "<text class='end' x='{:.1}' y='{base}'>{}</text>", left - 8.0, escaped(name)).expect(STRING);
        writeln!(body, "<line class='grid' x1='{left}' x2='{end:.1}' y1='{middle}' y2='{middle}'/>").expect(STRING);
        match one.generations {
            Some([first, last]) => {
                let (x, width) = (left + step * (first - 1) as f64, (step * (last - first + 1) as f64).max(6.0));
                let says = if first == last {
                    language.fill(&texts::GENERATION_NUMBER, &[("n", &first)])
                } else {
                    language.fill(&texts::GENERATIONS_FROM_TO, &[("first", &first), ("last", &last)])
                };
                writeln!(
                    body,
                    "<rect class='{class}' x='{x:.1}' y='{y}' width='{width:.1}' height='16' rx='4'><title>{says}</title></rect>"
                )
                .expect(STRING);
            }
            // A mean was never a candidate: its mark is at the end.
            None => writeln!(
                body,
                "<circle class='{class}' cx='{:.1}' cy='{middle}' r='6'><title>{}</title></circle>",
                end - 6.0,
                language.text(&texts::NEVER_A_CANDIDATE)
            )
            .expect(STRING),
        }
        writeln!(body, "<text class='soft' x='{:.1}' y='{base}'>{:.1}</text>", end + 10.0, 100.0 * one.fitness)
            .expect(STRING);
    }
    let height = 22.0 * finalists.len() as f64 + 26.0;
    let base = height - 8.0;
    let first = language.fill(&texts::GENERATION_NUMBER, &[("n", &1)]);
    writeln!(body, "<text class='soft' x='{left}' y='{base}'>{first}</text>").expect(STRING);
    writeln!(body, "<text class='soft end' x='{:.1}' y='{base}'>{generations}</text>", WIDTH - 70.0).expect(STRING);
    let select = language.text(&texts::ON_SELECT);
    writeln!(body, "<text class='soft end' x='{WIDTH}' y='{base}'>{select}</text>").expect(STRING);
    let says = escaped(language.text(&texts::LIVES_TITLE));
    Some(format!(
        "<svg class='lives' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img' aria-label='{says}'>\n{body}</svg>\n"
    ))
}

/// Draws a row for each dimension, with a column for each generation; bright is the maximum of the
/// range.
pub(crate) fn drift(summary: &Summary) -> Option<String> {
    let (rows, generations, language) = (&summary.genealogy.drift, summary.convergence.len(), summary.language);
    if rows.is_empty() || generations == 0 {
        return None;
    }
    let named = rows.len() <= 64;
    let longest = rows.iter().map(|row| screen::width(&row.label)).max().unwrap_or(0) as f64;
    let left = if named { (LETTER * longest + 12.0).min(340.0) } else { 12.0 };
    let (width, row_height) = ((WIDTH - left) / generations as f64, if named { 16.0 } else { 6.0 });
    let width = width.min(48.0);
    let mut body = String::new();
    for (line, row) in rows.iter().enumerate() {
        let y = row_height * line as f64;
        if named {
            writeln!(
                body,
                "<text class='end tiny' x='{:.1}' y='{}'>{}</text>",
                left - 8.0,
                y + 11.0,
                escaped(&row.label)
            )
            .expect(STRING);
        }
        for (place, share) in row.places.iter().enumerate() {
            let Some(share) = share else { continue };
            let percent = format!("{:.0}", 100.0 * share);
            let values: [(&str, &dyn Display); 3] = [("label", &row.label), ("n", &(place + 1)), ("share", &percent)];
            let says = escaped(&language.fill(&texts::DRIFT_SAYS, &values));
            writeln!(
                body,
                "<rect x='{:.2}' y='{y}' width='{:.2}' height='{}' fill='{}'><title>{says}</title></rect>",
                left + width * place as f64,
                width.max(1.5) - if width > 6.0 { 0.6 } else { 0.0 },
                row_height - 1.0,
                hex(*share),
            )
            .expect(STRING);
        }
    }
    let below = row_height * rows.len() as f64 + 10.0;
    let ends = [&texts::DRIFT_LEAST, &texts::DRIFT_MOST].map(|text| language.text(text));
    scale(&mut body, (left.max(60.0), below), ends);
    let (height, says) = (below + 24.0, escaped(language.text(&texts::DRIFT_TITLE)));
    Some(format!(
        "<svg class='drift' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img' aria-label='{says}'>\n{body}</svg>\n"
    ))
}
