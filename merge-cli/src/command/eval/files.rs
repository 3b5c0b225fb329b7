//! Writes the results of an eval as files for lm-evaluation-harness's tools.

use super::{ModelScores, TaskScores, answering::AnsweringCost};
use crate::{args::Eval, draw::screen, work::eval_tasks::TaskChoice};
use evaluator::{
    evaluation::TaskItems,
    results::{self, RunInfo, TaskResult},
    task::Task as _,
};
use merge_core::{
    error::{Error, Result},
    export::replace_file,
};
use serde_json::json;
use std::{fs, path::Path, time::UNIX_EPOCH};

/// Writes `results_DATE.json` and `samples_TASK_DATE.jsonl` to the model's directory in `dir`.
pub(super) fn write(
    dir: &Path,
    args: &Eval,
    chosen: &TaskChoice,
    asked: &[TaskItems<'_>],
    scored: &ModelScores,
) -> Result<()> {
    let since = scored.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let AnsweringCost { chat, served, engine, recalled, computed } = &scored.answered;
    let run = RunInfo {
        model: scored.name.clone(),
        model_args: match served {
            Some(served) => json!({ "model": served, "base_url": scored.name }),
            None => json!({ "pretrained": scored.name }),
        },
        // The device of a server is unknown, and an engine says itself what it is.
        device: (served.is_none() && engine.is_none()).then(|| args.execution.device.clone()),
        chat: chat.clone(),
        batch_size: args.batch.filter(|_| served.is_none()).map(usize::from),
        limit: args.limit,
        draws: super::DRAWS,
        date: since.as_secs_f64(),
        stamp: stamp(since.as_secs(), since.subsec_micros()),
        seconds: scored.seconds,
        extra: json!({
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": args.protocol,
            "chat": args.chat,
            "bf16_dot": args.bf16_dot,
            "engine": engine,
            "answers": scored.requests,
            "remembered": recalled,
            "tokens_computed": computed,
            "missing": chosen.missing.iter().map(|(name, why)| json!({ "task": name, "why": why })).collect::<Vec<_>>(),
        }),
    };
    let evaluated: Vec<TaskResult<'_>> = asked
        .iter()
        .zip(&scored.tasks)
        .map(|(asked, of)| TaskResult {
            task: asked.task,
            marked: &of.marked,
            rows: &of.rows,
            available: asked.task.split(evaluator::task::Split::Report).len(),
            extra: extra(asked, of),
        })
        .collect();
    let dir = dir.join(sanitized(&scored.name));
    fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, &e))?;
    for (name, text) in results::files(&run, &evaluated, &chosen.suite.groups)? {
        replace_file(&dir.join(name), &text)?;
    }
    screen::say(&format!("{}: results and samples are in {}", scored.name, dir.display()));
    Ok(())
}

fn extra(asked: &TaskItems<'_>, of: &TaskScores) -> serde_json::Value {
    json!({
        "main": asked.task.metric(),
        "estimate": of.main,
        "measures": of.rows.iter().map(super::row_json).collect::<Vec<_>>(),
        "parts": super::parts_json(asked, of),
        "licence": asked.task.licence(),
    })
}

/// Directory name for a model's name, as in lm-evaluation-harness.
fn sanitized(name: &str) -> String {
    let safe =
        |c: char| if matches!(c, '"' | '<' | '>' | ':' | '/' | '|' | '\\' | '?' | '*' | '[' | ']') { '_' } else { c };
    let name = name.trim_matches(['/', '.']);
    let name: String = name.replace('/', "__").chars().map(safe).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// Formats seconds since 1970 as `2026-11-22T03-52-23.162403` in UTC.
///
/// The date follows H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn stamp(seconds: u64, micros: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{micros:06}")
}

#[cfg(test)]
mod tests {
    use super::{sanitized, stamp};

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N +%FT%H-%M-%S`
        for (seconds, text) in [
            (0, "1970-01-01T00-00-00"),
            (951_782_399, "2000-02-28T23-59-59"),
            (951_868_799, "2000-02-29T23-59-59"),
            (1_709_164_800, "2024-02-29T00-00-00"),
            (1_795_319_543, "2026-11-22T03-52-23"),
            (4_107_542_400, "2100-03-01T00-00-00"),
        ] {
            assert_eq!(stamp(seconds, 162_403), format!("{text}.162403"));
        }
    }

    #[test]
    fn models_have_directories_of_their_names() {
        assert_eq!(sanitized("org/model"), "org__model");
        assert_eq!(sanitized("../a/b.yaml"), "a__b.yaml");
        assert_eq!(sanitized("http://127.0.0.1:8000"), "http_____127.0.0.1_8000");
        assert_eq!(sanitized("."), "model");
    }
}
