//! The view of a job: its present state, what it waits for, and what its user can do.

use super::{service::Now, shown::JobView};
use merge_core::queue::{Job, JobId, JobState, JournalFile, Queue};
use std::collections::BTreeSet;

/// Returns the view of a job.
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

/// A job that another one waits for directly, and the job that holds up both; they may be the same.
type HoldingJobs<'a> = (&'a Job, &'a Job);

/// Reason why a queued job waits; `None` if it only waits for its turn.
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

/// Maximum number of jobs to follow: chains may be long, and each job needs its reason.
const MOST: usize = 300;

/// The first job that a queued one waits for, directly or indirectly, and that does not run unless
/// a user acts.
fn held_by<'a>(queue: &'a Queue<JournalFile>, job: &'a Job) -> Option<HoldingJobs<'a>> {
    let mut seen: BTreeSet<JobId> = BTreeSet::new();
    // A stack: the last is next. Each job comes with the direct dependency that leads to it.
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

/// Advice for a job that continues only if a user acts.
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
