//! Matrix products on a CPU, of `f32` rows and weights kept as they are stored.
//!
//! A product is divided among threads by outputs and by rows, never along a sum.

use super::tile::{PANEL, Stored, add_tile};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows that go through all panels together: their stretches of [`DEPTH`] stay in the second cache.
const ROWS: usize = 128;
/// Products added to a tile at a time.
const DEPTH: usize = 768;
/// Rows of a tile: with two vectors of weights they fill 32 registers, and leave the compiler a few.
const TILE: usize = 10;
/// Multiplications that are worth the start of a task.
const TASK: usize = 1 << 18;

/// `y = x @ wᵀ`. `x`: `(rows, input)`; `w`: `(panels, input)`, each the weights of a panel's outputs; `y`: `(rows, out)`, zeros.
pub(super) fn product<W: Stored>(x: &[f32], w: &[W], y: &mut [f32], input: usize, out: usize, arch: Arch) {
    if input == 0 || out == 0 {
        return;
    }
    let rows = y.len() / out;
    let panels = out.div_ceil(PANEL);
    let groups = rows.div_ceil(ROWS).max(1);
    let height = rows.div_ceil(groups);
    let threads = rayon::current_num_threads();
    let most = if threads == 1 { 1 } else { (4 * threads).div_ceil(groups) };
    // A single row's weights come from memory, many rows' are used again.
    let tasks = (input * out * height.div_ceil(4) / TASK).clamp(1, most.min(panels));
    let width = panels.div_ceil(tasks); // panels of a task
    let mut stretches = Vec::with_capacity(groups * tasks);
    for (x, y) in x.chunks(height * input).zip(y.chunks_mut(height * out)) {
        let mut columns: Vec<Vec<&mut [f32]>> =
            (0..panels.div_ceil(width)).map(|_| Vec::with_capacity(height)).collect();
        for row in y.chunks_mut(out) {
            for (column, y) in columns.iter_mut().zip(row.chunks_mut(width * PANEL)) {
                column.push(y);
            }
        }
        let w = w.chunks(width * input);
        stretches.extend(columns.into_iter().zip(w).map(|(y, w)| Stretch { x, w, y, input }));
    }
    if stretches.len() == 1 {
        stretches.into_iter().for_each(|stretch| arch.dispatch(stretch));
    } else {
        stretches.into_par_iter().for_each(|stretch| arch.dispatch(stretch));
    }
}

/// A task's part of a product: some rows, some panels.
struct Stretch<'a, W> {
    x: &'a [f32],          // (rows, input)
    w: &'a [W],            // (panels, input)
    y: Vec<&'a mut [f32]>, // rows, each (outputs of the panels)
    input: usize,
}

impl<W: Stored> WithSimd for Stretch<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Half the registers hold half the rows.
        let tile = if S::REGISTER_COUNT < 32 { TILE / 2 } else { TILE };
        let panels = self.w.len() / self.input;
        let tiles = self.y.len().div_ceil(tile);
        let depth = self.input.div_ceil(self.input.div_ceil(DEPTH)).next_multiple_of(16);
        for start in (0..self.input).step_by(depth) {
            let end = self.input.min(start + depth);
            let mut panel = 0;
            while panel < panels {
                // Few rows leave room for several panels, whose sums do not wait for each other.
                let side = match self.y.len() {
                    1 | 2 if panel + 4 <= panels => 4,
                    3 | 4 if panel + 2 <= panels => 2,
                    _ => 1,
                };
                let mut row = 0;
                for left in (1..=tiles).rev() {
                    let rows = (self.y.len() - row).div_ceil(left);
                    let place = Place { row, panel, k: start..end };
                    match (rows, side) {
                        (1, 4) => self.tile::<S, 1, 4>(simd, place),
                        (2, 4) => self.tile::<S, 2, 4>(simd, place),
                        (3, 2) => self.tile::<S, 3, 2>(simd, place),
                        (4, 2) => self.tile::<S, 4, 2>(simd, place),
                        (1, _) => self.tile::<S, 1, 1>(simd, place),
                        (2, _) => self.tile::<S, 2, 1>(simd, place),
                        (3, _) => self.tile::<S, 3, 1>(simd, place),
                        (4, _) => self.tile::<S, 4, 1>(simd, place),
                        (5, _) => self.tile::<S, 5, 1>(simd, place),
                        (6, _) => self.tile::<S, 6, 1>(simd, place),
                        (7, _) => self.tile::<S, 7, 1>(simd, place),
                        (8, _) => self.tile::<S, 8, 1>(simd, place),
                        (9, _) => self.tile::<S, 9, 1>(simd, place),
                        _ => self.tile::<S, 10, 1>(simd, place),
                    }
                    row += rows;
                }
                panel += side;
            }
        }
    }
}

struct Place {
    row: usize,
    panel: usize,
    k: std::ops::Range<usize>,
}

impl<W: Stored> Stretch<'_, W> {
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(&mut self, simd: S, place: Place) {
        let input = self.input;
        let w = std::array::from_fn::<_, PANELS, _>(
            #[inline(always)]
            |p| &self.w[(place.panel + p) * input..][place.k.clone()],
        );
        let x = std::array::from_fn::<_, ROWS, _>(
            #[inline(always)]
            |r| &self.x[(place.row + r) * input..][place.k.clone()],
        );
        add_tile(simd, w, x, &mut self.y[place.row..], place.panel * PANEL);
    }
}
