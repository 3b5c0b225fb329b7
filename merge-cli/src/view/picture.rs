//! A frame of a running search: charts and figures, from its progress alone.

use super::{Names, ink};
use crate::screen::{duration, grouped};
use merge_core::evolve::{Point, Progress};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Color,
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Chart, Dataset, GraphType, Paragraph, Sparkline, Widget as _},
};

/// A frame of so many columns, and at most so many rows; `seconds` since the search began.
pub(super) fn frame(progress: &Progress, names: &Names, seconds: f64, (columns, rows): (u16, u16)) -> Buffer {
    let has_curve = progress.curve.iter().any(|point| point.best.is_some());
    let area = Rect::new(0, 0, columns, if has_curve { rows.min(18) } else { 3 });
    let mut frame = Buffer::empty(area);
    let [head, bar, middle, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(area);
    Paragraph::new(figures(progress, seconds)).render(head, &mut frame);
    let share = progress.items.0 as f64 / progress.items.1.max(1) as f64;
    let text = format!(" {:>3.0}% of all items", 100.0 * share.min(1.0));
    let cells = bar.width.saturating_sub(text.len() as u16);
    Paragraph::new(Line::from(filled(share, cells, Color::Green, text))).render(bar, &mut frame);
    if let Some(last) = progress.curve.last().filter(|_| has_curve) {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).spacing(2).areas(middle);
        curve(&progress.curve, left, &mut frame);
        beside(&progress.curve, last, names, right, &mut frame);
    }
    Paragraph::new(Span::styled("Ctrl-C stops cleanly; nothing is lost", ink(Color::DarkGray)))
        .render(foot, &mut frame);
    frame
}

/// What it does, how fast, and how long it will take.
fn figures(progress: &Progress, seconds: f64) -> String {
    let mut parts = vec![progress.phase.to_owned()];
    if let (generation @ 1.., spent) = progress.generation {
        parts.push(format!("generation {generation}"));
        parts.push(format!("{:.0}% of the budget", 100.0 * spent));
    }
    if progress.scored_now > 0 && seconds > 0.0 {
        let rate = progress.scored_now as f64 / seconds;
        parts.push(format!("{} items/s", grouped(rate.round() as u64)));
        if progress.tokens_now > 0 {
            parts.push(format!("{} tokens/s", grouped((progress.tokens_now as f64 / seconds).round() as u64)));
        }
        parts.push(format!("{} left", duration(progress.items.1.saturating_sub(progress.items.0) as f64 / rate)));
    }
    parts.join(" · ")
}

/// A bar that is full to a share, and what stands behind it.
fn filled(share: f64, cells: u16, colour: Color, text: String) -> Vec<Span<'static>> {
    let full = ((share.clamp(0.0, 1.0) * f64::from(cells)).round() as usize).min(cells.into());
    let rest = usize::from(cells) - full;
    vec![
        Span::styled("━".repeat(full), ink(colour)),
        Span::styled("─".repeat(rest), ink(Color::DarkGray)),
        Span::raw(text),
    ]
}

/// Best and mean over the generations.
fn curve(points: &[Point], area: Rect, frame: &mut Buffer) {
    let of = |value: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let all = points.iter().enumerate();
        all.filter_map(|(i, point)| Some((i as f64 + 1.0, 100.0 * value(point)?))).collect()
    };
    let (best, mean) = (of(|point| point.best), of(|point| point.mean));
    let last = |line: &[(f64, f64)]| line.last().map_or_else(String::new, |point| format!(" {:.1}", point.1));
    let title = Line::from(vec![
        Span::styled(format!("best{}", last(&best)), ink(Color::Blue)),
        Span::raw("  "),
        Span::styled(format!("mean{}", last(&mean)), ink(Color::Yellow)),
        Span::styled("  of each generation, × 100", ink(Color::DarkGray)),
    ]);
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    Paragraph::new(title).render(head, frame);
    let set = |data, colour| {
        Dataset::default().data(data).marker(Marker::Braille).graph_type(GraphType::Line).style(ink(colour))
    };
    let y = bounds(best.iter().chain(&mean).map(|point| point.1));
    let x = [1.0, (points.len() as f64).max(2.0)];
    let chart = Chart::new(vec![set(&mean, Color::Yellow), set(&best, Color::Blue)])
        .legend_position(None)
        .x_axis(Axis::default().bounds(x).labels(x.map(|end| format!("{end:.0}"))))
        .y_axis(Axis::default().bounds(y).labels(y.map(|end| format!("{end:.1}"))));
    chart.render(rest, frame);
}

/// The best candidate task by task, the step size, and the front, as far as there are any.
fn beside(points: &[Point], last: &Point, names: &Names, area: Rect, frame: &mut Buffer) {
    let tasks: Vec<(&String, f64)> =
        names.tasks.iter().zip(&last.goals).filter_map(|(name, mean)| Some((name, (*mean)?))).collect();
    let sigma: Vec<f64> = points.iter().filter_map(|point| point.sigma).collect();
    let n_tasks = tasks.len().min(6) as u16;
    let heights = [n_tasks * 2, if sigma.is_empty() { 0 } else { 3 }].map(Constraint::Length);
    let [bars, steps, front] = Layout::vertical(heights.into_iter().chain([Constraint::Fill(1)])).areas(area);
    for ((name, mean), row) in tasks.into_iter().zip(0..n_tasks) {
        let [above, below] = [0, 1].map(|line| Rect { y: bars.y + 2 * row + line, height: 1, ..bars });
        Paragraph::new(name.as_str()).render(above, frame);
        let text = format!(" {:>5.1}", 100.0 * mean);
        let cells = below.width.saturating_sub(text.len() as u16);
        Paragraph::new(Line::from(filled(mean, cells, Color::Blue, text))).render(below, frame);
    }
    if let Some(now) = sigma.last() {
        let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Length(2)]).areas(steps);
        Paragraph::new(Span::styled(format!("step size {now:.3}"), ink(Color::DarkGray))).render(head, frame);
        let most = sigma.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let recent = &sigma[sigma.len().saturating_sub(usize::from(rest.width))..];
        let heights: Vec<u64> = recent.iter().map(|sigma| (64.0 * sigma / most).round() as u64).collect();
        Sparkline::default().data(&heights).max(64).style(ink(Color::Green)).render(rest, frame);
    }
    if front.height >= 5 {
        scatter(last, names, front, frame);
    }
}

/// The first objective against the second.
fn scatter(last: &Point, names: &Names, area: Rect, frame: &mut Buffer) {
    let [first, second, ..] = &names.objectives[..] else { return };
    let data: Vec<(f64, f64)> =
        last.front.iter().filter_map(|point| Some((point.get(1)?.abs(), *point.first()?))).collect();
    if data.is_empty() {
        return;
    }
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    Paragraph::new(Span::styled(format!("front: {first} over {second}"), ink(Color::DarkGray))).render(head, frame);
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

/// The least and the most, with something between them.
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

    fn seen(frame: &Buffer) -> Vec<String> {
        crate::view::lines(frame, false).into_iter().map(|(line, _)| line).collect()
    }

    fn names() -> Names {
        Names {
            tasks: vec!["sums".to_owned(), "読解".to_owned()],
            objectives: vec!["sums".to_owned(), "layers".to_owned()],
        }
    }

    #[test]
    fn a_frame_says_how_far_it_is_how_fast_and_how_good() {
        let point = |best: f64, layers: f64| Point {
            best: Some(best),
            mean: Some(best / 2.0),
            sigma: Some(0.2),
            goals: vec![Some(best), Some(0.25)],
            front: vec![vec![best, -layers], vec![best / 2.0, -layers / 2.0]],
        };
        let progress = Progress {
            phase: "evolution",
            generation: (2, 0.5),
            curve: vec![point(0.25, 12.0), point(0.5, 8.0)],
            items: (500, 1000),
            scored_now: 400,
            tokens_now: 80_000,
        };
        let seen = seen(&frame(&progress, &names(), 10.0, (90, 20)));
        assert_eq!(seen[0], "evolution · generation 2 · 50% of the budget · 40 items/s · 8,000 tokens/s · 13 s left");
        assert!(seen[1].ends_with("  50% of all items") && seen[2].starts_with("best 50.0  mean 25.0"), "{seen:#?}");
        for part in ["sums", "読解", " 50.0", " 25.0", "step size 0.200", "front: sums over layers"] {
            assert!(seen.iter().any(|line| line.contains(part)), "{part}: {seen:#?}");
        }
        assert!(seen.last().unwrap().starts_with("Ctrl-C"));
        // Braille and dots: something is drawn.
        assert!(seen.iter().any(|line| line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))), "{seen:#?}");
    }

    #[test]
    fn a_frame_without_generations_is_short_and_none_is_too_small_for_it() {
        let progress = Progress { phase: "report", items: (1, 3), ..Progress::default() };
        let drawn = frame(&progress, &names(), 0.0, (59, 17));
        assert_eq!(seen(&drawn).len(), 3);
        for (columns, rows) in [(59, 17), (20, 4), (3, 3), (119, 21)] {
            let curve =
                vec![Point { best: Some(0.1), mean: None, sigma: None, goals: Vec::new(), front: vec![vec![0.1]] }];
            frame(&Progress { curve, ..progress.clone() }, &names(), 1.0, (columns, rows));
        }
    }
}
