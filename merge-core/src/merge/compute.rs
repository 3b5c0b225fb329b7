//! A tensor of a merge, computed block by block: widened, merged and narrowed while it is in the processor's cache.

use super::{Merge, tensor_plan::Operand};
use crate::{
    error::{Error, Result},
    method::{Block, Inputs, Kernel},
    model::{Elements, blocks::block_len, dtype::Dtype},
    vectors::wide,
};

/// A tensor that is copied unchanged.
pub(super) struct CopiedTensor<'m> {
    pub(super) merge: &'m Merge,
    pub(super) operand: &'m Operand,
    pub(super) values: Box<dyn Elements + 'm>,
}

impl Elements for CopiedTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.values.dtype()
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.values.read(start, out)?;
        match first_not_finite(out) {
            None => Ok(()),
            Some(element) => Err(self.merge.not_finite(self.operand, start + element)),
        }
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        self.values.copy(start, out)?;
        match self.dtype().first_not_finite(out) {
            None => Ok(()),
            Some(element) => Err(self.merge.not_finite(self.operand, start + element)),
        }
    }

    fn granule(&self) -> usize {
        self.values.granule()
    }

    fn lent(&self) -> Option<&[u8]> {
        self.values.lent()
    }
}

/// A tensor whose kernel is ready: its method has seen the inputs.
pub(super) struct MergedTensor<'m> {
    pub(super) merge: &'m Merge,
    /// Operands of the base and of the other models.
    pub(super) operands: (Option<&'m Operand>, Vec<&'m Operand>),
    pub(super) dtype: Dtype,
    pub(super) inputs: Inputs<'m>,
    pub(super) kernel: Kernel,
}

/// Buffers of one thread: one block of each input and of the result.
#[derive(Default)]
struct MergeRoom {
    base: Vec<f32>,
    models: Vec<Vec<f32>>,
    merged: Vec<f32>,
}

impl MergedTensor<'_> {
    /// Computes the elements `from..to` and passes them to `take` in blocks, each with its position after `from`.
    fn compute(&self, from: usize, to: usize, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        let (granule, len) = (self.kernel.granule(), self.len());
        let step = block_len(granule);
        let mut room = MergeRoom { models: vec![Vec::new(); self.inputs.models.len()], ..MergeRoom::default() };
        let mut start = from / granule * granule;
        while start < to {
            let end = (start + step).min(to.next_multiple_of(granule)).min(len);
            self.block(start, end - start, &mut room)?;
            let skip = from.saturating_sub(start);
            take((start + skip) - from, &room.merged[skip..(to - start).min(end - start)]);
            start = end;
        }
        Ok(())
    }

    /// Computes a block of whole granules.
    fn block(&self, start: usize, len: usize, MergeRoom { base, models, merged }: &mut MergeRoom) -> Result<()> {
        let read = |values: &dyn Elements, operand: &Operand, widened: &mut Vec<f32>| {
            widened.resize(len, 0.0);
            values.read(start, widened)?;
            match first_not_finite(widened) {
                None => Ok(()),
                Some(element) => Err(self.merge.not_finite(operand, start + element)),
            }
        };
        let (from, models_from) = &self.operands;
        if let (Some(values), Some(operand)) = (&self.inputs.base, from) {
            read(&**values, operand, base)?;
        }
        for ((input, operand), widened) in self.inputs.models.iter().zip(models_from).zip(models.iter_mut()) {
            read(&*input.values, operand, widened)?;
        }
        merged.resize(len, 0.0);
        self.kernel.compute(&Block { start, base, models }, merged);
        too_large(merged, self.dtype, &models_from[0].tensor)
    }
}

impl Elements for MergedTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let mut bytes = vec![0; out.len() * self.dtype.size()];
        self.copy(start, &mut bytes)?;
        self.dtype.widen(&bytes, out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        self.compute(start, start + out.len() / size, |at, values| {
            self.dtype.narrow(values, &mut out[at * size..(at + values.len()) * size]);
        })
    }

    fn granule(&self) -> usize {
        self.kernel.granule()
    }
}

/// Refuses values that would become infinite in a type.
pub(super) fn too_large(values: &[f32], dtype: Dtype, tensor: &str) -> Result<()> {
    if dtype.holds(values) {
        return Ok(());
    }
    Err(Error::user(format!("`{tensor}`: a merged value is too large for {}", dtype.name()))
        .hint("set `out_dtype: bfloat16` or `float32`, or smaller weights"))
}

/// Position of the first value that is NaN or infinite.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Without a branch this is vectorised, which a search is not.
    let broken = wide(
        #[inline(always)]
        || values.iter().fold(false, |broken, x| broken | !x.is_finite()),
    );
    if broken { values.iter().position(|x| !x.is_finite()) } else { None }
}
