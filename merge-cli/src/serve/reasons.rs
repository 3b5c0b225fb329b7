//! A job as it is shown now, with why it waits and what its user can do.

use super::{service::Now, shown::JobView};
use merge_core::queue::{Job, JobId, JobState, JournalFile, Queue};
use std::collections::BTreeSet;

/// A job as it is now.
pub(super) fn shown(queue: &Queue<JournalFile>, now: &Now, job: &Job) -> JobView {
    let ms = now.began.get(&job.id).map_or(0, |began| began.elapsed().as_millis() as u64);
    let held = if job.state == JobState::Queued { held_by(queue, job) } else { None };
    let waits = if job.state == JobState::Queued { waits_for(queue, now, job, held) } else { None };
    JobView {
        waits,
        advice: advice(job, held.map(|(_, held)| held)),
        memory: now.memory.get(&job.id).copied(),
        progress: now.told.get(&job.id).map(|told| told.progress.clone()),
        ..JobView::of(job, ms)
    }
}

/// A job that another waits for by itself, and the one that holds both, which may be the same.
type HoldingJobs<'a> = (&'a Job, &'a Job);

/// What a queued job waits for, if it is not simply its turn.
fn waits_for(queue: &Queue<JournalFile>, now: &Now, job: &Job, held: Option<HoldingJobs<'_>>) -> Option<String> {
    let how = |job: &Job| match job.state {
        JobState::Failed => "has failed".to_owned(),
        JobState::Cancelled => "was cancelled".to_owned(),
        state => format!("is {}", state.name()),
    };
    match held {
        Some((before, held)) if held.id != before.id => {
            Some(format!("job {}, which waits for job {}, which {}", before.id, held.id, how(held)))
        }
        Some((before, _)) => Some(format!("job {}, which {}", before.id, how(before))),
        None => match queue.waits_for(job) {
            Some(before) => Some(format!("job {}, which {}", before.id, how(before))),
            None => now.waits.get(&job.id).cloned(),
        },
    }
}

/// A row of jobs may be long, and each of them is asked for its reason.
const MOST: usize = 300;

/// The job that a queued one waits for, by itself or by those between them, and that nobody starts unless somebody asks for it:
/// the first of all of those.
fn held_by<'a>(queue: &'a Queue<JournalFile>, job: &'a Job) -> Option<HoldingJobs<'a>> {
    let mut seen: BTreeSet<JobId> = BTreeSet::new();
    // Who is looked at next is the last; with it, by which of the jobs that it waits for itself.
    let mut next: Vec<HoldingJobs<'a>> = queue.waited_for(job).map(|before| (before, before)).collect();
    next.reverse();
    while let Some((before, one)) = next.pop() {
        if seen.len() >= MOST || !seen.insert(one.id) {
            continue;
        }
        match one.state {
            JobState::Failed | JobState::Cancelled | JobState::Paused => return Some((before, one)),
            JobState::Queued => {
                let further: Vec<HoldingJobs<'a>> = queue.waited_for(one).map(|further| (before, further)).collect();
                next.extend(further.into_iter().rev());
            }
            JobState::Running | JobState::Done => {}
        }
    }
    None
}

/// What to do about a job that goes on only if somebody does something.
fn advice(job: &Job, held: Option<&Job>) -> Option<String> {
    let id = job.id;
    match job.state {
        JobState::Queued => {
            let held = held?;
            Some(match held.state {
                JobState::Paused => format!("`evomerge resume {}` lets that one go on", held.id),
                _ => format!(
                    "`evomerge retry {}` runs that one again, `evomerge cancel {id}` gives this one up",
                    held.id
                ),
            })
        }
        JobState::Paused => Some(format!("`evomerge resume {id}` lets it go on")),
        JobState::Failed if job.is_quarantined() => {
            Some(format!("`evomerge logs {id}` shows how it fails; when that is mended, `evomerge retry {id} --force`"))
        }
        JobState::Failed => Some(format!("`evomerge logs {id}` shows how; `evomerge retry {id}` runs it again")),
        _ => None,
    }
}
