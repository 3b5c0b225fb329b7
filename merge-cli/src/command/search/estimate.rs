//! `evomerge search --dry-run`: what a search costs, computed from its files and from one candidate that is timed.

use super::{PlannedStudy, SearchCommand};
use crate::{
    draw::screen::{self, duration, grouped},
    hub::Hub,
    study_report::figures,
    work::{engines::candidate_bytes, memory::MemoryNeed, search::stand_in},
};
use evaluator::answer::RequestLengths;
use merge_core::{
    error::{Error, Result},
    merge::sources::Sources,
    recipe::Recipe,
    search::Stage,
    study::{Candidate, News, Objective as _},
};
use serde::Serialize;
use std::{ops::ControlFlow, time::Instant};

/// What a stage of a search costs.
#[derive(Serialize)]
struct StageEstimate {
    /// Name of the stage, if it has one.
    stage: Option<String>,
    /// Item evaluations of the evolution: its budget.
    budget: u64,
    /// Candidates of a generation, and items that each is asked at first.
    population: usize,
    items: usize,
    /// Upper bound of all item evaluations: random search, selection and report too.
    evaluations: u64,
    /// Mean tokens of an item to read, and the most to generate.
    read: f64,
    generated: f64,
    /// Bytes of a candidate, and of the models that it is merged from.
    candidate_bytes: u64,
    source_bytes: u64,
    /// Candidates at work at the same time, on how many engines, and the bytes of memory that this takes.
    workers: usize,
    engines: usize,
    memory: u64,
    /// One candidate: items asked, tokens generated, and seconds to merge, load and score it.
    timed: TimedCandidate,
    /// Seconds of the whole search, if every item takes as long.
    seconds: f64,
}

/// One candidate that was scored.
#[derive(Clone, Copy, Serialize)]
struct TimedCandidate {
    items: usize,
    tokens: u64,
    seconds: f64,
}

impl SearchCommand<'_> {
    /// Estimates each stage, and prints a list or JSON.
    pub(super) fn estimate(&self) -> Result<()> {
        let (mut earlier, mut all): (Vec<Recipe>, Vec<StageEstimate>) = Default::default();
        for (stage, study) in self.stages.iter().zip(self.studies(self.args.seed)?) {
            match (stage, study) {
                (Stage::Recipe(recipe), _) => earlier.push((**recipe).clone()),
                (Stage::Search(_), None) => unreachable!("each search has a study"),
                (Stage::Search(_), Some(study)) => {
                    let sources = Sources::open_all(study.file.template.variants(), &earlier, &Hub::from_env())?;
                    all.push(of_stage(&study, &sources, self.engines.as_ref().map_or(0, |engines| engines.count()))?);
                    earlier.push(stand_in(&study.file, &sources)?);
                }
            }
        }
        if self.args.json {
            screen::data(&figures::json(&serde_json::json!({ "stages": all })));
        } else {
            screen::data(&all.iter().map(text).collect::<Vec<_>>().join("\n\n"));
        }
        Ok(())
    }
}

fn of_stage(study: &PlannedStudy, sources: &Sources, engines: usize) -> Result<StageEstimate> {
    let (file, benchmarks) = (&study.file, &study.benchmarks);
    let space = file.template.space(sources)?;
    let lengths = {
        let (_, first) = sources.iter().next().expect("a search has models");
        benchmarks.lengths(&**first)?
    };
    let RequestLengths { read, generated, .. } = lengths;
    let items: usize = benchmarks.first_items().iter().map(Vec::len).sum();
    let timed = time(study, sources)?;
    let evaluations = study.max_evaluations();
    let bytes = |name: &str| sources.get(name).index().values().map(|meta| meta.byte_len() as u64).sum::<u64>();
    Ok(StageEstimate {
        stage: file.template.name(),
        budget: file.search.budget.value,
        population: file.search.optimizer.start(&space, file.search.seed).population(),
        items,
        evaluations,
        read: read as f64 / items.max(1) as f64,
        generated: generated as f64 / items.max(1) as f64,
        candidate_bytes: candidate_bytes(file, sources)?,
        source_bytes: sources.iter().map(|(name, _)| bytes(name)).sum(),
        workers: study.workers,
        engines,
        memory: memory(study, sources, engines)?,
        timed,
        // Candidates that are scored side by side share the cores; engines do not.
        seconds: evaluations as f64 * timed.seconds / timed.items.max(1) as f64 / engines.max(1) as f64,
    })
}

/// Bytes of memory that the search takes, those of engines not counted.
fn memory(study: &PlannedStudy, sources: &Sources, engines: usize) -> Result<u64> {
    let need = match engines {
        0 => MemoryNeed::of_search(&study.file, sources, &study.benchmarks)?,
        _ => MemoryNeed::of_search_on_engines(candidate_bytes(&study.file, sources)?),
    };
    Ok(need.with(study.workers))
}

/// Merges and scores the candidate that the search begins with.
fn time(study: &PlannedStudy, sources: &Sources) -> Result<TimedCandidate> {
    let candidate = Candidate::merged(stand_in(&study.file, sources)?, sources);
    let (mut items, mut tokens) = (0, 0);
    let (began, mut given_up) = (Instant::now(), None);
    let mut listener = |news: News| {
        match news {
            News::Scores(_, scores) => {
                items += scores.len();
                tokens += scores.iter().map(|(_, score)| u64::from(score.tokens)).sum::<u64>();
            }
            News::GivenUp(why, _) => given_up = Some(why),
        }
        Ok(ControlFlow::Continue(()))
    };
    study.benchmarks.score(&candidate, &study.benchmarks.first_items(), &mut listener)?;
    match given_up {
        Some(why) => Err(Error::user(format!("the first candidate is broken, so that it tells no time: {why}"))
            .hint("look at the ranges of the holes and at their `init`")),
        None if items < study.benchmarks.first_items().iter().map(Vec::len).sum() => Err(Error::interrupted()),
        None => Ok(TimedCandidate { items, tokens, seconds: began.elapsed().as_secs_f64() }),
    }
}

/// The estimate as lines: what, and how much.
fn text(one: &StageEstimate) -> String {
    let TimedCandidate { items, tokens, seconds } = one.timed;
    let answer = if tokens > 0 {
        format!(", {:.0} tokens an answer", tokens as f64 / items.max(1) as f64)
    } else {
        String::new()
    };
    let work = if one.engines > 0 {
        format!("{} on {}", screen::counted(one.workers, "candidate"), screen::counted(one.engines, "engine"))
    } else {
        screen::counted(one.workers, "candidate")
    };
    let candidates = one.budget / one.items.max(1) as u64;
    let mut lines: Vec<(&str, String)> = one.stage.iter().map(|name| ("stage", name.clone())).collect();
    lines.extend([
        (
            "candidates",
            format!(
                "at most {} in generations of {}, and as many of random search",
                grouped(candidates),
                one.population
            ),
        ),
        (
            "item evaluations",
            format!(
                "at most {}: {} to search, the rest of random search, selection and report",
                grouped(one.evaluations),
                grouped(one.budget)
            ),
        ),
        ("an item", tokens_of(one.read, one.generated)),
        ("all items", tokens_of(one.read * one.evaluations as f64, one.generated * one.evaluations as f64)),
        (
            "a candidate",
            format!("{}, merged from {}", screen::bytes(one.candidate_bytes), screen::bytes(one.source_bytes)),
        ),
        ("at the same time", format!("{work}, with about {} of memory", screen::bytes(one.memory))),
        ("timed", format!("one candidate on {} in {seconds:.1} s{answer}", screen::counted(items, "item"))),
        (
            "time",
            format!("about {}, if all items take as long; answers found in the store take none", duration(one.seconds)),
        ),
    ]);
    let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    lines.iter().map(|(what, how)| format!("{what:width$}  {how}")).collect::<Vec<_>>().join("\n")
}

/// Tokens of an item, or of all.
fn tokens_of(read: f64, generated: f64) -> String {
    let n = |tokens: f64| grouped(tokens.round() as u64);
    if generated > 0.0 {
        format!("about {} tokens to read, at most {} to generate", n(read), n(generated))
    } else {
        format!("about {} tokens to read", n(read))
    }
}
