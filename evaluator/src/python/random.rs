//! `CPython`'s generator of random numbers, which decides the documents that a harness draws, bit for bit.

use std::collections::HashSet;

/// Number of words of the state.
const N: usize = 624;
/// Number of words by which the recurrence looks ahead.
const M: usize = 397;

/// MT19937 (Matsumoto and Nishimura, 1998), seeded and used as `random.Random(seed)` in Python 3.
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        // The key is the seed's 32-bit words, the low one first; one word if the high one is 0.
        let key = [seed as u32, (seed >> 32) as u32];
        let key = if seed >> 32 == 0 { &key[..1] } else { &key[..] };
        let mut state = [0; N];
        state[0] = 19_650_218_u32;
        for i in 1..N {
            state[i] = grow(state[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N {
            state[i] = (state[i] ^ grow(state[i - 1], 1_664_525)).wrapping_add(key[j]).wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == N {
                (state[0], i) = (state[N - 1], 1);
            }
        }
        for _ in 1..N {
            state[i] = (state[i] ^ grow(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                (state[0], i) = (state[N - 1], 1);
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    /// `getrandbits(bits)`, for 1 to 64 bits.
    ///
    /// # Panics
    /// For any other number of bits.
    pub fn bits(&mut self, bits: u32) -> u64 {
        assert!((1..=64).contains(&bits), "1 to 64 bits");
        let low = bits.min(32);
        let value = u64::from(self.word() >> (32 - low));
        if bits <= 32 { value } else { value | u64::from(self.word() >> (64 - bits)) << 32 }
    }

    /// `random()`: at least 0 and less than 1, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (f64::from(self.word() >> 5), f64::from(self.word() >> 6));
        (high * 67_108_864.0 + low) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `randrange(n)`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing to choose from");
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = self.bits(bits) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `sample(range(n), k)`: `k` different numbers below `n`, in the order of the draws.
    ///
    /// # Panics
    /// If `k` is more than `n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "a sample is no larger than what it is of");
        // Above this size, a set takes less room than a list of all.
        let mut set_size = 21;
        if k > 5 {
            set_size += 4_usize.pow(((3 * k) as f64).log(4.0).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let drawn = pool[j];
                    pool[j] = pool[n - i - 1];
                    drawn
                })
                .collect();
        }
        let mut taken = HashSet::new();
        let mut draw = || loop {
            let drawn = self.below(n);
            if taken.insert(drawn) {
                return drawn;
            }
        };
        (0..k).map(|_| draw()).collect()
    }

    /// `choices(range(n), k=k)`: `k` numbers below `n`, which may repeat.
    pub fn choices(&mut self, n: usize, k: usize) -> Vec<usize> {
        (0..k).map(|_| (self.unit() * n as f64).floor() as usize).collect()
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            self.turn();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Computes the next 624 words.
    fn turn(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }
}

/// Scrambles the previous word during initialisation.
fn grow(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}
