//! The terminal: data to standard output, everything else to standard error, no panic when a pipe closes.

use crate::{
    job,
    view::{self, Names, View},
};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use merge_core::{
    error::Error,
    evolve::{Point, Progress},
};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
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

/// A part of data that brings its own line ends.
pub(crate) fn part(text: &str) {
    if let Err(e) = write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// News, to standard error.
pub(crate) fn say(text: &str) {
    let _ = view::above(|| writeln!(io::stderr(), "{text}"));
}

/// An error, and what to do about it.
pub(crate) fn error(error: &Error) {
    say(&format!("error: {error}"));
    if let Some(hint) = error.advice() {
        say(&format!("\nhint: {hint}"));
    }
}

/// How far a search is: a picture or, where there is no room for one, a line that stays in its place on a terminal, and a plain
/// line now and then otherwise.
pub(crate) struct Line {
    view: Option<View>,
    bar: Option<ProgressBar>,
    began: Instant,
    /// The generations of the evolution, which later phases do not have, and how far it is, without them.
    so_far: Mutex<(Vec<Point>, Progress)>,
    /// What was last said, and when; plain lines only.
    last: Mutex<Option<(String, Instant)>>,
}

const STRING: &str = "a String takes all that is written";

/// Plain lines go to logs: one for each phase and generation, and not more than this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl Line {
    pub(crate) fn new(names: Names) -> Self {
        let view = View::new(names);
        let bar = (view.is_none() && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0).with_style(style());
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar
        });
        Self { view, bar, began: Instant::now(), so_far: Mutex::default(), last: Mutex::default() }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        self.remember(progress);
        job::tell(|| self.told(progress));
        if let Some(view) = &self.view {
            view.show(progress);
            return;
        }
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
        let last = self.so_far.lock().expect("no panic while held").1.clone();
        job::tell_end(|| self.told(&last));
        view::above(|| ());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn remember(&self, progress: &Progress) {
        let mut so_far = self.so_far.lock().expect("no panic while held");
        if progress.phase == "evolution" && progress.curve.len() != so_far.0.len() {
            so_far.0.clone_from(&progress.curve);
        }
        let &Progress { phase, generation, items, scored_now, tokens_now, .. } = progress;
        so_far.1 = Progress { phase, generation, curve: Vec::new(), items, scored_now, tokens_now };
    }

    /// The same for who looks from elsewhere.
    fn told(&self, progress: &Progress) -> job::Told {
        let (done, seconds) = (progress.scored_now as u64, self.began.elapsed().as_secs_f64());
        let rest = progress.items.1.saturating_sub(progress.items.0) as u64;
        let (searches, last) = (progress.generation.0 > 0, progress.curve.last());
        job::Told {
            progress: job::Progress {
                phase: progress.phase.to_owned(),
                done: progress.items.0 as u64,
                total: progress.items.1 as u64,
                unit: "items".to_owned(),
                rate: (done > 0 && seconds > 1.0).then(|| done as f64 / seconds),
                left_seconds: left(done, rest, seconds),
                generation: searches.then_some(progress.generation.0),
                spent: searches.then_some(progress.generation.1),
                best: last.and_then(|last| last.best),
                mean: last.and_then(|last| last.mean),
            },
            curve: self.so_far.lock().expect("no panic while held").0.clone(),
        }
    }

    fn describe(&self, progress: &Progress) -> String {
        let mut text = progress.phase.to_owned();
        if let (generation @ 1.., spent) = progress.generation {
            write!(text, " · generation {generation} · {:.0}% of the budget", 100.0 * spent).expect(STRING);
        }
        if let Some((best, mean)) = progress.curve.last().and_then(|last| last.best.zip(last.mean)) {
            write!(text, " · best {:.1}, mean {:.1}", 100.0 * best, 100.0 * mean).expect(STRING);
        }
        let (done, seconds) = (progress.scored_now as u64, self.began.elapsed().as_secs_f64());
        let rest = progress.items.1.saturating_sub(progress.items.0) as u64;
        if let Some(left) = left(done, rest, seconds) {
            let rate = done as f64 / seconds;
            write!(text, " · {rate:.0} evaluations/s · {} left", duration(left)).expect(STRING);
        }
        text
    }
}

/// How much is done: a bar on a terminal, a plain line now and then otherwise.
pub(crate) struct Meter {
    what: &'static str,
    unit: Unit,
    total: u64,
    done: AtomicU64,
    /// What time is taken by, in all and until now: bytes, or what answers are likely to cost.
    effort: (u64, AtomicU64),
    bar: Option<ProgressBar>,
    pace: Mutex<Pace>,
}

/// What a meter counts.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Answers,
}

/// When a meter last said something, and from when on it measures.
struct Pace {
    /// Plain lines only.
    said: Instant,
    /// When the first burst was over, and the effort until then: what was remembered comes all at once and says nothing of the rest.
    from: Option<(Instant, u64)>,
}

const BURST: Duration = Duration::from_millis(200);

impl Unit {
    /// A number of them, as people say it.
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

    /// So many answers, of so much effort together.
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

    /// So many bytes more are done.
    pub(crate) fn add(&self, n: u64) {
        self.advance(n, n);
    }

    /// One more answer is there, of so much effort.
    pub(crate) fn answered(&self, effort: u64) {
        self.advance(1, effort);
    }

    fn advance(&self, n: u64, effort: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        let effort = self.effort.1.fetch_add(effort, Ordering::Relaxed) + effort;
        // Whoever finds it locked is not the one to speak.
        let Ok(mut pace) = self.pace.try_lock() else { return };
        let (from, before) = *pace.from.get_or_insert((Instant::now(), effort));
        if from.elapsed() < BURST {
            pace.from = Some((from, effort));
        }
        let seconds = from.elapsed().as_secs_f64();
        job::tell(|| self.told(done, effort.saturating_sub(before), effort, seconds));
        if let Some(bar) = &self.bar {
            bar.set_position(effort);
            bar.set_message(self.describe(done, effort.saturating_sub(before), effort, seconds));
        } else if pace.said.elapsed() >= PLAIN_EVERY {
            pace.said = Instant::now();
            say(&self.describe(done, effort.saturating_sub(before), effort, seconds));
        }
    }

    /// The same for who looks from elsewhere.
    fn told(&self, done: u64, measured: u64, effort: u64, seconds: f64) -> job::Told {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Answers => "answers",
        };
        let progress = job::Progress {
            phase: self.what.to_owned(),
            done,
            total: self.total,
            unit: unit.to_owned(),
            left_seconds: left(measured, self.effort.0.saturating_sub(effort), seconds),
            ..job::Progress::default()
        };
        job::Told { progress, ..job::Told::default() }
    }

    /// `measured` of the effort took so many seconds.
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
        job::tell_end(|| self.told(done, 0, effort, 0.0));
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds that the rest takes if it goes on as until now; `None` until ten seconds have passed, or a twentieth is done.
fn left(done: u64, rest: u64, seconds: f64) -> Option<f64> {
    let is_known = done > 0 && (seconds >= 10.0 || 19 * done >= rest);
    is_known.then(|| rest as f64 * seconds / done as f64)
}

/// A number of bytes, as people say it: `2.2 GB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let power = (1..units.len()).take_while(|power| n >= 1000u64.pow(*power as u32)).count();
    if power == 0 {
        format!("{n} bytes")
    } else {
        format!("{:.1} {}", n as f64 / 1000f64.powi(power as i32), units[power])
    }
}

/// A table without borders, from the first column of the screen on, without spaces at the ends of lines.
pub(crate) fn flush_left(table: &Table) -> String {
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// A number with its digits in threes: `7,241,732,096`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    use super::{bytes, duration, grouped, left};

    #[test]
    fn sizes_read_as_people_say_them() {
        let said = [0, 999, 1000, 52_400_000, 2_200_048_640].map(bytes);
        assert_eq!(said, ["0 bytes", "999 bytes", "1.0 kB", "52.4 MB", "2.2 GB"]);
    }

    #[test]
    fn large_numbers_have_their_digits_in_threes() {
        assert_eq!([0, 999, 1000, 7_241_732_096].map(grouped), ["0", "999", "1,000", "7,241,732,096"]);
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
