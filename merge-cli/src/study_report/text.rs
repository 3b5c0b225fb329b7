//! A study in a terminal.

use super::{plot::Plot, summary::Summary};
use crate::{
    draw::{
        picture::Screen,
        screen::{counted, grouped, noun, shown},
    },
    lead::{Ahead, Leads},
    study_report::{
        figures::{self, ReportedModels},
        judgement::Judgement,
    },
};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use merge_core::{error::Result, study::StudyRecord};
use std::fmt::Write as _;

/// Most finalists and items that are listed.
const MOST: usize = 20;

/// The table of the end; nothing if the study has not come to it.
pub(crate) fn table(record: &StudyRecord) -> Result<Option<String>> {
    let Some(ending) = &record.ending else { return Ok(None) };
    figures::table(&record.about.goals, &ReportedModels::of_ending(ending)).map(Some)
}

/// Everything that is worth reading, escaped but for the colours of pictures.
pub(crate) fn text(summary: &Summary, table: Option<&str>) -> String {
    let mut parts = vec![head(summary)];
    if let Some(judgement) = &summary.verdict {
        parts.push(judgement.sentences().iter().map(|said| format!("verdict: {said}")).collect::<Vec<_>>().join("\n"));
    }
    parts.extend(table.map(str::to_owned));
    let comparisons = summary.verdict.iter().flat_map(Judgement::comparisons);
    let comparisons: Vec<String> = comparisons.chain(summary.notes.iter().cloned()).collect();
    parts.extend((!comparisons.is_empty()).then(|| comparisons.join("\n")));
    if !summary.choice.is_empty() {
        let mut lines = summary.choice.clone();
        lines.extend(summary.genealogy.winner.clone());
        parts.push(lines.join("\n"));
    }
    parts.extend(convergence(summary));
    parts.extend(front(summary));
    let before = parts;
    let mut parts = Vec::new();
    if let Some(path) = &summary.path {
        parts.push(format!("path of {}\n{}", path.counted(), path.lines().join("\n")));
    }
    parts.extend(items(summary));
    parts.push(costs(summary));
    let escaped = |part: String| shown(&part).into_owned();
    let all = before.into_iter().map(escaped).chain(weights(summary)).chain(parts.into_iter().map(escaped));
    all.collect::<Vec<_>>().join("\n\n")
}

fn head(summary: &Summary) -> String {
    let state = summary.state().map_or_else(String::new, |state| state + "; this is what there is\n");
    format!(
        "{state}{} on {} numbers, seed {}, {} {} in {}; merges {}",
        summary.optimizer,
        summary.dimensions.len(),
        summary.seed,
        grouped(summary.became.all() as u64),
        noun(summary.became.all(), "candidate"),
        counted(summary.convergence.len(), "generation"),
        summary.models.join(", "),
    )
}

/// How far the generations are ahead of the best parent; of a study that nothing was compared in, their fitness.
fn convergence(summary: &Summary) -> Option<String> {
    let Some(leads) = Leads::of(&summary.curves) else { return fitness(summary) };
    let last = leads.evolution.iter().chain(&leads.random).map(|one| one.generation).fold(1.0, f64::max);
    let numbers = || 1..=last as usize;
    let at: Vec<f64> = numbers().map(|generation| generation as f64).collect();
    let of = |all: &[Ahead]| -> Vec<Option<f64>> {
        let points = |number: usize| all.iter().find(|one| one.generation as usize == number).map(|one| one.points);
        numbers().map(points).collect()
    };
    let random = of(&leads.random);
    let mut lines = vec![('●', "mean of a generation, smoothed", of(&leads.evolution))];
    lines.extend((!leads.random.is_empty()).then_some(('r', "random search", random)));
    lines.push(('-', "the best parent", vec![Some(0.0); at.len()]));
    let show = |value: f64| format!("{value:+.1}");
    let drawn = Plot { width: 64, height: 12, x: "generations", at: &at, lines: &lines, show }.draw()?;
    let gain = leads.gain(&summary.models)?;
    Some(format!(
        "points to the best parent, {}, on the same items: at the end {}\n{drawn}",
        gain.parent,
        gain.figures()
    ))
}

fn fitness(summary: &Summary) -> Option<String> {
    let steps = &summary.convergence;
    let at: Vec<f64> = steps.iter().map(|step| step.evaluations as f64).collect();
    let lines = [
        ('●', "best of a generation", steps.iter().map(|step| step.best).collect()),
        ('·', "mean", steps.iter().map(|step| step.mean).collect()),
    ];
    let show = |value: f64| format!("{:.1}", 100.0 * value);
    let drawn = Plot { width: 64, height: 12, x: "item evaluations", at: &at, lines: &lines, show }.draw()?;
    let estimated = if summary.estimated { ", estimated from anchors" } else { "" };
    Some(format!("fitness, × 100{estimated}\n{drawn}"))
}

fn front(summary: &Summary) -> Option<String> {
    if summary.objectives.len() < 2 || summary.finalists.is_empty() {
        return None;
    }
    let mut table = plain();
    let items = |name: &str| summary.tasks.iter().find(|task| task.name == name).map(|task| task.select);
    let names = summary.objectives.iter().map(|one| match items(&one.name) {
        Some(n) if !one.minimised => format!("{}\n{n} items [95% CI]", one.name),
        _ => one.name.clone(),
    });
    table.set_header(["on select items".to_owned(), "fitness".to_owned()].into_iter().chain(names));
    let front = || summary.finalists.iter().filter(|one| one.on_front);
    for one in front().take(MOST) {
        let shown = summary.objectives.iter().zip(&one.values).zip(&one.estimates);
        let shown = shown.map(|((objective, value), estimate)| match (estimate, value) {
            (Some(estimate), _) => objective.show_with_interval(estimate),
            (None, Some(value)) => objective.show(*value),
            (None, None) => "—".to_owned(),
        });
        let numbers = [format!("{:.1}", 100.0 * one.fitness)].into_iter().chain(shown).map(right);
        table.add_row([Cell::new(&one.name)].into_iter().chain(numbers).collect::<Vec<_>>());
    }
    let mut text = format!(
        "front: {} of {} finalists are beaten by no other in everything\n{table}",
        front().count(),
        summary.finalists.len()
    );
    if let Some((growth, last)) = summary.hypervolume.as_ref().and_then(|growth| Some((growth, growth.share.last()?))) {
        let corner = |values: &[f64]| {
            let all = summary.objectives.iter().zip(values).map(|(one, value)| one.show(*value));
            all.collect::<Vec<_>>().join(", ")
        };
        let soon = growth.share.iter().position(|share| *share >= 0.95 * last).map_or(0, |at| at + 1);
        write!(
            text,
            "\nhypervolume {last:.3} of the box between the worst seen ({}) and the best ({}); 95% of it by generation {soon}",
            corner(&growth.worst),
            corner(&growth.best),
        )
        .expect("a String takes all that is written");
    }
    Some(text)
}

fn weights(summary: &Summary) -> Option<String> {
    let screen = Screen::of_output();
    let whose = if summary.done { "of the answer" } else { "where the search stands" };
    let maps = summary.weights.iter().map(|map| screen.draw(&map.picture()).trim_end().to_owned());
    let chosen = summary.chosen.iter().map(|one| shown(&format!("{}: {}", one.label, one.option)).into_owned());
    let parts: Vec<String> = maps.chain(chosen).collect();
    (!parts.is_empty()).then(|| format!("{whose}:\n{}", parts.join("\n")))
}

fn items(summary: &Summary) -> Option<String> {
    if summary.items.is_empty() {
        return None;
    }
    let mut table = plain();
    table.set_header(["evolved against", "task", "gained", "lost", "the same"]);
    for one in &summary.items {
        let (gained, lost) = (one.gained.len(), one.lost.len());
        let numbers = [format!("+{gained}"), format!("−{lost}"), (one.n - gained - lost).to_string()];
        let words = [Cell::new(&one.parent), Cell::new(&one.task)];
        table.add_row(words.into_iter().chain(numbers.into_iter().map(right)).collect::<Vec<_>>());
    }
    Some(format!("report items that it gained and lost; --csv and --json name them\n{table}"))
}

fn costs(summary: &Summary) -> String {
    let (costs, became) = (&summary.costs, &summary.became);
    let count = |n: usize| grouped(n as u64);
    let mut lines = vec![format!(
        "item evaluations: {} of {} in the evolution ({} tokens), {} in random search ({} tokens), {} to select, {} to report",
        count(costs.evolution),
        grouped(summary.budget),
        grouped(costs.tokens),
        count(costs.random_search),
        grouped(costs.random_search_tokens),
        count(costs.selection),
        count(costs.report),
    )];
    lines.extend(summary.stopped.clone());
    for (n, what) in [(became.infeasible, "broke constraints"), (became.too_long, "had too many layers")] {
        if n > 0 {
            lines.push(format!("{} {} {what}", count(n), noun(n, "candidate")));
        }
    }
    lines.extend(became.failed.iter().map(|(why, n)| match n {
        1 => format!("1 candidate failed: {why}"),
        n => format!("{} candidates failed: {why}", count(*n)),
    }));
    lines.join("\n")
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
