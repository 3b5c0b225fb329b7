//! Finds the scaled low-rank adapters that a merge is the sum of, if it is one.

#[cfg(test)]
mod tests;

use super::{Merge, TensorPlan, tensor_plan::Operand};
use crate::{
    error::Result,
    method::Settings,
    model::{MixedAdapter, Mixture},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Largest difference of two scales that are the same but for rounding.
const ROUNDING: f64 = 1e-6;

impl Merge {
    /// The merge as a base plus scaled adapters.
    ///
    /// Every tensor must be a weighted sum of the models' tensors of the same name, the base must be whole in it, and an
    /// adapter must have one share in all tensors that it changes.
    pub(super) fn as_mixture(&self) -> Result<Mixture> {
        let used: BTreeSet<usize> =
            self.plans.values().flat_map(TensorPlan::operands).map(|operand| operand.source).collect();
        let part = |source: usize| {
            let (name, weights) = &self.sources[source];
            Ok((source, weights.mixture().map_err(|e| e.at(name))?))
        };
        let parts: BTreeMap<usize, Mixture> = used.into_iter().map(part).collect::<Result<_>>()?;
        let mut bases = parts.values().map(|part| &part.base);
        let Some(base) = bases.next() else { return Err(Mixture::refused("it has no tensors")) };
        if let Some(other) = bases.find(|other| canonical(other) != canonical(base)) {
            let why = format!("it merges {} and {}, which are two models", base.display(), other.display());
            return Err(Mixture::refused(&why));
        }
        let whole =
            |source: &usize| self.sources[*source].1.index().keys().find(|name| !self.plans.contains_key(*name));
        if let Some(name) = parts.keys().find_map(whole) {
            return Err(Mixture::refused(&format!("it lacks `{name}`, which the base has")));
        }
        let mut adapters: BTreeMap<PathBuf, MixedAdapter> = BTreeMap::new();
        for adapter in parts.values().flat_map(|part| &part.adapters) {
            let known = adapters.entry(adapter.dir.clone()).or_insert_with(|| adapter.clone());
            known.scale = f64::NAN;
        }
        for (name, plan) in &self.plans {
            let shares = shares(name, plan)?;
            let whole: f64 = shares.iter().map(|(_, share)| share).sum();
            if (whole - 1.0).abs() > ROUNDING {
                let why = format!("`{name}` is {whole} times the base: the weights of `linear` must sum to 1");
                return Err(Mixture::refused(&why));
            }
            for adapter in adapters.values_mut().filter(|adapter| adapter.tensors.contains(name)) {
                let of = |(source, share): &(usize, f64)| {
                    let own = parts[source].adapters.iter().filter(|own| own.dir == adapter.dir);
                    share * own.map(|own| own.scale).sum::<f64>()
                };
                let scale: f64 = shares.iter().map(of).sum();
                if adapter.scale.is_nan() {
                    adapter.scale = scale;
                } else if (adapter.scale - scale).abs() > ROUNDING {
                    let dir = adapter.dir.display();
                    let why = format!("{dir} has weight {scale} in `{name}`, but {} in another tensor", adapter.scale);
                    return Err(Mixture::refused(&why));
                }
            }
        }
        // An adapter none of whose tensors is there has no part.
        adapters.retain(|_, adapter| !adapter.scale.is_nan());
        Ok(Mixture { base: base.clone(), adapters: adapters.into_values().collect() })
    }
}

/// Each source's share in a tensor.
fn shares(name: &str, plan: &TensorPlan) -> Result<Vec<(usize, f64)>> {
    let in_place = |operand: &Operand| {
        let moved = || Mixture::refused(&format!("`{name}` comes from `{}`", operand.tensor));
        if operand.tensor == name { Ok(operand.source) } else { Err(moved()) }
    };
    match plan {
        TensorPlan::Given { .. } => Err(Mixture::refused(&format!("the recipe itself gives `{name}`"))),
        TensorPlan::Same { of } => Ok(vec![(in_place(&of[0])?, 1.0)]),
        TensorPlan::Merge { method, base, models, settings } => {
            let own: Vec<Settings> = models.iter().map(|(_, own, _)| own.clone()).collect();
            let shares = method
                .shares(settings, &own)
                .ok_or_else(|| Mixture::refused(&format!("`{}` is no weighted sum of task vectors", method.name())))?;
            let rest = 1.0 - shares.iter().sum::<f64>();
            let models = models.iter().map(|(operand, ..)| operand).zip(shares);
            let all = models.chain(base.iter().map(|base| (base, rest)));
            all.map(|(operand, share)| Ok((in_place(operand)?, share))).collect()
        }
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
