//! Studies of one search with several seeds, a row for each.

use super::{read, summary::Summary};
use crate::{args::Report as Args, report, screen};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use merge_core::{
    error::{Error, Result},
    store::Store,
};
use std::path::PathBuf;

/// Shows them in short, or all of each as JSON.
pub(super) fn run(args: &Args, directories: &[PathBuf]) -> Result<()> {
    if args.html.is_some() || args.csv.is_some() || args.pick.is_some() {
        let first = directories[0].display();
        return Err(Error::user(format!("{}: these are {} studies", args.study.display(), directories.len()))
            .hint(format!("give one of them, such as {first}")));
    }
    let of = |directory: &PathBuf| {
        let store = Store::open(&directory.join("study"))?;
        Summary::of(read(&store, directory)?)
    };
    let all: Vec<Summary> = directories.iter().map(of).collect::<Result<_>>()?;
    if args.json {
        screen::data(&report::json(&all));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let tasks: Vec<&str> = all[0].tasks.iter().filter(|task| task.report > 0).map(|task| task.name.as_str()).collect();
    let fixed = ["seed", "generations", "item\nevaluations"].map(str::to_owned);
    table.set_header(fixed.into_iter().chain(tasks.iter().map(|task| format!("{task}\nevolved % [95% CI]"))));
    for one in &all {
        let evolved = one.table.iter().find(|row| row.group == "evolved");
        let score = |task: &&str| match evolved.and_then(|row| row.scores.iter().find(|score| score.task == *task)) {
            Some(score) => report::percent(&score.estimate),
            None => "not done yet".to_owned(),
        };
        let numbers = [one.seed, one.convergence.len() as u64, one.costs.evolution as u64].map(screen::grouped);
        let cells = numbers.into_iter().chain(tasks.iter().map(score));
        table.add_row(cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)).collect::<Vec<_>>());
    }
    screen::data(&table.to_string());
    screen::say(&format!("`evomerge report {}` shows all of one", directories[0].display()));
    Ok(())
}
