//! The end of a study: writes the recipe, the result and the checkpoint, and shows the table.

use super::publish::{self, AnswerTexts};
use crate::{
    args::SearchArgs as Args,
    artefact::{card, licence::Licences},
    draw::screen,
    language::{Language, study as texts},
    study_report::{
        chosen,
        figures::{self, ReportedModels},
        judgement::{self, Judgement},
        summary,
    },
};
use merge_core::{
    error::{Error, Result},
    merge::sources::short,
    model::hash::hex,
    recipe::Recipe,
    search::Algorithm,
    study::{Findings, Study},
};
use serde_json::{Value, json};
use std::{fmt::Display, path::Path};

/// Key, in the store, of the search file's path from the study's directory.
pub(crate) const SEARCH_FILE: &str = "search file";

/// Writes the recipe and the result, and shows the table; writes the checkpoint if `is_answer`.
pub(super) fn finish(
    args: &Args,
    study: &Study<'_>,
    findings: &Findings,
    output: &Path,
    is_answer: bool,
) -> Result<()> {
    let goals = study.objective.goals();
    let about = about(study, findings);
    let (recipe, reported) = (&findings.winner.0, ReportedModels::of_findings(findings));
    let documents: Vec<Recipe> = study.earlier.iter().chain([recipe]).cloned().collect();
    let best = output.join("best.yaml");
    let moved = documents.iter().map(|document| Ok(document.moved_to(&best)?.to_yaml())).collect::<Result<Vec<_>>>()?;
    let file = study.template.file.display();
    let licences = Licences::of(study.sources.files().map(|(name, path)| (short(name), path.to_owned())))?;
    let result = figures::json(&figures::result(&reported, goals, &about)?);
    let texts = AnswerTexts {
        recipe: format!("# Found by `evomerge search {file}`; its scores are in result.json.\n{}", moved.join("---\n")),
        result: result.clone() + "\n",
        card: card::of_search(findings, study.earlier, goals, study.search.seed, &licences, study.hashes)?,
    };
    publish::write(study, output, &texts, findings.progress.scored_now, &documents, is_answer)?;
    // Paths in the finalists' recipes are relative to the search file.
    study.store.set(&[(SEARCH_FILE, &from(output, &study.template.file)?)])?;

    let language = Language::chosen();
    let table = figures::table(goals, &reported, language)?;
    if args.json && args.seeds.is_some() {
        // Standard output is for the results of all seeds.
        screen::say(&table);
    } else if args.json && is_answer {
        screen::say(&table);
        screen::data(&result);
    } else {
        screen::data(&table);
    }
    screen::say(&summary(study, findings, language)?);
    let (scored, known) = (findings.progress.scored_now, findings.progress.recalled_now);
    let scored = language.count(scored, &texts::ITEM);
    screen::say(
        &language.fill(&texts::SCORED_NOW, &[("items", &scored), ("known", &language.count(known, &texts::ITEM))]),
    );
    let written = if is_answer { &texts::WRITTEN } else { &texts::WRITTEN_STAGE };
    screen::say(&language.fill(written, &[("place", &output.display())]));
    Ok(())
}

/// Path of a file relative to a directory.
fn from(dir: &Path, file: &Path) -> Result<String> {
    let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::io("find", path, &e));
    // The search file of a job may be gone: the queue has its own copy.
    let (dir, file) = (absolute(dir)?, absolute(file).or_else(|e| std::path::absolute(file).map_err(|_| e))?);
    Ok(pathdiff::diff_paths(&file, dir).unwrap_or(file).to_string_lossy().into_owned())
}

/// Description of the search for `result.json` and the card: the same in every run of the study.
fn about(study: &Study<'_>, findings: &Findings) -> Value {
    let history = &findings.history;
    let generations: Vec<Value> = history
        .generations
        .iter()
        .map(|g| json!({ "best": g.best().and_then(|best| best.fitness), "mean": g.mean_fitness() }))
        .collect();
    let (reported, estimated) = (ReportedModels::of_findings(findings), study.search.anchors.is_some());
    let claims = chosen::claims(study.objective.goals(), &reported, &history.generations, estimated);
    let finalists: Vec<Value> =
        history.finalists.iter().map(|one| json!({ "name": one.name, "select": one.fitness })).collect();
    let mut about = json!({
        "seed": study.search.seed,
        "optimizer": study.search.optimizer,
        "budget": study.search.budget.value,
        "generations": history.generations.len(),
        "candidates": history.candidates(),
        "item_evaluations": history.item_evaluations,
        "tokens": history.tokens,
        "item_evaluations_of_parents": history.beside,
        "estimated": estimated,
        "winners_curse": claims.into_iter().map(|claim| (claim.task.clone(), json!(claim))).collect::<serde_json::Map<_, _>>(),
        "dimensions": history.dimensions,
        "recipe": hex(&findings.winner.0.fingerprint()),
        "inputs": study.hashes.iter().map(|(name, files)| (name.clone(), json!(files))).collect::<serde_json::Map<_, _>>(),
        "fitness": generations,
        "finalists": finalists,
        "given_up": history.given_up,
    });
    if let Some(engine) = study.objective.served_by() {
        about["engine"] = engine.into();
    }
    about
}

/// Summary of the search: the choice of the answer, and the verdict on it.
fn summary(study: &Study<'_>, findings: &Findings, language: Language) -> Result<String> {
    let (history, goals) = (&findings.history, study.objective.goals());
    let reported = ReportedModels::of_findings(findings);
    let ranked: Vec<&str> = goals.iter().filter(|goal| goal.ranks()).map(|goal| goal.name.as_str()).collect();
    let estimated = study.search.anchors.is_some();
    let tokens = Some(history.tokens).filter(|tokens| *tokens > 0);
    let tokens = tokens.map(|n| language.fill(&texts::AND_TOKENS, &[("n", &screen::grouped(n))]));
    let values: [(&str, &dyn Display); 7] = [
        ("candidates", &language.count(history.candidates(), &texts::CANDIDATE)),
        ("generations", &language.count(history.generations.len(), &texts::GENERATION)),
        ("tasks", &ranked.join(", ")),
        ("estimated", &if estimated { language.text(&texts::FROM_ANCHORS) } else { "" }),
        ("evaluations", &language.count(history.item_evaluations, &texts::ITEM_EVALUATION)),
        ("tokens", &tokens.unwrap_or_default()),
        ("seed", &study.search.seed),
    ];
    let mut lines = vec![language.fill(&texts::RANKED, &values)];
    let engine = study.objective.served_by();
    lines.extend(engine.map(|engine| language.fill(&texts::SCORED_BY, &[("engine", &engine)])));
    lines.extend(history.stopped.map(|stop| language.text(summary::reason(stop)).to_owned()));
    lines.extend(history.given_up.iter().map(|(why, models)| {
        let candidates = language.count(*models, &texts::CANDIDATE);
        language.fill(&texts::GAVE_UP, &[("candidates", &candidates), ("why", why)])
    }));
    let ran = findings.baselines.iter().any(|entry| entry.name == "random search");
    if !ran && study.search.optimizer.name != Some(Algorithm::Random) {
        lines.push(language.text(&texts::RANDOM_FOUND_NONE).to_owned());
    }
    let generations = &history.generations;
    lines.extend(chosen::lines(goals, &history.finalists, &reported, generations, estimated, language)?);
    let judgement = Judgement::of(goals, &reported);
    lines.extend(judgement.comparisons(language));
    lines.extend(judgement::few_items(goals, language));
    let sentences = judgement.sentences(language);
    lines.extend(sentences.iter().map(|said| language.fill(&texts::VERDICT, &[("said", said)])));
    Ok(lines.join("\n"))
}
