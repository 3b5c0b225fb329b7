//! An objective whose scores come from workers.

use super::{
    message::{FaultOf, NamedCandidate, Order, Reply, ScoreOrder, StudyOrder},
    workers::Workers,
};
use evaluator::objective::Benchmarks;
use merge_core::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
    model::Weights,
    study::{Candidate, Goal, Listener, News, Objective, Origin},
};
use std::{collections::BTreeSet, sync::Arc};

/// Workers that may end with a candidate, without a score in between, before the search stops: it may be the candidate that
/// ends them.
const MOST_DEATHS: usize = 10;

/// Benchmarks that workers ask.
pub(crate) struct RemoteObjective<'a> {
    /// The tasks, as the search has read them.
    pub(crate) benchmarks: &'a Benchmarks,
    pub(crate) workers: Arc<Workers>,
    pub(crate) study: StudyOrder,
}

impl Objective for RemoteObjective<'_> {
    fn engine(&self) -> &str {
        self.benchmarks.engine()
    }

    fn goals(&self) -> &[Goal] {
        self.benchmarks.goals()
    }

    fn check(&self, weights: &dyn Weights) -> Result<()> {
        Objective::check(self.benchmarks, weights)
    }

    /// Items that have no score when a worker ends are scored by the next one.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()> {
        let named = || match &candidate.origin {
            Origin::Recipe(recipe) => NamedCandidate::Recipe(recipe.to_yaml()),
            Origin::Source(name) => NamedCandidate::Source(name.clone()),
        };
        let (mut left, mut deaths) = (items.to_vec(), 0);
        loop {
            let mut lease = self.workers.lease(&self.study)?;
            let order = ScoreOrder { candidate: named(), items: left.clone() };
            let mut is_told = lease.tell(&Order::Score(Box::new(order)));
            while is_told {
                match lease.hear()? {
                    Some(Reply::Scores(goal, scores)) => {
                        let scores: Vec<(ItemId, ItemScore)> = scores.into_iter().map(Into::into).collect();
                        let asked = left.get_mut(goal).ok_or_else(|| strange(&lease.name()))?;
                        let scored: BTreeSet<ItemId> = scores.iter().map(|(item, _)| *item).collect();
                        let n_left = asked.len();
                        asked.retain(|item| !scored.contains(item));
                        if n_left - asked.len() != scores.len() {
                            return Err(strange(&lease.name()));
                        }
                        deaths = 0;
                        lease.count(scores.len());
                        if listener(News::Scores(goal, scores))?.is_break() {
                            return Ok(());
                        }
                    }
                    Some(Reply::GivenUp(why, scores)) => {
                        let scores = scores.into_iter().map(|scores| scores.into_iter().map(Into::into).collect());
                        let going_on = listener(News::GivenUp(why, scores.collect()))?;
                        left.iter_mut().for_each(Vec::clear);
                        if going_on.is_break() {
                            return Ok(());
                        }
                    }
                    Some(Reply::Done) => {
                        lease.finish();
                        return if left.iter().all(Vec::is_empty) { Ok(()) } else { Err(strange("a worker")) };
                    }
                    Some(Reply::Failed(failure)) if matches!(failure.fault, FaultOf::User) => {
                        lease.finish();
                        return Err(failure.into());
                    }
                    // Another machine may do better.
                    Some(Reply::Failed(failure)) => {
                        lease.say(&format!("failed, the candidate goes to another: {}", failure.message));
                        is_told = false;
                    }
                    Some(_) => {}
                    None => is_told = false,
                }
            }
            deaths += 1;
            if deaths == MOST_DEATHS {
                return Err(Error::machine(format!("{deaths} workers have ended with the same candidate"))
                    .hint("nothing that was scored is lost: look at what ends them, such as memory, and run the same command again"));
            }
        }
    }
}

/// The error for a worker that does not do what it says.
fn strange(name: &str) -> Error {
    Error::machine(format!("{name} tells scores of other items than it was asked"))
}
