//! Curves drawn in characters.

use std::fmt::Write as _;

/// Lines over one x axis, in a field of `width` columns and `height` rows.
pub(crate) struct Plot<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Name of the x axis.
    pub(crate) x: &'a str,
    /// Positions of the values on the x axis, in order.
    pub(crate) at: &'a [f64],
    /// Lines: a mark, its meaning, and a value for each position.
    pub(crate) lines: &'a [(char, &'a str, Vec<Option<f64>>)],
    /// Formats a value.
    pub(crate) show: fn(f64) -> String,
}

const STRING: &str = "a String takes all that is written";

impl Plot<'_> {
    /// Draws the field, its axes and a legend; `None` if there is no value.
    pub(crate) fn draw(&self) -> Option<String> {
        let values = || self.lines.iter().flat_map(|(_, _, values)| values).copied().flatten();
        let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        let (first, last) = (*self.at.first()?, *self.at.last()?);
        let place = |value: f64, low: f64, high: f64, cells: usize| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            (share * (cells - 1) as f64).round() as usize
        };
        let mut field = vec![vec![' '; self.width]; self.height];
        // The first line is drawn last, over the others.
        for (mark, _, values) in self.lines.iter().rev() {
            for (x, value) in self.at.iter().zip(values) {
                let Some(value) = value else { continue };
                let row = self.height - 1 - place(*value, low, high, self.height);
                field[row][place(*x, first, last, self.width)] = *mark;
            }
        }
        let names = [high, low].map(self.show);
        let margin = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut drawn = String::new();
        for (row, cells) in field.iter().enumerate() {
            let name = match row {
                0 => names[0].as_str(),
                row if row + 1 == self.height => names[1].as_str(),
                _ => "",
            };
            let cells: String = cells.iter().collect();
            writeln!(drawn, "{}", format!("{name:>margin$} ┤{cells}").trim_end()).expect(STRING);
        }
        let (from, to) = (crate::draw::screen::grouped(first as u64), crate::draw::screen::grouped(last as u64));
        let room = self.width.saturating_sub(from.len() + to.len());
        writeln!(drawn, "{:margin$} └{}", "", "─".repeat(self.width)).expect(STRING);
        writeln!(drawn, "{:margin$}  {from}{:room$}{to}", "", "").expect(STRING);
        let marks: Vec<String> = self.lines.iter().map(|(mark, name, _)| format!("{mark} {name}")).collect();
        write!(drawn, "{:margin$}  {}   → {}", "", marks.join("   "), self.x).expect(STRING);
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_their_values_are() {
        let lines =
            [('●', "best", vec![Some(0.0), None, Some(1.0)]), ('·', "mean", vec![Some(0.0), Some(0.5), Some(0.5)])];
        let show = |value: f64| format!("{:.0}%", 100.0 * value);
        let plot = Plot { width: 9, height: 3, x: "evaluations", at: &[40.0, 80.0, 120.0], lines: &lines, show };
        let drawn = "100% ┤        ●\n     ┤    ·   ·\n  0% ┤●\n     └─────────\n      40    120\n      ● best   · mean   → evaluations";
        assert_eq!(plot.draw().unwrap(), drawn);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let plot =
            Plot {
                width: 9, height: 3, x: "", at: &[], lines: &[('●', "best", Vec::new())], show: |_| String::new()
            };
        assert!(plot.draw().is_none());
    }
}
