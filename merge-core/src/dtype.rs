//! How elements are stored, and the way from bytes to `f32` and back.

use half::{bf16, f16};
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
        match self {
            Self::BF16 => {
                for (x, b) in values.iter().zip(out.as_chunks_mut::<2>().0) {
                    *b = bf16::from_f32(*x).to_le_bytes();
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
