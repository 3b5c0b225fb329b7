//! Comparisons of models with the first one, on the same items.

use super::ModelScores;
use evaluator::{
    evaluation::TaskItems,
    statistics::{PairedDifference, several::holm},
    task::Task as _,
};
use serde_json::{Map, Value, json};

/// Comparison of a model with the first one.
pub(super) struct ModelComparison {
    /// Number of the model.
    pub(super) model: usize,
    /// For each task, the paired difference and its p-value, adjusted for the number of tasks.
    pub(super) tasks: Vec<(PairedDifference, f64)>,
}

/// Compares each other model with the first one.
pub(super) fn all(asked: &[TaskItems<'_>], scored: &[ModelScores]) -> Vec<ModelComparison> {
    let mains = |scored: &ModelScores, task: usize| -> Vec<f64> {
        scored.tasks[task].marked.iter().map(|marked| marked.main).collect()
    };
    let of = |model: usize| {
        let difference = |task: usize| {
            let (own, first) = (mains(&scored[model], task), mains(&scored[0], task));
            PairedDifference::of(&own, &first).expect("a task is asked one item or more")
        };
        let differences: Vec<PairedDifference> = (0..asked.len()).map(difference).collect();
        let adjusted = holm(&differences.iter().map(|difference| difference.p).collect::<Vec<_>>());
        ModelComparison { model, tasks: differences.into_iter().zip(adjusted).collect() }
    };
    (1..scored.len()).map(of).collect()
}

impl ModelComparison {
    pub(super) fn json(&self, asked: &[TaskItems<'_>], scored: &[ModelScores]) -> Value {
        let of = |(asked, (difference, adjusted)): (&TaskItems<'_>, &(PairedDifference, f64))| {
            let mut value = json!(difference);
            value["p_holm"] = json!(adjusted);
            (asked.task.name().to_owned(), value)
        };
        let tasks: Map<String, Value> = asked.iter().zip(&self.tasks).map(of).collect();
        json!({ "model": scored[self.model].name, "reference": scored[0].name, "differences": tasks })
    }
}
