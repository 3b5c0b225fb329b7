//! The end of a study: a checkpoint, a recipe, figures, a table.

use crate::{args::Search as Args, card, chosen, licence::Licences, report, screen};
use merge_core::{
    checkpoint::hex,
    error::{Error, Result},
    evolve::{Findings, Goal, Study},
    export,
    merge::Merge,
    search::Algorithm,
    sources::short,
};
use serde_json::{Value, json};
use std::path::Path;

/// What the store calls the search file's path from the study's directory.
pub(crate) const SEARCH_FILE: &str = "search file";

/// Writes the recipe and the result, and shows the table; the checkpoint too if it is the answer, not a step on the way.
pub(super) fn finish(
    args: &Args,
    study: &Study<'_>,
    findings: &Findings,
    output: &Path,
    is_answer: bool,
) -> Result<()> {
    let goals = study.objective.goals();
    let about = about(study, findings);
    let (recipe, winner) = &findings.winner;
    let best = output.join("best.yaml");
    let mut documents = Vec::new();
    for document in study.earlier.iter().chain([recipe]) {
        documents.push(document.moved_to(&best)?.to_yaml());
    }
    let file = study.template.file.display();
    let text =
        format!("# Found by `evomerge search {file}`; its scores are in result.json.\n{}", documents.join("---\n"));
    let model = output.join("model");
    let licences = Licences::of(study.sources.files().map(|(name, path)| (short(name), path.to_owned())))?;
    let card = card::of_search(findings, goals, &about, &licences, study.hashes)?;
    // The recipe is written when its model is whole: if it is there, so is the model.
    if !is_answer {
        // The next stage merges it in memory.
    } else if model.exists() && std::fs::read_to_string(&best).is_ok_and(|known| known == text) {
        export::replace_file(&model.join("README.md"), &card)?;
    } else {
        export::export(&Merge::plan(recipe, &study.sources.of(recipe))?, &model, &card)?;
    }
    export::replace_file(&best, &text)?;
    // The recipes of the finalists have their paths relative to it.
    study.store.set(&[(SEARCH_FILE, &from(output, &study.template.file)?)])?;
    let result = report::json(&report::result(findings, goals, &about)?);
    export::replace_file(&output.join("result.json"), &(result.clone() + "\n"))?;

    let best_parent = report::best_parent(&findings.parents, goals);
    let groups = [findings.parents.as_slice(), &findings.baselines, std::slice::from_ref(winner)];
    let table = report::table(goals, &groups, Some(best_parent))?;
    if args.json && args.seeds.is_some() {
        // Standard output is for the figures of all seeds.
        screen::say(&table);
    } else if args.json && is_answer {
        screen::say(&table);
        screen::data(&result);
    } else {
        screen::data(&table);
    }
    screen::say(&summary(study, findings)?);
    let (scored, known) = (findings.progress.scored_now, findings.progress.items.0 - findings.progress.scored_now);
    screen::say(&format!("{scored} items scored now, {known} found in the store"));
    let place = output.display();
    let checkpoint = if is_answer { format!("{place}/model is the merged checkpoint, ") } else { String::new() };
    screen::say(&format!("{checkpoint}{place}/best.yaml its recipe, {place}/result.json these figures"));
    Ok(())
}

/// A file's path from a directory.
fn from(dir: &Path, file: &Path) -> Result<String> {
    let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::io("find", path, &e));
    let (dir, file) = (absolute(dir)?, absolute(file)?);
    Ok(pathdiff::diff_paths(&file, dir).unwrap_or(file).to_string_lossy().into_owned())
}

/// What was searched and how, for `result.json` and the card: nothing that differs between two runs of one study.
fn about(study: &Study<'_>, findings: &Findings) -> Value {
    let history = &findings.history;
    let generations: Vec<Value> = history
        .generations
        .iter()
        .map(|g| json!({ "best": g.best().and_then(|best| best.fitness), "mean": g.mean_fitness() }))
        .collect();
    let finalists: Vec<Value> =
        history.finalists.iter().map(|one| json!({ "name": one.name, "select": one.fitness })).collect();
    json!({
        "seed": study.search.seed,
        "optimizer": study.search.optimizer,
        "budget": study.search.budget.value,
        "generations": history.generations.len(),
        "candidates": history.candidates(),
        "item_evaluations": history.item_evaluations,
        "tokens": history.tokens,
        "estimated": study.search.anchors.is_some(),
        "winners_curse": curse(findings, study.objective.goals()),
        "dimensions": history.dimensions,
        "recipe": hex(&findings.winner.0.fingerprint()),
        "inputs": study.hashes.iter().map(|(name, files)| (name.clone(), json!(files))).collect::<serde_json::Map<_, _>>(),
        "fitness": generations,
        "finalists": finalists,
        "given_up": history.given_up,
    })
}

/// How the answer was chosen, and what its score is worth.
fn summary(study: &Study<'_>, findings: &Findings) -> Result<String> {
    let (history, goals) = (&findings.history, study.objective.goals());
    let ranked: Vec<&str> = goals.iter().filter(|goal| goal.ranks()).map(|goal| goal.name.as_str()).collect();
    let estimates = if study.search.anchors.is_some() { ", estimated from anchors" } else { "" };
    let mut lines = vec![format!(
        "ranked {} candidates in {} generations by {}{estimates} ({} item evaluations{}, seed {})",
        history.candidates(),
        history.generations.len(),
        ranked.join(", "),
        history.item_evaluations,
        if history.tokens > 0 { format!(", {} tokens", screen::grouped(history.tokens)) } else { String::new() },
        study.search.seed,
    )];
    lines.extend(history.stopped.map(|stop| stop.to_string()));
    lines.extend(history.given_up.iter().map(|(why, models)| match models {
        1 => format!("gave up a candidate: {why}"),
        models => format!("gave up {models} candidates: {why}"),
    }));
    let ran = findings.baselines.iter().any(|entry| entry.name == "random search");
    if !ran && study.search.optimizer.name != Some(Algorithm::Random) {
        lines.push("note: random search with the same budget found nobody who keeps to what is asked".to_owned());
    }
    lines.extend(chosen::lines(
        goals,
        &history.finalists,
        &findings.winner.1,
        &findings.parents,
        &history.generations,
        study.search.anchors.is_some(),
    )?);
    Ok(lines.join("\n"))
}

fn curse(findings: &Findings, goals: &[Goal]) -> Value {
    let all = chosen::claims(goals, &findings.winner.1, &findings.history.generations).into_iter();
    all.map(|(name, search, report)| (name, json!({ "search": search, "report": report, "gap": search - report })))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
