//! Report on a search with several seeds: one row for each study.

use crate::{
    args::Report as Args,
    draw::{measure, screen, table},
    language::{Language, study as texts},
    study_report::{
        StudyRead, figures,
        summary::{Summary, TaskSummary},
    },
};
use merge_core::error::{Error, Result};
use std::path::PathBuf;

/// Shows a short table, or everything as JSON.
pub(super) fn run(args: &Args, directories: &[PathBuf]) -> Result<()> {
    if args.html.is_some() || args.csv.is_some() || args.pick.is_some() {
        let first = directories[0].display();
        return Err(Error::user(format!("{}: these are {} studies", args.study.display(), directories.len()))
            .hint(format!("give one of them, such as {first}")));
    }
    let language = if args.json { Language::En } else { Language::chosen() };
    let of = |directory: &PathBuf| Summary::of(StudyRead::read(directory)?, language);
    let all: Vec<Summary> = directories.iter().map(of).collect::<Result<_>>()?;
    if args.json {
        screen::data(&figures::json(&all));
        return Ok(());
    }
    let mut table = table::framed();
    let tasks = || all[0].tasks.iter().filter(|task| task.report > 0);
    let fixed = [&texts::SEED_SHORT, &texts::GENERATIONS, &texts::EVALUATIONS_SHORT];
    let header = |task: &TaskSummary| {
        let (items, unit) = (language.count(task.report, &texts::ITEM), measure::unit(&task.metric));
        language.fill(&texts::SEEDS_HEAD, &[("task", &task.name), ("items", &items), ("unit", &unit)])
    };
    table.set_header(fixed.into_iter().map(|text| language.text(text).to_owned()).chain(tasks().map(header)));
    for one in &all {
        let evolved = one.table.iter().find(|row| row.group == "evolved");
        let score = |task: &TaskSummary| {
            let found = evolved.and_then(|row| row.scores.iter().find(|score| score.task == task.name));
            let Some(score) = found else {
                let state = if one.running { &texts::STILL_RUNNING } else { &texts::NOT_DONE_YET };
                return language.text(state).to_owned();
            };
            let (own, best) = (measure::score(&score.metric, &score.estimate), &score.best_parent);
            let less = score.difference_to_best_parent.as_ref().map(|less| measure::difference(&score.metric, less));
            let difference = |less| language.fill(&texts::DIFFERENCE_TO, &[("difference", &less), ("parent", best)]);
            less.map_or_else(|| own.clone(), |less| format!("{own}\n{}", difference(less)))
        };
        let numbers = [one.seed, one.convergence.len() as u64, one.costs.evolution as u64].map(screen::grouped);
        let cells = numbers.into_iter().chain(tasks().map(score));
        table.add_row(cells.map(table::right).collect::<Vec<_>>());
    }
    screen::data(&table.to_string());
    screen::say(&format!("`evomerge report {}` shows all of one", directories[0].display()));
    Ok(())
}
