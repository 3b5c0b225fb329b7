//! Draws a frame of a running search: charts and figures, from its progress alone.

use super::{ProgressNames, ink};
use crate::{
    draw::{
        line::percent,
        screen::{self, grouped},
    },
    job,
    language::{Language, study as texts},
    lead::{LeadPoint, Leads},
};
use merge_core::study::{Point, Progress};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Color,
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Chart, Dataset, GraphType, Paragraph, Sparkline, Widget as _},
};

/// Content of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// Progress as it is shown everywhere.
    pub(crate) record: &'a job::JobProgress,
    pub(crate) progress: &'a Progress,
    pub(crate) leads: Option<&'a Leads>,
    pub(crate) names: &'a ProgressNames,
    pub(crate) language: Language,
}

/// Draws a frame of this many columns and at most this many rows.
pub(crate) fn frame(scene: &Scene<'_>, (columns, rows): (u16, u16)) -> Buffer {
    let &Scene { record, progress, leads, names, language } = scene;
    let area = Rect::new(0, 0, columns, if leads.is_some() { rows } else { 3 });
    let mut frame = Buffer::empty(area);
    let [head, bar, middle, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(area);
    Paragraph::new(record.label.as_str()).render(head, &mut frame);
    let share = record.share.unwrap_or(0.0);
    let text = format!(" {:>3}% · {}", percent(share), record.time_left(language));
    let cells = bar.width.saturating_sub(screen::width(&text) as u16);
    Paragraph::new(Line::from(filled(share, cells, Color::Green, text))).render(bar, &mut frame);
    if let Some(leads) = leads {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).spacing(2).areas(middle);
        curve(scene, leads, left, &mut frame);
        if let Some(last) = progress.curves.evolution.last() {
            beside(&progress.curves.evolution, last, (names, language), right, &mut frame);
        }
    }
    Paragraph::new(Span::styled(speed(scene), ink(Color::DarkGray))).render(foot, &mut frame);
    frame
}

/// Speed, and how to stop.
fn speed(&Scene { record, progress, language, .. }: &Scene<'_>) -> String {
    let mut parts = Vec::new();
    let per_second = |text, n: f64| language.fill(text, &[("n", &grouped(n.round() as u64))]);
    if let Some(rate) = record.rate {
        parts.push(per_second(&texts::LIVE_ITEMS_RATE, rate));
        if progress.tokens_now > 0 {
            let tokens = progress.tokens_now as f64 * rate / progress.scored_now.max(1) as f64;
            parts.push(per_second(&texts::LIVE_TOKENS_RATE, tokens));
        }
    }
    if let Some(workers) = &record.workers {
        parts.push(workers.says(language));
        parts.push(language.fill(&texts::LIVE_WORKERS_BUSY, &[("share", &percent(workers.busy))]));
    }
    parts.push(language.text(&texts::LIVE_STOP).to_owned());
    parts.join(" · ")
}

/// A bar that is filled to a share, and a text after it.
fn filled(share: f64, cells: u16, colour: Color, text: String) -> Vec<Span<'static>> {
    let full = ((share.clamp(0.0, 1.0) * f64::from(cells)).round() as usize).min(cells.into());
    let rest = usize::from(cells) - full;
    vec![
        Span::styled("━".repeat(full), ink(colour)),
        Span::styled("─".repeat(rest), ink(Color::DarkGray)),
        Span::raw(text),
    ]
}

/// Draws the lead of the generations over the best parent, and that of random search.
fn curve(scene: &Scene<'_>, leads: &Leads, area: Rect, frame: &mut Buffer) {
    let &Scene { record, progress, language, .. } = scene;
    let about = progress.generations.map_or(0, |(_, about)| about);
    let [head, legend, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let says = record.gain.as_ref().map_or_else(String::new, |gain| {
        language.fill(&texts::GAIN_TO_NAMED, &[("gain", &gain.figures()), ("parent", &gain.parent)])
    });
    Paragraph::new(says).render(head, frame);
    let word = |word, colour| Span::styled(language.text(word), ink(colour));
    let words = [
        word(&texts::PHASE_EVOLUTION, Color::Blue),
        word(&texts::LIVE_INTERVAL, Color::DarkGray),
        word(&texts::BEST_PARENT, Color::Green),
        word(&texts::RANDOM_SEARCH, Color::Yellow),
    ];
    let n_words = if leads.random.is_empty() { 3 } else { 4 };
    let spaced = words.into_iter().take(n_words).flat_map(|word| [word, Span::raw("  ")]);
    Paragraph::new(Line::from(spaced.collect::<Vec<_>>())).render(legend, frame);
    let of = |all: &[LeadPoint], value: fn(&LeadPoint) -> f64| -> Vec<(f64, f64)> {
        all.iter().map(|ahead| (ahead.generation, value(ahead))).collect()
    };
    let end = leads.evolution.len().max(leads.random.len()).max(2) as f64;
    let x = [1.0, end.max(about as f64)];
    let parent = [(x[0], 0.0), (x[1], 0.0)];
    let (low, high) = (of(&leads.evolution, |ahead| ahead.low), of(&leads.evolution, |ahead| ahead.high));
    let (mean, random) = (of(&leads.evolution, |ahead| ahead.points), of(&leads.random, |ahead| ahead.points));
    // The axis covers the last interval only: the first ones are wide.
    let y = bounds(mean.iter().chain(&random).chain(&parent).map(|point| point.1).chain(near(leads)));
    let set = |data, colour| {
        Dataset::default().data(data).marker(Marker::Braille).graph_type(GraphType::Line).style(ink(colour))
    };
    let chart = Chart::new(vec![
        set(&low, Color::DarkGray),
        set(&high, Color::DarkGray),
        set(&parent, Color::Green),
        set(&random, Color::Yellow),
        set(&mean, Color::Blue),
    ]);
    chart
        .legend_position(None)
        .x_axis(Axis::default().bounds(x).labels(x.map(|end| format!("{end:.0}"))))
        .y_axis(Axis::default().bounds(y).labels(y.map(|end| format!("{end:+.0}"))))
        .render(rest, frame);
}

/// Bounds of the last interval.
fn near(leads: &Leads) -> impl Iterator<Item = f64> {
    leads.evolution.last().into_iter().flat_map(|last| [last.low, last.high])
}

/// Draws the best candidate's score on each task, the step size, and the front, if there are any.
fn beside(
    points: &[Point],
    last: &Point,
    (names, language): (&ProgressNames, Language),
    area: Rect,
    frame: &mut Buffer,
) {
    let tasks: Vec<(&String, f64)> =
        names.tasks.iter().zip(&last.goals).filter_map(|(name, mean)| Some((name, (*mean)?))).collect();
    let sigma: Vec<f64> = points.iter().filter_map(|point| point.sigma).collect();
    let n_tasks = tasks.len().min(6) as u16;
    let heights = [1, n_tasks * 2, if sigma.is_empty() { 0 } else { 3 }].map(Constraint::Length);
    let [head, bars, steps, front] = Layout::vertical(heights.into_iter().chain([Constraint::Fill(1)])).areas(area);
    Paragraph::new(Span::styled(language.text(&texts::LIVE_BEST), ink(Color::DarkGray))).render(head, frame);
    for ((name, mean), row) in tasks.into_iter().zip(0..n_tasks) {
        let [above, below] = [0, 1].map(|line| Rect { y: bars.y + 2 * row + line, height: 1, ..bars });
        Paragraph::new(name.as_str()).render(above, frame);
        let text = format!(" {:>5.1}", 100.0 * mean);
        let cells = below.width.saturating_sub(text.len() as u16);
        Paragraph::new(Line::from(filled(mean, cells, Color::Blue, text))).render(below, frame);
    }
    if let Some(now) = sigma.last() {
        let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Length(2)]).areas(steps);
        let says = language.fill(&texts::LIVE_STEP, &[("now", &format!("{now:.3}"))]);
        Paragraph::new(Span::styled(says, ink(Color::DarkGray))).render(head, frame);
        let most = sigma.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let recent = &sigma[sigma.len().saturating_sub(usize::from(rest.width))..];
        let heights: Vec<u64> = recent.iter().map(|sigma| (64.0 * sigma / most).round() as u64).collect();
        Sparkline::default().data(&heights).max(64).style(ink(Color::Green)).render(rest, frame);
    }
    if front.height >= 5 {
        scatter(last, (names, language), front, frame);
    }
}

/// Draws the front: the first objective against the second.
fn scatter(last: &Point, (names, language): (&ProgressNames, Language), area: Rect, frame: &mut Buffer) {
    let [first, second, ..] = &names.objectives[..] else { return };
    let data: Vec<(f64, f64)> =
        last.front.iter().filter_map(|point| Some((point.get(1)?.abs(), *point.first()?))).collect();
    if data.is_empty() {
        return;
    }
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let says = language.fill(&texts::LIVE_FRONT, &[("first", first), ("second", second)]);
    Paragraph::new(Span::styled(says, ink(Color::DarkGray))).render(head, frame);
    let (x, y) = (bounds(data.iter().map(|point| point.0)), bounds(data.iter().map(|point| point.1)));
    let set =
        Dataset::default().data(&data).marker(Marker::Dot).graph_type(GraphType::Scatter).style(ink(Color::Green));
    let short = |end: f64| if end.abs() < 10.0 { format!("{end:.2}") } else { grouped(end.round() as u64) };
    Chart::new(vec![set])
        .legend_position(None)
        .x_axis(Axis::default().bounds(x).labels(x.map(short)))
        .y_axis(Axis::default().bounds(y).labels(y.map(short)))
        .render(rest, frame);
}

/// Minimum and maximum, never equal.
fn bounds(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (low, high) = values.filter(|x| x.is_finite()).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    match (low, high) {
        (low, high) if low > high => [0.0, 1.0],
        (low, high) if high > low => [low, high],
        (low, _) => [low - 0.5, low + 0.5],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::tests::point;
    use merge_core::study::{Curves, Phase};
    use std::sync::Arc;

    fn seen(frame: &Buffer) -> Vec<String> {
        crate::draw::view::lines(frame, false).into_iter().map(|(line, _)| line).collect()
    }

    fn names() -> ProgressNames {
        ProgressNames {
            tasks: vec!["sums".to_owned(), "読解".to_owned()],
            objectives: vec!["sums".to_owned(), "layers".to_owned()],
            models: vec!["ja".to_owned()],
        }
    }

    /// A search after its second generation, and its progress.
    fn progress() -> (Progress, job::JobProgress) {
        let generation = |lead: f64, layers: f64| Point {
            front: vec![vec![0.5, -layers], vec![0.25, -layers / 2.0]],
            ..point(&[Some(lead)], 0.0001)
        };
        let curves = Curves { evolution: vec![generation(0.05, 12.0), generation(0.1, 8.0)], random: Vec::new() };
        let progress = Progress {
            phase: Phase::Evolution,
            generations: Some((2, 4)),
            curves: Arc::new(curves),
            scored_now: 400,
            tokens_now: 80_000,
            ..Progress::default()
        };
        let gain = Leads::of(&progress.curves).and_then(|leads| leads.gain(&names().models));
        let record = job::JobProgress {
            label: "evolution · generation 3 of about 4".to_owned(),
            share: Some(0.5),
            rate: Some(40.0),
            left_seconds: Some(13.0),
            gain,
            ..job::JobProgress::default()
        };
        (progress, record)
    }

    fn drawn(progress: &Progress, record: &job::JobProgress, area: (u16, u16)) -> Vec<String> {
        let leads = Leads::of(&progress.curves);
        let scene = Scene { record, progress, leads: leads.as_ref(), names: &names(), language: Language::En };
        seen(&frame(&scene, area))
    }

    #[test]
    fn a_frame_says_where_it_is_how_far_how_fast_and_how_good() {
        let (progress, record) = progress();
        let seen = drawn(&progress, &record, (90, 22));
        assert_eq!(seen[0], "evolution · generation 3 of about 4");
        assert!(seen[1].ends_with("  50% · 13 s left"), "{seen:#?}");
        assert!(seen[2].starts_with("+8.0 [+6.6, +9.4] to the best parent, ja"), "{seen:#?}");
        assert!(seen[3].starts_with("evolution  its 95% interval  the best parent  "), "{seen:#?}");
        for part in ["sums", "読解", " 50.0", " 25.0", "step size 0.200", "front: sums over layers"] {
            assert!(seen.iter().any(|line| line.contains(part)), "{part}: {seen:#?}");
        }
        let foot = "40 items/s · 8,000 tokens/s · Ctrl-C stops cleanly; nothing is lost";
        assert_eq!(seen.last().unwrap(), foot);
        let workers = job::WorkersNow { there: 7, wanted: 8, busy: 0.965, deaths: 1 };
        let seen_with = drawn(&progress, &job::JobProgress { workers: Some(workers), ..record }, (110, 22));
        let foot = "40 items/s · 8,000 tokens/s · 7 of 8 workers · 96% busy · Ctrl-C stops cleanly; nothing is lost";
        assert_eq!(seen_with.last().unwrap(), foot);
        // Braille and dots: something is drawn.
        assert!(seen.iter().any(|line| line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))), "{seen:#?}");
    }

    /// The phases after the evolution keep its picture.
    #[test]
    fn a_frame_is_short_before_the_first_generation_and_none_is_too_small_for_it() {
        let (progress, record) = progress();
        let before = Progress { curves: Arc::default(), ..progress.clone() };
        assert_eq!(drawn(&before, &record, (59, 17)).len(), 3);
        let after = Progress { phase: Phase::Report, generations: None, ..progress.clone() };
        for (columns, rows) in [(59, 17), (20, 4), (3, 3), (119, 31)] {
            assert_eq!(drawn(&after, &record, (columns, rows)).len(), usize::from(rows));
        }
    }
}
