//! Task arithmetic, generalised: one formula over task vectors, and a table with a row for each method.
//!
//! With base `b`, models `xᵢ`, weights `wᵢ` and densities `pᵢ`:
//!
//! 1. `dᵢ = xᵢ − b`, the task vector (Ilharco et al., <https://arxiv.org/abs/2212.04089>);
//! 2. if `pᵢ < 1`, `dᵢ` is thinned in the method's way (if `pᵢ ≤ 0`, nothing of it is left);
//!    with `rescale`, it is multiplied by `Σ|dᵢ| / Σ|kept dᵢ|` over the whole tensor, which keeps its L1 norm
//!    (unless one of the sums is below 10⁻⁷). With `exact_rescale`, methods that draw at random multiply by `1/pᵢ` instead,
//!    as in their papers: that keeps the mean of each element, which the other factor estimates;
//! 3. `dᵢ ← wᵢ·dᵢ`;
//! 4. with sign consensus (TIES): `s = +1` if `Σ dᵢ ≥ 0`, else `−1`, and only the `dᵢ` of that sign are summed into `D`;
//!    a negative weight reverses a model's vote; without consensus `D = Σ dᵢ`;
//! 5. with `normalize`, `D` is divided by the sum of the weights that took part (by one if that is zero);
//! 6. the result is `b + λ·D`.
//!
//! Order, defaults and thresholds are mergekit's, so its recipes give the same results here; but everything is computed
//! in `f32` and rounded once, and of elements of equal magnitude those of lower index are kept.

mod rank;
mod tensors;
mod thin;

use super::{Base, Block, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;
use std::cell::RefCell;
use thin::{ModelPart, ThinRoom};

/// `b + λ·Σ wᵢ·(xᵢ − b)`: the sum of what each fine-tune has learned.
///
/// The first method to try for fine-tunes that learned different things; a negative weight makes a
/// model forget (Ilharco et al., <https://arxiv.org/abs/2212.04089>).
pub const TASK_ARITHMETIC: TaskArithmetic = TaskArithmetic {
    name: "task_arithmetic",
    summary: "base plus the weighted sum of the task vectors; for fine-tunes that learned different things",
    reference: r#"Ilharco et al., "Editing models with task arithmetic" (2022), https://arxiv.org/abs/2212.04089"#,
    sparsify: Sparsify::No,
    consensus: false,
    params: &[WEIGHT, DENSITY.unused(), NORMALIZE, RESCALE.unused(), LAMBDA],
};

/// The `max(1, ⌊p·n⌋)` greatest elements of each task vector, sign consensus, and a mean over the
/// models that took part.
///
/// For several fine-tunes of one base that change the same weights in different directions: it trims small changes,
/// elects a sign, and merges only changes of that sign (TIES, Yadav et al., <https://arxiv.org/abs/2306.01708>).
pub const TIES: TaskArithmetic = TaskArithmetic {
    name: "ties",
    summary: "the greatest elements of the task vectors, only the majority's sign averaged; for fine-tunes that conflict",
    reference: r#"Yadav et al., "TIES-Merging" (2023), https://arxiv.org/abs/2306.01708"#,
    sparsify: Sparsify::Magnitude,
    consensus: true,
    params: &[WEIGHT, DENSITY, NORMALIZE.flag(true), RESCALE, LAMBDA],
};

/// Each element of a task vector is kept with probability `p`, and the task vectors are summed.
///
/// For fine-tunes with many small changes, of which a random tenth is as good as all (DARE, Yu et
/// al., <https://arxiv.org/abs/2311.03099>): thinner task vectors interfere less.
pub const DARE_LINEAR: TaskArithmetic = TaskArithmetic {
    name: "dare_linear",
    summary: "task vectors thinned at random, then summed; for fine-tunes with many small changes",
    reference: r#"Yu et al., "Language models are Super Mario" (2023), https://arxiv.org/abs/2311.03099"#,
    sparsify: Sparsify::Random,
    consensus: false,
    params: RANDOM,
};

/// [`DARE_LINEAR`] with the sign consensus of [`TIES`]: the method of the EvoLLM-JP models
/// (<https://arxiv.org/abs/2403.13187>).
///
/// For several models of different origin. Weights and densities are usually found by a search.
pub const DARE_TIES: TaskArithmetic = TaskArithmetic {
    name: "dare_ties",
    summary: "task vectors thinned at random, then only the majority's sign summed; many models, less interference",
    reference: "Yu et al. (2023), https://arxiv.org/abs/2311.03099, with the signs of TIES; as in https://arxiv.org/abs/2403.13187",
    sparsify: Sparsify::Random,
    consensus: true,
    params: RANDOM,
};

/// Each element of a task vector is kept with a probability that grows with the rank of its magnitude in its row, from
/// `p − ε` to `p + ε`; then sign consensus, and a mean over the models that took part.
///
/// Between DARE and TIES: it keeps great elements more often, without dropping all small ones (DELLA, Deep et al.,
/// <https://arxiv.org/abs/2406.11617>). Needs `0 < p − ε` and `p + ε < 1`, unless `p` is 0 or 1.
///
/// A tensor with one dimension is one row. Other rows run along the second dimension, as in mergekit, also if there are
/// more than two; if this and all later ones have more than 2²⁰ elements together, along the last. Longer rows are
/// ranked in stretches of 2²⁰. The element of a row of one is kept with probability `p` (mergekit fails there).
pub const DELLA: TaskArithmetic = TaskArithmetic {
    name: "della",
    summary: "task vectors thinned at random, great elements less often, then the majority's sign averaged",
    reference: r#"Deep et al., "DELLA-Merging" (2024), https://arxiv.org/abs/2406.11617"#,
    sparsify: Sparsify::Ranked,
    consensus: true,
    params: &[WEIGHT, DENSITY, EPSILON, NORMALIZE.flag(true), RESCALE.flag(true), EXACT_RESCALE, LAMBDA],
};

/// [`DELLA`] without consensus: the thinned task vectors are summed.
pub const DELLA_LINEAR: TaskArithmetic = TaskArithmetic {
    name: "della_linear",
    summary: "task vectors thinned at random, great elements less often, then summed",
    reference: r#"Deep et al., "DELLA-Merging" (2024), https://arxiv.org/abs/2406.11617"#,
    sparsify: Sparsify::Ranked,
    consensus: false,
    params: &[WEIGHT, DENSITY, EPSILON, NORMALIZE, RESCALE.flag(true), EXACT_RESCALE, LAMBDA],
};

/// In order of magnitude, the greatest `⌊γ·n⌋` elements of each task vector are dropped, and the
/// next `⌊p·n⌋` kept (if fewer are left, the smallest `⌊p·n⌋`).
///
/// For many models: the smallest changes are noise, and the very greatest are damage by one
/// fine-tune (Model Breadcrumbs, Davari & Belilovsky, <https://arxiv.org/abs/2312.06795>).
pub const BREADCRUMBS: TaskArithmetic = TaskArithmetic {
    name: "breadcrumbs",
    summary: "task vectors without their smallest and their very greatest elements, summed; for many models",
    reference: r#"Davari & Belilovsky, "Model Breadcrumbs" (2023), https://arxiv.org/abs/2312.06795"#,
    sparsify: Sparsify::Outliers,
    consensus: false,
    params: OUTLIERS,
};

/// [`BREADCRUMBS`] with the sign consensus of [`TIES`].
pub const BREADCRUMBS_TIES: TaskArithmetic = TaskArithmetic {
    name: "breadcrumbs_ties",
    summary: "task vectors without their smallest and their very greatest elements, the majority's sign summed",
    reference: r#"Davari & Belilovsky, "Model Breadcrumbs" (2023), https://arxiv.org/abs/2312.06795"#,
    sparsify: Sparsify::Outliers,
    consensus: true,
    params: OUTLIERS,
};

/// A method of this family: a row of the table.
pub struct TaskArithmetic {
    name: &'static str,
    summary: &'static str,
    reference: &'static str,
    sparsify: Sparsify,
    consensus: bool,
    params: &'static [Param],
}

/// Way in which task vectors are thinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sparsify {
    No,
    /// The greatest elements are kept.
    Magnitude,
    /// The greatest elements are dropped, and the next ones kept.
    Outliers,
    /// All elements have the same chance.
    Random,
    /// An element's chance grows with its rank in the row.
    Ranked,
}

const RANDOM: &[Param] = &[WEIGHT, DENSITY, NORMALIZE, RESCALE.flag(true), EXACT_RESCALE, LAMBDA];
const OUTLIERS: &[Param] = &[WEIGHT, DENSITY, GAMMA, NORMALIZE, RESCALE, LAMBDA];

const WEIGHT: Param = Param::model("weight", "factor of the model's task vector; the sum over models may exceed 1");
const DENSITY: Param =
    Param::model("density", "share of the task vector's elements that is kept").between(0.0, 1.0).default(1.0);
const EPSILON: Param = Param::model(
    "epsilon",
    "a row's smallest element is kept with the chance density − epsilon, its largest with density + epsilon",
)
.between(0.0, 1.0)
.default(0.15);
const GAMMA: Param =
    Param::model("gamma", "share of the task vector's elements that is dropped because they are the greatest")
        .between(0.0, 1.0)
        .default(0.01);
const NORMALIZE: Param = Param::merge("normalize", "divide the sum by the weights that took part").flag(false);
const RESCALE: Param = Param::merge("rescale", "keep the L1 norm of a thinned task vector").flag(false);
const EXACT_RESCALE: Param = Param::merge("exact_rescale", "rescale by 1/density, as the papers have it").flag(false);
const LAMBDA: Param = Param::merge("lambda", "factor of the summed task vectors").default(1.0);

/// Rescaling of a thinned task vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rescale {
    No,
    /// Keeps the L1 norm.
    Norm,
    /// Keeps the mean of each element: divides by its chance.
    Chance,
}

impl TaskArithmetic {
    fn is_random(&self) -> bool {
        matches!(self.sparsify, Sparsify::Random | Sparsify::Ranked)
    }

    fn rescale(&self, merge: &Settings) -> Rescale {
        match merge.flag("rescale") {
            false => Rescale::No,
            true if self.is_random() && merge.flag("exact_rescale") => Rescale::Chance,
            true => Rescale::Norm,
        }
    }
}

impl Method for TaskArithmetic {
    fn facts(&self) -> MethodFacts {
        let Self { name, summary, reference, params, .. } = *self;
        MethodFacts { name, summary, reference, base: Base::Required, models: 1..=usize::MAX, params }
    }

    fn refusal(&self, merge: &Settings, models: &[Settings]) -> Option<String> {
        if self.is_random() && merge.flag("exact_rescale") && !merge.flag("rescale") {
            return Some("`exact_rescale: true` needs `rescale: true`".to_owned());
        }
        if self.sparsify != Sparsify::Ranked {
            return None;
        }
        models.iter().find_map(|model| {
            let (p, e) = (model.number("density"), model.number("epsilon"));
            let good = p <= 0.0 || p >= 1.0 || 0.0 < p - e && p + e < 1.0;
            (!good).then(|| {
                format!(
                    "elements are kept with probabilities from density − epsilon to density + epsilon, which must be \
                     between 0 and 1: density is {p}, and epsilon {e}"
                )
            })
        })
    }

    fn shares(&self, merge: &Settings, models: &[Settings]) -> Option<Vec<f64>> {
        let keeps_all = self.sparsify == Sparsify::No
            || self.is_random() && models.iter().all(|model| model.number("density") >= 1.0);
        if self.consensus || !keeps_all {
            return None;
        }
        let weights: Vec<f64> = models.iter().map(|model| model.number("weight")).collect();
        let sum: f64 = weights.iter().sum();
        let divisor = if merge.flag("normalize") && sum.abs() >= 1e-8 { sum } else { 1.0 };
        Some(weights.iter().map(|weight| merge.number("lambda") * weight / divisor).collect())
    }

    fn draws(&self, model: &Settings) -> bool {
        match self.sparsify {
            Sparsify::Random => model.number("density") < 1.0,
            Sparsify::Ranked => 0.0 < model.number("density") && model.number("density") < 1.0,
            _ => false,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let granule = match self.sparsify {
            Sparsify::Ranked => rank::Rows::of(inputs.shape).granule,
            // Kept elements are remembered as bits in words of 64.
            Sparsify::Random => 64,
            _ => 1,
        };
        let sum = Sum {
            parts: thin::parts(self, inputs, granule)?,
            lambda: inputs.settings.number("lambda") as f32,
            normalize: inputs.settings.flag("normalize"),
            consensus: self.consensus,
        };
        let piece = PIECE.next_multiple_of(granule);
        Ok(Kernel::by(granule, move |block, out| {
            ROOM.with_borrow_mut(|(room, piece_room)| {
                wide(
                    #[inline(always)]
                    || {
                        for (number, out) in out.chunks_mut(piece).enumerate() {
                            sum.compute(block, number * piece, out, room, piece_room);
                        }
                    },
                );
            });
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        tensors::merge(self, inputs)
    }
}

/// Number of elements to work on at a time: all that is computed from them fits a core's first-level cache.
const PIECE: usize = 1024;

thread_local! {
    /// Buffers of a thread.
    static ROOM: RefCell<(ThinRoom, PieceRoom)> = RefCell::default();
}

/// Buffers for a piece of every task vector, and for sums over them.
#[derive(Default)]
struct PieceRoom {
    vectors: Vec<f32>,  // (models, piece)
    sums: Vec<f32>,     // (piece)
    divisors: Vec<f32>, // (piece)
}

/// Steps 3 to 6, after the whole tensor has been seen.
struct Sum {
    parts: Vec<ModelPart>,
    lambda: f32,
    normalize: bool,
    consensus: bool,
}

impl Sum {
    /// Merges the piece of a block that begins at element `at`.
    #[inline(always)]
    fn compute(&self, block: &Block<'_>, at: usize, out: &mut [f32], room: &mut ThinRoom, piece: &mut PieceRoom) {
        let len = out.len();
        let base = &block.base[at..at + len];
        piece.vectors.resize(self.parts.len() * len, 0.0);
        for ((part, model), d) in self.parts.iter().zip(block.models).zip(piece.vectors.chunks_exact_mut(len)) {
            part.vector(block.start + at, base, &model[at..at + len], d, room);
        }
        let vectors = piece.vectors.chunks_exact(len);
        out.fill(0.0);
        for d in vectors.clone() {
            for (sum, d) in out.iter_mut().zip(d) {
                *sum += d;
            }
        }
        if self.consensus {
            piece.sums.clear();
            piece.sums.extend_from_slice(out);
            out.fill(0.0);
            for d in vectors.clone() {
                for ((sum, d), s) in out.iter_mut().zip(d).zip(&piece.sums) {
                    // A zero of either sign adds nothing.
                    *sum += if (*d < 0.0) == (*s < 0.0) { *d } else { 0.0 };
                }
            }
        }
        if self.normalize {
            self.divisors(vectors, &piece.sums, &mut piece.divisors, len);
            for (sum, w) in out.iter_mut().zip(&piece.divisors) {
                *sum /= w;
            }
        }
        for (r, b) in out.iter_mut().zip(base) {
            *r = b + *r * self.lambda;
        }
    }

    /// Sum of the weights that took part in each element, or 1 if that is zero.
    #[inline(always)]
    fn divisors<'v>(
        &self,
        vectors: impl Iterator<Item = &'v [f32]>,
        sums: &[f32],
        divisors: &mut Vec<f32>,
        len: usize,
    ) {
        divisors.clear();
        if !self.consensus {
            let sum: f32 = self.parts.iter().map(|part| part.weight).sum();
            divisors.resize(len, if sum.abs() < 1e-8 { 1.0 } else { sum });
            return;
        }
        divisors.resize(len, 0.0);
        for (part, d) in self.parts.iter().zip(vectors) {
            for ((w, d), s) in divisors.iter_mut().zip(d).zip(sums) {
                *w += if ((*d < 0.0) == (*s < 0.0)) & (*d != 0.0) { part.weight } else { 0.0 };
            }
        }
        for w in divisors.iter_mut() {
            *w = if *w == 0.0 { 1.0 } else { *w };
        }
    }
}
