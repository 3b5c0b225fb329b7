//! A heat map, for a terminal and as SVG.

mod svg;
mod terminal;

pub(crate) use svg::{CellSize, LETTER, grid, scale, svg};
pub(crate) use terminal::Screen;

/// Rows of cells under columns.
pub(crate) struct HeatMap {
    /// Title of the map.
    pub(crate) title: String,
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// Name of each row, and its cells: one for each column.
    pub(crate) rows: Vec<(String, Vec<Cell>)>,
    /// Numbers at the two ends of the scale.
    pub(crate) scale: [f64; 2],
}

/// Content of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Nothing.
    Absent,
    /// Something without a number.
    Undefined,
    /// Exactly zero, shown apart from small numbers.
    Zero,
    /// A number.
    Value(f64),
}

impl HeatMap {
    /// Position of a number on the scale, from 0 to 1.
    fn height(&self, value: f64) -> f64 {
        let [low, high] = self.scale;
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Formats a number with four decimals, or with an exponent if it is below 0.001.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..0.001 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}

/// Viridis: perceptually even, also for colour-blind readers and in grey.
const VIRIDIS: [[u8; 3]; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x4a, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6d, 0xcd, 0x59],
    [0xb4, 0xde, 0x2c],
    [0xfd, 0xe7, 0x25],
];

/// Colour at a height from 0 to 1: red, green, blue.
fn colour(height: f64) -> [u8; 3] {
    let at = height * (VIRIDIS.len() - 1) as f64;
    let below = (at as usize).min(VIRIDIS.len() - 2);
    let (share, low, high) = (at - below as f64, VIRIDIS[below], VIRIDIS[below + 1]);
    std::array::from_fn(|i| (f64::from(low[i]) + share * (f64::from(high[i]) - f64::from(low[i]))).round() as u8)
}

/// Colour at a height from 0 to 1, as CSS writes it.
pub(crate) fn hex(height: f64) -> String {
    let [r, g, b] = colour(height);
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_end_to_end() {
        assert_eq!([colour(0.0), colour(1.0)], [VIRIDIS[0], VIRIDIS[9]]);
        // It gets steadily brighter, so it is readable in grey.
        let grey = |[r, g, b]: [u8; 3]| 0.21 * f64::from(r) + 0.72 * f64::from(g) + 0.07 * f64::from(b);
        let greys: Vec<f64> = (0..=100).map(|i| grey(colour(f64::from(i) / 100.0))).collect();
        assert!(greys.is_sorted());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.5, 0.001, 0.000_123, -0.25].map(number), ["0", "0.5000", "0.0010", "1.2e-4", "-0.2500"]);
    }
}
