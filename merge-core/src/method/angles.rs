//! Inner products of tensors or of their rows, and linear combinations of them.
//!
//! A merge on a sphere is a linear combination of its inputs, and all its angles follow from their
//! inner products: one pass over the tensors, a few numbers in `f64`, and one pass that combines.

use super::{Input, Kernel};
use crate::{
    error::Result,
    model::{Elements, blocks::map_blocks},
    vectors::wide,
};
use candle_core::{D, DType, Tensor};

/// Number of partial sums side by side: the widest vectors' width, and fixed, so all processors sum alike.
const LANES: usize = 8;

/// `[x·x, x·y, y·y]`, or `[x·y]` alone.
#[inline(always)]
fn products<const N: usize>(x: &[f32], y: &[f32]) -> [f64; N] {
    let mut sums = [[0.0; LANES]; N];
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x.iter().zip(y) {
        add_products(&mut sums, x.map(f64::from), y.map(f64::from));
    }
    let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
    x.iter_mut().zip(x_rest).for_each(|(x, rest)| *x = f64::from(*rest));
    y.iter_mut().zip(y_rest).for_each(|(y, rest)| *y = f64::from(*rest));
    add_products(&mut sums, x, y);
    sums.map(|lanes| lanes.iter().sum())
}

#[inline(always)]
fn add_products<const N: usize>(sums: &mut [[f64; LANES]; N], x: [f64; LANES], y: [f64; LANES]) {
    for lane in 0..LANES {
        if N == 1 {
            sums[0][lane] += x[lane] * y[lane];
        } else {
            sums[0][lane] += x[lane] * x[lane];
            sums[1][lane] += x[lane] * y[lane];
            sums[2][lane] += y[lane] * y[lane];
        }
    }
}

/// The inner product of two stretches.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f64 {
    let [product] = products(x, y);
    product
}

/// Number of elements to work on at a time if intermediate results are kept: they fit a core's first-level cache.
pub(super) const PART: usize = 1024;

/// The inner products of some vectors with each other.
#[derive(Clone, Debug)]
pub(super) struct Gram {
    n: usize,
    products: Vec<f64>, // (n, n)
}

impl Gram {
    /// Inner products of a few stretches of one length.
    #[inline(always)]
    pub(super) fn of(vectors: &[&[f32]]) -> Self {
        if let [x, y] = vectors {
            // Two vectors are the common case, and faster if each is read only once.
            return Self::pair(products(x, y));
        }
        let n = vectors.len();
        let mut gram = Self::none(n);
        for (i, x) in vectors.iter().enumerate() {
            for (j, y) in vectors.iter().enumerate().skip(i) {
                let product = dot(x, y);
                gram.products[i * n + j] = product;
                gram.products[j * n + i] = product;
            }
        }
        gram
    }

    /// Inner products of two vectors, given as `x·x`, `x·y` and `y·y`.
    pub(super) fn pair([xx, xy, yy]: [f64; 3]) -> Self {
        Self { n: 2, products: vec![xx, xy, xy, yy] }
    }

    /// Inner products of whole tensors, or of their differences from the base if there is one.
    ///
    /// Fails if a tensor cannot be read.
    pub(super) fn of_tensors(tensors: &[&dyn Elements], base: Option<&dyn Elements>) -> Result<Self> {
        let read: Vec<&dyn Elements> = tensors.iter().copied().chain(base).collect();
        let blocks = map_blocks(&read, 1, |_, block| {
            let vectors: Vec<&[f32]> = block.iter().map(Vec::as_slice).collect();
            wide(
                #[inline(always)]
                || match (base, vectors.split_last()) {
                    (Some(_), Some((base, models))) => Self::of_differences(base, models),
                    _ => Self::of(&vectors),
                },
            )
        })?;
        let mut gram = Self::none(tensors.len());
        for block in &blocks {
            gram.add(block);
        }
        Ok(gram)
    }

    /// Inner products of the differences of a few stretches from a base.
    #[inline(always)]
    pub(super) fn of_differences(base: &[f32], models: &[&[f32]]) -> Self {
        let mut gram = Self::none(models.len());
        let mut differences = vec![0.0; models.len() * PART.min(base.len())]; // (models, part)
        for (number, base) in base.chunks(PART).enumerate() {
            let mut vectors = Vec::with_capacity(models.len());
            for (d, x) in differences.chunks_mut(base.len()).zip(models) {
                for ((d, x), b) in d.iter_mut().zip(&x[number * PART..]).zip(base) {
                    *d = x - b;
                }
                vectors.push(&*d);
            }
            gram.add(&Self::of(&vectors));
        }
        gram
    }

    /// Inner products of `n` empty vectors.
    fn none(n: usize) -> Self {
        Self { n, products: vec![0.0; n * n] }
    }

    fn add(&mut self, part: &Self) {
        for (sum, product) in self.products.iter_mut().zip(&part.products) {
            *sum += product;
        }
    }

    /// Inner products of the rows of tensors of one shape, (rows, row): one `Gram` for each row.
    pub(super) fn of_rows(tensors: &[Tensor]) -> candle_core::Result<Vec<Self>> {
        let (n, rows) = (tensors.len(), tensors[0].dim(0)?);
        let mut grams = vec![Self::none(n); rows];
        let wide = tensors.iter().map(|x| x.to_dtype(DType::F64)).collect::<candle_core::Result<Vec<_>>>()?;
        for (i, x) in wide.iter().enumerate() {
            for (j, y) in wide.iter().enumerate() {
                let products: Vec<f64> = (x * y)?.sum(D::Minus1)?.to_vec1()?;
                grams.iter_mut().zip(products).for_each(|(gram, product)| gram.products[i * n + j] = product);
            }
        }
        Ok(grams)
    }

    /// Number of vectors.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// The inner product of two of the vectors.
    pub(super) fn product(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.n + j]
    }

    /// The length of a vector.
    pub(super) fn norm(&self, i: usize) -> f64 {
        self.product(i, i).sqrt()
    }

    /// The inner product of a vector with a combination of all of them.
    pub(super) fn with(&self, i: usize, combination: &[f64]) -> f64 {
        combination.iter().enumerate().map(|(j, c)| c * self.product(i, j)).sum()
    }

    /// The length of a combination. If its parts cancel, rounding may change it by about 1e-8 of their lengths.
    pub(super) fn length(&self, combination: &[f64]) -> f64 {
        let square: f64 = combination.iter().enumerate().map(|(i, c)| c * self.with(i, combination)).sum();
        square.max(0.0).sqrt()
    }
}

/// Arc of a great circle: the shares of two vectors at `t` of the way. `cos` is the cosine of their angle, not ±1.
pub(super) fn arc(t: f64, cos: f64) -> [f64; 2] {
    let angle = cos.acos();
    [((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
}

/// `r = Σ cᵢ·xᵢ`, or `r = b + Σ cᵢ·(xᵢ − b)` if there is a base.
#[inline(always)]
pub(super) fn combine(base: Option<&[f32]>, terms: &[(f32, &[f32])], r: &mut [f32]) {
    r.fill(0.0);
    let Some(base) = base else {
        for (c, x) in terms {
            for (r, x) in r.iter_mut().zip(*x) {
                *r += c * x;
            }
        }
        return;
    };
    for (c, x) in terms {
        for ((r, x), b) in r.iter_mut().zip(*x).zip(base) {
            *r += c * (x - b);
        }
    }
    for (r, b) in r.iter_mut().zip(base) {
        *r += b;
    }
}

/// A kernel that combines the models with these factors, and with the base if there is one.
pub(super) fn combination(factors: Vec<f32>) -> Kernel {
    Kernel::new(move |block, out| {
        let base = (!block.base.is_empty()).then_some(block.base);
        let terms: Vec<_> = factors.iter().zip(block.models).map(|(c, x)| (*c, x.as_slice())).collect();
        wide(
            #[inline(always)]
            || combine(base, &terms, out),
        );
    })
}

/// The tensors of models.
pub(super) fn tensors<'a>(models: &'a [Input<'_>]) -> Vec<&'a dyn Elements> {
    models.iter().map(|model| &*model.values as &dyn Elements).collect()
}

/// The inner product of two whole tensors, in `f64`, as a tensor operation.
pub(super) fn product(x: &Tensor, y: &Tensor) -> candle_core::Result<f64> {
    (x.to_dtype(DType::F64)? * y.to_dtype(DType::F64)?)?.sum_all()?.to_scalar()
}
