//! Heat maps, one below the other, as a self-contained SVG.

use super::{Cell, HeatMap, hex, number};
use crate::draw::{escaped, screen};
use std::fmt::Write as _;

/// Height of a line of text and of a cell, and the margin around everything, in pixels.
const LINE: usize = 20;
const MARGIN: usize = 24;
/// Approximate width of a character.
const LETTER: usize = 7;
const STRING: &str = "a String takes all that is written";

/// Draws a title, lines of text and the maps below. Each cell shows its number under the mouse
/// pointer.
pub(crate) fn svg(title: &str, lines: &[String], maps: &[HeatMap]) -> String {
    let columns = maps.iter().map(|map| map.columns.len()).max().unwrap_or(0).max(1);
    let cell = (960 / columns).clamp(8, 28);
    let names = maps.iter().flat_map(|map| &map.rows).map(|(name, _)| screen::width(name)).max().unwrap_or(0);
    let left = MARGIN + LETTER * names + 8;
    let longest = lines.iter().map(|line| screen::width(line)).chain([screen::width(title) * 5 / 4]).max().unwrap_or(0);
    let width = (left + columns * cell + MARGIN).max(2 * MARGIN + LETTER * longest).max(460);
    let mut y = MARGIN + LINE;
    let mut body = String::new();
    text(&mut body, (MARGIN, y), "font-size='17' font-weight='bold'", title);
    for line in lines {
        y += LINE;
        text(&mut body, (MARGIN, y), "fill='#555'", line);
    }
    for map in maps {
        y = panel(&mut body, map, left, y + 2 * LINE, cell);
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' \
         font-family='system-ui, sans-serif' font-size='12' fill='#222'>\n\
         <title>{}</title>\n<rect width='100%' height='100%' fill='#fff'/>\n{body}</svg>\n",
        escaped(title)
    )
}

/// Draws a map below `y`, and returns its lower end.
fn panel(body: &mut String, map: &HeatMap, left: usize, mut y: usize, cell: usize) -> usize {
    text(body, (MARGIN, y), "font-size='14' font-weight='bold'", &map.title);
    y += LINE;
    // Only as many column numbers as fit.
    let every = [1, 2, 5, 10].into_iter().find(|n| n * cell >= 3 * LETTER).unwrap_or(20);
    for (i, name) in map.columns.iter().enumerate() {
        // Names before and after the numbers keep a distance from them.
        let (x, anchor) = match name.parse::<usize>() {
            Ok(layer) if layer % every == 0 => (left + i * cell + cell / 2, "middle"),
            Ok(_) => continue,
            Err(_) if i == 0 => (left + cell - 3, "end"),
            Err(_) => (left + i * cell + 2, "start"),
        };
        text(body, (x, y), &format!("text-anchor='{anchor}' fill='#555'"), name);
    }
    y += 6;
    for (name, cells) in &map.rows {
        text(body, (left - 8, y + LINE - 6), "text-anchor='end'", name);
        for (i, (column, value)) in map.columns.iter().zip(cells).enumerate() {
            let (x, width, height) = (left + i * cell, cell - 1, LINE - 1);
            let (fill, said) = match value {
                Cell::Absent => continue,
                Cell::Undefined => ("none' stroke='#bbb".to_owned(), "not defined".to_owned()),
                Cell::Zero => ("#e4e4e4".to_owned(), "identical".to_owned()),
                Cell::Value(value) => (hex(map.height(*value)), number(*value)),
            };
            let place = if column.parse::<usize>().is_ok() { format!("layer {column}, ") } else { String::new() };
            writeln!(
                body,
                "<rect x='{x}' y='{y}' width='{width}' height='{height}' fill='{fill}'>\
                 <title>{place}{}: {said}</title></rect>",
                escaped(name)
            )
            .expect(STRING);
        }
        y += LINE;
    }
    scale(body, map, left, y + LINE / 2)
}

/// Draws the legend of the colours, and returns its lower end.
fn scale(body: &mut String, map: &HeatMap, left: usize, y: usize) -> usize {
    let [low, high] = map.scale;
    let base = y + 12;
    text(body, (left - 8, base), "text-anchor='end' fill='#555'", &number(low));
    for i in 0..100 {
        let fill = hex(i as f64 / 99.0);
        writeln!(body, "<rect x='{}' y='{y}' width='2.5' height='14' fill='{fill}'/>", left + 2 * i).expect(STRING);
    }
    text(body, (left + 210, base), "fill='#555'", &number(high));
    let has = |cell| map.rows.iter().any(|(_, cells)| cells.contains(&cell));
    let mut x = left + 280;
    for (cell, look, says) in
        [(Cell::Zero, "fill='#e4e4e4'", "identical"), (Cell::Undefined, "fill='none' stroke='#bbb'", "not defined")]
    {
        if has(cell) {
            writeln!(body, "<rect x='{x}' y='{y}' width='14' height='14' {look}/>").expect(STRING);
            text(body, (x + 20, base), "fill='#555'", says);
            x += 110;
        }
    }
    y + LINE
}

fn text(body: &mut String, (x, y): (usize, usize), look: &str, says: &str) {
    writeln!(body, "<text x='{x}' y='{y}' {look}>{}</text>", escaped(says)).expect(STRING);
}
