//! The desk: candidates whose items wait for a worker, divided into portions so that no worker waits for another.

#[cfg(test)]
mod tests;

use super::{
    message::{NamedCandidate, PortionOrder, ReadyStudy, StudyOrder},
    pace::Pace,
};
use evaluator::{
    interrupt::Interrupt,
    objective::{AnsweredItem, ItemChunk},
};
use merge_core::error::{Error, Result};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Longest wait for news before the interrupt is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// Workers that may end with a candidate, without a score in between, before the search stops: it may be the candidate that
/// ends them.
const MOST_DEATHS: usize = 10;
/// A portion is given to a second worker when it takes this many times as long as others …
const SLOW: f64 = 3.0;
/// … and at least so long: less is not worth a worker's time.
const LEAST_SLOW: Duration = Duration::from_secs(1);

/// What is to be scored.
#[derive(Default)]
pub(super) struct Desk {
    work: Mutex<Work>,
    /// Notified when there is something to do, or something is done.
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// The study, and what the first worker that opened it said.
    study: Option<(Arc<StudyOrder>, Option<ReadyStudy>)>,
    candidates: BTreeMap<u64, OpenCandidate>,
    portions: BTreeMap<u64, Portion>,
    /// Number of candidates and portions so far.
    numbers: u64,
    /// Items that are announced and have not come yet.
    expected: usize,
    /// Workers that are there.
    present: usize,
    /// Why no worker can be asked any more.
    hopeless: Option<Error>,
    pace: Pace,
}

/// A candidate that is being scored.
struct OpenCandidate {
    named: NamedCandidate,
    chunks: Vec<OpenChunk>,
    /// Workers that ended with it since a score of it came.
    deaths: usize,
    error: Option<Error>,
}

struct OpenChunk {
    chunk: ItemChunk,
    /// Positions of items that nobody has, those that take longest last.
    waiting: Vec<usize>,
    answered: Vec<Option<AnsweredItem>>,
}

/// Items that a worker is asked at once.
struct Portion {
    candidate: u64,
    chunk: usize,
    positions: Vec<usize>,
    began: Instant,
    /// Numbers of the workers that have it.
    holders: Vec<usize>,
}

/// What a worker is to do.
pub(super) struct Assignment {
    /// The portion's number.
    pub(super) portion: u64,
    /// The candidate's number.
    pub(super) candidate: u64,
    pub(super) order: PortionOrder,
    /// True if another worker has the portion, too, and takes too long.
    pub(super) is_second: bool,
}

/// A candidate's place at the desk; what is left of it is withdrawn when this is dropped.
pub(super) struct DeskTicket<'a> {
    desk: &'a Desk,
    candidate: u64,
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("no panic while held")
    }

    fn change<T>(&self, change: impl FnOnce(&mut Work) -> T) -> T {
        let changed = change(&mut self.work());
        self.changed.notify_all();
        changed
    }

    /// Waits a little for a change.
    pub(super) fn rest(&self) {
        drop(self.changed.wait_timeout(self.work(), LOOK).expect("no panic while held"));
    }

    /// Announces a study: workers open it before they get anything of it to do. Waits until one has, and returns the engine that
    /// scores there, if one does. Fails if none can, or if interrupted.
    pub(super) fn announce(&self, study: StudyOrder, interrupt: &Interrupt) -> Result<Option<String>> {
        self.change(|work| work.study = Some((Arc::new(study), None)));
        let mut work = self.work();
        loop {
            if interrupt.is_set() {
                return Err(Error::interrupted());
            }
            if let Some(why) = &work.hopeless {
                return Err(why.clone());
            }
            if let Some((_, Some(ready))) = &work.study {
                return Ok(ready.engine.clone());
            }
            work = self.changed.wait_timeout(work, LOOK).expect("no panic while held").0;
        }
    }

    /// The study that workers open.
    pub(super) fn study(&self) -> Option<Arc<StudyOrder>> {
        self.work().study.as_ref().map(|(study, _)| Arc::clone(study))
    }

    /// Says that a worker has opened the study. Fails if its engine is not that of the first worker: their scores cannot be
    /// mixed.
    pub(super) fn opened(&self, ready: &ReadyStudy) -> Result<()> {
        let named =
            |ready: &ReadyStudy| ready.engine.clone().unwrap_or_else(|| "evomerge's own forward pass".to_owned());
        self.change(|work| {
            let Some((_, first)) = &mut work.study else { return Ok(()) };
            let first = first.get_or_insert_with(|| ready.clone());
            if first == ready {
                return Ok(());
            }
            let message = format!("is refused: it scores on {}, but the search on {}", named(ready), named(first));
            Err(Error::user(message).hint("start the engines of all workers alike"))
        })
    }

    /// Announces items of candidates that come soon.
    pub(super) fn expect(&self, items: usize) {
        self.work().expected = items;
    }

    /// Takes a candidate in.
    pub(super) fn open(&self, named: NamedCandidate, chunks: Vec<ItemChunk>) -> DeskTicket<'_> {
        let candidate = self.change(|work| {
            let open = |chunk: ItemChunk| {
                let weight = |position: &usize| work.pace.weight(chunk.goal, &chunk.items[*position]);
                let mut waiting: Vec<usize> = (0..chunk.items.len()).rev().collect();
                waiting.sort_by(|a, b| weight(a).total_cmp(&weight(b)));
                let answered = chunk.items.iter().map(|_| None).collect();
                OpenChunk { chunk, waiting, answered }
            };
            let chunks: Vec<OpenChunk> = chunks.into_iter().map(open).collect();
            let items: usize = chunks.iter().map(|chunk| chunk.chunk.items.len()).sum();
            work.expected = work.expected.saturating_sub(items);
            let error = work.hopeless.clone();
            let number = work.number();
            work.candidates.insert(number, OpenCandidate { named, chunks, deaths: 0, error });
            number
        });
        DeskTicket { desk: self, candidate }
    }

    /// Says that a worker is there, or is there no more.
    pub(super) fn count(&self, is_there: bool) {
        self.change(|work| work.present = if is_there { work.present + 1 } else { work.present - 1 });
    }

    /// Says that no worker can be asked any more.
    pub(super) fn give_up(&self, why: &Error) {
        self.change(|work| {
            work.hopeless = Some(why.clone());
            for candidate in work.candidates.values_mut() {
                candidate.error.get_or_insert_with(|| why.clone());
            }
        });
    }

    /// Something for a worker to do, if there is anything of the study that it has opened; best for the candidate that it has
    /// loaded.
    pub(super) fn take(&self, worker: usize, study: &Arc<StudyOrder>, loaded: Option<u64>) -> Option<Assignment> {
        let work = &mut *self.work();
        if !work.study.as_ref().is_some_and(|(current, _)| Arc::ptr_eq(current, study)) {
            return None;
        }
        work.waiting(worker, loaded).or_else(|| work.second(worker))
    }

    /// True if nobody has answered the portion yet, and its candidate is not withdrawn.
    pub(super) fn is_wanted(&self, portion: u64) -> bool {
        self.work().portions.contains_key(&portion)
    }

    /// Takes a portion's answers, and the seconds that loading its candidate and scoring it took, if it was loaded for this.
    /// Whoever else has the portion is asked no more.
    pub(super) fn answer(&self, portion: u64, answered: Vec<AnsweredItem>, seconds: Option<f64>) {
        self.change(|work| {
            let Some(Portion { candidate, chunk, positions, .. }) = work.portions.remove(&portion) else { return };
            let open = work.candidates.get_mut(&candidate).expect("portions are withdrawn with their candidate");
            open.deaths = 0;
            let OpenChunk { chunk, answered: all, .. } = &mut open.chunks[chunk];
            let scores = positions.iter().zip(&answered);
            let scores = scores.filter_map(|(at, answer)| Some((chunk.items[*at], answer.score.clone().ok()?)));
            work.pace.note(chunk.goal, &scores.collect::<Vec<_>>(), seconds);
            for (position, answer) in positions.into_iter().zip(answered) {
                all[position] = Some(answer);
            }
        });
    }

    /// Takes a portion back from a worker that ended with it, as `death` tells. That counts against the candidate.
    pub(super) fn put_back(&self, portion: u64, worker: usize, death: &str) {
        self.change(|work| {
            let Some(held) = work.portions.get_mut(&portion) else { return };
            held.holders.retain(|holder| *holder != worker);
            let open = work.candidates.get_mut(&held.candidate).expect("portions are withdrawn with their candidate");
            open.deaths += 1;
            if open.deaths == MOST_DEATHS {
                let hint = "nothing that was scored is lost: look at what ends them, such as memory, and run the same command \
                            again";
                let message = format!("{MOST_DEATHS} workers have ended with the same candidate, at last {death}");
                open.error.get_or_insert_with(|| Error::machine(message).hint(hint));
            }
            if held.holders.is_empty() {
                let held = work.portions.remove(&portion).expect("it is there");
                open.chunks[held.chunk].waiting.extend(held.positions.into_iter().rev());
            }
        });
    }

    /// Says that the portion's candidate cannot be scored.
    pub(super) fn fail(&self, portion: u64, why: Error) {
        self.change(|work| {
            let Some(held) = work.portions.remove(&portion) else { return };
            let open = work.candidates.get_mut(&held.candidate).expect("portions are withdrawn with their candidate");
            open.error.get_or_insert(why);
        });
    }
}

impl Work {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Items that nobody has, for a worker.
    fn waiting(&mut self, worker: usize, loaded: Option<u64>) -> Option<Assignment> {
        let first = |open: &OpenCandidate| open.chunks.iter().position(|chunk| !chunk.waiting.is_empty());
        let waits = |open: &OpenCandidate| open.chunks.iter().map(|chunk| chunk.waiting.len()).sum::<usize>();
        let is_begun = |number: &u64| self.portions.values().any(|portion| portion.candidate == *number);
        // A candidate that workers ended with comes last: the others are scored before the search stops. What is loaded
        // comes first, and what nobody has begun.
        let key = |number: &u64, open: &OpenCandidate| {
            (open.deaths, Some(*number) != loaded, is_begun(number), Reverse(waits(open)), *number)
        };
        let open = self.candidates.iter().filter(|(_, open)| open.error.is_none() && first(open).is_some());
        let (number, open) = open.min_by_key(|(number, open)| key(number, open))?;
        let (number, chunk) = (*number, first(open).expect("it was looked for"));

        // A portion is a fair share of all that waits: the less is left, the smaller it is, so that all end together. But it
        // lasts at least as long as what each portion costs besides.
        let pace = &self.pace;
        let all = self.candidates.values().flat_map(|open| &open.chunks);
        let all: f64 = all.map(|open| pace.seconds(&open.chunk, &open.waiting)).sum();
        let goal = open.chunks[chunk].chunk.goal;
        let time = pace.of(goal);
        let all = all + self.expected as f64 * time.each;
        let amount = (all / self.present.max(1) as f64).max(time.fixed);

        let open = self.candidates.get_mut(&number).expect("it was found");
        let OpenChunk { chunk: items, waiting, .. } = &mut open.chunks[chunk];
        let (mut positions, mut seconds) = (Vec::new(), 0.0);
        while let Some(position) = waiting.last().filter(|_| positions.is_empty() || seconds < amount) {
            seconds += pace.seconds(items, &[*position]);
            positions.push(*position);
            waiting.pop();
        }
        // What is left is not worth a portion of its own.
        if pace.seconds(items, waiting) < time.fixed / 2.0 {
            positions.extend(waiting.drain(..).rev());
        }
        let portion = Portion { candidate: number, chunk, positions, began: Instant::now(), holders: vec![worker] };
        let portion_number = self.number();
        let assignment = self.assign(portion_number, &portion, false);
        self.portions.insert(portion_number, portion);
        Some(assignment)
    }

    /// A portion that another worker takes too long for; the slowest of them.
    fn second(&mut self, worker: usize) -> Option<Assignment> {
        let slowness = |portion: &Portion| {
            let open = &self.candidates[&portion.candidate];
            let chunk = &open.chunks[portion.chunk].chunk;
            let time = self.pace.seen(chunk.goal)?;
            let took = portion.began.elapsed();
            let slowness = took.as_secs_f64() / (time.fixed + self.pace.seconds(chunk, &portion.positions));
            let is_slow = slowness > SLOW && took > LEAST_SLOW && open.error.is_none();
            (is_slow && portion.holders.len() == 1 && portion.holders[0] != worker).then_some(slowness)
        };
        let slow = self.portions.iter().filter_map(|(number, portion)| Some((*number, slowness(portion)?)));
        let (number, _) = slow.max_by(|a, b| a.1.total_cmp(&b.1))?;
        self.portions.get_mut(&number).expect("it was found").holders.push(worker);
        Some(self.assign(number, &self.portions[&number], true))
    }

    fn assign(&self, number: u64, portion: &Portion, is_second: bool) -> Assignment {
        let open = &self.candidates[&portion.candidate];
        let ItemChunk { goal, items, in_pool } = &open.chunks[portion.chunk].chunk;
        let items = portion.positions.iter().map(|position| items[*position]).collect();
        let portion_items = ItemChunk { goal: *goal, items, in_pool: *in_pool };
        Assignment {
            portion: number,
            candidate: portion.candidate,
            order: PortionOrder { candidate: open.named.clone(), items: portion_items },
            is_second,
        }
    }
}

impl DeskTicket<'_> {
    /// Waits until all items of a chunk are answered, and takes the answers. Fails if the candidate cannot be scored, if no
    /// worker can be asked, or if interrupted.
    pub(super) fn wait(&self, chunk: usize, interrupt: &Interrupt) -> Result<Vec<AnsweredItem>> {
        let mut work = self.desk.work();
        loop {
            if interrupt.is_set() {
                return Err(Error::interrupted());
            }
            let open = work.candidates.get_mut(&self.candidate).expect("it is withdrawn with this");
            if let Some(error) = &open.error {
                return Err(error.clone());
            }
            let answered = &mut open.chunks[chunk].answered;
            if answered.iter().all(Option::is_some) {
                return Ok(std::mem::take(answered).into_iter().flatten().collect());
            }
            work = self.desk.changed.wait_timeout(work, LOOK).expect("no panic while held").0;
        }
    }
}

impl Drop for DeskTicket<'_> {
    fn drop(&mut self) {
        self.desk.change(|work| {
            work.candidates.remove(&self.candidate);
            work.portions.retain(|_, portion| portion.candidate != self.candidate);
        });
    }
}
