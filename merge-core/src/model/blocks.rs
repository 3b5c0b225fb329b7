//! Passes over tensors, block by block and in parallel, with one result for any number of threads.

use super::Elements;
use crate::error::Result;
use rayon::prelude::*;

/// Elements in a block: with five inputs, it fits into a core's second-level cache.
pub const BLOCK: usize = 16 * 1024;

/// Elements in a block of whole granules: as many as [`BLOCK`] holds, but at least one granule.
pub fn block_len(granule: usize) -> usize {
    (BLOCK / granule).max(1) * granule
}

/// The results of `of(start, elements of each tensor)` for every block of whole granules, in block
/// order. All tensors have the same length.
///
/// Fails if a tensor cannot be read.
pub fn map_blocks<T: Send>(
    tensors: &[&dyn Elements],
    granule: usize,
    of: impl Fn(usize, &[Vec<f32>]) -> T + Sync,
) -> Result<Vec<T>> {
    let (len, step) = (tensors.first().map_or(0, |tensor| tensor.len()), block_len(granule));
    let starts: Vec<usize> = (0..len).step_by(step).collect();
    let room = || vec![Vec::new(); tensors.len()];
    let map = |room: &mut Vec<Vec<f32>>, start: usize| {
        for (tensor, block) in tensors.iter().zip(room.iter_mut()) {
            block.resize(step.min(len - start), 0.0);
            tensor.read(start, block)?;
        }
        Ok(of(start, room))
    };
    starts.into_par_iter().map_init(room, map).collect()
}

/// The sums of `of(start, elements of each tensor)` over all blocks of whole granules, in `f64` and
/// in block order, so that the number of threads changes nothing. One pass takes `N` sums.
///
/// Fails if a tensor cannot be read.
pub fn sum_over_blocks<const N: usize>(
    tensors: &[&dyn Elements],
    granule: usize,
    of: impl Fn(usize, &[Vec<f32>]) -> [f64; N] + Sync,
) -> Result<[f64; N]> {
    let sums = map_blocks(tensors, granule, of)?;
    Ok(sums.iter().fold([0.0; N], |total, block| std::array::from_fn(|i| total[i] + block[i])))
}
