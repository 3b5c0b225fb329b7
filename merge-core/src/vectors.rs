//! Vector instructions as wide as the processor has, chosen while the program runs.

use pulp::{Arch, Simd, WithSimd};

/// Does what `work` does, compiled for the widest vectors of this processor. They change no bit: Rust never fuses a product
/// and a sum, nor does it reorder sums.
///
/// `work` has to be marked `#[inline(always)]`, and so has every loop that it calls. It is taken as `FnMut` because a closure
/// that is called once is called by way of a function of the compiler's own, which is not marked so: long loops would then
/// be left as they are on every processor.
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
