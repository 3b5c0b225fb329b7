//! Jobs change only as allowed; a queue is the same when read again, whatever happens to its files.

use super::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{fs, path::Path};
use tempfile::tempdir;

/// Journal in memory; `left` limits how often it stores.
#[derive(Clone, Default)]
struct Memory {
    events: Vec<Event>,
    tip: Tip,
    left: Option<usize>,
}

impl Journal for Memory {
    fn read(&self) -> Result<(Vec<Event>, Tip)> {
        Ok((self.events.clone(), self.tip))
    }

    fn append(&mut self, events: &[Event], tip: Tip) -> Result<()> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or_else(|| Error::machine("the disk is full"))?;
        }
        for event in events {
            match event.what {
                EventKind::Removed => self.events.retain(|other| other.job != event.job),
                _ => self.events.push(event.clone()),
            }
        }
        self.tip = tip;
        Ok(())
    }
}

fn merge(name: &str) -> Submission {
    Submission {
        kind: JobKind::Merge,
        name: name.to_owned(),
        words: vec!["merge".to_owned(), format!("{name}.yaml")],
        directory: "/recipes".into(),
        texts: Vec::new(),
        priority: 0,
        after: Vec::new(),
        labels: Vec::new(),
        limits: Limits::default(),
        attempts: 3,
        threads: None,
        needs: Needs::default(),
        key: None,
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Pause,
    Resume,
    Cancel,
    Retry,
    Force,
    Remove,
    Done,
    Stopped,
    /// The machine fails the job, by this signal.
    Breaks(u8),
    /// The job fails by its user's mistake.
    Fails,
}

fn take<J: Journal>(queue: &mut Queue<J>, id: JobId, step: Step) -> Result<()> {
    let failure = |why: String, by_machine| End::Failed(Failure { why, by_machine });
    match step {
        Step::Start => queue.start(id),
        Step::Pause => queue.pause(id),
        Step::Resume => queue.resume(id),
        Step::Cancel => queue.cancel(id),
        Step::Retry => queue.retry(id, Limits::default(), false),
        Step::Force => queue.retry(id, Limits::default(), true),
        Step::Remove => queue.remove(id),
        Step::Done => queue.ended(id, End::Done, 5),
        Step::Stopped => queue.ended(id, End::Stopped("the machine restarts".to_owned()), 5),
        Step::Breaks(way) => queue.ended(id, failure(format!("killed by signal {way}"), true), 5),
        Step::Fails => queue.ended(id, failure("no such method".to_owned(), false), 5),
    }
}

/// Checks the state of job 1 after some steps; only the last may be refused.
fn check(steps: &[Step], expected: std::result::Result<(JobState, Option<StopRequest>), &str>) {
    let mut queue = Queue::open(Memory::default()).expect("empty");
    queue.submit(vec![merge("a")]).expect("a job");
    let (last, before) = steps.split_last().expect("a step");
    for step in before {
        take(&mut queue, JobId(1), *step).unwrap_or_else(|e| panic!("{steps:?}: {step:?}: {e}"));
    }
    let said = take(&mut queue, JobId(1), *last);
    let found = said.map(|()| queue.job(JobId(1)).map(|job| (job.state, job.stop_request)).expect("it is there"));
    assert_eq!(
        found.as_ref().map_err(ToString::to_string),
        expected.as_ref().map_err(|e| (*e).to_owned()),
        "{steps:?}"
    );
}

#[test]
fn jobs_go_the_ways_that_they_may() {
    use Step::{Breaks, Cancel, Done, Fails, Force, Pause, Remove, Resume, Retry, Start, Stopped};
    let at = |state| Ok((state, None));
    check(&[Start], at(JobState::Running));
    check(&[Start, Done], at(JobState::Done));
    check(&[Start, Stopped], at(JobState::Queued));
    check(&[Pause], at(JobState::Paused));
    check(&[Pause, Pause], at(JobState::Paused));
    check(&[Pause, Resume], at(JobState::Queued));
    check(&[Start, Pause], Ok((JobState::Running, Some(StopRequest::Pause))));
    check(&[Start, Pause, Stopped], at(JobState::Paused));
    check(&[Start, Pause, Done], at(JobState::Done));
    check(&[Start, Pause, Resume, Stopped], at(JobState::Queued));
    check(&[Start, Pause, Cancel, Stopped], at(JobState::Cancelled));
    check(&[Start, Cancel, Breaks(9)], at(JobState::Cancelled));
    check(&[Start, Cancel, Done], at(JobState::Done));
    check(&[Cancel, Cancel], at(JobState::Cancelled));
    check(&[Cancel, Retry], at(JobState::Queued));
    check(&[Start, Fails], at(JobState::Failed));
    check(&[Start, Fails, Retry], at(JobState::Queued));
    check(&[Start, Done, Pause], Err("job 1 is done: there is nothing to pause"));
    check(&[Start, Done, Cancel], Err("job 1 is done: there is nothing to cancel"));
    check(&[Start, Done, Retry], Err("job 1 is done: there is nothing to try again"));
    check(&[Cancel, Resume], Err("job 1 is cancelled: there is nothing to resume"));
    check(&[Start, Cancel, Pause], Err("job 1 is being cancelled"));
    check(&[Remove], Err("job 1 is queued"));
    check(&[Start, Remove], Err("job 1 is running"));
    check(&[Cancel, Remove, Remove], Err("there is no job 1"));
    // Failures of the machine are tried again, three times in all; equal ones end in quarantine.
    check(&[Start, Breaks(9)], at(JobState::Queued));
    check(&[Start, Breaks(9), Start, Breaks(6), Start, Breaks(9)], at(JobState::Failed));
    check(&[Start, Breaks(9), Start, Breaks(6), Start, Breaks(9), Retry], at(JobState::Queued));
    let same = [Start, Breaks(9), Start, Breaks(9), Start, Breaks(9)];
    check(&same, at(JobState::Failed));
    let again = "job 1 has failed the same way 3 times: killed by signal 9";
    check(&[same.as_slice(), &[Retry]].concat(), Err(again));
    check(&[same.as_slice(), &[Force]].concat(), at(JobState::Queued));
    check(&[same.as_slice(), &[Force, Start, Breaks(9)]].concat(), at(JobState::Queued));
    let by_user = [Start, Fails, Retry, Start, Fails, Retry, Start, Fails, Retry];
    check(&by_user, Err("job 1 has failed the same way 3 times: no such method"));
    // An interrupted job has not failed.
    check(&[Start, Stopped, Start, Stopped, Start, Stopped, Start, Stopped], at(JobState::Queued));
}

#[test]
fn what_is_urgent_goes_first_and_nobody_before_those_it_waits_for() {
    let mut queue = Queue::open(Memory::default()).expect("empty");
    let with = |name: &str, priority, after: &[u64]| Submission {
        priority,
        after: after.iter().copied().map(JobId).collect(),
        ..merge(name)
    };
    queue.submit(vec![with("a", 0, &[]), with("b", 5, &[]), with("c", 0, &[])]).expect("jobs");
    queue.submit(vec![with("d", 9, &[2]), with("e", 0, &[1, 3])]).expect("jobs");
    let ready = |queue: &Queue<Memory>| queue.ready().iter().map(|job| job.id.0).collect::<Vec<_>>();
    assert_eq!(ready(&queue), [2, 1, 3]);
    queue.start(JobId(2)).expect("queued");
    assert_eq!(ready(&queue), [1, 3]);
    queue.ended(JobId(2), End::Done, 1).expect("running");
    assert_eq!(ready(&queue), [4, 1, 3]);
    assert_eq!(queue.waits_for(&queue.jobs[&JobId(5)]).map(|job| job.id), Some(JobId(1)));
    queue.cancel(JobId(1)).expect("queued");
    assert_eq!(ready(&queue), [4, 3], "what waits for a job that is cancelled waits");
    assert_eq!(queue.remove(JobId(1)).expect_err("it is waited for").to_string(), "job 5 waits for job 1");
    queue.cancel(JobId(5)).expect("queued");
    assert!(queue.remove(JobId(1)).is_err(), "it may be tried again");
    let error = queue.submit(vec![with("f", 0, &[]), with("g", 0, &[77])]).expect_err("there is no 77");
    assert_eq!(error.to_string(), "g: `after`: there is no job 77");
    assert_eq!(queue.jobs().count(), 5, "all or none");
}

#[test]
fn a_key_stands_for_one_piece_of_work() {
    let mut queue = Queue::open(Memory::default()).expect("empty");
    let keyed = |name: &str| Submission { key: Some("tonight".to_owned()), ..merge(name) };
    let ids = queue.submit(vec![keyed("a"), keyed("a"), merge("b")]).expect("jobs");
    assert_eq!(ids, [JobId(1), JobId(1), JobId(2)]);
    assert_eq!(queue.submit(vec![keyed("a")]), Ok(vec![JobId(1)]));
    let error = queue.submit(vec![keyed("b")]).expect_err("another recipe");
    assert_eq!(error.to_string(), "the key `tonight` already belongs to job 1, which does other work");
    queue.cancel(JobId(1)).and_then(|()| queue.remove(JobId(1))).expect("it was queued");
    assert_eq!(queue.submit(vec![keyed("b")]), Ok(vec![JobId(3)]), "a number is never given twice");
}

#[test]
fn events_are_ordered_by_their_place_whatever_the_clock_says() {
    let mut queue = Queue::open(Memory::default()).expect("empty");
    queue.clock = || 2_000_000;
    queue.submit(vec![merge("a"), merge("b")]).expect("jobs");
    queue.clock = || 1_000;
    take(&mut queue, JobId(1), Step::Start).and_then(|()| queue.pause(JobId(2))).expect("allowed");
    queue.clock = || 0;
    take(&mut queue, JobId(1), Step::Done).and_then(|()| queue.resume(JobId(2))).expect("allowed");
    let again = Queue::open(queue.journal.clone()).expect("readable");
    assert_eq!(again.jobs, queue.jobs);
    let states: Vec<JobState> = again.jobs().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Done, JobState::Queued]);
}

/// Takes random steps; some are refused.
fn stir<J: Journal>(queue: &mut Queue<J>, seed: u64, steps: usize) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for number in 0..steps {
        let all: Vec<(JobId, JobState)> = queue.jobs().map(|job| (job.id, job.state)).collect();
        if all.is_empty() || random.random_bool(0.3) {
            let after = if all.is_empty() { vec![] } else { vec![all[random.random_range(0..all.len())].0] };
            let after = if random.random_bool(0.2) { after } else { vec![] };
            queue.submit(vec![Submission { after, ..merge(&number.to_string()) }])?;
            continue;
        }
        let (id, state) = all[random.random_range(0..all.len())];
        let ends = [Step::Done, Step::Stopped, Step::Breaks(9), Step::Fails];
        let asks = [Step::Pause, Step::Resume, Step::Cancel, Step::Retry, Step::Force, Step::Remove];
        let step = match state {
            JobState::Queued if random.random_bool(0.5) => Step::Start,
            JobState::Running if random.random_bool(0.5) => ends[random.random_range(0..ends.len())],
            _ => asks[random.random_range(0..asks.len())],
        };
        if let Err(error) = take(queue, id, step)
            && error.to_string() == "the disk is full"
        {
            return Err(error);
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_kept_has_not_happened() {
    for left in 0..60 {
        let mut queue = Queue::open(Memory { left: Some(left), ..Memory::default() }).expect("empty");
        stir(&mut queue, 7, 200).expect_err("the disk fills up");
        let again = Queue::open(queue.journal.clone()).expect("readable");
        assert_eq!((&again.jobs, again.tip), (&queue.jobs, queue.tip), "{left}");
        // The fate of the unstored events is unknown: nothing more is stored, even with room again.
        queue.journal.left = None;
        assert!(queue.submit(vec![merge("late")]).is_err());
        assert_eq!(queue.jobs, again.jobs);
    }
}

#[test]
fn what_is_read_again_is_what_was_there() {
    for seed in 0..4 {
        let dir = tempdir().expect("a directory");
        let mut queue = Queue::open(JournalFile::open(dir.path()).expect("new")).expect("empty");
        stir(&mut queue, seed, 400).expect("room");
        let (jobs, tip) = (queue.jobs.clone(), queue.tip);
        assert!(jobs.len() > 5 && tip.job > jobs.len() as u64, "some were removed");
        drop(queue.journal);
        // The file of events may be gone, cut short, or behind; the database counts.
        let path = dir.path().join("events.jsonl");
        let text = fs::read_to_string(&path).expect("it was written");
        match seed {
            0 => {}
            1 => fs::remove_file(&path).expect("it is there"),
            2 => fs::write(&path, &text[..text.len() - 20]).expect("room"),
            _ => fs::write(&path, text.lines().next().expect("a line").to_owned() + "\n").expect("room"),
        }
        for _ in 0..2 {
            let again = Queue::open(JournalFile::open(dir.path()).expect("readable")).expect("readable");
            assert_eq!((&again.jobs, again.tip), (&jobs, tip), "{seed}");
        }
    }
}

/// Checks the error of a queue whose store `spoil` has changed, and that repair restores it.
fn spoilt(spoil: impl Fn(&Path)) {
    let dir = tempdir().expect("a directory");
    let mut queue = Queue::open(JournalFile::open(dir.path()).expect("new")).expect("empty");
    stir(&mut queue, 3, 300).expect("room");
    let (jobs, tip) = (queue.jobs.clone(), queue.tip);
    drop(queue.journal);
    spoil(&dir.path().join("store"));
    let error = JournalFile::open(dir.path()).err().expect("it is damaged");
    assert!(error.to_string().contains("the store of the queue is damaged: "), "{error}");
    assert_eq!(error.advice(), Some("`evomerge serve --repair` rebuilds it from the file of events beside it"),);
    let (aside, n_events) = JournalFile::repair(dir.path()).expect("the file of events is whole");
    assert!(aside.ends_with("store-damaged-1") && aside.join("db").is_file());
    assert_eq!(n_events as u64, tip.events);
    let again = Queue::open(JournalFile::open(dir.path()).expect("it is mended")).expect("readable");
    assert_eq!((again.jobs, again.tip), (jobs, tip));
}

#[test]
fn damage_is_told_of_and_mended() {
    let last_bytes = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    spoilt(|store| {
        let path = store.join("db");
        let mut bytes = fs::read(&path).expect("readable");
        let end = last_bytes(&bytes);
        for byte in &mut bytes[end - 8..=end] {
            *byte ^= 0xff;
        }
        fs::write(&path, bytes).expect("room");
        remove_snapshots(store);
    });
    spoilt(|store| {
        let path = store.join("db");
        let bytes = fs::read(&path).expect("readable");
        fs::write(&path, &bytes[..last_bytes(&bytes) / 2]).expect("room");
        remove_snapshots(store);
    });
    // The whole store is gone.
    spoilt(|store| {
        for entry in fs::read_dir(store).expect("it is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
        }
        fs::write(store.join("db"), []).expect("room");
    });
}

/// Removes snapshots, which may hold what the log has lost.
fn remove_snapshots(store: &Path) {
    for entry in fs::read_dir(store).expect("it is there") {
        let entry = entry.expect("readable");
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).expect("it is there");
        }
    }
}

/// Three servers that went away soon after a job had begun may have gone because of it.
#[test]
fn a_job_that_ends_its_servers_is_held() {
    let state = |ran_ms: [u64; 3]| {
        let mut queue = Queue::open(Memory::default()).unwrap();
        let id = queue.submit(vec![merge("a")]).unwrap()[0];
        for ran_ms in ran_ms {
            queue.start(id).unwrap();
            assert_eq!(queue.recover(|_| ran_ms).unwrap(), [id]);
        }
        let job = queue.job(id).unwrap().clone();
        assert_eq!(job.ran_ms, ran_ms.iter().sum::<u64>());
        queue.resume(id).unwrap();
        (job.state, job.why.unwrap(), queue.job(id).unwrap().state)
    };
    let held = "its server went away 3 times in a row, soon after it had begun";
    assert_eq!(state([5, 5, 5]), (JobState::Paused, held.to_owned(), JobState::Queued));
    // A power cut once a day is nobody's fault.
    for ran_ms in [[5, 5, 86_400_000], [5, 86_400_000, 5], [600_000; 3]] {
        assert_eq!(state(ran_ms), (JobState::Queued, "its server was gone".to_owned(), JobState::Queued), "{ran_ms:?}");
    }
}

#[test]
fn a_priority_can_be_changed_until_a_job_has_ended() {
    let mut queue = Queue::open(Memory::default()).unwrap();
    let ids = queue.submit(vec![merge("a"), merge("b")]).unwrap();
    queue.prioritise(ids[1], 3).unwrap();
    let ready: Vec<JobId> = queue.ready().into_iter().map(|job| job.id).collect();
    assert_eq!(ready, [ids[1], ids[0]]);
    queue.start(ids[0]).unwrap();
    queue.prioritise(ids[0], -1).unwrap();
    assert_eq!(queue.job(ids[0]).unwrap().state, JobState::Running);
    queue.ended(ids[0], End::Done, 0).unwrap();
    let error = queue.prioritise(ids[0], 1).unwrap_err();
    assert_eq!(error.to_string(), "job 1 is done: its priority can no longer be changed");
    let again = Queue::open(queue.journal.clone()).unwrap();
    assert_eq!(again.jobs().map(|job| job.submission.priority).collect::<Vec<_>>(), [-1, 3]);
}

/// An earlier version stored one file mark, or none.
#[test]
fn the_mark_of_one_file_is_that_of_one_text() {
    let marks = |file: &str| {
        let text = serde_json::to_string(&merge("a")).unwrap().replace("\"texts\":[]", file);
        serde_json::from_str::<Submission>(&text).unwrap().texts
    };
    let mark = FileMark { path: "/a.yaml".into(), sha256: "00".to_owned() };
    let one = serde_json::to_string(&mark).unwrap();
    assert_eq!(marks(&format!("\"texts\":[{one},{one}]")), [mark.clone(), mark.clone()]);
    assert_eq!(marks(&format!("\"file\":{one}")), [mark]);
    assert_eq!(marks("\"file\":null"), []);
}
