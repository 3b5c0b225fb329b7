//! Matrix products on a CPU, of rows with weights kept as they are stored.
//!
//! A product is divided among threads by outputs and by rows, never along a sum.

use super::tile::{PANEL, Panel, STEPS};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::array;

/// Most rows that go through all panels together: their stretches of [`DEPTH`] stay in the second-level cache.
const ROWS: usize = 128;
/// Most products added to a tile at a time.
const DEPTH: usize = 768;
/// Rows of a tile: their sums and two vectors of weights fill 32 registers, except for a few.
const TILE: usize = 10;
/// Number of multiplications that is worth the start of a task.
const TASK: usize = 1 << 18;

/// `y = x @ wᵀ`. `x`: `(rows, input)`; `w`: `(panels, input)`, each a panel's weights; `y`: `(rows, out)`, zeros.
pub(crate) fn product<W: Panel>(x: &[W::Row], w: &[W], y: &mut [f32], input: usize, out: usize, arch: Arch) {
    if y.is_empty() || input == 0 {
        return;
    }
    let (rows, panels) = (y.len() / out, out.div_ceil(PANEL));
    let groups = rows.div_ceil(ROWS);
    let height = rows.div_ceil(groups);
    let most = match rayon::current_num_threads() {
        1 => 1,
        // Enough that a thread that is done can take over work from one that was held up.
        threads => (4 * threads).div_ceil(groups).min(panels),
    };
    let tasks = (input * out * height.div_ceil(4) / TASK).clamp(1, most);
    let width = panels.div_ceil(tasks); // panels of a task
    let mut stretches = Vec::with_capacity(groups * tasks);
    for (x, y) in x.chunks(height * input).zip(y.chunks_mut(height * out)) {
        let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
        columns.resize_with(panels.div_ceil(width), || Vec::with_capacity(height));
        for row in y.chunks_mut(out) {
            for (column, y) in columns.iter_mut().zip(row.chunks_mut(width * PANEL)) {
                column.push(y);
            }
        }
        let x: Vec<&[W::Row]> = x.chunks(input).collect();
        let w = w.chunks(width * input);
        stretches.extend(columns.into_iter().zip(w).map(|(y, w)| ProductShare { x: x.clone(), w, stride: input, y }));
    }
    if let [only] = &mut stretches[..] {
        only.multiply(arch);
    } else {
        stretches.par_iter_mut().for_each(|stretch| stretch.multiply(arch));
    }
}

/// One thread's share of a product: some rows, some panels. The sums are added to `y`.
pub(crate) struct ProductShare<'a, 'y, W: Panel> {
    /// Rows, each as long as a sum.
    pub x: Vec<&'a [W::Row]>,
    /// Panels; each begins `stride` after the one before.
    pub w: &'a [W],
    /// Distance from one panel to the next.
    pub stride: usize,
    /// As many rows as `x`, each with the panels' outputs.
    pub y: Vec<&'y mut [f32]>,
}

impl<W: Panel> ProductShare<'_, '_, W> {
    pub(crate) fn multiply(&mut self, arch: Arch) {
        if self.x.first().is_some_and(|x| !x.is_empty()) {
            arch.dispatch(self);
        }
    }
}

/// First row and panel of a tile, and its range along the sums.
#[derive(Clone, Copy)]
struct TilePlace {
    row: usize,
    panel: usize,
    from: usize,
    to: usize,
}

impl<W: Panel> WithSimd for &mut ProductShare<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // With half of the registers, a tile has half of the rows.
        let few = S::REGISTER_COUNT < 32;
        let tile = if few { TILE / 2 } else { TILE };
        let (rows, panels, len) = (self.y.len(), self.y[0].len().div_ceil(PANEL), self.x[0].len());
        let depth = len.div_ceil(len.div_ceil(DEPTH)).next_multiple_of(STEPS);
        for from in (0..len).step_by(depth) {
            let to = len.min(from + depth);
            let mut panel = 0;
            while panel < panels {
                // Few rows leave room for several panels, whose sums do not wait for each other.
                let side = match rows {
                    1 => 4,
                    2 => {
                        if few {
                            2
                        } else {
                            4
                        }
                    }
                    3 | 4 if !few => 2,
                    _ => 1,
                };
                let side = if panel + side <= panels { side } else { 1 };
                let mut row = 0;
                for left in (1..=rows.div_ceil(tile)).rev() {
                    let place = TilePlace { row, panel, from, to };
                    let height = (rows - row).div_ceil(left);
                    match (height, side) {
                        (1, 4) => self.tile::<S, 1, 4>(simd, place),
                        (2, 4) => self.tile::<S, 2, 4>(simd, place),
                        (2, 2) => self.tile::<S, 2, 2>(simd, place),
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
                        _ => self.tile::<S, TILE, 1>(simd, place),
                    }
                    row += height;
                }
                panel += side;
            }
        }
    }
}

impl<W: Panel> ProductShare<'_, '_, W> {
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(&mut self, simd: S, at: TilePlace) {
        let stretch = at.from..at.to;
        let w: [&[W]; PANELS] = array::from_fn(|p| &self.w[(at.panel + p) * self.stride..][stretch.clone()]);
        let x: [&[W::Row]; ROWS] = array::from_fn(|r| &self.x[at.row + r][stretch.clone()]);
        W::add_tile(simd, w, x, &mut self.y[at.row..at.row + ROWS], at.panel * PANEL);
    }
}
