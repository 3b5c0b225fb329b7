//! Random masks by counter: each element draws for itself, so that threads and blocks change nothing.

/// What a stream of draws is for; streams of different keys are independent.
///
/// The draw at `position` is the output of `SplitMix64` (Steele, Lea & Flood, OOPSLA 2014) in the state
/// `key + (position + 1) · γ`: its generator is a hash of a counter, which is what lets it start anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// The stream of a seed for one use, such as a model's tensor.
    pub fn new(seed: u64, of: &[&str]) -> Self {
        // FNV-1a over the names, each closed by a byte that is in no UTF-8 text, then mixed with the seed.
        let names = of.iter().flat_map(|name| name.bytes().chain([0xff]));
        let hash = names.fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mix(mix(seed.wrapping_add(GAMMA)) ^ hash))
    }

    /// Whether the element at `position` is kept, where each is kept with probability `density`.
    #[inline(always)]
    pub fn keeps(self, position: usize, density: f64) -> bool {
        let draw = mix(self.0.wrapping_add((position as u64 + 1).wrapping_mul(GAMMA)));
        // 53 bits, uniform in [0, 1).
        ((draw >> 11) as f64) * (1.0 / (1u64 << 53) as f64) < density
    }
}

/// The golden ratio's fraction, as `SplitMix64` has it.
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
    }

    #[test]
    fn keeps_the_share_asked_for_and_streams_are_independent() {
        let n = 200_000;
        for density in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let [a, b] = ["a", "b"].map(|name| Stream::new(7, &[name]));
            let kept = |stream: Stream| (0..n).filter(|i| stream.keeps(*i, density)).count() as f64;
            let both = (0..n).filter(|i| a.keeps(*i, density) && b.keeps(*i, density)).count() as f64;
            let standard_error = |p: f64| (p * (1.0 - p) * f64::from(n as u32)).sqrt();
            let expected = density * n as f64;
            assert!((kept(a) - expected).abs() <= 4.0 * standard_error(density), "density {density}: {}", kept(a));
            let p = density * density;
            assert!((both - p * n as f64).abs() <= 4.0 * standard_error(p), "density {density}: both {both}");
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
