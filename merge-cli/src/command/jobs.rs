//! The commands `jobs`, `job`, `logs`, `cancel`, `pause`, `resume`, `retry`, `priority` and `rm`.

use crate::{
    args::{Ids, JobOf, Jobs, Logs, Priority, Retry},
    draw::screen::{self, bytes, duration, flush_right, in_line, padded, width},
    language::Language,
    serve::{ALONE, Again, Desk, Home, JobView, tail},
};
use merge_core::{
    error::{Error, Result},
    queue::{JobId, JobState},
    yaml::known_names,
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

/// Number of ended jobs that the list shows without `--all`.
const ENDED: usize = 10;
const STRING: &str = "a String takes all that is written";

pub(crate) fn list(args: &Jobs) -> Result<()> {
    let home = Home::from_env()?;
    if !args.watch {
        let desk = Desk::open(&home)?;
        let all = desk.jobs()?;
        check_labels(args, &all)?;
        let jobs = wanted(args, all);
        if args.json {
            screen::data(&screen::json(&jobs));
            return Ok(());
        }
        screen::data(&table(args, &jobs));
        if !desk.runs() && jobs.iter().any(|job| !job.state.has_ended()) {
            screen::say(ALONE);
        }
        return Ok(());
    }
    let interrupted: Arc<AtomicBool> = Arc::default();
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .map_err(|e| Error::machine(format!("cannot listen for Ctrl-C: {e}")))?;
    while !interrupted.load(Ordering::Relaxed) {
        // The server may be away for a moment: keep watching.
        let text = match Desk::open(&home).and_then(|desk| desk.jobs()) {
            Ok(jobs) => table(args, &wanted(args, jobs)),
            Err(error) => format!("{error}"),
        };
        if io::stdout().is_terminal() {
            screen::page(&format!("{text}\n\n(Ctrl-C ends this; jobs go on)"));
        } else {
            screen::data(&format!("{text}\n"));
        }
        for _ in 0..10 {
            if !interrupted.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

pub(crate) fn show(args: &JobOf) -> Result<()> {
    let home = Home::from_env()?;
    let desk = Desk::open(&home)?;
    let detail = desk.job(args.job)?;
    if args.json {
        screen::data(&screen::json(&detail));
        return Ok(());
    }
    let (job, id) = (&detail.job, JobId(args.job));
    let mut text = format!("job {}: {} ({})\n", job.id, in_line(&job.name), job.kind.name());
    let mut line = |name: &str, value: String| writeln!(text, "  {name:<11}{}", in_line(&value)).expect(STRING);
    line("state", job.standing().to_owned());
    if let Some(waits) = &job.waits {
        line("", format!("waits for {waits}"));
    }
    for more in [&job.why, &job.advice].into_iter().flatten() {
        line("", more.clone());
    }
    line("command", format!("evomerge {}", job.words.join(" ")));
    line("priority", job.priority.to_string());
    if !job.after.is_empty() {
        line("after", job.after.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
    }
    if !job.labels.is_empty() {
        line("labels", job.labels.join(", "));
    }
    let limit = [job.limits.seconds.map(|s| duration(s as f64)), job.limits.bytes.map(bytes)];
    if limit.iter().any(Option::is_some) {
        line("limits", limit.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    let needs = [
        job.needs.memory.map(|memory| format!("about {} of memory", bytes(memory))),
        job.needs.disk.map(|disk| format!("{} of disk", bytes(disk))),
    ];
    if needs.iter().any(Option::is_some) {
        line("needs", needs.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    let attempts = screen::counted(job.attempts as usize, "attempt");
    line("ran", format!("{} in {attempts}", duration(job.seconds)));
    if job.state == JobState::Running {
        line("progress", progress(job));
    }
    if let Some(memory) = job.memory {
        line("uses", format!("{} of memory", bytes(memory)));
    }
    if home.job(id).is_dir() {
        line("directory", home.job(id).display().to_string());
    }
    if let Some(model) = &detail.model {
        line("model", model.clone());
    }
    for text in &detail.texts {
        line("reads", format!("{}, copied when it was submitted: {}", text.file, text.copy));
    }
    text += "\n";
    for event in &detail.events {
        let why = event.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        writeln!(text, "  {:>14}  {}{}", ago(event.at), event.what, in_line(&why)).expect(STRING);
    }
    let (found, _) = tail(&home.output(id), None, 64 << 10)?;
    if !found.trim().is_empty() {
        write!(text, "\n{}", found.trim_end()).expect(STRING);
    }
    screen::data(text.trim_end());
    Ok(())
}

pub(crate) fn logs(args: &Logs) -> Result<()> {
    let home = Home::from_env()?;
    let state = || -> Result<JobState> { Ok(Desk::open(&home)?.job(args.job)?.job.state) };
    let mut known = state()?;
    let path = home.log(JobId(args.job));
    let mut from = 0;
    loop {
        loop {
            let (text, next) = tail(&path, Some(from), 1 << 20)?;
            if next == from {
                break;
            }
            screen::part(&text);
            from = next;
        }
        if !args.follow || known.has_ended() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(500));
        known = state()?;
    }
}

pub(crate) fn cancel(args: &Ids) -> Result<()> {
    each(&args.jobs, Desk::cancel)
}

pub(crate) fn pause(args: &Ids) -> Result<()> {
    each(&args.jobs, Desk::pause)
}

pub(crate) fn resume(args: &Ids) -> Result<()> {
    each(&args.jobs, Desk::resume)
}

pub(crate) fn retry(args: &Retry) -> Result<()> {
    let again = Again { force: args.force, seconds: args.time, bytes: args.disk.map(|bytes| bytes as u64) };
    each(&args.jobs, |desk, id| desk.retry(id, &again))
}

pub(crate) fn prioritise(args: &Priority) -> Result<()> {
    let desk = Desk::open(&Home::from_env()?)?;
    for id in &args.jobs {
        let job = desk.prioritise(*id, args.priority)?;
        screen::say(&format!("job {id} ({}) has priority {}", job.name, job.priority));
    }
    Ok(())
}

pub(crate) fn remove(args: &Ids) -> Result<()> {
    let desk = Desk::open(&Home::from_env()?)?;
    for id in &args.jobs {
        desk.remove(*id)?;
        screen::say(&format!("job {id} is removed"));
    }
    Ok(())
}

/// Changes each job, and prints its new state.
fn each(ids: &[u64], how: impl Fn(&Desk, u64) -> Result<JobView>) -> Result<()> {
    let desk = Desk::open(&Home::from_env()?)?;
    for id in ids {
        let job = how(&desk, *id)?;
        screen::say(&format!("job {id} ({}) is {}", job.name, job.standing()));
    }
    Ok(())
}

/// Refuses a label that no job has.
fn check_labels(args: &Jobs, jobs: &[JobView]) -> Result<()> {
    let known: BTreeSet<&str> = jobs.iter().flat_map(|job| &job.labels).map(String::as_str).collect();
    let Some(label) = args.label.iter().find(|label| !known.contains(label.as_str())) else { return Ok(()) };
    Err(Error::user(format!("no job has the label `{label}`")).hint(match jobs.len() {
        0 => "the queue is empty".to_owned(),
        _ if known.is_empty() => "no job has a label: `evomerge submit --label WORD` gives one".to_owned(),
        _ => known_names(label, "there are", known),
    }))
}

/// The jobs that match `--state` and `--label`.
fn wanted(args: &Jobs, jobs: Vec<JobView>) -> Vec<JobView> {
    let fits = |job: &JobView| {
        args.state.as_ref().is_none_or(|state| state == job.state.name())
            && args.label.iter().all(|label| job.labels.contains(label))
    };
    jobs.into_iter().filter(fits).collect()
}

/// Table of all jobs that have not ended, and of the last ones that have.
fn table(args: &Jobs, jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return match (&args.state, &args.label[..]) {
            (None, []) => "no jobs; `evomerge submit FILE` hands one in".to_owned(),
            (Some(state), []) => format!("no job is {state}"),
            _ => "no job matches all these filters".to_owned(),
        };
    }
    let ended = jobs.iter().filter(|job| job.state.has_ended()).count();
    let hidden = if args.all { 0 } else { ended.saturating_sub(ENDED) };
    let mut left_out = hidden;
    let shown = jobs.iter().filter(|job| {
        let hides = job.state.has_ended() && left_out > 0;
        left_out -= usize::from(hides);
        !hides
    });
    let rows: Vec<[String; 7]> = shown.map(row).collect();
    let header = ["job", "name", "kind", "state", "priority", "ran", ""].map(str::to_owned);
    // With thousands of rows, a table that wraps cells takes longer than everything else.
    let widest = |column: usize| rows.iter().chain([&header]).map(|row| width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(widest).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            // Columns of numbers: job and priority.
            let place = if [0, 4].contains(&column) { flush_right } else { padded };
            line += &place(cell, widths[column]);
            line += "  ";
        }
        writeln!(text, "{}", line.trim_end()).expect(STRING);
    }
    if hidden > 0 {
        writeln!(text, "and {hidden} that ended before; `--all` shows them").expect(STRING);
    }
    text.trim_end().to_owned()
}

fn row(job: &JobView) -> [String; 7] {
    let says = match job.state {
        JobState::Running => progress(job),
        JobState::Queued => match (&job.waits, &job.advice) {
            (Some(waits), Some(advice)) => format!("waits for {waits}: {advice}"),
            (Some(waits), None) => format!("waits for {waits}"),
            _ => job.why.clone().unwrap_or_default(),
        },
        _ => job.why.clone().unwrap_or_default(),
    };
    let ran = if job.attempts == 0 { String::new() } else { duration(job.seconds) };
    [
        job.id.to_string(),
        job.name.clone(),
        job.kind.name().to_owned(),
        job.standing().to_owned(),
        job.priority.to_string(),
        ran,
        says,
    ]
    .map(|cell| in_line(&cell).into_owned())
}

/// Progress and memory of a job.
fn progress(job: &JobView) -> String {
    let Some(progress) = &job.progress else { return String::new() };
    let memory = job.memory.map_or_else(String::new, |memory| format!(", uses {}", bytes(memory)));
    progress.says(Language::chosen()) + &memory
}

/// Time since a moment in milliseconds since 1970, by this machine's clock.
fn ago(at: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    format!("{} ago", duration(now.saturating_sub(at) as f64 / 1000.0))
}
