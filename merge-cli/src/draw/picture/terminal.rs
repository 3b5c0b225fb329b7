//! A heat map in characters: numbers, on colours if the terminal has them, in bands that fit its
//! width.

use super::{Cell, HeatMap, colour, number};
use crate::draw::screen;
use comfy_table::Table;
use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    ops::Range,
};

/// Capabilities of standard output.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: usize,
    pub(crate) colours: Colours,
}

/// Colours of a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    No,
    Palette,
    All,
}

/// Width if standard output is not a terminal.
const PLAIN_WIDTH: usize = 120;

impl Screen {
    /// Detects the capabilities of standard output. `NO_COLOR` is respected.
    pub(crate) fn of_output() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is = |name, values: &[&str]| env::var(name).is_ok_and(|value| values.contains(&value.as_str()));
        if !io::stdout().is_terminal() {
            return Self { width: PLAIN_WIDTH, colours: Colours::No };
        }
        let colours = if set("NO_COLOR") || is("TERM", &["dumb"]) {
            Colours::No
        } else if is("COLORTERM", &["truecolor", "24bit"]) {
            Colours::All
        } else {
            Colours::Palette
        };
        Self { width: Table::new().width().map_or(80, usize::from), colours }
    }

    /// Draws a map. Its texts are escaped, so that only the colours control the terminal.
    pub(crate) fn draw(self, map: &HeatMap) -> String {
        let in_line = |text: &str| screen::in_line(text).into_owned();
        let map = &HeatMap {
            title: in_line(&map.title),
            columns: map.columns.iter().map(|name| in_line(name)).collect(),
            rows: map.rows.iter().map(|(name, cells)| (in_line(name), cells.clone())).collect(),
            scale: map.scale,
        };
        let label = map.rows.iter().map(|(name, _)| screen::width(name)).max().unwrap_or(0).min(LABEL);
        let room = self.width.saturating_sub(label + 1);
        let fits = |width: usize| width * map.columns.len() <= room;
        // Three digits if they fit, else two.
        let (mut unit, mut texts, mut numbers) = numbers(map, 3);
        if !fits(numbers) {
            (unit, texts, numbers) = self::numbers(map, 2);
        }
        // If numbers do not fit, colours alone are shown.
        let width = match self.colours {
            Colours::No => numbers,
            _ => [numbers, 2, 1].into_iter().find(|width| fits(*width)).unwrap_or(2),
        };
        let bare = width != numbers;
        let unit =
            if !bare && unit != 0 { format!(", × {}", screen::grouped(10u64.pow(unit))) } else { String::new() };
        let mut drawn = format!("{}{unit}\n", map.title);
        let step = (room / width).max(1);
        for start in (0..map.columns.len()).step_by(step) {
            let band = start..(start + step).min(map.columns.len());
            let header = header(&map.columns[band.clone()], width);
            if !header.trim().is_empty() {
                writeln!(drawn, "{:label$} {header}", "").expect(STRING);
            }
            for ((name, cells), texts) in map.rows.iter().zip(&texts) {
                if cells[band.clone()].iter().any(|cell| *cell != Cell::Absent) {
                    let cells = self.cells(map, (cells, texts), (width, bare), &band);
                    let name = screen::padded(&screen::ending(name, label), label);
                    writeln!(drawn, "{name} {}", cells.trim_end()).expect(STRING);
                }
            }
        }
        drawn + &self.scale(map)
    }

    /// Cells of a row in a band; bare cells have a colour and no number.
    fn cells(
        self,
        map: &HeatMap,
        (cells, texts): (&[Cell], &[String]),
        (width, bare): (usize, bool),
        band: &Range<usize>,
    ) -> String {
        let mut line = String::new();
        for (cell, text) in cells[band.clone()].iter().zip(&texts[band.clone()]) {
            match cell {
                Cell::Value(value) => {
                    let text = if bare { "" } else { text };
                    line += &self.painted(&format!("{text:>width$}"), map.height(*value));
                }
                _ => write!(line, "{text:>width$}").expect(STRING),
            }
        }
        line
    }

    /// Text on the colour for a height.
    fn painted(self, text: &str, height: f64) -> String {
        let [r, g, b] = colour(height);
        // Black on bright colours, white on dark ones.
        let ink = if height > 0.5 { 30 } else { 97 };
        match self.colours {
            Colours::No => text.to_owned(),
            Colours::All => format!("\x1b[{ink};48;2;{r};{g};{b}m{text}\x1b[0m"),
            Colours::Palette => {
                let [r, g, b] = [r, g, b].map(|part| CUBE.iter().filter(|edge| part >= **edge).count());
                format!("\x1b[{ink};48;5;{}m{text}\x1b[0m", 16 + 36 * r + 6 * g + b)
            }
        }
    }

    /// Legend of colours and symbols.
    fn scale(self, map: &HeatMap) -> String {
        let mut parts = Vec::new();
        if self.colours != Colours::No {
            let steps: String = (0..20).map(|i| self.painted(" ", f64::from(i) / 19.0)).collect();
            parts.push(format!("{} {steps} {}", number(map.scale[0]), number(map.scale[1])));
        }
        let has = |cell| map.rows.iter().any(|(_, cells)| cells.contains(&cell));
        if has(Cell::Zero) {
            parts.push("· identical".to_owned());
        }
        if has(Cell::Undefined) {
            parts.push("? not defined".to_owned());
        }
        if parts.is_empty() { String::new() } else { parts.join("   ") + "\n" }
    }
}

const STRING: &str = "a String takes all that is written";

/// Maximum width of a row's name.
const LABEL: usize = 24;

/// Largest power of ten by which numbers are scaled.
const MOST_ZEROS: u32 = 9;

/// Thresholds of a colour component in the 6 × 6 × 6 palette: midpoints between 0, 95, 135, 175,
/// 215 and 255.
const CUBE: [u8; 5] = [48, 115, 155, 195, 235];

/// Power of ten by which the numbers are scaled to have `digits` digits, their texts, and the
/// texts' width including one space.
fn numbers(map: &HeatMap, digits: u32) -> (u32, Vec<Vec<String>>, usize) {
    let [low, high] = map.scale;
    let most = 10f64.powi(digits as i32) - 0.5;
    // A scale that does not begin at 0 is for numbers between −1 and 1.
    let fits = |unit: &u32| high * 10f64.powi(*unit as i32) < most;
    let unit = if low == 0.0 && high > 0.0 { (0..=MOST_ZEROS).rev().find(fits).unwrap_or(0) } else { 2 };
    // Adding 0.0 turns −0 into 0.
    let shown = |value: f64| format!("{:.0}", (value * 10f64.powi(unit as i32)).round() + 0.0);
    let text = |cell: &Cell| match cell {
        Cell::Absent => String::new(),
        Cell::Undefined => "?".to_owned(),
        Cell::Zero => "·".to_owned(),
        Cell::Value(value) => shown(*value),
    };
    let texts: Vec<Vec<String>> = map.rows.iter().map(|(_, cells)| cells.iter().map(text).collect()).collect();
    // The ends of the scale count too: maps with the same scale look alike.
    let all = texts.iter().flatten().map(|text| text.chars().count()).chain(map.scale.map(|end| shown(end).len()));
    let width = all.max().unwrap_or(1) + 1;
    (unit, texts, width)
}

/// Numbers of the layers, as many as fit. Columns with other names have no header: their rows name
/// them.
fn header(columns: &[String], width: usize) -> String {
    let mut line = String::new();
    for (i, name) in columns.iter().enumerate() {
        let end = (i + 1) * width;
        let (used, len) = (line.chars().count(), name.chars().count());
        // Numbers end where their cells end; if cells are narrow, some numbers are left out.
        if name.parse::<usize>().is_err() {
            continue;
        }
        if len < end.saturating_sub(used) || used == 0 && len <= end {
            write!(line, "{name:>room$}", room = end - used).expect(STRING);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(layers: usize) -> HeatMap {
        let columns: Vec<String> = (0..layers).map(|layer| layer.to_string()).collect();
        let cells = |from: f64| (0..layers).map(|i| Cell::Value(from + i as f64 / layers as f64 / 100.0)).collect();
        let rows = vec![("attn q".to_owned(), cells(0.0)), ("mlp gate".to_owned(), cells(0.02))];
        HeatMap { title: "a map".to_owned(), columns, rows, scale: [0.0, 0.03] }
    }

    /// The drawn text without its colours.
    fn seen(text: &str) -> String {
        let parts = text.split("\x1b[").enumerate();
        parts.map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 }).collect()
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_every_layer_is_there() {
        for layers in [1, 6, 32, 80, 126] {
            for width in [40, 80, 120] {
                for colours in [Colours::No, Colours::Palette, Colours::All] {
                    let drawn = seen(&Screen { width, colours }.draw(&map(layers)));
                    assert!(drawn.lines().all(|line| line.chars().count() <= width), "{layers} in {width}: {drawn}");
                    if colours == Colours::No {
                        let rows = drawn.lines().filter_map(|line| line.strip_prefix("attn q "));
                        assert_eq!(rows.flat_map(str::split_whitespace).count(), layers, "{drawn}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_as_long_as_there_is_room_for_and_say_their_unit() {
        let drawn = |width| Screen { width, colours: Colours::No }.draw(&map(4));
        let three = "            0   1   2   3\nattn q      0  25  50  75\nmlp gate  200 225 250 275\n";
        assert_eq!(drawn(80), format!("a map, × 10,000\n{three}"));
        let two = "           0  1  2  3\nattn q     0  3  5  8\nmlp gate  20 23 25 28\n";
        assert_eq!(drawn(21), format!("a map, × 1,000\n{two}"));
    }

    #[test]
    fn names_paint_nothing() {
        let mut map = map(4);
        map.rows[0].0 = "\x1b[30;48;5;16mx".to_owned();
        let drawn = Screen { width: 80, colours: Colours::No }.draw(&map);
        assert!(drawn.contains("\\u{1b}[30;48;5;16mx ") && !drawn.contains('\x1b'), "{drawn}");
    }

    #[test]
    fn what_has_no_number_is_told_from_what_is_small() {
        let mut map = map(4);
        map.rows[0].1 = vec![Cell::Zero, Cell::Undefined, Cell::Absent, Cell::Value(0.000_01)];
        let drawn = Screen { width: 80, colours: Colours::No }.draw(&map);
        assert_eq!(drawn.lines().nth(2).unwrap(), "attn q      ·   ?       0");
        assert_eq!(drawn.lines().last().unwrap(), "· identical   ? not defined");
    }
}
