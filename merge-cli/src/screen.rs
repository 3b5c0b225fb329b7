//! The terminal: data to standard output, everything else to standard error, no panic when a pipe closes.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use merge_core::{error::Error, evolve::Progress};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Whether data could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether all data was written.
pub(crate) fn all_said() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// Data, to standard output.
pub(crate) fn data(text: &str) {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => {}
        // Whoever reads may have read enough: `evomerge methods | head`.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        Err(e) => {
            LOST.store(true, Ordering::Relaxed);
            say(&format!("error: cannot write to standard output: {}", e.kind()));
        }
    }
}

/// News, to standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// An error, and what to do about it.
pub(crate) fn error(error: &Error) {
    say(&format!("error: {error}"));
    if let Some(hint) = error.advice() {
        say(&format!("\nhint: {hint}"));
    }
}

/// How far a search is: a line that stays in its place on a terminal, a plain line now and then otherwise.
pub(crate) struct Line {
    bar: Option<ProgressBar>,
    began: Instant,
    /// What was last said, and when; plain lines only.
    last: Mutex<Option<(String, Instant)>>,
}

const STRING: &str = "a String takes all that is written";

/// Plain lines go to logs: one for each phase and generation, and not more than this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl Line {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0).with_style(style());
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar
        });
        Self { bar, began: Instant::now(), last: Mutex::default() }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        let text = self.describe(progress);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.items.1 as u64);
            bar.set_position(progress.items.0.min(progress.items.1) as u64);
            bar.set_message(text);
            return;
        }
        let mut last = self.last.lock().expect("no panic while held");
        let step = format!("{}{}", progress.phase, progress.generation.0);
        let due = last.as_ref().is_none_or(|(said, when)| *said != step && when.elapsed() >= PLAIN_EVERY);
        if due {
            say(&text);
            *last = Some((step, Instant::now()));
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn describe(&self, progress: &Progress) -> String {
        let mut text = progress.phase.to_owned();
        if let (generation, n @ 1..) = progress.generation {
            write!(text, " · generation {generation}/{n}").expect(STRING);
        }
        if let Some((best, mean)) = progress.fitness {
            write!(text, " · best {:.1}, mean {:.1}", 100.0 * best, 100.0 * mean).expect(STRING);
        }
        let rate = progress.scored_now as f64 / self.began.elapsed().as_secs_f64();
        if progress.scored_now > 0 {
            let left = progress.items.1.saturating_sub(progress.items.0) as f64 / rate;
            write!(text, " · {rate:.0} evaluations/s · {} left", duration(left)).expect(STRING);
        }
        text
    }
}

/// Seconds, as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match (s / 86_400, s % 86_400 / 3600, s % 3600 / 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:24} {percent:>3}% {wide_msg}").expect("a constant template")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_people_say_them() {
        let said = [0.4, 59.6, 61.0, 7260.0, 180_000.0].map(duration);
        assert_eq!(said, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 1 min", "2 d 2 h"]);
    }
}
