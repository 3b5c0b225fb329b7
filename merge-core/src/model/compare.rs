//! Compares two models tensor by tensor: one pass over their elements, with sums in `f64`.

mod component;
#[cfg(test)]
mod tests;

pub use component::{ComponentPlace, ComponentRow, Grid};

use crate::{
    error::{Error, Result},
    model::{Elements, Index, Weights, blocks::sum_over_blocks, layers::Layers},
    vectors::wide,
};
use rayon::prelude::*;
use std::{collections::BTreeMap, ops::AddAssign};

/// Result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Sums over every tensor that the models have in common, in order of name.
    pub tensors: BTreeMap<String, Sums>,
    /// Tensors that could not be compared, in order of name, with the reason.
    pub left_out: BTreeMap<String, String>,
    layers: Layers,
}

/// Sums over the elements `a` and `b` of two models, for one tensor or several.
///
/// A quantity is `None` if it is not defined, because a norm is zero or an element is not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of elements.
    pub elements: u64,
    /// Σa², Σb², Σab, Σ(b − a)².
    models: [f64; 4],
    /// With a base c, u = a − c, v = b − c: Σc², Σu², Σv², Σuv, number of nonzero uv, number of positive uv.
    tasks: Option<[f64; 6]>,
}

impl Sums {
    /// True if no element differs. (Elements are compared as `f32`, in which only 64-bit numbers are rounded.)
    pub fn identical(&self) -> bool {
        self.models[3] == 0.0
    }

    /// ‖b − a‖ / ‖a‖.
    pub fn difference(&self) -> Option<f64> {
        let [aa, .., dd] = self.models;
        ratio(dd, aa).map(f64::sqrt)
    }

    /// The cosine of the angle between a and b.
    pub fn cosine(&self) -> Option<f64> {
        let [aa, bb, ab, _] = self.models;
        cosine(ab, aa, bb)
    }

    /// ‖a − c‖ / ‖c‖: distance of the first model from the base.
    pub fn task_a(&self) -> Option<f64> {
        let [cc, uu, ..] = self.tasks?;
        ratio(uu, cc).map(f64::sqrt)
    }

    /// ‖b − c‖ / ‖c‖: distance of the second model from the base.
    pub fn task_b(&self) -> Option<f64> {
        let [cc, _, vv, ..] = self.tasks?;
        ratio(vv, cc).map(f64::sqrt)
    }

    /// The cosine of the angle between the task vectors a − c and b − c.
    pub fn task_cosine(&self) -> Option<f64> {
        let [_, uu, vv, uv, ..] = self.tasks?;
        cosine(uv, uu, vv)
    }

    /// Share of elements whose signs agree in both task vectors, among those where neither is zero.
    pub fn sign_agreement(&self) -> Option<f64> {
        let [.., uv, both, agree] = self.tasks?;
        ratio(agree, both).filter(|_| uv.is_finite())
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.elements += other.elements;
        self.models = std::array::from_fn(|i| self.models[i] + other.models[i]);
        self.tasks = match (self.tasks, other.tasks) {
            (Some(a), Some(b)) => Some(std::array::from_fn(|i| a[i] + b[i])),
            (a, b) => a.or(b),
        };
    }
}

fn ratio(above: f64, below: f64) -> Option<f64> {
    Some(above / below).filter(|ratio| ratio.is_finite())
}

fn cosine(product: f64, square: f64, other: f64) -> Option<f64> {
    // One root of the product is exact if both are equal; squares of `f32` are far from the limits of `f64`.
    ratio(product, (square * other).sqrt()).map(|cosine| cosine.clamp(-1.0, 1.0))
}

impl Comparison {
    /// The sums over all tensors that were compared.
    pub fn total(&self) -> Sums {
        total(self.tensors.values())
    }

    /// The sums by layer and component.
    pub fn grid(&self) -> Grid {
        Grid::new(&self.tensors, &self.layers)
    }
}

fn total<'a>(sums: impl IntoIterator<Item = &'a Sums>) -> Sums {
    let mut total = Sums::default();
    sums.into_iter().for_each(|sums| total += *sums);
    total
}

/// Number of bytes that [`compare`] reads of these models.
pub fn bytes(a: &dyn Weights, b: &dyn Weights, base: Option<&dyn Weights>) -> u64 {
    let (names, _) = in_common(a.index(), b.index(), base.map(Weights::index));
    let models = [Some(a), Some(b), base];
    let len = |name: &&String| models.iter().flatten().map(|model| model.index()[*name].byte_len() as u64).sum::<u64>();
    names.iter().map(len).sum()
}

/// Compares the tensors that both models, and the base if there is one, have in the same shape.
/// `watch` is called from any thread with the number of bytes read since its last call.
///
/// The result does not depend on the number of threads. Fails if the models have no tensor in
/// common, or if one cannot be read.
pub fn compare(
    a: &dyn Weights,
    b: &dyn Weights,
    base: Option<&dyn Weights>,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Comparison> {
    let (names, left_out) = in_common(a.index(), b.index(), base.map(Weights::index));
    if names.is_empty() {
        let models: Vec<String> = [Some(a), Some(b), base].iter().flatten().map(|model| model.place()).collect();
        let example = left_out.iter().next().map(|(name, why)| format!(" (`{name}`: {why})")).unwrap_or_default();
        return Err(Error::user(format!("{}: no tensor in common{example}", models.join(", ")))
            .hint("models of one architecture and size can be compared"));
    }
    let sums = |name: &&String| {
        let tensors = [Some(a), Some(b), base];
        let tensors = tensors.into_iter().flatten().map(|model| model.tensor(name)).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<&dyn Elements> = tensors.iter().map(|tensor| &**tensor).collect();
        Ok(((*name).clone(), tensor_sums(&tensors, watch)?))
    };
    let tensors = names.par_iter().map(sums).collect::<Result<_>>()?;
    Ok(Comparison { tensors, left_out, layers: Layers::of(a) })
}

/// The tensors to compare, and those left out with the reason, both in order of name.
fn in_common<'a>(a: &'a Index, b: &Index, base: Option<&Index>) -> (Vec<&'a String>, BTreeMap<String, String>) {
    let mut left_out = BTreeMap::new();
    for name in b.keys().filter(|name| !a.contains_key(*name)) {
        left_out.insert(name.clone(), "only in B".to_owned());
    }
    let mut names = Vec::new();
    for (name, meta) in a {
        let why = match (b.get(name), base.map(|base| base.get(name))) {
            (None, _) => "only in A".to_owned(),
            (_, Some(None)) => "not in the base".to_owned(),
            (Some(other), _) if other.shape != meta.shape => format!("{:?} in A, {:?} in B", meta.shape, other.shape),
            (_, Some(Some(base))) if base.shape != meta.shape => {
                format!("{:?} in A and B, {:?} in the base", meta.shape, base.shape)
            }
            (Some(b), base) if ![Some(meta), Some(b), base.flatten()].iter().flatten().all(|m| m.dtype.is_float()) => {
                "holds whole numbers".to_owned()
            }
            _ => {
                names.push(name);
                continue;
            }
        };
        left_out.insert(name.clone(), why);
    }
    (names, left_out)
}

/// Sums over a tensor of two models, and of the base if there are three, in one pass.
fn tensor_sums(tensors: &[&dyn Elements], watch: &(dyn Fn(u64) + Sync)) -> Result<Sums> {
    let granule = tensors.iter().map(|tensor| tensor.granule()).max().unwrap_or(1);
    let bytes: usize = tensors.iter().map(|tensor| tensor.dtype().size()).sum();
    let elements = tensors.first().map_or(0, |tensor| tensor.len()) as u64;
    let seen = |blocks: &[Vec<f32>]| watch((blocks[0].len() * bytes) as u64);
    if tensors.len() == 2 {
        let models = sum_over_blocks(tensors, granule, |_, blocks| {
            seen(blocks);
            sums([&blocks[0], &blocks[1]], |[a, b]| of_models(a, b))
        })?;
        return Ok(Sums { elements, models, tasks: None });
    }
    let [m0, m1, m2, m3, tasks @ ..] = sum_over_blocks::<10>(tensors, granule, |_, blocks| {
        seen(blocks);
        sums([&blocks[0], &blocks[1], &blocks[2]], |[a, b, c]| {
            let [m0, m1, m2, m3] = of_models(a, b);
            let (u, v) = (a - c, b - c);
            let uv = u * v;
            let (both, agree) = (f64::from(u8::from(uv != 0.0)), f64::from(u8::from(uv > 0.0)));
            [m0, m1, m2, m3, c * c, u * u, v * v, uv, both, agree]
        })
    })?;
    Ok(Sums { elements, models: [m0, m1, m2, m3], tasks: Some(tasks) })
}

#[inline(always)]
fn of_models(a: f64, b: f64) -> [f64; 4] {
    let d = b - a;
    [a * a, b * b, a * b, d * d]
}

/// Number of sums taken side by side, for vectors; the order of additions is the same on every processor.
const LANES: usize = 8;

/// The sums of `of(element of each tensor)`; `of` must give zero for zeros, which pad the last lanes.
fn sums<const M: usize, const N: usize>(tensors: [&[f32]; M], of: impl Fn([f64; M]) -> [f64; N]) -> [f64; N] {
    wide(
        #[inline(always)]
        || {
            let mut sums = [[0.0; LANES]; N];
            let chunks = tensors.map(|tensor| tensor.as_chunks::<LANES>());
            for i in 0..chunks[0].0.len() {
                add(&mut sums, chunks.map(|(whole, _)| &whole[i]), &of);
            }
            let rest = chunks.map(|(_, rest)| {
                let mut padded = [0.0; LANES];
                padded[..rest.len()].copy_from_slice(rest);
                padded
            });
            add(&mut sums, rest.each_ref(), &of);
            sums.map(|lanes| lanes.iter().sum())
        },
    )
}

#[inline(always)]
fn add<const M: usize, const N: usize>(
    sums: &mut [[f64; LANES]; N],
    elements: [&[f32; LANES]; M],
    of: &impl Fn([f64; M]) -> [f64; N],
) {
    for lane in 0..LANES {
        let terms = of(elements.map(|tensor| f64::from(tensor[lane])));
        for (sums, term) in sums.iter_mut().zip(terms) {
            sums[lane] += term;
        }
    }
}
