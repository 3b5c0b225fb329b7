//! Random draws for masks: by counter, each element for itself, or in mergekit's sequence.

mod mergekit;

pub use mergekit::Twister;

use crate::vectors::wide;
use std::sync::Arc;

/// Source of the random numbers of one model's tensor, one draw for each element.
#[derive(Clone, Debug)]
pub enum Draws {
    /// Draws by counter: threads and blocks change nothing.
    Counter(Stream),
    /// mergekit's generator, from the position in its sequence where this tensor's draws begin.
    Mergekit {
        /// The sequence, shared by all tensors of a merge.
        twister: Arc<Twister>,
        /// Number of draws that other tensors take before.
        offset: u64,
    },
}

impl Draws {
    /// Fills `out` with the draws of the elements from `start` on: uniform in [0, 1), multiples of 2⁻²⁴.
    ///
    /// To keep each element with probability `p`, keep those whose draw is less than `p`.
    pub fn uniform(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::Counter(stream) => stream.uniform(start, out),
            Self::Mergekit { twister, offset } => twister.uniform(offset + start as u64, out),
        }
    }
}

/// A stream of draws for one use; streams with different keys are independent.
///
/// The generator is `SplitMix64` (Steele, Lea & Flood, OOPSLA 2014). It hashes a counter, so a
/// stream can start anywhere. Two elements share an output: elements `2j` and `2j + 1` take 24 bits
/// each of the output in the state `key + (j + 1) · γ`, from bit 8 and from bit 40 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// The stream of a seed for the use named by `of`, such as a model and a tensor.
    pub fn new(seed: u64, of: &[&str]) -> Self {
        // FNV-1a over the names, each ended by a byte that is in no UTF-8 text, then mixed with the seed.
        let names = of.iter().flat_map(|name| name.bytes().chain([0xff]));
        let hash = names.fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mix(mix(seed.wrapping_add(GAMMA)) ^ hash))
    }

    /// See [`Draws::uniform`].
    pub fn uniform(self, start: usize, out: &mut [f32]) {
        wide(
            #[inline(always)]
            || {
                // At an odd element, the first draw is the second half of an output.
                let (head, rest) = out.split_at_mut((start % 2).min(out.len()));
                if let [first] = head {
                    *first = self.pair(start / 2)[1];
                }
                let first = start.div_ceil(2);
                let (pairs, last) = rest.as_chunks_mut::<2>();
                for (j, pair) in pairs.iter_mut().enumerate() {
                    *pair = self.pair(first + j);
                }
                if let [last] = last {
                    *last = self.pair(first + pairs.len())[0];
                }
            },
        );
    }

    #[inline(always)]
    fn pair(self, j: usize) -> [f32; 2] {
        let output = mix(self.0.wrapping_add((j as u64 + 1).wrapping_mul(GAMMA)));
        // Converted as signed numbers, since every processor has that conversion.
        [(output >> 8) as u32 & 0xff_ffff, (output >> 40) as u32].map(|bits| bits as i32 as f32 * (1.0 / 16_777_216.0))
    }
}

/// γ of `SplitMix64`: the fraction of the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{GAMMA, Stream, mix};

    /// The first outputs of `SplitMix64` from state 1234567, as published with its reference implementation.
    #[test]
    fn draws_what_splitmix64_draws() {
        let outputs: Vec<u64> = (1..=5u64).map(|i| mix(1_234_567u64.wrapping_add(i.wrapping_mul(GAMMA)))).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(outputs, published);
        let mut draws = [0.0; 10];
        Stream(1_234_567).uniform(0, &mut draws);
        for (i, draw) in draws.iter().enumerate() {
            let bits = published[i / 2] >> if i % 2 == 0 { 8 } else { 40 } & 0xff_ffff;
            assert_eq!((f64::from(*draw) * f64::from(1 << 24)).to_bits(), (bits as f64).to_bits(), "element {i}");
        }
    }

    #[test]
    fn a_stretch_draws_what_the_whole_draws() {
        let stream = Stream::new(3, &["tensor"]);
        let mut all = [0.0; 40];
        stream.uniform(0, &mut all);
        for start in 0..8 {
            for len in 0..20 {
                let mut some = vec![0.0; len];
                stream.uniform(start, &mut some);
                assert_eq!(some, all[start..start + len], "{len} from {start}");
            }
        }
    }

    #[test]
    fn keeps_the_share_asked_for_and_streams_are_independent() {
        let n = 200_000;
        for density in [0.0f32, 0.1, 0.5, 0.9, 1.0] {
            let [a, b] = ["a", "b"].map(|name| {
                let mut draws = vec![0.0; n];
                Stream::new(7, &[name]).uniform(0, &mut draws);
                draws
            });
            let kept = a.iter().filter(|draw| **draw < density).count() as f64;
            let both = a.iter().zip(&b).filter(|(a, b)| **a < density && **b < density).count() as f64;
            // Neighbours share an output of the generator, and must be independent all the same.
            let neighbours = a.windows(2).filter(|pair| pair[0] < density && pair[1] < density).count() as f64;
            let (p, n) = (f64::from(density), n as f64);
            let standard_error = |p: f64| (p * (1.0 - p) * n).sqrt();
            assert!((kept - p * n).abs() <= 4.0 * standard_error(p), "density {density}: {kept}");
            assert!((both - p * p * n).abs() <= 4.0 * standard_error(p * p), "density {density}: both {both}");
            // Overlapping windows are correlated; twice the standard error covers that.
            assert!(
                (neighbours - p * p * n).abs() <= 8.0 * standard_error(p * p) + 1.0,
                "density {density}: neighbours {neighbours}"
            );
        }
    }

    #[test]
    fn a_stream_depends_on_the_seed_and_on_every_name() {
        let base = Stream::new(1, &["model", "tensor"]);
        for other in
            [Stream::new(2, &["model", "tensor"]), Stream::new(1, &["modelt", "ensor"]), Stream::new(1, &["model"])]
        {
            assert_ne!(base, other);
        }
        assert_eq!(base, Stream::new(1, &["model", "tensor"]));
    }
}
