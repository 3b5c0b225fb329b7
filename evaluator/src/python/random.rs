//! `CPython`'s generator of random numbers: which documents a harness draws follows from it, bit for bit.

use std::collections::HashSet;

/// Words of the state.
const N: usize = 624;
/// How far the recurrence looks ahead.
const M: usize = 397;

/// MT19937 (Matsumoto and Nishimura, 1998), seeded and asked as `random.Random(seed)` is in Python 3.
#[derive(Clone)]
pub struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        // The key is the seed's 32-bit words, the low one first; that of 0 is one word.
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

    /// `getrandbits(bits)`, of 1 to 64 bits.
    ///
    /// # Panics
    /// With another number of bits.
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
    /// If there is nothing to choose from.
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

    /// `sample(range(n), k)`: so many different numbers below `n`, in the order they were drawn.
    ///
    /// # Panics
    /// If there are fewer than `k`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "a sample is no larger than what it is of");
        // From where on a set takes less room than a list of all.
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

    /// `choices(range(n), k=k)`: numbers below `n`, any of them more than once.
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

    /// The next 624 words.
    fn turn(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }
}

/// What initialising makes of the word before.
fn grow(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}
