//! The elements of one tensor, stored or computed, read as `f32` in stretches by any number of threads.

use crate::{error::Result, model::dtype::Dtype};
use rayon::prelude::*;
use std::borrow::Cow;

/// All of a tensor's bytes: borrowed if they are in memory, else computed by all threads.
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

/// Number of elements to read at a time, in whole granules: 256 KiB of 16-bit elements, which fit
/// into a core's second-level cache.
pub(crate) fn stretch_len(tensor: &dyn Elements) -> usize {
    (128 * 1024 / tensor.granule()).max(1) * tensor.granule()
}

/// The elements of one tensor, readable in stretches by any number of threads.
pub trait Elements: Send + Sync {
    /// Type in which the elements are stored, or would be.
    fn dtype(&self) -> Dtype;
    /// Number of elements.
    fn len(&self) -> usize;
    /// True if there is no element.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads the elements from `start` on. Computed elements are rounded to [`Elements::dtype`]
    /// first, so that they are the same as after writing and reading them.
    ///
    /// Fails if a merge meets a value it cannot merge.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()>;
    /// Reads the elements from `start` on as little-endian bytes of the stored type.
    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let mut values = vec![0.0; out.len() / self.dtype().size()];
        self.read(start, &mut values)?;
        self.dtype().narrow(&values, out);
        Ok(())
    }
    /// Stretches that begin and end at multiples of this number are the cheapest to read.
    fn granule(&self) -> usize {
        1
    }
    /// All bytes, if they are in memory already.
    fn lent(&self) -> Option<&[u8]> {
        None
    }
}

/// A tensor whose bytes are in memory: mapped from a file, or computed.
pub struct Stored<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// A tensor with these bytes, little-endian.
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
