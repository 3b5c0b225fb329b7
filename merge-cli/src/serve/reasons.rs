//! Why a job is where it is, and what its user can do about it.

use super::{service::Now, shown::Shown};
use merge_core::queue::{Job, Kept, Queue, State};

/// A job as it is now.
pub(super) fn shown(queue: &Queue<Kept>, now: &Now, job: &Job) -> Shown {
    let ms = now.began.get(&job.id).map_or(0, |began| began.elapsed().as_millis() as u64);
    let waits = if job.state == State::Queued { waits_for(queue, now, job) } else { None };
    Shown {
        waits,
        advice: advice(queue, job),
        memory: now.memory.get(&job.id).copied(),
        progress: now.told.get(&job.id).map(|told| told.progress.clone()),
        ..Shown::of(job, ms)
    }
}

/// What a queued job waits for, if it is not simply its turn.
fn waits_for(queue: &Queue<Kept>, now: &Now, job: &Job) -> Option<String> {
    if let Some(before) = queue.waits_for(job) {
        let how = |job: &Job| match job.state {
            State::Failed => "has failed".to_owned(),
            State::Cancelled => "was cancelled".to_owned(),
            state => format!("is {}", state.name()),
        };
        return Some(match held_by(queue, job) {
            Some(held) if held.id != before.id => {
                format!("job {}, which waits for job {}, which {}", before.id, held.id, how(held))
            }
            _ => format!("job {}, which {}", before.id, how(before)),
        });
    }
    now.waits.get(&job.id).cloned()
}

/// The job that a queued one waits for, by itself or by those between them, and that nobody starts unless somebody asks for it.
fn held_by<'a>(queue: &'a Queue<Kept>, job: &Job) -> Option<&'a Job> {
    // A row of jobs may be long, and each of them is asked for its reason.
    let row = std::iter::successors(queue.waits_for(job), |before| queue.waits_for(before)).take(100);
    row.take_while(|job| job.state != State::Running)
        .find(|job| matches!(job.state, State::Failed | State::Cancelled | State::Paused))
}

/// What to do about a job that goes on only if somebody does something.
fn advice(queue: &Queue<Kept>, job: &Job) -> Option<String> {
    let id = job.id;
    match job.state {
        State::Queued => {
            let held = held_by(queue, job)?;
            Some(match held.state {
                State::Paused => format!("`evomerge resume {}` lets that one go on", held.id),
                _ => format!(
                    "`evomerge retry {}` runs that one again, `evomerge cancel {id}` gives this one up",
                    held.id
                ),
            })
        }
        State::Paused => Some(format!("`evomerge resume {id}` lets it go on")),
        State::Failed if job.is_quarantined() => {
            Some(format!("`evomerge logs {id}` shows how it fails; when that is mended, `evomerge retry {id} --force`"))
        }
        State::Failed => Some(format!("`evomerge logs {id}` shows how; `evomerge retry {id}` runs it again")),
        _ => None,
    }
}
