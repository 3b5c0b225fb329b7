//! Finds each tensor's draws in mergekit's sequence of random numbers, for recipes that ask for its
//! generator. Other recipes draw by counter, as `Planner::tensor` plans.

use super::Planner;
use crate::{
    error::{Error, Result},
    merge::tensor_plan::TensorPlan,
    method::{Settings, Value},
    model::dtype::Dtype,
    random::{Draws, Twister},
    recipe::Generator,
};
use std::{collections::BTreeMap, sync::Arc};

impl Planner<'_> {
    /// With mergekit's generator, sets the position in its sequence where each tensor's draws begin.
    pub(super) fn draw(&mut self) -> Result<()> {
        let Some(random) = self.recipe.random.as_ref().filter(|random| random.generator == Generator::Mergekit) else {
            return Ok(());
        };
        let models = self.models.len() as u64;
        let most = models * self.plan.index.values().map(|meta| meta.len() as u64).sum::<u64>();
        let (twister, mut offset) = (Arc::new(Twister::within(random.seed, most)), 0);
        let lens: BTreeMap<&String, usize> = self.plan.index.iter().map(|(name, meta)| (name, meta.len())).collect();
        // mergekit works in the order of the source tensors' names.
        let mut plans: Vec<(&String, &mut TensorPlan)> = self.plan.plans.iter_mut().collect();
        plans.sort_by(|(a, one), (b, other)| (one.first(), a).cmp(&(other.first(), b)));
        for (name, plan) in plans {
            let TensorPlan::Merge { method, models, base, .. } = plan else { continue };
            // Type that mergekit computes in: the recipe's, or one that holds all inputs.
            let stored = models.iter().map(|(operand, ..)| operand).chain(base.as_ref());
            let stored = stored.map(|operand| self.models[operand.source].1.index()[&operand.tensor].dtype);
            let work = self.recipe.dtype.map(|dtype| dtype.value).or_else(|| stored.reduce(Dtype::promote));
            for (_, settings, draws) in models.iter_mut().filter(|(_, settings, _)| method.draws(settings)) {
                if work == Some(Dtype::F64) {
                    let message = format!("`{name}`: mergekit draws twice for each float64 element, and we once");
                    return Err(Error::user(message).hint("use the default generator, or convert the models"));
                }
                if work == Some(Dtype::BF16) {
                    settings.round_to_bf16("density");
                }
                *draws = Draws::Mergekit { twister: Arc::clone(&twister), offset };
                offset += lens[name] as u64;
            }
        }
        Ok(())
    }
}

impl Settings {
    /// Rounds a number as mergekit does for a recipe in `bfloat16`.
    fn round_to_bf16(&mut self, name: &str) {
        for (known, value) in &mut self.0 {
            if let (true, Value::Number(number)) = (*known == name, value) {
                *number = half::bf16::from_f64(*number).to_f64();
            }
        }
    }
}
