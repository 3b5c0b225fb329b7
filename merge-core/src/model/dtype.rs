//! Types of stored elements, and the conversion from bytes to `f32` and back.

use crate::vectors::wide;
use half::f16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stored element type. Merging is done in `f32`, whatever the stored type.
///
/// Recipes may name the floats from 16 to 64 bits. Other types are read, and copied if they are not merged.
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
    /// 64 bits: IEEE double precision; rounded to `f32` for merging.
    #[serde(rename = "float64", alias = "torch.float64")]
    F64,
    /// 8 bits: 4 of exponent, 3 of mantissa, no infinity (E4M3FN of the OCP 8-bit floating point specification).
    #[serde(skip)]
    F8E4M3,
    /// 8 bits: 5 of exponent, 2 of mantissa; the upper half of a `float16`.
    #[serde(skip)]
    F8E5M2,
    /// True or false, in one byte.
    #[serde(skip)]
    Bool,
    /// 8 bits, without sign.
    #[serde(skip)]
    U8,
    /// 8 bits, with sign.
    #[serde(skip)]
    I8,
    /// 16 bits, without sign.
    #[serde(skip)]
    U16,
    /// 16 bits, with sign.
    #[serde(skip)]
    I16,
    /// 32 bits, without sign.
    #[serde(skip)]
    U32,
    /// 32 bits, with sign.
    #[serde(skip)]
    I32,
    /// 64 bits, without sign.
    #[serde(skip)]
    U64,
    /// 64 bits, with sign.
    #[serde(skip)]
    I64,
}

impl Dtype {
    /// Every type, with its name in recipes and `config.json`, and its name in safetensors headers.
    const ALL: [(Self, &'static str, &'static str); 15] = [
        (Self::BF16, "bfloat16", "BF16"),
        (Self::F16, "float16", "F16"),
        (Self::F32, "float32", "F32"),
        (Self::F64, "float64", "F64"),
        (Self::F8E4M3, "float8_e4m3fn", "F8_E4M3"),
        (Self::F8E5M2, "float8_e5m2", "F8_E5M2"),
        (Self::Bool, "bool", "BOOL"),
        (Self::U8, "uint8", "U8"),
        (Self::I8, "int8", "I8"),
        (Self::U16, "uint16", "U16"),
        (Self::I16, "int16", "I16"),
        (Self::U32, "uint32", "U32"),
        (Self::I32, "int32", "I32"),
        (Self::U64, "uint64", "U64"),
        (Self::I64, "int64", "I64"),
    ];

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F8E4M3 | Self::F8E5M2 | Self::Bool | Self::U8 | Self::I8 => 1,
            Self::BF16 | Self::F16 | Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }

    /// The type's name in recipes and `config.json`.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The type's name in the header of a safetensors file.
    pub fn safetensors_name(self) -> &'static str {
        self.names().1
    }

    /// The type with this name in the header of a safetensors file.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == name).map(|(dtype, ..)| *dtype)
    }

    fn names(self) -> (&'static str, &'static str) {
        let (_, name, stored) = Self::ALL.iter().find(|(dtype, ..)| *dtype == self).expect("the table has every type");
        (name, stored)
    }

    /// True for a float: only floats can be merged.
    pub fn is_float(self) -> bool {
        matches!(self, Self::BF16 | Self::F16 | Self::F32 | Self::F64 | Self::F8E4M3 | Self::F8E5M2)
    }

    /// The narrowest float of at least 16 bits that holds both types exactly. `torch.promote_types`
    /// gives the same, but fails for 8-bit floats.
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        match (self.computed(), other.computed()) {
            (a, b) if a == b => a,
            (Self::F64, _) | (_, Self::F64) => Self::F64,
            _ => Self::F32,
        }
    }

    /// The default type of a tensor that is computed from this type: 8-bit floats become `bfloat16`.
    #[must_use]
    pub fn computed(self) -> Self {
        match self {
            Self::F8E4M3 | Self::F8E5M2 => Self::BF16,
            other => other,
        }
    }

    /// Converts `out.len()` elements to `f32`. Only 64-bit floats and integers of 32 or 64 bits are rounded.
    ///
    /// # Panics
    /// If `bytes` is not `out.len()` elements long.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size(), "bytes and elements agree");
        // Wider vectors change no bit.
        wide(
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
            Self::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Self::F8E4M3 => each(bytes, out, |[b]| E4M3[usize::from(b)]),
            Self::F8E5M2 => each(bytes, out, |[b]| f16::from_bits(u16::from(b) << 8).to_f32()),
            Self::Bool | Self::U8 => each(bytes, out, |[b]| f32::from(b)),
            Self::I8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            Self::U16 => each(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
            Self::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            Self::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            Self::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
            Self::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
        }
    }

    /// True if no stored element is NaN or infinite.
    pub fn all_finite(self, bytes: &[u8]) -> bool {
        // Without a branch for each element this is vectorised, which a search is not.
        wide(
            #[inline(always)]
            || match self {
                Self::BF16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7f80 != 0x7f80),
                Self::F16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7c00 != 0x7c00),
                Self::F32 => all(bytes, |b| f32::from_le_bytes(b).is_finite()),
                Self::F64 => all(bytes, |b| f64::from_le_bytes(b).is_finite()),
                Self::F8E4M3 => all(bytes, |[b]: [u8; 1]| b & 0x7f != 0x7f),
                Self::F8E5M2 => all(bytes, |[b]: [u8; 1]| b & 0x7c != 0x7c),
                _ => true,
            },
        )
    }

    /// Position of the first stored element that is NaN or infinite.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        // Looking at all elements without a branch is much faster than the search, so it comes first.
        if self.all_finite(bytes) {
            return None;
        }
        bytes.chunks(self.size()).position(|element| !self.all_finite(element))
    }

    /// True if every number stays finite when it is rounded to this type.
    pub fn holds(self, values: &[f32]) -> bool {
        // The smallest number that rounds to infinity: half a step above the greatest finite one.
        let limit = match self {
            Self::F16 => 65_520.0,
            Self::BF16 => f32::from_bits(0x7f7f_8000),
            _ => f32::INFINITY,
        };
        wide(
            #[inline(always)]
            || values.iter().fold(true, |all, x| all & (x.abs() < limit)),
        )
    }

    /// Writes elements as little-endian bytes, to nearest, ties to even. Undoes `widen` for floats of 16 and 32 bits.
    ///
    /// # Panics
    /// If `out` is not `values.len()` elements long, or for an 8-bit float or an integer: nothing
    /// is computed in these.
    pub fn narrow(self, values: &[f32], out: &mut [u8]) {
        assert_eq!(out.len(), values.len() * self.size(), "bytes and elements agree");
        wide(
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
            Self::F64 => {
                for (x, b) in values.iter().zip(out.as_chunks_mut::<8>().0) {
                    *b = f64::from(*x).to_le_bytes();
                }
            }
            other => unreachable!("nothing is computed in {other:?}"),
        }
    }
}

#[inline(always)]
fn all<const N: usize>(bytes: &[u8], good: impl Fn([u8; N]) -> bool) -> bool {
    bytes.as_chunks::<N>().0.iter().fold(true, |all, b| all & good(*b))
}

#[inline(always)]
fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (b, x) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *x = number(*b);
    }
}

/// The number that each byte of E4M3FN stands for.
static E4M3: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (exponent, mantissa) = (byte as u32 >> 3 & 15, byte as u32 & 7);
        let magnitude = if exponent == 15 && mantissa == 7 {
            f32::NAN
        } else if exponent == 0 {
            mantissa as f32 / 512.0
        } else {
            // 2^(exponent - 7) · (1 + mantissa / 8), assembled from its bits.
            f32::from_bits((exponent + 120) << 23 | mantissa << 20)
        };
        table[byte] = if byte < 128 { magnitude } else { -magnitude };
        byte += 1;
    }
    table
};

/// Rounds to nearest, ties to even, NaN made quiet, as `half` does; without a branch, so that loops are vectorised.
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
    use half::bf16;

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

    /// Compares with candle's conversion, for every byte.
    #[test]
    fn reads_eight_bit_floats_as_candle_does() {
        for byte in 0..=u8::MAX {
            let mut ours = [0.0];
            Dtype::F8E4M3.widen(&[byte], &mut ours);
            let theirs = float8::F8E4M3::from_bits(byte).to_f32();
            assert!(
                ours[0].to_bits() == theirs.to_bits() || ours[0].is_nan() && theirs.is_nan(),
                "{byte:x}: {} {theirs}",
                ours[0]
            );
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
