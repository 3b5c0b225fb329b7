//! A study as CSV tables for other programs.

use super::summary::Summary;
use merge_core::study::CandidateState;

/// The tables, by file name. A cell without a number is empty.
pub(crate) fn tables(summary: &Summary) -> [(&'static str, String); 3] {
    [("candidates.csv", candidates(summary)), ("scores.csv", scores(summary)), ("items.csv", items(summary))]
}

/// Table of the candidates; their numbers are formatted as in recipes.
fn candidates(summary: &Summary) -> String {
    let mut header: Vec<String> =
        ["phase", "generation", "number", "state", "why", "fitness"].map(str::to_owned).to_vec();
    header.extend(summary.tasks.iter().map(|task| format!("task:{}", task.name)));
    let costs = summary.objectives.iter().filter(|objective| objective.minimised);
    header.extend(costs.map(|cost| format!("cost:{}", cost.name)));
    header.extend(summary.dimensions.iter().map(|dimension| dimension.label.clone()));
    let costs = summary.objectives.iter().filter(|objective| objective.minimised).count();
    let rows = summary.candidates.iter().map(|one| {
        let (state, why) = match &one.state {
            CandidateState::Ranked { .. } => ("ranked", String::new()),
            CandidateState::Infeasible { by } => ("infeasible", format!("breaks constraints by {by}")),
            CandidateState::TooLong { layers } => ("too_long", format!("{layers} layers")),
            CandidateState::Failed { why } => ("failed", why.clone()),
        };
        let mut row =
            vec![one.phase.to_owned(), one.generation.to_string(), one.number.to_string(), state.to_owned(), why];
        row.push(cell(one.fitness));
        row.extend((0..summary.tasks.len()).map(|place| cell(one.goals.get(place).copied().flatten())));
        row.extend((0..costs).map(|place| cell(one.costs.get(place).copied())));
        row.extend(summary.dimensions.iter().zip(&one.genome).map(|(dimension, x)| dimension.kind.show(*x)));
        row
    });
    table([header].into_iter().chain(rows))
}

/// Table of models and tasks, with paired differences to the parent that is best on the task.
fn scores(summary: &Summary) -> String {
    let header = [
        "model",
        "task",
        "metric",
        "n",
        "value",
        "low",
        "high",
        "best_parent",
        "difference",
        "difference_low",
        "difference_high",
    ];
    let rows = summary.table.iter().flat_map(|row| {
        row.scores.iter().map(|score| {
            let [low, high] = bounds(score.estimate.ci95);
            let difference = score.difference_to_best_parent.as_ref();
            let [less, more] = bounds(difference.and_then(|difference| difference.ci95));
            let (n, value) = (score.estimate.n.to_string(), score.estimate.value.to_string());
            let [model, task, metric, best] =
                [&row.name, &score.task, &score.metric, &score.best_parent].map(Clone::clone);
            let difference = cell(difference.map(|difference| difference.value));
            vec![model, task, metric, n, value, low, high, best, difference, less, more]
        })
    });
    table([header.map(str::to_owned).to_vec()].into_iter().chain(rows))
}

fn bounds(ci95: Option<[f64; 2]>) -> [String; 2] {
    ci95.map_or_else(Default::default, |ci95| ci95.map(|bound| bound.to_string()))
}

/// Table of models and items.
fn items(summary: &Summary) -> String {
    let header = ["model", "task", "item", "value"].map(str::to_owned).to_vec();
    let rows = summary.report_items.iter().flat_map(|items| {
        items.models.iter().flat_map(|(model, values)| {
            let cells = items.ids.iter().zip(values);
            cells.map(|(id, value)| vec![model.clone(), items.task.clone(), id.to_string(), value.to_string()])
        })
    });
    table([header].into_iter().chain(rows))
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn table(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("memory takes every write, and rows are as long as the header");
    }
    let bytes = writer.into_inner().expect("memory takes every write");
    String::from_utf8(bytes).expect("cells are text")
}
