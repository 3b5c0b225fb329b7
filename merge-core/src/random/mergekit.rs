//! mergekit's random numbers: MT19937, as torch draws from it on the CPU.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// The sequence of the Mersenne Twister MT19937 (Matsumoto & Nishimura, 1998) for a seed, readable from any position.
///
/// The generator can only step forward, so some states are kept on the way. Reading stretches near each other, in any
/// order, then takes few steps. A draw of 32 bits gives `(draw & 0xffffff) · 2⁻²⁴`, as in torch's Bernoulli masks.
pub struct Twister {
    /// Kept states by the number of draws before them; there is always one for 0.
    states: Mutex<BTreeMap<u64, State>>,
    /// Draws between two kept states, a multiple of 624.
    step: u64,
}

/// Fewest draws between two kept states: 2.5 KB for every 40,000 draws.
const STEP: u64 = 64 * N as u64;

/// Most kept states: 50 MB.
const KEPT: u64 = 20_000;

const N: usize = 624;
const M: usize = 397;

#[derive(Clone)]
struct State(Box<[u32; N]>);

impl State {
    /// `init_genrand` of the reference implementation.
    fn seeded(seed: u32) -> Self {
        let mut state = Box::new([0u32; N]);
        state[0] = seed;
        for i in 1..N {
            state[i] = 1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        Self(state)
    }

    /// Computes the next 624 numbers, before tempering.
    fn twist(&mut self) {
        let s = &mut self.0;
        for i in 0..N {
            let y = (s[i] & 0x8000_0000) | (s[(i + 1) % N] & 0x7fff_ffff);
            s[i] = s[(i + M) % N] ^ (y >> 1) ^ if y & 1 == 0 { 0 } else { 0x9908_b0df };
        }
    }
}

fn temper(mut y: u32) -> u32 {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    y ^ (y >> 18)
}

impl Twister {
    /// The sequence of a seed. torch takes seeds of 64 bits and uses the lower 32.
    pub fn new(seed: u64) -> Self {
        Self::within(seed, 0)
    }

    /// The sequence of a seed for at most `most` draws.
    pub fn within(seed: u64, most: u64) -> Self {
        let states = Mutex::new(BTreeMap::from([(0, State::seeded(seed as u32))]));
        Self { states, step: STEP.max((most / KEPT).next_multiple_of(N as u64)) }
    }

    /// Fills `out` with the draws from number `first` on.
    pub fn uniform(&self, first: u64, out: &mut [f32]) {
        self.draws(first, out.len(), |i, draw| out[i] = (draw & 0xff_ffff) as f32 * (1.0 / 16_777_216.0));
    }

    /// Passes the `len` draws from number `first` on to `take`, with their positions from 0.
    fn draws(&self, first: u64, len: usize, mut take: impl FnMut(usize, u32)) {
        let (mut at, mut state) = self.before(first);
        let end = first + len as u64;
        while at < end {
            state.twist();
            for (i, y) in state.0.iter().enumerate() {
                let number = at + i as u64;
                if (first..end).contains(&number) {
                    take((number - first) as usize, temper(*y));
                }
            }
            at += N as u64;
        }
    }

    /// The state whose next twist makes draw number `first`, and the number of draws before it.
    fn before(&self, first: u64) -> (u64, State) {
        let kept = {
            let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.range(..=first).next_back().map(|(at, state)| (*at, state.clone()))
        };
        let (mut at, mut state) = kept.expect("there is a state for 0");
        while at + N as u64 <= first {
            state.twist();
            at += N as u64;
            if at.is_multiple_of(self.step) {
                self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(at, state.clone());
            }
        }
        (at, state)
    }
}

impl fmt::Debug for Twister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Twister")
    }
}

#[cfg(test)]
mod tests {
    use super::Twister;

    fn outputs(twister: &Twister, first: u64, len: usize) -> Vec<u32> {
        let mut all = vec![0; len];
        twister.draws(first, len, |i, draw| all[i] = draw);
        all
    }

    /// The C++ standard ([rand.predef]) demands that the 10000th number of a default-seeded (5489) `mt19937` is 4123659995.
    #[test]
    fn draws_what_the_standard_demands() {
        let twister = Twister::new(5489);
        assert_eq!(outputs(&twister, 0, 1), [3_499_211_612]);
        assert_eq!(outputs(&twister, 9_999, 1), [4_123_659_995]);
    }

    #[test]
    fn any_stretch_is_that_of_the_whole() {
        let whole = outputs(&Twister::new(0), 0, 200_000);
        let twister = Twister::new(0);
        for first in [150_000, 0, 623, 624, 39_935, 39_936, 39_937, 79_000, 199_000] {
            assert_eq!(outputs(&twister, first, 1000), whole[first as usize..first as usize + 1000], "from {first}");
        }
    }
}
