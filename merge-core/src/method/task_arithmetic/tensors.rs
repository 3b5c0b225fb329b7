//! The formula in tensor operations, which thins by sorting: simple, and the oracle of the kernels.

use super::{
    super::{Settings, TensorInputs},
    Rescale, Sparsify, TaskArithmetic,
    rank::{Chance, Rows},
    thin::{greatest, outliers, rescale_factor},
};
use crate::random::Draws;
use candle_core::{DType, Result, Tensor};

pub(super) fn merge(method: &TaskArithmetic, inputs: &TensorInputs) -> Result<Tensor> {
    let b = inputs.base.as_ref().expect("planned with a base");
    let mut sum = b.zeros_like()?;
    let mut vectors = Vec::new();
    for (x, settings, draws) in &inputs.models {
        let d = (thinned(method, &(x - b)?, settings, draws, &inputs.settings)? * settings.number("weight"))?;
        sum = (sum + &d)?;
        vectors.push(d);
    }
    let majority = sum.ge(0.0)?;
    let (mut total, mut divisor) = (b.zeros_like()?, b.zeros_like()?);
    for (d, (_, settings, _)) in vectors.iter().zip(&inputs.models) {
        let mask = if method.consensus {
            let (positive, negative) = (d.gt(0.0)?, d.lt(0.0)?);
            majority.where_cond(&positive, &negative)?.to_dtype(DType::F32)?
        } else {
            d.ones_like()?
        };
        total = (total + (d * &mask)?)?;
        divisor = (divisor + (mask * settings.number("weight"))?)?;
    }
    if inputs.settings.flag("normalize") {
        let usable = if method.consensus { divisor.ne(0.0)? } else { divisor.abs()?.ge(1e-8)? };
        total = (total / usable.where_cond(&divisor, &divisor.ones_like()?)?)?;
    }
    b + (total * inputs.settings.number("lambda"))?
}

/// Step 2: the thinned task vector.
fn thinned(method: &TaskArithmetic, d: &Tensor, model: &Settings, draws: &Draws, merge: &Settings) -> Result<Tensor> {
    if method.sparsify == Sparsify::No || model.number("density") >= 1.0 {
        return Ok(d.clone());
    }
    let rescale = method.rescale(merge);
    let factors = if model.number("density") <= 0.0 {
        vec![0.0; d.elem_count()]
    } else {
        factors(method.sparsify, d, model, draws, rescale == Rescale::Chance)?
    };
    let kept = (d * Tensor::from_vec(factors, d.shape(), d.device())?)?;
    if rescale != Rescale::Norm {
        return Ok(kept);
    }
    let l1 = |d: &Tensor| d.abs()?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
    &kept * f64::from(rescale_factor(l1(d)?, l1(&kept)?))
}

/// Factor of each element: 0 if it is dropped, else 1, or the inverse of its chance.
fn factors(sparsify: Sparsify, d: &Tensor, model: &Settings, draws: &Draws, inverse: bool) -> Result<Vec<f32>> {
    let n = d.elem_count();
    let density = model.number("density");
    let range = |[dropped, kept]: [usize; 2]| {
        let mut order: Vec<usize> = (0..n).collect();
        let sizes: Vec<f32> = d.abs()?.flatten_all()?.to_vec1()?;
        order.sort_by(|i, j| sizes[*j].total_cmp(&sizes[*i]));
        let mut factors = vec![0.0; n];
        order[dropped..kept].iter().for_each(|i| factors[*i] = 1.0);
        Ok(factors)
    };
    let drawn = |chances: &[f32]| {
        let mut uniform = vec![0.0; n];
        draws.uniform(0, &mut uniform);
        let factor = |(u, p): (&f32, &f32)| match (u < p, inverse) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => 1.0 / p,
        };
        uniform.iter().zip(chances).map(factor).collect()
    };
    match sparsify {
        Sparsify::No => Ok(vec![1.0; n]),
        Sparsify::Magnitude => range([0, greatest(density, n)]),
        Sparsify::Outliers => range(outliers(density, model.number("gamma"), n)),
        Sparsify::Random => Ok(drawn(&vec![density as f32; n])),
        Sparsify::Ranked => Ok(drawn(&chances(d, Chance::new(density, model.number("epsilon"), inverse))?)),
    }
}

/// The chance of each element by its rank in its row.
fn chances(d: &Tensor, chance: Chance) -> Result<Vec<f32>> {
    let sizes: Vec<f32> = d.abs()?.flatten_all()?.to_vec1()?;
    let mut chances = vec![0.0; sizes.len()];
    for row in Rows::of(d.dims()).places(sizes.len()) {
        let mut order: Vec<usize> = row.collect();
        order.sort_by(|i, j| sizes[*i].total_cmp(&sizes[*j]));
        let last = (order.len() - 1) as f32;
        for (rank, i) in order.into_iter().enumerate() {
            chances[i] = chance.of(rank as u32, last);
        }
    }
    Ok(chances)
}
