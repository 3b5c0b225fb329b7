//! Progress of a search: a picture or a line on a terminal, lines in a log, a record for the queue.

use crate::{
    draw::{
        screen::{duration, grouped, left, say, style},
        view::{self, LiveView, ProgressNames},
    },
    job,
    language::{Language, Text, study as texts},
    lead::Leads,
};
use indicatif::{ProgressBar, ProgressDrawTarget};
use merge_core::study::{Phase, Progress};
use std::{
    io::{self, IsTerminal as _},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Shows a search's progress: a picture on a terminal, a single line if there is no room for one,
/// and plain lines now and then elsewhere.
pub(crate) struct Line {
    view: Option<LiveView>,
    bar: Option<ProgressBar>,
    began: Instant,
    among: Among,
    names: ProgressNames,
    workers: Box<WorkersSeen>,
    /// Last progress received.
    last: Mutex<Progress>,
    drawn: Mutex<LastDrawn>,
}

/// What the workers of a search do now, if it has any.
pub(crate) type WorkersSeen = dyn Fn() -> Option<job::WorkersNow> + Send + Sync;

/// Position of a study among those of its command: seeds and stages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Among {
    /// Labels of the study: `seed 2 of 3`, `stage 1 of 2`.
    pub(crate) labels: Vec<String>,
    /// Item evaluations of the studies before it.
    pub(crate) before: u64,
    /// Upper bound of the item evaluations of the studies after it.
    pub(crate) after: u64,
}

/// Time of the last drawing; for plain lines, also the last phase and generation, and the time.
#[derive(Default)]
struct LastDrawn {
    at: Option<Instant>,
    said: Option<((Phase, u64), Instant)>,
}

/// Shortest time between two drawings.
const EVERY: Duration = Duration::from_millis(100);
/// Shortest time between two plain lines, which go to logs, at most one for each generation.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl Line {
    pub(crate) fn new(names: ProgressNames, among: Among, workers: Box<WorkersSeen>) -> Self {
        let view = LiveView::new(names.clone());
        let bar = (view.is_none() && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(10_000).with_style(style());
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar
        });
        let (last, drawn) = Default::default();
        Self { view, bar, began: Instant::now(), among, names, workers, last, drawn }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        self.last.lock().expect("no panic while held").clone_from(progress);
        // Another thread is drawing already.
        let Ok(mut drawn) = self.drawn.try_lock() else { return };
        if drawn.at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        drawn.at = Some(Instant::now());
        let leads = Leads::of(&progress.curves);
        let record = self.record(progress, leads.as_ref());
        job::report(|| job::JobReport {
            progress: record.clone(),
            curves: (*progress.curves).clone(),
            models: self.names.models.clone(),
        });
        if let Some(view) = &self.view {
            view.show(&record, progress, leads.as_ref());
        } else if let Some(bar) = &self.bar {
            bar.set_position((10_000.0 * record.share.unwrap_or(0.0)) as u64);
            bar.set_message(record.says(Language::chosen()));
        } else {
            let step = (progress.phase, progress.generations.map_or(0, |(done, _)| done));
            if drawn.said.is_none_or(|(said, when)| said != step && when.elapsed() >= PLAIN_EVERY) {
                say(&record.says(Language::chosen()));
                drawn.said = Some((step, Instant::now()));
            }
        }
    }

    pub(crate) fn finish(&self) {
        let last = self.last.lock().expect("no panic while held").clone();
        let record = self.record(&last, Leads::of(&last.curves).as_ref());
        job::report_end(|| job::JobReport {
            progress: record,
            curves: (*last.curves).clone(),
            models: self.names.models.clone(),
        });
        view::above(|| ());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Progress as it is shown everywhere.
    fn record(&self, progress: &Progress, leads: Option<&Leads>) -> job::JobProgress {
        let seconds = self.began.elapsed().as_secs_f64();
        let record = record(progress, leads, &self.among, &self.names, seconds, Language::chosen());
        job::JobProgress { workers: (self.workers)(), ..record }
    }
}

fn record(
    progress: &Progress,
    leads: Option<&Leads>,
    among: &Among,
    names: &ProgressNames,
    seconds: f64,
    language: Language,
) -> job::JobProgress {
    let (done, rest) = (among.before + progress.done, progress.left + among.after);
    let curve =
        if progress.phase == Phase::RandomSearch { &progress.curves.random } else { &progress.curves.evolution };
    // Scores from another phase do not belong to this one.
    let last = curve.last().filter(|_| progress.generations.is_some());
    job::JobProgress {
        label: label(progress, among, language),
        phase: progress.phase.name().to_owned(),
        share: Some(done as f64 / (done + rest).max(1) as f64),
        done,
        total: done + rest,
        unit: "items".to_owned(),
        rate: (progress.scored_now > 0 && seconds > 1.0).then(|| progress.scored_now as f64 / seconds),
        left_seconds: left(progress.done_now, rest, seconds),
        generation: progress.generations.map(|(done, _)| done),
        generations: progress.generations.map(|(_, about)| about),
        best: last.and_then(|last| last.best),
        mean: last.and_then(|last| last.mean),
        gain: leads.and_then(|leads| leads.gain(&names.models)),
        workers: None,
    }
}

/// Label such as `stage 1 of 2 · evolution · generation 29 of about 61`.
fn label(progress: &Progress, among: &Among, language: Language) -> String {
    let mut parts = among.labels.clone();
    let phase = language.text(phase(progress.phase));
    parts.push(if progress.phase.is_baseline() {
        language.fill(&texts::BASELINE, &[("phase", &phase)])
    } else {
        phase.to_owned()
    });
    parts.extend(progress.generations.map(|(done, about)| {
        let about = about.max(1).max(done);
        let (n, about) = (grouped((done + 1).min(about)), grouped(about));
        language.fill(&texts::GENERATION_OF, &[("n", &n), ("about", &about)])
    }));
    parts.join(" · ")
}

fn phase(phase: Phase) -> &'static Text {
    match phase {
        Phase::LayerScan => &texts::PHASE_LAYER_SCAN,
        Phase::Calibration => &texts::PHASE_CALIBRATION,
        Phase::Evolution => &texts::PHASE_EVOLUTION,
        Phase::Selection => &texts::PHASE_SELECTION,
        Phase::GreedySoup => &texts::PHASE_GREEDY_SOUP,
        Phase::RandomSearch => &texts::RANDOM_SEARCH,
        Phase::RandomSelection => &texts::PHASE_RANDOM_SELECTION,
        Phase::Report => &texts::PHASE_REPORT,
    }
}

impl job::JobProgress {
    /// Progress in one line; for a search, with its lead over the best parent.
    pub(crate) fn says(&self, language: Language) -> String {
        let share = self.share.map(|share| format!("{}%", percent(share)));
        let gain = self.gain.as_ref().map(|gain| gain.to_text(language));
        let workers = self.workers.as_ref().map(|workers| workers.says(language));
        let parts = [share, Some(self.label.clone()), gain, workers, Some(self.time_left(language))];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }

    /// Estimated time left, in words.
    pub(crate) fn time_left(&self, language: Language) -> String {
        let Some(left) = self.left_seconds else { return language.text(&texts::ESTIMATING).to_owned() };
        language.fill(&texts::TIME_LEFT, &[("time", &duration(left))])
    }
}

impl job::WorkersNow {
    /// How many of them are there.
    pub(crate) fn says(&self, language: Language) -> String {
        language.fill(&texts::WORKERS_THERE, &[("there", &self.there), ("wanted", &self.wanted)])
    }
}

/// A share of a job in whole percent, rounded down: 100 only when everything is done.
pub(crate) fn percent(share: f64) -> u64 {
    (100.0 * share.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::tests::point;
    use merge_core::study::Curves;
    use std::sync::Arc;

    fn names() -> ProgressNames {
        ProgressNames { models: vec!["ja".to_owned()], ..ProgressNames::default() }
    }

    fn said(progress: &Progress, among: &Among, seconds: f64) -> String {
        let language = Language::En;
        record(progress, Leads::of(&progress.curves).as_ref(), among, &names(), seconds, language).says(language)
    }

    #[test]
    fn the_whole_job_is_said_with_its_stage_its_part_and_its_generation() {
        let among = Among { labels: vec!["stage 1 of 2".to_owned()], before: 0, after: 3000 };
        let curves = Curves { evolution: vec![point(&[Some(0.1)], 0.0001)], random: Vec::new() };
        let progress = Progress {
            phase: Phase::Evolution,
            generations: Some((28, 61)),
            curves: Arc::new(curves),
            done: 500,
            left: 500,
            done_now: 500,
            scored_now: 600,
            ..Progress::default()
        };
        let gain = "+10.0 [+8.0, +12.0] to the best parent";
        let place = "stage 1 of 2 · evolution · generation 29 of about 61";
        assert_eq!(said(&progress, &among, 10.0), format!("12% · {place} · {gain} · 1 min 10 s left"));
        let progress = Progress { phase: Phase::RandomSearch, generations: Some((4, 4)), ..progress };
        let among = Among { labels: vec!["stage 2 of 2".to_owned()], before: 3000, after: 0 };
        let place = "stage 2 of 2 · baseline: random search · generation 4 of about 4";
        assert_eq!(said(&progress, &among, 10.0), format!("87% · {place} · {gain} · 10 s left"));
    }

    #[test]
    fn nothing_is_foretold_before_there_is_a_basis_and_nothing_is_whole_before_it_is() {
        let progress = Progress { phase: Phase::Report, done: 999, left: 1, ..Progress::default() };
        assert_eq!(said(&progress, &Among::default(), 9.0), "99% · report · estimating");
        let progress = Progress { generations: Some((0, 0)), phase: Phase::Evolution, left: 1, ..Progress::default() };
        assert_eq!(said(&progress, &Among::default(), 0.0), "0% · evolution · generation 1 of about 1 · estimating");
    }
}
