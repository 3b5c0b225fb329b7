//! Tables of an eval's scores and comparisons.

use super::{ModelScores, TaskScores, comparison::ModelComparison};
use crate::{
    draw::{
        measure,
        screen::{self, counted},
        table::{self, right},
    },
    study_report::figures,
};
use comfy_table::{Cell, Table};
use evaluator::{
    evaluation::{Mishaps, TaskItems},
    statistics::{Estimate, combined},
    task::{Group, MarkedItem, MetricRow, SubtaskScores, Tally, Task as _},
};
use std::collections::BTreeMap;

/// Table of all of a model's measures with intervals, and notes on cut prompts and answers.
pub(super) fn of_model(asked: &[TaskItems<'_>], groups: &[Group], scored: &ModelScores) -> String {
    let mut table = table(&["task", "shots", "measure", "score", "95% interval", "items"]);
    let mut notes = Vec::new();
    for (asked, of) in asked.iter().zip(&scored.tasks) {
        let filters = of.rows.iter().any(|row| row.filter != of.rows[0].filter);
        for (i, row) in of.rows.iter().enumerate() {
            let name = if i == 0 { asked.task.name() } else { "" };
            let shots = if i == 0 { asked.task.n_shots().to_string() } else { String::new() };
            table.add_row(cells(name, &shots, row, filters));
        }
        notes.extend(note(asked.task.name(), &of.mishaps));
        notes.extend(rules(asked.task.name(), &of.marked));
    }
    let rows: BTreeMap<&str, &[MetricRow]> =
        asked.iter().zip(&scored.tasks).map(|(asked, of)| (asked.task.name(), &of.rows[..])).collect();
    for group in groups {
        for row in group.aggregate(&rows) {
            table.add_row(cells(&group.name, "", &row, false));
        }
    }
    if let Some(mean) = mean(asked, &scored.tasks) {
        table.add_row(mean);
    }
    let head = format!("{}\n\n{}", scored.name, table::flush_left(&table));
    let apart = match (asked, &scored.tasks[..]) {
        ([asked], [of]) => parts(asked, of),
        _ => None,
    };
    std::iter::once(head).chain(notes).chain(apart).collect::<Vec<_>>().join("\n")
}

/// Table of the scores of a task's parts, such as the subjects of an exam.
fn parts(asked: &TaskItems<'_>, of: &TaskScores) -> Option<String> {
    let SubtaskScores { field, scores } = asked.task.parts(&of.marked)?;
    let metric = asked.task.metric();
    let mut table = table(&[field, &metric, "95% interval", "items"]);
    for (part, scores) in &scores {
        let Some(Estimate { value, ci95, n, .. }) = Estimate::of(scores) else { continue };
        let (value, ci95) = (measure::number(&metric, value), interval(&metric, ci95));
        table.add_row(vec![Cell::new(part), right(value), right(ci95), right(screen::grouped(n as u64))]);
    }
    Some(format!("\n{}", table::flush_left(&table)))
}

fn table(header: &[&str]) -> Table {
    let mut table = table::plain();
    table.set_header(header.to_vec());
    table
}

fn cells(name: &str, shots: &str, row: &MetricRow, filters: bool) -> Vec<Cell> {
    let measure = if filters { format!("{},{}", row.metric, row.filter) } else { row.metric.clone() };
    vec![
        Cell::new(name),
        right(shots.to_owned()),
        Cell::new(measure),
        right(measure::number(&row.metric, row.value)),
        right(interval(&row.metric, row.ci95)),
        right(screen::grouped(row.n as u64)),
    ]
}

/// Row with the plain mean of the tasks' main scores, as on leaderboards, if all are shares of 1.
fn mean(asked: &[TaskItems<'_>], tasks: &[TaskScores]) -> Option<Vec<Cell>> {
    let are_shares = asked.iter().all(|asked| measure::is_share(&asked.task.metric()));
    if tasks.len() < 2 || !are_shares {
        return None;
    }
    let n = tasks.len() as f64;
    let value = tasks.iter().map(|of| of.main.value).sum::<f64>() / n;
    // A score of one item has no standard error.
    let squares: Option<f64> = tasks.iter().map(|of| of.main.stderr.map(|stderr| stderr * stderr)).sum();
    let stderr = squares.map(|squares| squares.sqrt() / n);
    let parts: Option<Vec<_>> = tasks.iter().map(|of| Some((1.0 / n, of.main.value, of.main.ci95?))).collect();
    let row = MetricRow {
        metric: "mean".to_owned(),
        filter: String::new(),
        value,
        stderr,
        ci95: parts.map(|parts| combined(&parts)),
        n: tasks.iter().map(|of| of.main.n).sum(),
        higher_is_better: true,
    };
    Some(cells(&format!("mean of {} tasks", tasks.len()), "", &row, false))
}

/// One line on prompts and answers that were cut and the like.
fn note(task: &str, mishaps: &Mishaps) -> Option<String> {
    let Mishaps { truncated, shortened, dropped_shots, cut, fused, broken } = *mishaps;
    let lost = counted(dropped_shots, "example");
    let parts: Vec<String> = [
        (truncated, "answer was cut at its limit", "answers were cut at their limit"),
        (shortened, &*format!("prompt lost {lost}"), &*format!("prompts lost {lost}")),
        (cut, "prompt was cut", "prompts were cut"),
        (fused, "choice begins within a token of its prompt", "choices begin within a token of their prompt"),
        (broken, "answer is no number", "answers are no numbers"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, several)| format!("{count} {}", if count == 1 { one } else { several }))
    .collect();
    (!parts.is_empty()).then(|| format!("note: {task}: {}", parts.join("; ")))
}

/// Maximum number of listed items on which the rules disagree; `--json DIR` writes all of them.
const NAMED: usize = 12;

/// Share of right answers by each harness's rule, and the items on which the rules disagree.
fn rules(task: &str, marked: &[MarkedItem]) -> Option<String> {
    let Tally { right, disagree } = Tally::of(marked)?;
    if disagree.is_empty() {
        return Some(format!("note: {task}: the rules of all harnesses agree on every item"));
    }
    let share = |(rule, right): &(&str, usize)| format!("{rule} {:.1}", 100.0 * *right as f64 / marked.len() as f64);
    let shares: Vec<String> = right.iter().map(share).collect();
    let named = disagree.iter().take(NAMED).map(usize::to_string).collect::<Vec<_>>().join(", ");
    let more = match disagree.len() {
        n if n > NAMED => format!(" and {} more", n - NAMED),
        _ => String::new(),
    };
    Some(format!("note: {task}: right by each rule: {}; they disagree on items {named}{more}", shares.join(", ")))
}

/// Tables of each model's differences to the first one, by task.
pub(super) fn of_comparisons(
    asked: &[TaskItems<'_>],
    scored: &[ModelScores],
    compared: &[ModelComparison],
) -> Vec<String> {
    let of = |comparison: &ModelComparison| {
        let (own, first) = (&scored[comparison.model], &scored[0]);
        let mut table = table(&["task", "measure", "difference", "95% interval", "p", "p (Holm)", "items"]);
        for (asked, (difference, adjusted)) in asked.iter().zip(&comparison.tasks) {
            let metric = asked.task.metric();
            let signed = |value: f64| measure::signed(&metric, value);
            let ci95 = difference.ci95.map(|ci95| ci95.map(signed));
            let ci95 = ci95.map_or_else(|| "—".to_owned(), |[low, high]| format!("[{low}, {high}]"));
            table.add_row(vec![
                Cell::new(asked.task.name()),
                Cell::new(&metric),
                right(signed(difference.value)),
                right(ci95),
                right(figures::probability(difference.p)),
                right(figures::probability(*adjusted)),
                right(screen::grouped(difference.n as u64)),
            ]);
        }
        format!("{} minus {}, item by item\n\n{}", own.name, first.name, table::flush_left(&table))
    };
    compared.iter().map(of).collect()
}

fn interval(metric: &str, ci95: Option<[f64; 2]>) -> String {
    ci95.map_or_else(
        || "—".to_owned(),
        |[low, high]| format!("[{}, {}]", measure::number(metric, low), measure::number(metric, high)),
    )
}

#[cfg(test)]
mod tests {
    use super::{Mishaps, note};

    #[test]
    fn one_is_no_plural() {
        let all = |n| Mishaps { truncated: n, shortened: n, dropped_shots: n, cut: n, fused: n, broken: n };
        assert_eq!(note("t", &all(0)), None);
        assert_eq!(
            note("t", &all(1)).unwrap(),
            "note: t: 1 answer was cut at its limit; 1 prompt lost 1 example; 1 prompt was cut; \
             1 choice begins within a token of its prompt; 1 answer is no number"
        );
        assert_eq!(
            note("t", &all(2)).unwrap(),
            "note: t: 2 answers were cut at their limit; 2 prompts lost 2 examples; 2 prompts were cut; \
             2 choices begin within a token of their prompt; 2 answers are no numbers"
        );
    }
}
