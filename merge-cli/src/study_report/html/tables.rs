//! The table of the end with intervals drawn, items gained and lost, and costs.

use super::{
    super::summary::{Against, ScoreSummary, Summary},
    escaped,
};
use crate::{
    draw::{
        measure,
        screen::{counted, grouped},
    },
    study_report::figures,
};
use merge_core::item::ItemId;
use std::fmt::Write as _;

const STRING: &str = "a String takes all that is written";
/// Most items that are named one by one.
const MOST: usize = 200;

/// Parents, baselines and the answer; nothing of a study that has not come to its end.
pub(crate) fn result(summary: &Summary) -> Option<String> {
    let first = summary.table.first()?;
    let mut head = "<th></th>".to_owned();
    for score in &first.scores {
        let (task, metric) = (escaped(&score.task), escaped(&score.metric));
        let items = counted(score.estimate.n, "item");
        write!(head, "<th>{task}<small>{metric}, {items}, 95% interval</small></th>").expect(STRING);
        if score.is_objective {
            let best = escaped(&score.best_parent);
            write!(head, "<th class='n'>difference<small>to the best parent, {best}, paired</small></th>")
                .expect(STRING);
        }
    }
    let (mut body, mut group) = (String::new(), "");
    for row in &summary.table {
        if row.group != group {
            group = row.group;
            let name = match group {
                "parent" => "models merged",
                "baseline" => "what it must beat",
                _ => "found",
            };
            writeln!(body, "<tr class='group'><td colspan='9'>{name}</td></tr>").expect(STRING);
        }
        let mut cells = format!("<td>{}</td>", escaped(&row.name));
        for score in &row.scores {
            write!(
                cells,
                "<td>{}{}</td>",
                interval(score, group == "evolved"),
                measure::score(&score.metric, &score.estimate)
            )
            .expect(STRING);
            if score.is_objective {
                write!(cells, "<td class='n'>{}</td>", difference(score)).expect(STRING);
            }
        }
        writeln!(body, "<tr class='{group}'>{cells}</tr>").expect(STRING);
    }
    let choice: String = summary.choice.iter().map(|line| escaped(line) + "\n").collect();
    Some(format!("<table>\n<tr>{head}</tr>\n{body}</table>\n<h3>How it was chosen</h3>\n<pre>{choice}</pre>\n"))
}

/// A score from 0 to 1 with its interval, on a line; nothing of another.
fn interval(score: &ScoreSummary, is_answer: bool) -> String {
    if !measure::is_share(&score.metric) {
        return String::new();
    }
    let at = |share: f64| 4.0 + 72.0 * share.clamp(0.0, 1.0);
    let (value, class) = (at(score.estimate.value), if is_answer { "win" } else { "dot" });
    let [low, high] = score.estimate.ci95.map_or([value; 2], |ci95| ci95.map(at));
    format!(
        "<svg class='inline' width='80' height='14' viewBox='0 0 80 14' aria-hidden='true'>\
         <line class='grid' x1='4' x2='76' y1='7' y2='7'/><line class='best' x1='{low:.1}' x2='{high:.1}' y1='7' y2='7'/>\
         <circle class='{class}' cx='{value:.1}' cy='7' r='4'/></svg>"
    )
}

fn difference(score: &ScoreSummary) -> String {
    let Some(d) = &score.difference_to_best_parent else { return "—".to_owned() };
    let p = score.p_holm.map_or_else(String::new, |p| format!("<br><small>{}</small>", p_value(p)));
    measure::difference(&score.metric, d) + &p
}

fn p_value(p: f64) -> String {
    match figures::probability(p).as_str() {
        "<0.0001" => "p &lt; 0.0001 (Holm)".to_owned(),
        p => format!("p = {p} (Holm)"),
    }
}

/// Every comparison with its numbers; nothing of a study that has not come to its end.
pub(crate) fn verdict(summary: &Summary) -> Option<String> {
    let judgement = summary.verdict.as_ref()?;
    let mut drawn = "<p class='hint'>The answer less each, item by item, on report items, which nothing had used. p-values are \
                     corrected by Holm: those against parents for the number of tasks, those against baselines for that of tasks and \
                     baselines.</p>\n<table>\n"
        .to_owned();
    for task in &judgement.tasks {
        let (name, n) = (escaped(&task.task), task.n);
        writeln!(drawn, "<tr class='group'><td colspan='3'>{name}, {n} items</td></tr>").expect(STRING);
        for (rival, name) in task.rivals(&str::to_owned) {
            let (words, name) = (rival.finding.words(), escaped(&name));
            let (points, p) = (measure::difference(&task.metric, &rival.difference), p_value(rival.p_holm));
            writeln!(drawn, "<tr><td>{words} {name}</td><td class='n'>{points}</td><td>{p}</td></tr>").expect(STRING);
        }
    }
    drawn += "</table>\n";
    for note in &summary.notes {
        writeln!(drawn, "<p class='note'>{}</p>", escaped(note)).expect(STRING);
    }
    Some(drawn)
}

/// Bars for what the answer gained on each parent and lost to it; nothing of a study that has not come to its end.
pub(crate) fn items(summary: &Summary) -> Option<String> {
    let most = summary.items.iter().map(|one| one.gained.len().max(one.lost.len())).max()?.max(1);
    let mut drawn = "<p class='hint'>Report items that the answer has right and the parent has not, and the other way round.</p>\n\
                     <table>\n<tr><th>against</th><th>task</th><th class='n'>lost</th><th></th><th>gained</th><th class='n'>the same</th></tr>\n"
        .to_owned();
    for one in &summary.items {
        let (gained, lost) = (one.gained.len(), one.lost.len());
        let [left, right] = [lost, gained].map(|n| 110.0 * n as f64 / most as f64);
        let bars = format!(
            "<svg class='inline items' width='230' height='16' viewBox='0 0 230 16' role='img' aria-label='{gained} gained, {lost} lost'>\
             <rect class='loss' x='{:.1}' y='1' width='{left:.1}' height='14' rx='2'/>\
             <rect class='gain' x='115' y='1' width='{right:.1}' height='14' rx='2'/>\
             <line class='axis' x1='115' x2='115' y1='0' y2='16'/></svg>",
            115.0 - left
        );
        writeln!(
            drawn,
            "<tr><td>{}</td><td>{}</td><td class='n'>−{lost}</td><td>{bars}</td><td>+{gained}</td><td class='n'>{}</td></tr>",
            escaped(&one.parent),
            escaped(&one.task),
            one.n - gained - lost
        )
        .expect(STRING);
    }
    drawn += "</table>\n<details><summary>Which items</summary>\n";
    summary.items.iter().for_each(|one| drawn += &named(one));
    Some(drawn + "</details>\n")
}

fn named(one: &Against) -> String {
    let list = |items: &[ItemId]| {
        let mut names: Vec<String> = items.iter().take(MOST).map(ToString::to_string).collect();
        if items.len() > MOST {
            names.push(format!("and {} more, which --json names", items.len() - MOST));
        }
        names.join("\n")
    };
    let (parent, task) = (escaped(&one.parent), escaped(&one.task));
    format!("<h3>{task} against {parent}</h3>\n<pre>gained\n{}\n\nlost\n{}</pre>\n", list(&one.gained), list(&one.lost))
}

/// What the study cost, and the candidates that were not ranked.
pub(crate) fn costs(summary: &Summary) -> String {
    let (costs, became) = (&summary.costs, &summary.became);
    let parts = [
        ("evolution", costs.evolution, Some(costs.tokens)),
        ("selection among the finalists", costs.selection, None),
        ("random search, to compare", costs.random_search, Some(costs.random_search_tokens)),
        ("report", costs.report, None),
    ];
    let most = parts.iter().map(|part| part.1).max().unwrap_or(1).max(1);
    let mut rows = String::new();
    for (what, evaluations, tokens) in parts {
        let width = 220.0 * evaluations as f64 / most as f64;
        let tokens = tokens.map_or_else(|| "—".to_owned(), grouped);
        writeln!(
            rows,
            "<tr><td>{what}</td><td class='n'>{}</td><td><svg class='inline' width='220' height='14' viewBox='0 0 220 14' aria-hidden='true'>\
             <rect class='gain' width='{width:.1}' height='14' rx='2'/></svg></td><td class='n'>{tokens}</td></tr>",
            grouped(evaluations as u64)
        )
        .expect(STRING);
    }
    let mut others = String::new();
    for (n, what) in [(became.infeasible, "broke constraints"), (became.too_long, "had too many layers")] {
        if n > 0 {
            writeln!(others, "<tr><td class='n'>{n}</td><td>{what}</td></tr>").expect(STRING);
        }
    }
    for (why, n) in &became.failed {
        writeln!(others, "<tr><td class='n'>{n}</td><td style='white-space:normal'>failed: {}</td></tr>", escaped(why))
            .expect(STRING);
    }
    if !others.is_empty() {
        others = format!("<h3>Candidates that were not ranked</h3>\n<table>\n{others}</table>\n");
    }
    let stopped = summary.stopped.as_ref().map_or_else(String::new, |why| format!("<p>{}</p>\n", escaped(why)));
    format!(
        "<p>{} of {} item evaluations of the budget.</p>\n{stopped}\
         <table>\n<tr><th></th><th class='n'>item evaluations</th><th></th><th class='n'>tokens generated</th></tr>\n{rows}</table>\n{others}",
        grouped(costs.evolution as u64),
        grouped(summary.budget)
    )
}
