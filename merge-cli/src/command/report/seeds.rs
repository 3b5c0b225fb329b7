//! Report on a search with several seeds: one row for each study.

use crate::{
    args::Report as Args,
    draw::{measure, screen},
    study_report::{
        StudyRead, figures,
        summary::{Summary, TaskSummary},
    },
};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use merge_core::error::{Error, Result};
use std::path::PathBuf;

/// Shows a short table, or everything as JSON.
pub(super) fn run(args: &Args, directories: &[PathBuf]) -> Result<()> {
    if args.html.is_some() || args.csv.is_some() || args.pick.is_some() {
        let first = directories[0].display();
        return Err(Error::user(format!("{}: these are {} studies", args.study.display(), directories.len()))
            .hint(format!("give one of them, such as {first}")));
    }
    let of = |directory: &PathBuf| Summary::of(StudyRead::read(directory)?);
    let all: Vec<Summary> = directories.iter().map(of).collect::<Result<_>>()?;
    if args.json {
        screen::data(&figures::json(&all));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let tasks = || all[0].tasks.iter().filter(|task| task.report > 0);
    let fixed = ["seed", "generations", "item\nevaluations"].map(str::to_owned);
    let header = |task: &TaskSummary| {
        let (items, unit) = (screen::counted(task.report, "item"), measure::unit(&task.metric));
        format!("{}, {items}\nevolved{unit} [95% CI]\nless best parent", task.name)
    };
    table.set_header(fixed.into_iter().chain(tasks().map(header)));
    for one in &all {
        let evolved = one.table.iter().find(|row| row.group == "evolved");
        let score = |task: &TaskSummary| {
            let found = evolved.and_then(|row| row.scores.iter().find(|score| score.task == task.name));
            let Some(score) = found else {
                return if one.running { "still running" } else { "not done yet" }.to_owned();
            };
            let (own, best) = (measure::score(&score.metric, &score.estimate), &score.best_parent);
            let less = score.difference_to_best_parent.as_ref().map(|less| measure::difference(&score.metric, less));
            less.map_or_else(|| own.clone(), |less| format!("{own}\n{less} to {best}"))
        };
        let numbers = [one.seed, one.convergence.len() as u64, one.costs.evolution as u64].map(screen::grouped);
        let cells = numbers.into_iter().chain(tasks().map(score));
        table.add_row(cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)).collect::<Vec<_>>());
    }
    screen::data(&table.to_string());
    screen::say(&format!("`evomerge report {}` shows all of one", directories[0].display()));
    Ok(())
}
