//! How elements are stored, and the way from bytes to `f32` and back.

use half::{bf16, f16};
use pulp::Arch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stored element type; merging is done in `f32` whatever is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Dtype {
    /// 16 bits: the upper half of an `f32`.
    #[serde(rename = "bfloat16", alias = "torch.bfloat16")]
    BF16,
    /// 16 bits: IEEE half precision.
    #[serde(rename = "float16", alias = "torch.float16")]
    F16,
    /// 32 bits: IEEE single precision.
    #[serde(rename = "float32", alias = "torch.float32")]
    F32,
}

impl Dtype {
    /// Every type, for lists in messages.
    pub const ALL: [Self; 3] = [Self::BF16, Self::F16, Self::F32];

    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            Self::BF16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name recipes and `config.json` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
        }
    }

    /// The narrowest type that holds both exactly; what `torch.promote_types` gives.
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        if self == other { self } else { Self::F32 }
    }

    /// Reads `out.len()` little-endian elements, exactly.
    ///
    /// # Panics
    /// If `bytes` is not `out.len()` elements long.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size(), "bytes and elements agree");
        // Vectors as wide as the processor has; widening is exact, and rounding the same, on all of them.
        Arch::new().dispatch(
            #[inline(always)]
            || self.widen_any(bytes, out),
        );
    }

    #[inline(always)]
    fn widen_any(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::BF16 => {
                for (b, x) in bytes.as_chunks::<2>().0.iter().zip(out) {
                    *x = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                }
            }
            Self::F16 => {
                for (b, x) in bytes.as_chunks::<2>().0.iter().zip(out) {
                    *x = f16::from_le_bytes(*b).to_f32();
                }
            }
            Self::F32 => {
                for (b, x) in bytes.as_chunks::<4>().0.iter().zip(out) {
                    *x = f32::from_le_bytes(*b);
                }
            }
        }
    }

    /// Whether no stored element is NaN or infinite.
    pub fn all_finite(self, bytes: &[u8]) -> bool {
        match self {
            Self::BF16 => bytes.as_chunks::<2>().0.iter().all(|b| bf16::from_le_bytes(*b).is_finite()),
            Self::F16 => bytes.as_chunks::<2>().0.iter().all(|b| f16::from_le_bytes(*b).is_finite()),
            Self::F32 => bytes.as_chunks::<4>().0.iter().all(|b| f32::from_le_bytes(*b).is_finite()),
        }
    }

    /// Writes elements as little-endian bytes, rounding to nearest, ties to even. `narrow` after `widen` is the identity.
    ///
    /// # Panics
    /// If `out` is not `values.len()` elements long.
    pub fn narrow(self, values: &[f32], out: &mut [u8]) {
        assert_eq!(out.len(), values.len() * self.size(), "bytes and elements agree");
        Arch::new().dispatch(
            #[inline(always)]
            || self.narrow_any(values, out),
        );
    }

    #[inline(always)]
    fn narrow_any(self, values: &[f32], out: &mut [u8]) {
        match self {
            Self::BF16 => {
                for (x, b) in values.iter().zip(out.as_chunks_mut::<2>().0) {
                    *b = round_to_bf16(*x).to_le_bytes();
                }
            }
            Self::F16 => {
                for (x, b) in values.iter().zip(out.as_chunks_mut::<2>().0) {
                    *b = f16::from_f32(*x).to_le_bytes();
                }
            }
            Self::F32 => {
                for (x, b) in values.iter().zip(out.as_chunks_mut::<4>().0) {
                    *b = x.to_le_bytes();
                }
            }
        }
    }
}

/// To nearest, ties to even, NaN made quiet: what `half` computes, without a branch, so that a loop of it becomes vectors.
#[inline(always)]
fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_bfloat16_as_half_does() {
        // Every upper half, with lower halves around the tie.
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | lower);
                assert_eq!(round_to_bf16(x), bf16::from_f32(x).to_bits(), "{upper:x} {lower:x}");
            }
        }
    }

    #[test]
    fn narrowing_what_was_widened_gives_it_back() {
        for dtype in [Dtype::BF16, Dtype::F16] {
            let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let (mut wide, mut back) = (vec![0.0; all.len() / 2], vec![0; all.len()]);
            dtype.widen(&all, &mut wide);
            dtype.narrow(&wide, &mut back);
            for ((x, a), b) in wide.iter().zip(all.chunks(2)).zip(back.chunks(2)) {
                assert!(a == b || x.is_nan(), "{dtype:?}: {x}");
            }
        }
    }
}
