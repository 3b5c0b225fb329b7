//! Heat maps as SVG: a part of a page, or a self-contained file with one below the other.

use super::{Cell, HeatMap, hex, number};
use crate::draw::{escaped, screen};
use std::fmt::Write as _;

/// Height of a line of text and of a file's cells, and the margin around everything, in pixels.
const LINE: f64 = 20.0;
const MARGIN: f64 = 24.0;
/// Approximate width of a character.
pub(crate) const LETTER: f64 = 7.0;
const STRING: &str = "a String takes all that is written";

/// The look of a file; a page has its own for the same classes.
const STYLE: &str = "svg { font: 12px system-ui, sans-serif; fill: #222 } .soft { fill: #555 } .end { text-anchor: end } \
                     .mid { text-anchor: middle } .title { font-size: 17px; font-weight: bold } .head { font-size: 14px; font-weight: bold }";

/// Draws a title, lines of text and the maps below. Each cell shows its number under the mouse
/// pointer.
pub(crate) fn svg(title: &str, lines: &[String], maps: &[HeatMap]) -> String {
    let columns = maps.iter().map(|map| map.columns.len()).max().unwrap_or(0).max(1);
    let cell = CellSize { width: (960.0 / columns as f64).floor().clamp(8.0, 28.0), height: LINE };
    let names = maps.iter().flat_map(|map| &map.rows).map(|(name, _)| screen::width(name)).max().unwrap_or(0);
    let left = MARGIN + LETTER * names as f64 + 8.0;
    let longest = lines.iter().map(|line| screen::width(line)).chain([screen::width(title) * 5 / 4]).max().unwrap_or(0);
    let width = (left + columns as f64 * cell.width + MARGIN).max(2.0 * MARGIN + LETTER * longest as f64).max(460.0);
    let mut y = MARGIN + LINE;
    let mut body = String::new();
    text(&mut body, (MARGIN, y), "title", title);
    for line in lines {
        y += LINE;
        text(&mut body, (MARGIN, y), "soft", line);
    }
    for map in maps {
        y += 2.0 * LINE;
        text(&mut body, (MARGIN, y), "head", &map.title);
        y = grid(&mut body, map, (left, y + LINE), cell, &layer) + LINE;
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}'>\n\
         <title>{}</title>\n<style>{STYLE}</style>\n<rect width='100%' height='100%' fill='#fff'/>\n{body}</svg>\n",
        escaped(title)
    )
}

/// Name of a column for whoever points at a cell.
fn layer(column: &str) -> String {
    if column.parse::<usize>().is_ok() { format!("layer {column}") } else { column.to_owned() }
}

/// Size of a cell with its margin, in pixels.
#[derive(Clone, Copy)]
pub(crate) struct CellSize {
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Draws the columns' names, the rows and the scale of a map, and returns the lower end. `layer` names a column.
pub(crate) fn grid(
    body: &mut String,
    map: &HeatMap,
    (left, mut y): (f64, f64),
    cell: CellSize,
    layer: &dyn Fn(&str) -> String,
) -> f64 {
    // Only as many names of columns as fit.
    let every = [1, 2, 5, 10].into_iter().find(|n| f64::from(*n) * cell.width >= 3.0 * LETTER).unwrap_or(20);
    for (place, name) in map.columns.iter().enumerate() {
        let (x, middle) = (left + place as f64 * cell.width, left + (place as f64 + 0.5) * cell.width);
        // Names before and after the numbers keep a distance from them.
        let (x, class) = match name.parse::<i32>() {
            Ok(layer) if layer % every == 0 => (middle, "soft mid"),
            Ok(_) => continue,
            Err(_) if cell.width >= LETTER * screen::width(name) as f64 => (middle, "soft mid"),
            Err(_) if place == 0 => (x + cell.width - 3.0, "soft end"),
            Err(_) => (x + 2.0, "soft"),
        };
        text(body, (x, y), class, name);
    }
    y += 6.0;
    let has_room = cell.width >= 36.0;
    for (name, cells) in &map.rows {
        let base = y + cell.height / 2.0 + 4.0;
        text(body, (left - 8.0, base), "end", name);
        for (place, (column, value)) in map.columns.iter().zip(cells).enumerate() {
            let (fill, says) = match value {
                Cell::Absent => continue,
                Cell::Undefined => ("none' stroke='#bbb".to_owned(), "not defined".to_owned()),
                Cell::Zero => (IDENTICAL.to_owned(), "identical".to_owned()),
                Cell::Value(value) => (hex(map.height(*value)), number(*value)),
            };
            let (x, says) = (left + place as f64 * cell.width, escaped(&format!("{name}, {}: {says}", layer(column))));
            let (width, height) = (cell.width - 1.0, cell.height - 1.0);
            writeln!(
                body,
                "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height}' fill='{fill}'><title>{says}</title></rect>"
            )
            .expect(STRING);
            if let Cell::Value(value) = value
                && has_room
            {
                // Black on bright colours, white on dark ones.
                let (x, ink) = (x + cell.width / 2.0, if map.height(*value) > 0.5 { "#111" } else { "#fff" });
                writeln!(body, "<text class='mid' x='{x:.1}' y='{base:.1}' style='fill:{ink};pointer-events:none'>{value:.2}</text>")
                    .expect(STRING);
            }
        }
        y += cell.height;
    }
    y += LINE / 2.0;
    scale(body, (left, y), [number(map.scale[0]), number(map.scale[1])].each_ref().map(String::as_str));
    let has = |cell| map.rows.iter().any(|(_, cells)| cells.contains(&cell));
    let mut x = left + 280.0;
    for (cell, fill, says) in
        [(Cell::Zero, IDENTICAL, "identical"), (Cell::Undefined, "none' stroke='#bbb", "not defined")]
    {
        if has(cell) {
            writeln!(body, "<rect x='{x}' y='{y}' width='14' height='14' fill='{fill}'/>").expect(STRING);
            text(body, (x + 20.0, y + 11.0), "soft", says);
            x += 110.0;
        }
    }
    y + 14.0
}

/// Colour of what is exactly zero.
const IDENTICAL: &str = "#e4e4e4";

/// Draws the colours of all values, with the texts of the smallest and the greatest.
pub(crate) fn scale(body: &mut String, (left, y): (f64, f64), [low, high]: [&str; 2]) {
    text(body, (left - 8.0, y + 11.0), "soft end", low);
    for step in 0..60 {
        let (x, fill) = (left + 3.0 * f64::from(step), hex(f64::from(step) / 59.0));
        writeln!(body, "<rect x='{x:.1}' y='{y}' width='3.4' height='13' fill='{fill}'/>").expect(STRING);
    }
    text(body, (left + 190.0, y + 11.0), "soft", high);
}

fn text(body: &mut String, (x, y): (f64, f64), class: &str, says: &str) {
    writeln!(body, "<text x='{x:.1}' y='{y:.1}' class='{class}'>{}</text>", escaped(says)).expect(STRING);
}
