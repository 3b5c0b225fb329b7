//! A worker that has greeted: gets what is at the desk, until it ends.

use super::{
    desk::{Assignment, LOOK},
    message::{FaultOf, Order, Reply, ScoredItem, StudyOrder},
    pipe::{Heard, WorkerPipe},
    workers::SharedWorkers,
};
use evaluator::objective::AnsweredItem;
use merge_core::{
    error::{Error, Result},
    item::ItemId,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Silences that a worker has to stop in: it may be reading a large model.
const STOPPING: u32 = 10;

/// Why a worker's process is of no use any more.
pub(super) enum End {
    /// Nobody needs it.
    Over,
    /// It ended, or failed: another one may do better.
    Ended(Error),
    /// Another one would be no better.
    Out(Error),
}

/// A worker that has greeted.
pub(super) struct RunningWorker<'a> {
    workers: &'a SharedWorkers,
    number: usize,
    pipe: WorkerPipe,
    study: Option<Arc<StudyOrder>>,
    /// Candidate that it has loaded.
    loaded: Option<u64>,
}

impl<'a> RunningWorker<'a> {
    /// A worker that has greeted, of this number.
    pub(super) fn new(workers: &'a SharedWorkers, number: usize, pipe: WorkerPipe) -> Self {
        Self { workers, number, pipe, study: None, loaded: None }
    }

    /// Gives the worker whatever is at the desk, until it ends. Tells whether it opened a study.
    pub(super) fn run(mut self) -> (End, bool) {
        let end = self.work();
        (end, self.study.is_some())
    }

    fn work(&mut self) -> End {
        loop {
            if self.workers.is_over() {
                return End::Over;
            }
            let desk = &self.workers.desk;
            let is_open = |study: &Arc<StudyOrder>| self.study.as_ref().is_some_and(|own| Arc::ptr_eq(own, study));
            if let Some(study) = desk.study().filter(|study| !is_open(study)) {
                if let Err(end) = self.open(&study) {
                    return end;
                }
                continue;
            }
            let own = self.study.as_ref();
            let Some(assignment) = own.and_then(|own| desk.take(self.number, own, self.loaded)) else {
                // Its signs of life are read, too.
                if matches!(self.pipe.hear(Duration::ZERO), Heard::End) {
                    return End::Ended(self.ended());
                }
                desk.rest();
                continue;
            };
            let began = Instant::now();
            let end = self.score(&assignment);
            self.workers.change(self.number, |slot| slot.busy += began.elapsed());
            if let Err(end) = end {
                if let End::Ended(why) = &end {
                    let death = format!("{} {why}", self.workers.name(self.number));
                    self.workers.desk.put_back(assignment.portion, self.number, &death);
                }
                return end;
            }
        }
    }

    /// Has the worker do an assignment. Fails if it ends, or can be asked no more.
    fn score(&mut self, assignment: &Assignment) -> std::result::Result<(), End> {
        let Assignment { portion, candidate, order, is_second, .. } = assignment;
        if *is_second {
            self.workers.say(self.number, "scores what another worker takes too long for");
        }
        let desk = &self.workers.desk;
        let began = Instant::now();
        self.tell(&Order::Score(Box::new(order.clone())))?;
        let reply = self.hear(|| desk.is_wanted(*portion))?;
        match reply {
            Reply::Scores(scores) => {
                let n = scores.len();
                let answered = answered(scores, &order.items.items);
                let answered = answered.map_err(|why| End::Ended(why.at("is not believed")))?;
                let is_loaded_now = self.loaded.replace(*candidate) != Some(*candidate);
                self.workers.change(self.number, |slot| {
                    slot.items += n;
                    slot.candidates += usize::from(is_loaded_now);
                });
                desk.answer(*portion, answered, is_loaded_now.then(|| began.elapsed().as_secs_f64()));
            }
            Reply::Stopped => {}
            Reply::Failed(failure) if matches!(failure.fault, FaultOf::User) => desk.fail(*portion, failure.into()),
            // Another machine may do better.
            Reply::Failed(failure) => {
                return Err(End::Ended(Error::from(failure).at("failed, the candidate goes to another")));
            }
            _ => return Err(End::Ended(Error::machine("does not answer what it is asked"))),
        }
        Ok(())
    }

    /// Lets the worker open a study.
    fn open(&mut self, study: &Arc<StudyOrder>) -> std::result::Result<(), End> {
        self.tell(&Order::Study(Box::new(study.for_worker(self.number + 1))))?;
        match self.hear(|| true)? {
            Reply::Ready(ready) => {
                self.workers.desk.opened(&ready).map_err(End::Out)?;
                (self.study, self.loaded) = (Some(Arc::clone(study)), None);
                Ok(())
            }
            Reply::Refused(failure) => {
                let is_final = matches!(failure.fault, FaultOf::User);
                let error = Error::from(failure).at("refuses the study");
                Err(if is_final { End::Out(error) } else { End::Ended(error) })
            }
            _ => Err(End::Ended(Error::machine("does not answer what it is asked"))),
        }
    }

    fn tell(&mut self, order: &Order) -> std::result::Result<(), End> {
        if self.pipe.tell(order) { Ok(()) } else { Err(End::Ended(self.ended())) }
    }

    /// The answer to an order, which is told to stop when it is not wanted any more. Fails if the worker has ended, or says
    /// nothing any more.
    fn hear(&mut self, is_wanted: impl Fn() -> bool) -> std::result::Result<Reply, End> {
        let (mut heard, mut stopped) = (Instant::now(), None);
        loop {
            if self.workers.is_over() {
                return Err(End::Over);
            }
            match self.pipe.hear(LOOK) {
                Heard::Reply(Reply::Alive) => heard = Instant::now(),
                Heard::Reply(Reply::Note(note)) => self.workers.say(self.number, &format!("says: {note}")),
                Heard::Reply(reply) => return Ok(reply),
                Heard::Silence => {}
                Heard::End => return Err(End::Ended(self.ended())),
            }
            if stopped.is_none() && !is_wanted() {
                self.tell(&Order::Stop)?;
                stopped = Some(Instant::now());
            }
            let silence = self.workers.silence;
            if heard.elapsed() > silence {
                let why = format!("said nothing for {} s, and is taken for dead", silence.as_secs());
                return Err(End::Ended(Error::machine(why)));
            }
            // Signs of life do not help a worker that hangs.
            if stopped.is_some_and(|since| since.elapsed() > STOPPING * silence) {
                return Err(End::Ended(Error::machine("does not stop, and is taken for dead")));
            }
        }
    }

    /// What to say of a worker that ended.
    fn ended(&self) -> Error {
        let words = self.pipe.last_words();
        let last = words.lines().last().map_or_else(String::new, |last| format!(": {last}"));
        Error::machine(format!("({}) has ended{last}", self.pipe.runner()))
    }
}

/// The answers of a worker, which must be to the items that it was asked.
fn answered(scores: Vec<ScoredItem>, asked: &[ItemId]) -> Result<Vec<AnsweredItem>> {
    if !scores.iter().map(|one| &one.item).eq(asked) {
        return Err(Error::machine("it tells scores of other items than it was asked"));
    }
    scores.into_iter().map(ScoredItem::answered).collect()
}
