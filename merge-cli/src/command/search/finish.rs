//! The end of a study: a checkpoint, a recipe, figures, a table.

use crate::{args::Search as Args, card, licence::Licences, report, screen};
use merge_core::{
    checkpoint::hex,
    error::Result,
    evolve::{Findings, Goal, Study},
    export,
    merge::Merge,
    sources::short,
};
use serde_json::{Value, json};
use std::path::Path;

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
    let result = report::json(&report::result(findings, goals, &about)?);
    export::replace_file(&output.join("result.json"), &(result.clone() + "\n"))?;

    let best_parent = report::best_parent(&findings.parents, goals);
    let groups = [findings.parents.as_slice(), &findings.baselines, std::slice::from_ref(winner)];
    let table = report::table(goals, &groups, Some(best_parent))?;
    if args.json && is_answer {
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
    let ranked: Vec<&str> =
        goals.iter().filter(|goal| goal.weight > 0.0 && goal.items.to > 0).map(|goal| goal.name.as_str()).collect();
    let mut lines = vec![format!(
        "ranked {} candidates in {} generations by {} ({} item evaluations{}, seed {})",
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
    let chosen = &history.finalists[0];
    if chosen.violation > 0.0 {
        lines.push(
            "note: no finalist keeps to the constraints on select items: this is the one that breaks them least"
                .to_owned(),
        );
    }
    lines.push(format!("chose {} among {} finalists:", chosen.name, history.finalists.len()));
    for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty()) {
        let select = report::estimate(goal, &chosen.scores[position])?;
        let select = format!("{} {} on {} select items", goal.name, report::percent(&select), select.n);
        lines.push(if goal.report.is_empty() {
            format!("  {select}")
        } else {
            let held_out = report::estimate(goal, &findings.winner.1.scores[position])?;
            let percent = report::percent(&held_out);
            format!("  {select}, then {percent} on {} report items, which nothing had used", held_out.n)
        });
    }
    let best_parent = report::best_parent(&findings.parents, goals);
    for (goal, difference) in report::differences(&findings.winner.1, best_parent, goals) {
        if difference.ci95[0] <= 0.0 && difference.ci95[1] >= 0.0 {
            let name = &best_parent.name;
            lines.push(format!("  no difference to the best parent, {name}, is proved on {}", goal.name));
        }
    }
    for (name, best, held_out) in claims(findings, goals) {
        let (best, held_out) = (100.0 * best, 100.0 * held_out);
        let gap = best - held_out;
        lines.push(format!(
            "  the best {name} seen in the search was {best:.1}, and {gap:+.1} points of that are luck: it is {held_out:.1} on report items"
        ));
    }
    Ok(lines.join("\n"))
}

/// What a search that reports its lucky winner would claim: for each task that it ranked by and is reported on, the best score
/// of a candidate on the items of its generation, and what the answer scores on report items.
fn claims(findings: &Findings, goals: &[Goal]) -> Vec<(String, f64, f64)> {
    let both = |goal: &Goal| goal.weight > 0.0 && goal.items.to > 0 && !goal.report.is_empty();
    let claim = |(position, goal): (usize, &Goal)| {
        let candidates = findings.history.generations.iter().flat_map(|generation| &generation.candidates);
        let best = candidates.filter_map(|candidate| candidate.goals[position]).reduce(f64::max)?;
        let scores = &findings.winner.1.scores[position];
        let mean = scores.iter().map(|score| score.value).sum::<f64>() / scores.len() as f64;
        Some((goal.name.clone(), best, mean))
    };
    goals.iter().enumerate().filter(|(_, goal)| both(goal)).filter_map(claim).collect()
}

fn curse(findings: &Findings, goals: &[Goal]) -> Value {
    let all = claims(findings, goals).into_iter();
    all.map(|(name, search, report)| (name, json!({ "search": search, "report": report, "gap": search - report })))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
