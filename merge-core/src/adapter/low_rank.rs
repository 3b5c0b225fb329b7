//! A tensor with a low-rank update, computed stretch by stretch; and a tensor rounded to another type.

use crate::{
    error::Result,
    model::{Elements, dtype::Dtype},
    vectors::wide,
};
use rayon::prelude::*;

/// `W + s·L·R`, or with magnitudes `f · (W + s·L·R)`.
pub(super) struct LowRank<'a> {
    tensor: Box<dyn Elements + 'a>, // W (rows, columns)
    dtype: Dtype,
    columns: usize,
    left: Vec<f32>,  // L (rows, rank)
    right: Vec<f32>, // R (rank, columns)
    scale: f32,
    factors: Factors,
}

/// Factors `f` of the outputs.
enum Factors {
    One,
    OfRows(Vec<f32>),
    OfColumns(Vec<f32>),
}

impl<'a> LowRank<'a> {
    /// The tensor `W` plus `scale` times the product of two matrices.
    pub(super) fn new(
        tensor: Box<dyn Elements + 'a>,
        dtype: Dtype,
        columns: usize,
        [left, right]: [Vec<f32>; 2],
        scale: f32,
    ) -> Self {
        Self { tensor, dtype, columns, left, right, scale, factors: Factors::One }
    }

    /// The same tensor with these magnitudes of its outputs: the columns if it is transposed, else
    /// the rows. Reads the whole tensor.
    pub(super) fn with_magnitude(mut self, magnitudes: &[f32], transposed: bool) -> Result<Self> {
        let squares = if transposed { self.column_squares()? } else { self.row_squares()? };
        let factors = magnitudes.iter().zip(squares).map(|(m, square)| m / square.sqrt() as f32).collect();
        self.factors = if transposed { Factors::OfColumns(factors) } else { Factors::OfRows(factors) };
        Ok(self)
    }

    fn row_squares(&self) -> Result<Vec<f64>> {
        let rows = (0..self.tensor.len() / self.columns.max(1)).into_par_iter();
        let square = |row: usize| {
            let mut values = vec![0.0; self.columns];
            self.sum(row * self.columns, &mut values)?;
            Ok(values.iter().map(|x| f64::from(*x).powi(2)).sum())
        };
        rows.map(square).collect()
    }

    fn column_squares(&self) -> Result<Vec<f64>> {
        const ROWS: usize = 256;
        let stretch = ROWS * self.columns;
        let square = |start: usize| {
            let mut values = vec![0.0; stretch.min(self.tensor.len() - start)];
            self.sum(start, &mut values)?;
            let mut squares = vec![0.0; self.columns];
            for row in values.chunks_exact(self.columns) {
                for (sum, x) in squares.iter_mut().zip(row) {
                    *sum += f64::from(*x).powi(2);
                }
            }
            Ok(squares)
        };
        let starts = (0..self.tensor.len()).into_par_iter().step_by(stretch.max(1));
        let stretches: Vec<Vec<f64>> = starts.map(square).collect::<Result<_>>()?;
        // In order, so that the number of threads changes nothing.
        let mut squares = vec![0.0; self.columns];
        for stretch in stretches {
            for (sum, x) in squares.iter_mut().zip(stretch) {
                *sum += x;
            }
        }
        Ok(squares)
    }

    /// `W + s·L·R` from the element `start` on, not rounded.
    fn sum(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.tensor.read(start, out)?;
        wide(
            #[inline(always)]
            || self.rows(start, out, |row, column, out| self.add(row, column, out)),
        );
        Ok(())
    }

    /// Calls `each` for every part of a row in a stretch, with the row and column where it begins.
    #[inline(always)]
    fn rows(&self, start: usize, out: &mut [f32], mut each: impl FnMut(usize, usize, &mut [f32])) {
        let (mut at, mut rest) = (start, out);
        while !rest.is_empty() {
            let (row, column) = (at / self.columns, at % self.columns);
            let (part, after) = rest.split_at_mut((self.columns - column).min(rest.len()));
            each(row, column, part);
            at += part.len();
            rest = after;
        }
    }

    #[inline(always)]
    fn add(&self, row: usize, column: usize, out: &mut [f32]) {
        let rank = self.left.len() * self.columns / self.tensor.len();
        let left = &self.left[row * rank..(row + 1) * rank];
        let right = |k: usize| &self.right[k * self.columns + column..][..out.len()];
        let mut update = vec![0.0f32; out.len()];
        // Four at a time, so that the sums are read and written a quarter as often.
        let (fours, rest) = left.as_chunks::<4>();
        for (number, l) in fours.iter().enumerate() {
            let r: [&[f32]; 4] = std::array::from_fn(|k| right(4 * number + k));
            for ((((u, a), b), c), d) in update.iter_mut().zip(r[0]).zip(r[1]).zip(r[2]).zip(r[3]) {
                *u += (l[0] * a + l[1] * b) + (l[2] * c + l[3] * d);
            }
        }
        for (k, l) in (4 * fours.len()..).zip(rest) {
            for (u, x) in update.iter_mut().zip(right(k)) {
                *u += l * x;
            }
        }
        for (x, u) in out.iter_mut().zip(&update) {
            *x += u * self.scale;
        }
    }

    fn product(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.sum(start, out)?;
        match &self.factors {
            Factors::One => {}
            Factors::OfRows(factors) => self.rows(start, out, |row, _, out| {
                for x in out {
                    *x *= factors[row];
                }
            }),
            Factors::OfColumns(factors) => self.rows(start, out, |_, column, out| {
                for (x, factor) in out.iter_mut().zip(&factors[column..]) {
                    *x *= factor;
                }
            }),
        }
        Ok(())
    }
}

impl Elements for LowRank<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.tensor.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.product(start, out)?;
        round(self.dtype, out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let mut values = vec![0.0; out.len() / self.dtype.size()];
        self.product(start, &mut values)?;
        self.dtype.narrow(&values, out);
        Ok(())
    }
}

/// A tensor in another type than its stored one.
pub(super) struct RoundedTensor<'a> {
    tensor: Box<dyn Elements + 'a>,
    dtype: Dtype,
}

impl<'a> RoundedTensor<'a> {
    /// The tensor in this type; unchanged if it has the type already.
    pub(super) fn to(dtype: Dtype, tensor: Box<dyn Elements + 'a>) -> Box<dyn Elements + 'a> {
        if tensor.dtype() == dtype { tensor } else { Box::new(Self { tensor, dtype }) }
    }
}

impl Elements for RoundedTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.tensor.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.tensor.read(start, out)?;
        round(self.dtype, out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let mut values = vec![0.0; out.len() / self.dtype.size()];
        self.tensor.read(start, &mut values)?;
        self.dtype.narrow(&values, out);
        Ok(())
    }
}

/// Rounds numbers to a type.
fn round(dtype: Dtype, values: &mut [f32]) {
    if dtype != Dtype::F32 {
        let mut bytes = vec![0; values.len() * dtype.size()];
        dtype.narrow(values, &mut bytes);
        dtype.widen(&bytes, values);
    }
}

/// The transpose of a matrix of that many rows and columns.
pub(super) fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect()
}
