//! The report of a study as text for a terminal.

use super::{plot::Plot, summary::Summary};
use crate::{
    draw::{
        picture::Screen,
        screen::{grouped, shown},
        table::{framed, right},
    },
    language::{Language, Text, study as texts},
    lead::{LeadPoint, Leads},
    study_report::{
        figures::{self, ReportedModels},
        judgement::Judgement,
        names,
    },
};
use comfy_table::Cell;
use merge_core::{error::Result, study::StudyRecord};
use std::fmt::Display;

/// Maximum number of listed finalists.
const MOST: usize = 20;

/// Table of results; `None` if the study has not ended.
pub(crate) fn table(record: &StudyRecord, language: Language) -> Result<Option<String>> {
    let Some(ending) = &record.ending else { return Ok(None) };
    figures::table(&record.about.goals, &ReportedModels::of_ending(ending), language).map(Some)
}

/// The whole report, escaped except for the colours of pictures.
pub(crate) fn text(summary: &Summary, table: Option<&str>) -> String {
    let language = summary.language;
    let mut parts = vec![head(summary)];
    if let Some(judgement) = &summary.verdict {
        let said = judgement.sentences(language);
        let lines: Vec<String> = said.iter().map(|said| language.fill(&texts::VERDICT, &[("said", said)])).collect();
        parts.push(lines.join("\n"));
    }
    parts.extend(table.map(str::to_owned));
    let comparisons = summary.verdict.iter().flat_map(|judgement: &Judgement| judgement.comparisons(language));
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
    if let Some(route) = &summary.path {
        let layers = language.count(route.layers(), &texts::LAYER);
        let head = language.fill(&texts::ROUTE_OF, &[("layers", &layers)]);
        parts.push(format!("{head}\n{}", route.lines().join("\n")));
    }
    parts.extend(items(summary));
    parts.push(costs(summary));
    let escaped = |part: String| shown(&part).into_owned();
    let all = before.into_iter().map(escaped).chain(weights(summary)).chain(parts.into_iter().map(escaped));
    all.collect::<Vec<_>>().join("\n\n")
}

fn head(summary: &Summary) -> String {
    let language = summary.language;
    let state = summary.state().map(|state| language.fill(&texts::STATE_HERE, &[("state", &state)]) + "\n");
    let values: [(&str, &dyn Display); 6] = [
        ("optimizer", &summary.optimizer),
        ("n", &summary.dimensions.len()),
        ("seed", &summary.seed),
        ("candidates", &language.count(summary.became.all(), &texts::CANDIDATE)),
        ("generations", &language.count(summary.convergence.len(), &texts::GENERATION)),
        ("models", &summary.models.join(", ")),
    ];
    let engine = summary
        .engine
        .as_ref()
        .map(|engine| "\n".to_owned() + &language.fill(&texts::SCORED_BY, &[("engine", engine)]));
    state.unwrap_or_default() + &language.fill(&texts::ABOUT, &values) + &engine.unwrap_or_default()
}

/// Plots the lead of the generations over the best parent, or their fitness if nothing was
/// compared.
fn convergence(summary: &Summary) -> Option<String> {
    let Some(leads) = Leads::of(&summary.curves) else { return fitness(summary) };
    let language = summary.language;
    let last = leads.evolution.iter().chain(&leads.random).map(|one| one.generation).fold(1.0, f64::max);
    let numbers = || 1..=last as usize;
    let at: Vec<f64> = numbers().map(|generation| generation as f64).collect();
    let of = |all: &[LeadPoint]| -> Vec<Option<f64>> {
        let points = |number: usize| all.iter().find(|one| one.generation as usize == number).map(|one| one.points);
        numbers().map(points).collect()
    };
    let random = of(&leads.random);
    let mut lines = vec![('●', language.text(&texts::MEAN_SMOOTHED), of(&leads.evolution))];
    lines.extend((!leads.random.is_empty()).then_some(('r', language.text(&texts::RANDOM_SEARCH), random)));
    lines.push(('-', language.text(&texts::BEST_PARENT), vec![Some(0.0); at.len()]));
    let show = |value: f64| format!("{value:+.1}");
    let x = language.text(&texts::GENERATIONS);
    let drawn = Plot { width: 64, height: 12, x, at: &at, lines: &lines, show }.draw()?;
    let gain = leads.gain(&summary.models)?;
    let values: [(&str, &dyn Display); 2] = [("parent", &gain.parent), ("gain", &gain.figures())];
    Some(format!("{}\n{drawn}", language.fill(&texts::POINTS_TO_PARENT, &values)))
}

fn fitness(summary: &Summary) -> Option<String> {
    let (steps, language) = (&summary.convergence, summary.language);
    let at: Vec<f64> = steps.iter().map(|step| step.evaluations as f64).collect();
    let lines = [
        ('●', language.text(&texts::BEST_OF_GENERATION), steps.iter().map(|step| step.best).collect()),
        ('·', language.text(&texts::MEAN), steps.iter().map(|step| step.mean).collect()),
    ];
    let show = |value: f64| format!("{:.1}", 100.0 * value);
    let x = language.text(&texts::ITEM_EVALUATIONS);
    let drawn = Plot { width: 64, height: 12, x, at: &at, lines: &lines, show }.draw()?;
    let estimated = if summary.estimated { language.text(&texts::FROM_ANCHORS) } else { "" };
    Some(format!("{}\n{drawn}", language.fill(&texts::FITNESS_100, &[("estimated", &estimated)])))
}

fn front(summary: &Summary) -> Option<String> {
    if summary.objectives.len() < 2 || summary.finalists.is_empty() {
        return None;
    }
    let language = summary.language;
    let mut table = framed();
    let items = |name: &str| summary.tasks.iter().find(|task| task.name == name).map(|task| task.select);
    let names = summary.objectives.iter().map(|one| match items(&one.name) {
        Some(n) if !one.minimised => format!("{}\n{} [95% CI]", one.name, language.count(n, &texts::ITEM)),
        _ => one.name.clone(),
    });
    let fixed = [&texts::ON_SELECT_ITEMS, &texts::FITNESS].map(|text| language.text(text).to_owned());
    table.set_header(fixed.into_iter().chain(names));
    let front = || summary.finalists.iter().filter(|one| one.on_front);
    for one in front().take(MOST) {
        let shown = summary.objectives.iter().zip(&one.values).zip(&one.estimates);
        let shown = shown.map(|((objective, value), estimate)| match (estimate, value) {
            (Some(estimate), _) => objective.show_with_interval(estimate),
            (None, Some(value)) => objective.show(*value),
            (None, None) => "—".to_owned(),
        });
        let numbers = [format!("{:.1}", 100.0 * one.fitness)].into_iter().chain(shown).map(right);
        table.add_row([Cell::new(names::shown(&one.name, language))].into_iter().chain(numbers).collect::<Vec<_>>());
    }
    let values: [(&str, &dyn Display); 2] = [("n", &front().count()), ("all", &summary.finalists.len())];
    let mut lines = vec![language.fill(&texts::FRONT_SIZE, &values), table.to_string()];
    if let Some((growth, last)) = summary.hypervolume.as_ref().and_then(|growth| Some((growth, growth.share.last()?))) {
        let soon = growth.share.iter().position(|share| *share >= 0.95 * last).map_or(0, |at| at + 1);
        let values: [(&str, &dyn Display); 4] = [
            ("share", &format!("{last:.3}")),
            ("worst", &summary.corner(&growth.worst)),
            ("best", &summary.corner(&growth.best)),
            ("soon", &soon),
        ];
        lines.push(language.fill(&texts::VOLUME_BY, &values));
    }
    Some(lines.join("\n"))
}

fn weights(summary: &Summary) -> Option<String> {
    let screen = Screen::of_output();
    let whose = if summary.done { &texts::OF_ANSWER } else { &texts::OF_SEARCH_SO_FAR };
    let picture = |map: &super::weights::WeightMap| screen.draw(&map.picture(summary.language)).trim_end().to_owned();
    let chosen = summary.chosen.iter().map(|one| shown(&format!("{}: {}", one.label, one.option)).into_owned());
    let parts: Vec<String> = summary.weights.iter().map(picture).chain(chosen).collect();
    (!parts.is_empty()).then(|| format!("{}:\n{}", summary.language.text(whose), parts.join("\n")))
}

fn items(summary: &Summary) -> Option<String> {
    if summary.items.is_empty() {
        return None;
    }
    let language = summary.language;
    let mut table = framed();
    let head: [&Text; 5] = [&texts::EVOLVED_AGAINST, &texts::TASK, &texts::GAINED, &texts::LOST, &texts::THE_SAME];
    table.set_header(head.map(|text| language.text(text)));
    for one in &summary.items {
        let (gained, lost) = (one.gained.len(), one.lost.len());
        let numbers = [format!("+{gained}"), format!("−{lost}"), (one.n - gained - lost).to_string()];
        let words = [Cell::new(&one.parent), Cell::new(&one.task)];
        table.add_row(words.into_iter().chain(numbers.into_iter().map(right)).collect::<Vec<_>>());
    }
    Some(format!("{}\n{table}", language.text(&texts::ITEMS_NAMED_BY)))
}

fn costs(summary: &Summary) -> String {
    let (costs, became, language) = (&summary.costs, &summary.became, summary.language);
    let count = |n: usize| grouped(n as u64);
    let values: [(&str, &dyn Display); 7] = [
        ("evolution", &count(costs.evolution)),
        ("budget", &grouped(summary.budget)),
        ("tokens", &grouped(costs.tokens)),
        ("random", &count(costs.random_search)),
        ("random_tokens", &grouped(costs.random_search_tokens)),
        ("selection", &count(costs.selection)),
        ("report", &count(costs.report)),
    ];
    let mut lines = vec![language.fill(&texts::COST_LINE, &values)];
    lines.extend(summary.stopped.clone());
    lines.extend(became.lines(language));
    lines.join("\n")
}
