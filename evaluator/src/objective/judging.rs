//! Has judges score a candidate, which is written once for all of them.

use super::{Benchmarks, GoalScorer};
use crate::{
    engine::{Scratch, ScratchModel},
    judge::Judge,
};
use merge_core::{
    error::{Error, Fault, Result},
    item::ItemId,
    study::{Candidate, Listener, News, Origin},
};
use std::ops::ControlFlow;

impl Benchmarks {
    /// Has judges score these items. `written` has the candidate's files, if they were written before.
    ///
    /// Fails with an error that the user can fix only if the candidate is to blame: if the judge fails on a source, too, the
    /// search must stop before more candidates are given up.
    pub(super) fn judge(
        &self,
        candidate: &Candidate<'_>,
        written: Option<&ScratchModel>,
        items: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<()> {
        if items.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let scratch = self.scratch()?;
        let _alone = self.engines.as_ref().map(|_| self.judging.lock().expect("no panic while held"));
        let own = match written {
            Some(_) => None,
            None => Some(scratch.write(candidate.weights()?, &self.interrupt)?),
        };
        let written = written.or(own.as_ref()).expect("one of them is there");
        for (goal, (scorer, items)) in self.scorers.iter().zip(items).enumerate() {
            let GoalScorer::Judge(judge) = scorer else { continue };
            if items.is_empty() {
                continue;
            }
            let scores = match judge.score(written, items, scratch, &self.interrupt) {
                Ok(scores) => scores,
                Err(why) => {
                    // There may be no room for two models.
                    drop(own);
                    return Err(self.blame(judge, candidate, items, scratch, why)?);
                }
            };
            if let ControlFlow::Break(()) = listener(News::Scores(goal, scores))? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The error of a candidate that a judge could not score, after a look at whether it can score a source.
    fn blame(
        &self,
        judge: &Judge,
        candidate: &Candidate<'_>,
        items: &[ItemId],
        scratch: &Scratch,
        why: Error,
    ) -> Result<Error> {
        let is_merged = matches!(candidate.origin, Origin::Recipe(_));
        let Some((name, source)) = candidate.first_source().filter(|_| is_merged && why.fault() == Fault::User) else {
            return Ok(why);
        };
        let written = scratch.write(source, &self.interrupt)?;
        match judge.score(&written, items, scratch, &self.interrupt) {
            Ok(_) => Ok(why),
            Err(error) if error.fault() != Fault::User => Err(error),
            Err(error) => Err(error.at(format!("on the model {name}, which is merged")).as_machine().or_hint(
                "no candidate is given up for this, and nothing that was scored is lost: mend the judge's surroundings, and \
                 run the same command again",
            )),
        }
    }

    /// The directory in which models are written.
    fn scratch(&self) -> Result<&Scratch> {
        let of_engines = self.engines.as_ref().map(|engines| engines.scratch());
        of_engines
            .or(self.scratch.as_deref())
            .ok_or_else(|| Error::machine("there is no directory in which models are written for judges"))
    }
}
