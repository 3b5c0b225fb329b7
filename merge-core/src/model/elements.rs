//! One tensor's elements, read as `f32` in stretches by any number of threads, wherever they come from.

use crate::{error::Result, model::dtype::Dtype};
use rayon::prelude::*;
use std::borrow::Cow;

/// All of a tensor's bytes: lent if they lie in memory, else made by all threads.
pub fn whole(tensor: &dyn Elements) -> Result<Cow<'_, [u8]>> {
    if let Some(bytes) = tensor.lent() {
        return Ok(Cow::Borrowed(bytes));
    }
    let (size, stretch) = (tensor.dtype().size(), stretch_len(tensor));
    let mut bytes = vec![0; tensor.len() * size];
    let stretches = bytes.par_chunks_mut(stretch * size).enumerate();
    stretches.try_for_each(|(number, out)| tensor.copy(number * stretch, out))?;
    Ok(Cow::Owned(bytes))
}

/// How many elements of a tensor to read at a time: 256 KiB of 16-bit elements, which a core's second-level cache holds, in
/// whole granules.
pub(crate) fn stretch_len(tensor: &dyn Elements) -> usize {
    (128 * 1024 / tensor.granule()).max(1) * tensor.granule()
}

/// One tensor's elements, readable in stretches by any number of threads.
pub trait Elements: Send + Sync {
    /// How they are stored, or would be.
    fn dtype(&self) -> Dtype;
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads the elements from `start` on. What is computed is rounded to [`Elements::dtype`] first, so that reading gives
    /// what writing and reading again would give.
    ///
    /// Fails where a merge meets a value it cannot merge.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()>;
    /// Reads the elements from `start` on as they are stored: little-endian bytes.
    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let mut values = vec![0.0; out.len() / self.dtype().size()];
        self.read(start, &mut values)?;
        self.dtype().narrow(&values, out);
        Ok(())
    }
    /// Stretches that begin and end at multiples of this are the cheapest to read.
    fn granule(&self) -> usize {
        1
    }
    /// All the bytes, if they lie in memory already.
    fn lent(&self) -> Option<&[u8]> {
        None
    }
}

/// A tensor whose bytes lie in memory: mapped from a file, or made.
pub struct Stored<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// A tensor's bytes, little-endian.
    pub fn new(dtype: Dtype, bytes: Cow<'a, [u8]>) -> Self {
        Self { dtype, bytes }
    }
}

impl Elements for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let size = self.dtype.size();
        self.dtype.widen(&self.bytes[start * size..(start + out.len()) * size], out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let start = start * self.dtype.size();
        out.copy_from_slice(&self.bytes[start..start + out.len()]);
        Ok(())
    }

    fn lent(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }
}
