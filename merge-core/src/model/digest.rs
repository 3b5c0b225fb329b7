//! One hash of all tensors of a model, whatever files they are in, computed yet or not.

use crate::{
    error::Result,
    model::{Elements, Meta, Weights, elements::stretch_len, hash::hex},
};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

/// The SHA-256, in hexadecimal, of every tensor's SHA-256 in order of name. A tensor's hash covers its name, its type
/// as in safetensors files, its shape and its bytes, each after its length as eight little-endian bytes.
///
/// All exports of a model have the same digest, however they are divided into shards. `watch` is called from any
/// thread with the number of bytes read since its last call. Fails if a tensor cannot be read.
pub fn digest(weights: &dyn Weights, watch: &(dyn Fn(u64) + Sync)) -> Result<String> {
    let index: Vec<(&String, &Meta)> = weights.index().iter().collect();
    let of_tensor = |(name, meta): (&String, &Meta)| {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(name.as_bytes());
        field(meta.dtype.safetensors_name().as_bytes());
        field(&meta.shape.iter().flat_map(|extent| (*extent as u64).to_le_bytes()).collect::<Vec<u8>>());
        hash.update((meta.byte_len() as u64).to_le_bytes());
        elements(&*weights.tensor(name)?, &mut |bytes| {
            hash.update(bytes);
            watch(bytes.len() as u64);
        })?;
        Ok(hash.finalize())
    };
    let hashes = index.into_par_iter().map(of_tensor).collect::<Result<Vec<_>>>()?;
    Ok(hex(&hashes.iter().fold(Sha256::new(), Sha256::chain_update).finalize()))
}

/// Passes all of a tensor's bytes to `seen`, stretch by stretch.
fn elements(tensor: &dyn Elements, seen: &mut dyn FnMut(&[u8])) -> Result<()> {
    let (size, stretch) = (tensor.dtype().size(), stretch_len(tensor));
    if let Some(bytes) = tensor.lent() {
        bytes.chunks(stretch * size).for_each(seen);
        return Ok(());
    }
    let mut room = Vec::new();
    for start in (0..tensor.len()).step_by(stretch) {
        room.resize(stretch.min(tensor.len() - start) * size, 0);
        tensor.copy(start, &mut room)?;
        seen(&room);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::tests::{Memory, SHAPES};

    /// Writes the format down a second time.
    #[test]
    fn is_the_hash_of_the_hashes_of_names_types_shapes_and_bytes() {
        let model = Memory::new(|i| i as f32);
        let mut all = Vec::new();
        for (name, shape) in SHAPES {
            let mut text = Vec::new();
            let shape: Vec<u8> = shape.iter().flat_map(|n| (*n as u64).to_le_bytes()).collect();
            for part in [name.as_bytes(), b"F32", &shape, &model.tensors[name]] {
                text.extend((part.len() as u64).to_le_bytes());
                text.extend(part);
            }
            all.extend(Sha256::digest(text));
        }
        let read = std::sync::atomic::AtomicU64::new(0);
        let found = digest(&model, &|n| _ = read.fetch_add(n, std::sync::atomic::Ordering::Relaxed)).unwrap();
        assert_eq!(found, hex(&Sha256::digest(all)));
        assert_eq!(read.into_inner(), model.tensors.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    }
}
