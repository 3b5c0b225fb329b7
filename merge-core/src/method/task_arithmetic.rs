//! Task arithmetic, generalised: one formula over task vectors, one row of a table for each method.
//!
//! With base `b`, models `xᵢ`, weights `wᵢ` and densities `pᵢ`:
//!
//! 1. `dᵢ = xᵢ − b`, the task vector (Ilharco et al., <https://arxiv.org/abs/2212.04089>);
//! 2. `dᵢ` is sparsified: DARE keeps each element with probability `pᵢ` (Yu et al., <https://arxiv.org/abs/2311.03099>);
//!    with `rescale`, times `Σ|dᵢ| / Σ|kept dᵢ|` over the whole tensor, so that its L1 norm stays what it was. (The
//!    paper's factor is `1/pᵢ`, which this estimates; this one is what mergekit's users get.)
//! 3. `dᵢ ← wᵢ·dᵢ`;
//! 4. with sign consensus (TIES, Yadav et al., <https://arxiv.org/abs/2306.01708>): `s = +1` where `Σ dᵢ ≥ 0`, else `−1`,
//!    and only the `dᵢ` of that sign are summed into `D`; without it `D = Σ dᵢ`;
//! 5. with `normalize`, `D` is divided by the sum of the weights that took part (where it is zero: by one);
//! 6. the result is `b + λ·D`.

use super::{
    Base, Block, Domain, Input, Inputs, Kernel, Method, Param, Scope, Settings, TensorInputs, Value, sum_over_blocks,
};
use crate::{error::Result, random::Draws};
use candle_core::{DType, Tensor};
use pulp::Arch;

/// `b + λ·Σ wᵢ·(xᵢ − b)`: adds up what each fine-tune learned.
pub const TASK_ARITHMETIC: TaskArithmetic = TaskArithmetic {
    name: "task_arithmetic",
    summary: "base plus the weighted sum of the task vectors; for fine-tunes that learned different things",
    sparsify: Sparsify::No,
    consensus: false,
    params: &[WEIGHT, UNUSED_DENSITY, flag("normalize", false, NORMALIZE), UNUSED_RESCALE, LAMBDA, INT8],
};

/// Random sparsification and sign consensus: the method of the EvoLLM-JP models (<https://arxiv.org/abs/2403.13187>).
pub const DARE_TIES: TaskArithmetic = TaskArithmetic {
    name: "dare_ties",
    summary: "task vectors thinned at random, then only the majority's sign summed; many models, less interference",
    sparsify: Sparsify::Random,
    consensus: true,
    params: &[WEIGHT, DENSITY, flag("normalize", false, NORMALIZE), flag("rescale", true, RESCALE), LAMBDA, INT8],
};

/// A row of the table.
pub struct TaskArithmetic {
    name: &'static str,
    summary: &'static str,
    sparsify: Sparsify,
    consensus: bool,
    params: &'static [Param],
}

/// How task vectors are thinned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sparsify {
    No,
    Random,
}

const WEIGHT: Param = Param {
    name: "weight",
    scope: Scope::Model,
    domain: Domain::REAL,
    default: None,
    help: "factor of the model's task vector; the sum over models may exceed 1",
    unused: false,
};
const DENSITY: Param = Param {
    name: "density",
    scope: Scope::Model,
    domain: Domain::SHARE,
    default: Some(Value::Number(1.0)),
    help: "share of the task vector's elements that is kept",
    unused: false,
};
const UNUSED_DENSITY: Param = Param { help: NO_EFFECT, unused: true, ..DENSITY };
const UNUSED_RESCALE: Param = Param { unused: true, ..flag("rescale", false, NO_EFFECT) };
const LAMBDA: Param = Param {
    name: "lambda",
    scope: Scope::Merge,
    domain: Domain::REAL,
    default: Some(Value::Number(1.0)),
    help: "factor of the summed task vectors",
    unused: false,
};
const INT8: Param = Param { unused: true, ..flag("int8_mask", false, NO_EFFECT) };
const NORMALIZE: &str = "divide the sum by the weights that took part";
const RESCALE: &str = "keep the L1 norm of a thinned task vector";
const NO_EFFECT: &str = "accepted because mergekit recipes carry it; has no effect";

const fn flag(name: &'static str, default: bool, help: &'static str) -> Param {
    Param { name, scope: Scope::Merge, domain: Domain::Flag, default: Some(Value::Flag(default)), help, unused: false }
}

/// One model's part in a kernel: everything that is known once the whole tensor has been seen.
struct Part {
    /// Weight times rescale factor are applied one after the other, as in the formula.
    weight: f32,
    rescale: f32,
    /// `None` keeps every element.
    mask: Option<(Draws, f32)>,
}

impl Part {
    fn of(row: &TaskArithmetic, inputs: &Inputs<'_>, model: &Input<'_>) -> Result<Self> {
        let weight = model.settings.number("weight") as f32;
        let density = model.settings.number("density") as f32;
        if row.sparsify == Sparsify::No || density >= 1.0 {
            return Ok(Self { weight, rescale: 1.0, mask: None });
        }
        let rescale = if inputs.settings.flag("rescale") {
            let [all, kept] = sum_over_blocks(&[inputs.base(), &*model.values], 1, |start, block| {
                let mut draws = vec![0.0; block[0].len()];
                model.draws.uniform(start, &mut draws);
                block[0].iter().zip(&block[1]).zip(&draws).fold([0.0, 0.0], |[all, kept], ((b, x), u)| {
                    let size = f64::from((x - b).abs());
                    // A random branch would be mispredicted half of the time; adding nothing costs nothing.
                    [all + size, kept + if *u < density { size } else { 0.0 }]
                })
            })?;
            rescale_factor(all, kept)
        } else {
            1.0
        };
        Ok(Self { weight, rescale, mask: Some((model.draws.clone(), density)) })
    }

    /// Steps 1 to 3 for a block: adds the model's task vector to what is there.
    #[inline(always)]
    fn add(&self, start: usize, base: &[f32], model: &[f32], sum: &mut [f32]) {
        match &self.mask {
            None => {
                for ((sum, x), b) in sum.iter_mut().zip(model).zip(base) {
                    *sum += (x - b) * self.rescale * self.weight;
                }
            }
            Some((draws, density)) => {
                let mut uniform = vec![0.0; sum.len()];
                draws.uniform(start, &mut uniform);
                for (((sum, x), b), u) in sum.iter_mut().zip(model).zip(base).zip(&uniform) {
                    let d = (x - b) * self.rescale * self.weight;
                    *sum += if u < density { d } else { 0.0 };
                }
            }
        }
    }
}

impl Method for TaskArithmetic {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn base(&self) -> Base {
        Base::Required
    }

    fn params(&self) -> &'static [Param] {
        self.params
    }

    fn draws(&self, model: &Settings) -> bool {
        self.sparsify == Sparsify::Random && model.number("density") < 1.0
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let parts = inputs.models.iter().map(|model| Part::of(self, inputs, model)).collect::<Result<Vec<_>>>()?;
        let lambda = inputs.settings.number("lambda") as f32;
        let normalize = inputs.settings.flag("normalize");
        let consensus = self.consensus;
        Ok(Kernel::new(move |block, out| {
            // Vectors as wide as the processor has change no bit: Rust never fuses a product and a sum.
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let mut divisor = vec![0.0f32; if normalize { out.len() } else { 0 }];
                    if consensus {
                        sum_majority(&parts, block, out, &mut divisor);
                    } else {
                        sum_all(&parts, block, out, &mut divisor);
                    }
                    for (sum, w) in out.iter_mut().zip(&divisor) {
                        *sum /= if w.abs() < 1e-8 { 1.0 } else { *w };
                    }
                    for (r, b) in out.iter_mut().zip(block.base) {
                        *r = b + *r * lambda;
                    }
                },
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let b = inputs.base.as_ref().expect("planned with a base");
        let mut sum = b.zeros_like()?;
        let mut vectors = Vec::new();
        for (x, settings, draws) in &inputs.models {
            let d = (self.sparsified(&(x - b)?, settings, draws, &inputs.settings)? * settings.number("weight"))?;
            sum = (sum + &d)?;
            vectors.push(d);
        }
        let majority = sum.ge(0.0)?;
        let (mut total, mut divisor) = (b.zeros_like()?, b.zeros_like()?);
        for (d, (_, settings, _)) in vectors.iter().zip(&inputs.models) {
            let mask = if self.consensus {
                let (positive, negative) = (d.gt(0.0)?, d.lt(0.0)?);
                majority.where_cond(&positive, &negative)?.to_dtype(DType::F32)?
            } else {
                d.ones_like()?
            };
            total = (total + (d * &mask)?)?;
            divisor = (divisor + (mask * settings.number("weight"))?)?;
        }
        if inputs.settings.flag("normalize") {
            let usable = divisor.abs()?.ge(1e-8)?;
            total = (total / usable.where_cond(&divisor, &divisor.ones_like()?)?)?;
        }
        b + (total * inputs.settings.number("lambda"))?
    }
}

impl TaskArithmetic {
    /// Step 2 in tensor form.
    fn sparsified(&self, d: &Tensor, model: &Settings, draws: &Draws, merge: &Settings) -> candle_core::Result<Tensor> {
        let density = model.number("density") as f32;
        if self.sparsify == Sparsify::No || density >= 1.0 {
            return Ok(d.clone());
        }
        let mut uniform = vec![0.0; d.elem_count()];
        draws.uniform(0, &mut uniform);
        let mask: Vec<f32> = uniform.iter().map(|u| f32::from(u8::from(*u < density))).collect();
        let kept = (d * Tensor::from_vec(mask, d.shape(), d.device())?)?;
        if !merge.flag("rescale") {
            return Ok(kept);
        }
        let l1 = |d: &Tensor| d.abs()?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
        &kept * f64::from(rescale_factor(l1(d)?, l1(&kept)?))
    }
}

/// Steps 4 and 5 before the division, without consensus. An empty `divisor` is not wanted.
#[inline(always)]
fn sum_all(parts: &[Part], block: &Block<'_>, out: &mut [f32], divisor: &mut [f32]) {
    out.fill(0.0);
    for (part, model) in parts.iter().zip(block.models) {
        part.add(block.start, block.base, model, out);
    }
    divisor.fill(parts.iter().map(|part| part.weight).sum());
}

/// The same with consensus: what has the majority's sign is summed, and so are the weights that took part in it.
#[inline(always)]
fn sum_majority(parts: &[Part], block: &Block<'_>, out: &mut [f32], divisor: &mut [f32]) {
    let mut vectors = vec![0.0; parts.len() * out.len()]; // (models, block)
    out.fill(0.0);
    for ((part, model), d) in parts.iter().zip(block.models).zip(vectors.chunks_exact_mut(out.len())) {
        part.add(block.start, block.base, model, d);
        for (sum, d) in out.iter_mut().zip(&*d) {
            *sum += d;
        }
    }
    let negative: Vec<bool> = out.iter().map(|sum| *sum < 0.0).collect();
    out.fill(0.0);
    for (part, d) in parts.iter().zip(vectors.chunks_exact(out.len())) {
        for ((sum, d), negative) in out.iter_mut().zip(d).zip(&negative) {
            *sum += if (*d < 0.0) == *negative { *d } else { 0.0 };
        }
        for ((w, d), negative) in divisor.iter_mut().zip(d).zip(&negative) {
            *w += if *d != 0.0 && (*d < 0.0) == *negative { part.weight } else { 0.0 };
        }
    }
}

/// `Σ|d| / Σ|kept d|`, or one where either is next to nothing.
fn rescale_factor(all: f64, kept: f64) -> f32 {
    if all < 1e-7 || kept < 1e-7 { 1.0 } else { (all / kept) as f32 }
}
