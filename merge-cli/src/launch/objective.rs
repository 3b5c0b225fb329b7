//! An objective whose scores come from workers.

use super::{
    desk::Desk,
    message::{NamedCandidate, StudyOrder},
    workers::Workers,
};
use evaluator::{interrupt::Interrupt, objective::Benchmarks};
use merge_core::{
    error::Result,
    item::ItemId,
    model::Weights,
    study::{Candidate, Goal, Listener, News, Objective, Origin},
};
use std::sync::Arc;

/// Benchmarks that workers ask.
pub(crate) struct RemoteObjective<'a> {
    /// The tasks, as the search has read them.
    benchmarks: &'a Benchmarks,
    /// The engine of the workers, if they have one.
    engine: Option<String>,
    desk: Arc<Desk>,
    interrupt: Interrupt,
}

impl<'a> RemoteObjective<'a> {
    /// These benchmarks, asked by workers that open the study. Waits for the first; fails if none can.
    pub(crate) fn begin(benchmarks: &'a Benchmarks, workers: &Workers, study: StudyOrder) -> Result<Self> {
        let (desk, interrupt) = (workers.desk(), workers.interrupt());
        let engine = desk.announce(study, &interrupt)?;
        Ok(Self { benchmarks, engine, desk, interrupt })
    }
}

impl Objective for RemoteObjective<'_> {
    fn engine(&self) -> &str {
        self.served_by().unwrap_or_else(|| self.benchmarks.engine())
    }

    fn served_by(&self) -> Option<&str> {
        self.engine.as_deref()
    }

    fn goals(&self) -> &[Goal] {
        self.benchmarks.goals()
    }

    fn check(&self, weights: &dyn Weights) -> Result<()> {
        Objective::check(self.benchmarks, weights)
    }

    fn expect(&self, items: usize) {
        self.desk.expect(items);
    }

    /// Workers may answer in any order; what they answered is told in the order of one process.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()> {
        let named = match &candidate.origin {
            Origin::Recipe(recipe) => NamedCandidate::Recipe(recipe.to_yaml()),
            Origin::Source(name) => NamedCandidate::Source(name.clone()),
        };
        let chunks = self.benchmarks.chunks(candidate.weights()?, items);
        let ticket = self.desk.open(named, chunks.clone());
        let judged = vec![Vec::new(); items.len()];
        for number in 0..chunks.len() {
            let answered = ticket.wait(number, &self.interrupt)?;
            let news = self.benchmarks.news(&chunks[number..], answered, &judged)?;
            let is_over = matches!(news, News::GivenUp(..));
            if listener(news)?.is_break() || is_over {
                break;
            }
        }
        Ok(())
    }
}
