//! Writes data to standard output and everything else to standard error; a closed pipe is no panic.

mod text;

pub(crate) use crate::language::grouped;
use crate::{draw::view, job};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use merge_core::error::Error;
pub(crate) use merge_core::words::{counted, noun};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
pub(crate) use text::{ending, flush_right, in_line, is_shown_as_it_is, json, padded, shown, width};

/// True if some data could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// True if all data was written.
pub(crate) fn all_said() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// Writes data to standard output.
pub(crate) fn data(text: &str) {
    written(writeln!(io::stdout(), "{}", shown(text)));
}

/// Writes a picture of characters and colours to standard output. Its texts are escaped already, by
/// [`crate::draw::picture::Screen::draw`].
pub(crate) fn drawn(picture: &str) {
    written(writeln!(io::stdout(), "{picture}"));
}

/// Writes a part of data to standard output, without adding a line end.
pub(crate) fn part(text: &str) {
    written(write!(io::stdout(), "{}", shown(text)).and_then(|()| io::stdout().flush()));
}

/// Clears the terminal, then writes data from its first cell on.
pub(crate) fn page(text: &str) {
    written(writeln!(io::stdout(), "\x1b[H\x1b[2J{}", shown(text)).and_then(|()| io::stdout().flush()));
}

/// Reports an error of standard output, once.
fn written(result: io::Result<()>) {
    // A closed pipe is not an error: `evomerge methods | head`.
    if let Err(e) = result
        && e.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        say(&format!("error: cannot write to standard output: {}", e.kind()));
    }
}

/// Writes a message to standard error.
pub(crate) fn say(text: &str) {
    let _ = view::above(|| writeln!(io::stderr(), "{}", shown(text)));
}

/// Prints the message of the command line's parser: help or an error.
pub(crate) fn usage(said: &clap::Error) {
    // The coloured message quotes the given words unescaped, so it is printed only if these are
    // plain.
    if std::env::args_os().all(|word| is_shown_as_it_is(&word.to_string_lossy())) {
        let printed = said.print();
        if !said.use_stderr() {
            written(printed);
        }
    } else {
        say(said.render().to_string().trim_end());
    }
}

/// Writes an error and its hint to standard error.
pub(crate) fn error(error: &Error) {
    say(&format!("error: {error}"));
    if let Some(hint) = error.advice() {
        say(&format!("\nhint: {hint}"));
    }
}

const STRING: &str = "a String takes all that is written";

/// Shortest time between two plain lines, which go to logs.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows progress: a bar on a terminal, else a plain line now and then.
pub(crate) struct Meter {
    what: &'static str,
    unit: Unit,
    total: u64,
    done: AtomicU64,
    /// Total and finished effort, to which time is proportional: bytes, or estimated costs of
    /// answers.
    effort: (u64, AtomicU64),
    bar: Option<ProgressBar>,
    pace: Mutex<Pace>,
}

/// Unit that a meter counts.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Answers,
}

/// Time of the last plain line, and the start of the measured time.
struct Pace {
    /// Time of the last plain line.
    said: Instant,
    /// End of the first burst, and the effort until then. Remembered answers come in this burst,
    /// which says nothing about the speed of the rest.
    from: Option<(Instant, u64)>,
}

const BURST: Duration = Duration::from_millis(200);

impl Unit {
    /// Formats a number with this unit.
    fn say(self, n: u64) -> String {
        match self {
            Self::Bytes => bytes(n),
            Self::Answers => grouped(n),
        }
    }
}

impl Meter {
    pub(crate) fn bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, Unit::Bytes, total, total)
    }

    /// A meter of `total` answers, which take `effort` together.
    pub(crate) fn answers(total: u64, effort: u64) -> Self {
        Self::new("answers", Unit::Answers, total, effort)
    }

    fn new(what: &'static str, unit: Unit, total: u64, effort: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(effort).with_style(style()).with_message(what);
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar
        });
        let pace = Mutex::new(Pace { said: Instant::now(), from: None });
        Self { what, unit, total, done: AtomicU64::new(0), effort: (effort, AtomicU64::new(0)), bar, pace }
    }

    /// Adds finished bytes.
    pub(crate) fn add(&self, n: u64) {
        self.advance(n, n);
    }

    /// Adds a finished answer and its effort.
    pub(crate) fn answered(&self, effort: u64) {
        self.advance(1, effort);
    }

    fn advance(&self, n: u64, effort: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        let effort = self.effort.1.fetch_add(effort, Ordering::Relaxed) + effort;
        // Another thread is showing progress already.
        let Ok(mut pace) = self.pace.try_lock() else { return };
        let (from, before) = *pace.from.get_or_insert((Instant::now(), effort));
        if from.elapsed() < BURST {
            pace.from = Some((from, effort));
        }
        let seconds = from.elapsed().as_secs_f64();
        job::report(|| self.report(done, effort.saturating_sub(before), effort, seconds));
        if let Some(bar) = &self.bar {
            bar.set_position(effort);
            bar.set_message(self.describe(done, effort.saturating_sub(before), effort, seconds));
        } else if pace.said.elapsed() >= PLAIN_EVERY {
            pace.said = Instant::now();
            say(&self.describe(done, effort.saturating_sub(before), effort, seconds));
        }
    }

    /// Progress for the queue.
    fn report(&self, done: u64, measured: u64, effort: u64, seconds: f64) -> job::JobReport {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Answers => "answers",
        };
        let progress = job::JobProgress {
            label: self.what.to_owned(),
            phase: self.what.to_owned(),
            share: Some(effort as f64 / self.effort.0.max(1) as f64),
            done,
            total: self.total,
            unit: unit.to_owned(),
            left_seconds: left(measured, self.effort.0.saturating_sub(effort), seconds),
            ..job::JobProgress::default()
        };
        job::JobReport { progress, ..job::JobReport::default() }
    }

    /// Progress in words. `measured` is the part of the effort that took `seconds`.
    fn describe(&self, done: u64, measured: u64, effort: u64, seconds: f64) -> String {
        let (what, done, total) = (self.what, self.unit.say(done), self.unit.say(self.total));
        let mut text = format!("{what} {done} of {total}");
        if let Some(left) = left(measured, self.effort.0.saturating_sub(effort), seconds) {
            if let Unit::Bytes = self.unit {
                write!(text, " · {}/s", bytes((measured as f64 / seconds) as u64)).expect(STRING);
            }
            write!(text, " · {} left", duration(left)).expect(STRING);
        }
        text
    }

    pub(crate) fn finish(&self) {
        let (done, effort) = (self.done.load(Ordering::Relaxed), self.effort.1.load(Ordering::Relaxed));
        job::report_end(|| self.report(done, 0, effort, 0.0));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Estimated seconds for the rest at the present speed; `None` until ten seconds have passed or a
/// twentieth is done.
pub(crate) fn left(done: u64, rest: u64, seconds: f64) -> Option<f64> {
    let is_known = done > 0 && (seconds >= 10.0 || 19 * done >= rest);
    is_known.then(|| rest as f64 * seconds / done as f64)
}

/// Formats a number of bytes: `2.2 GB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let power = (1..units.len()).take_while(|power| n >= 1000u64.pow(*power as u32)).count();
    if power == 0 {
        format!("{n} bytes")
    } else {
        format!("{:.1} {}", n as f64 / 1000f64.powi(power as i32), units[power])
    }
}

/// Formats seconds: `1 min 10 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match (s / 86_400, s % 86_400 / 3600, s % 3600 / 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

pub(crate) fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:24} {percent:>3}% {wide_msg}").expect("a constant template")
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, left};

    #[test]
    fn sizes_read_as_people_say_them() {
        let said = [0, 999, 1000, 52_400_000, 2_200_048_640].map(bytes);
        assert_eq!(said, ["0 bytes", "999 bytes", "1.0 kB", "52.4 MB", "2.2 GB"]);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let said = [0.4, 59.6, 61.0, 7260.0, 180_000.0].map(duration);
        assert_eq!(said, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 1 min", "2 d 2 h"]);
    }

    #[test]
    fn says_what_is_left_when_it_can_be_known() {
        assert_eq!([left(0, 100, 60.0), left(1, 99, 9.0), left(4, 96, 2.0)], [None; 3]);
        assert_eq!([left(1, 99, 10.0), left(5, 95, 2.0), left(7, 0, 1.0)], [Some(990.0), Some(38.0), Some(0.0)]);
    }
}
