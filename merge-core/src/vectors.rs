//! Loops with the widest vector instructions of the processor, chosen at run time.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, compiled for the widest vectors of this processor. They change no bit: Rust never
/// fuses a product and a sum, nor does it reorder sums.
///
/// `work` and every loop that it calls must be marked `#[inline(always)]`. It is an `FnMut` because
/// the compiler calls an `FnOnce` through a function of its own, which has no such mark: long loops
/// would then not be compiled for wide vectors.
#[inline(always)]
pub fn wide<R>(work: impl FnMut() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Work(work))
}
