//! A tensor with rows from elsewhere: they are looked up while they are read, and no matrix is built.

use super::align::TokenRow;
use crate::{
    error::Result,
    model::{Elements, dtype::Dtype},
};
use rayon::prelude::*;
use std::ops::Range;

/// A tensor with rows from other tensors.
pub(super) struct MovedRows<'a> {
    dtype: Dtype,
    /// Number of elements of a row.
    width: usize,
    rows: &'a [TokenRow],
    /// Tensors of the models that rows come from.
    sources: Vec<Option<Box<dyn Elements + 'a>>>,
    /// Values of a padding row.
    average: &'a [f32],
    /// The model and its first row, if all rows are consecutive rows of one model.
    run: Option<(usize, usize)>,
}

/// Consecutive elements that are made in the same way.
enum RowRun<'a> {
    /// Read from a source; the number is the first element.
    From(&'a dyn Elements, usize),
    /// The mean over rows of sources; the number is the first element in each row.
    Mean(&'a [(usize, usize)], usize),
    Zero,
    /// The padding row; the number is the first element.
    Average(usize),
}

impl<'a> MovedRows<'a> {
    /// Rows of `width` elements. `sources` has the tensor of every model that rows come from;
    /// `dtype` holds all of their stored values exactly.
    pub(super) fn new(
        dtype: Dtype,
        width: usize,
        rows: &'a [TokenRow],
        sources: Vec<Option<Box<dyn Elements + 'a>>>,
    ) -> Self {
        Self { dtype, width, rows, sources, average: &[], run: run(rows) }
    }

    /// Sets the padding row, which is the result of [`MovedRows::mean`].
    pub(super) fn pad_with(&mut self, average: &'a [f32]) {
        self.average = average;
    }

    fn source(&self, model: usize) -> &dyn Elements {
        self.sources[model].as_deref().expect("every model that rows come from is at hand")
    }

    /// Visits the elements `start..start + len` run by run, each with its range relative to `start`.
    fn each(
        &self,
        start: usize,
        len: usize,
        mut take: impl FnMut(Range<usize>, RowRun<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < len {
            let (row, offset) = ((start + done) / self.width, (start + done) % self.width);
            let mut n = self.width - offset;
            let stretch = match &self.rows[row] {
                TokenRow::At { model, row: first } => {
                    // Rows that are consecutive in the source too are read together.
                    let mut next = 1;
                    let follows = |next: usize| TokenRow::At { model: *model, row: first + next };
                    while n < len - done && self.rows.get(row + next) == Some(&follows(next)) {
                        next += 1;
                        n += self.width;
                    }
                    RowRun::From(self.source(*model), first * self.width + offset)
                }
                TokenRow::Mean(owners) => RowRun::Mean(owners, offset),
                TokenRow::Zero => RowRun::Zero,
                TokenRow::Average => RowRun::Average(offset),
            };
            let end = done + n.min(len - done);
            take(done..end, stretch)?;
            done = end;
        }
        Ok(())
    }

    fn make(&self, stretch: &RowRun<'_>, out: &mut [f32]) -> Result<()> {
        match stretch {
            RowRun::From(source, start) => source.read(*start, out)?,
            RowRun::Mean(owners, offset) => {
                let (mut sum, mut values) = (vec![0.0; out.len()], vec![0.0; out.len()]);
                for (model, row) in *owners {
                    self.source(*model).read(row * self.width + offset, &mut values)?;
                    sum.iter_mut().zip(&values).for_each(|(sum, x)| *sum += f64::from(*x));
                }
                let count = owners.len() as f64;
                out.iter_mut().zip(&sum).for_each(|(x, sum)| *x = (sum / count) as f32);
                self.round(out);
            }
            RowRun::Zero => out.fill(0.0),
            RowRun::Average(offset) => out.copy_from_slice(&self.average[*offset..offset + out.len()]),
        }
        Ok(())
    }

    /// Rounds to the values that storing and reading again would give.
    fn round(&self, values: &mut [f32]) {
        let mut bytes = vec![0; values.len() * self.dtype.size()];
        self.dtype.narrow(values, &mut bytes);
        self.dtype.widen(&bytes, values);
    }

    /// The mean over all rows but padding: sums in `f64` over parts of fixed length, added in
    /// order, so that the number of threads changes nothing.
    pub(super) fn mean(&self) -> Result<Vec<f32>> {
        const PARTS: usize = 64;
        let count = self.rows.iter().take_while(|row| **row != TokenRow::Average).count();
        let (part, at_once) = (count.div_ceil(PARTS).max(1), (64 * 1024 / self.width.max(1)).max(1));
        let starts: Vec<usize> = (0..count).step_by(part).collect();
        let sums = starts.into_par_iter().map(|from| {
            let to = (from + part).min(count);
            let (mut sum, mut values) = (vec![0.0; self.width], Vec::new());
            for first in (from..to).step_by(at_once) {
                values.resize((to - first).min(at_once) * self.width, 0.0);
                self.read(first * self.width, &mut values)?;
                for row in values.chunks(self.width) {
                    sum.iter_mut().zip(row).for_each(|(sum, x): (&mut f64, _)| *sum += f64::from(*x));
                }
            }
            Ok(sum)
        });
        let sums: Vec<Vec<f64>> = sums.collect::<Result<_>>()?;
        let total = |column: usize| sums.iter().map(|sum| sum[column]).sum::<f64>();
        let mut mean: Vec<f32> = (0..self.width).map(|column| (total(column) / count.max(1) as f64) as f32).collect();
        self.round(&mut mean);
        Ok(mean)
    }
}

impl Elements for MovedRows<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.rows.len() * self.width
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.each(start, out.len(), |at, stretch| self.make(&stretch, &mut out[at]))
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let (size, mut values) = (self.dtype.size(), Vec::new());
        self.each(start, out.len() / size, |at, stretch| {
            let bytes = &mut out[at.start * size..at.end * size];
            match stretch {
                RowRun::From(source, start) if source.dtype() == self.dtype => source.copy(start, bytes),
                stretch => {
                    values.resize(at.len(), 0.0);
                    self.make(&stretch, &mut values)?;
                    self.dtype.narrow(&values, bytes);
                    Ok(())
                }
            }
        })
    }

    fn granule(&self) -> usize {
        self.sources.iter().flatten().map(|source| source.granule()).max().unwrap_or(1)
    }

    fn lent(&self) -> Option<&[u8]> {
        let (model, first) = self.run?;
        let source = self.source(model);
        let row = self.width * self.dtype.size();
        let bytes = source.lent().filter(|_| source.dtype() == self.dtype)?;
        Some(&bytes[first * row..(first + self.rows.len()) * row])
    }
}

/// The model and its first row, if all rows are consecutive rows of one model.
fn run(rows: &[TokenRow]) -> Option<(usize, usize)> {
    let TokenRow::At { model, row: first } = *rows.first()? else { return None };
    let follows = |(next, row): (usize, &TokenRow)| *row == TokenRow::At { model, row: first + next };
    rows.iter().enumerate().all(follows).then_some((model, first))
}
