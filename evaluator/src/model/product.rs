//! Matrix products: on a CPU by gemm itself, on any other device by candle.
//!
//! Candle's CPU product is gemm too, but asks the system for the number of cores in every call, by reading
//! `/proc/cpuinfo`: a fifth of the time of a search on small models. Here gemm gets the threads of the pool it is in.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use gemm::{Parallelism, gemm};

/// `x @ weight`. `x`: `(rows, in)`; `weight`: `(in, out)`; result: `(rows, out)`, all contiguous.
pub(super) fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op2_no_bwd(weight, &Product) } else { x.matmul(weight) }
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((rows, inner), (same, out)) = (xl.shape().dims2()?, wl.shape().dims2()?);
        let (x, w) = (super::ops::slice(x, xl)?, super::ops::slice(w, wl)?);
        if inner != same {
            bail!("a product of ({rows}, {inner}) and ({same}, {out})");
        }
        let mut y = vec![0.0; rows * out]; // (rows, out)
        multiply(x, w, &mut y, (rows, inner, out));
        Ok((CpuStorage::F32(y), (rows, out).into()))
    }
}

/// `y = x @ w` for row-major `x`: `(rows, inner)`, `w`: `(inner, out)`, `y`: `(rows, out)`.
#[expect(unsafe_code, reason = "gemm takes pointers, and candle's safe way to it costs a fifth of a search")]
fn multiply(x: &[f32], w: &[f32], y: &mut [f32], (rows, inner, out): (usize, usize, usize)) {
    assert!(x.len() == rows * inner && w.len() == inner * out && y.len() == rows * out, "slices are whole matrices");
    let parallelism = match rayon::current_num_threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    let (inner_stride, out_stride) = (inner as isize, out as isize);
    // SAFETY: the three slices have the lengths that gemm reads and writes for these extents and strides (asserted
    // above), and `y` is borrowed exclusively, so nothing else reads or writes it meanwhile.
    unsafe {
        gemm(
            rows,
            out,
            inner,
            y.as_mut_ptr(),
            1,
            out_stride,
            false,
            x.as_ptr(),
            1,
            inner_stride,
            w.as_ptr(),
            1,
            out_stride,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
