//! Connects the inference engines that a command names, finds a place for models, and tells what the engines did.

use super::{memory::MachineMemory, search::stand_in};
use crate::{
    args::EngineArgs,
    draw::screen::{self, duration},
    hub::agent,
};
use evaluator::{
    engine::{EngineAddress, EngineOptions, EnginePlace, EngineUse, Engines, Scratch},
    interrupt::Interrupt,
    objective::Benchmarks,
    server::ServerWire,
};
use merge_core::{
    baseline,
    error::{Error, Result},
    file,
    merge::{Merge, sources::Sources, unlike},
    model::{Meta, Weights},
    recipe::Recipe,
    search::SearchFile,
};
use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The engines that the arguments name, started with the checkpoint `model` if they are commands; `None` if there are none.
pub(crate) fn connect(
    args: &EngineArgs,
    model: impl FnOnce() -> Result<PathBuf>,
    interrupt: Interrupt,
) -> Result<Option<Arc<Engines>>> {
    let addresses = args.engine.iter().map(|text| text.parse()).collect::<Result<Vec<EngineAddress>>>()?;
    if addresses.is_empty() {
        return Ok(None);
    }
    let key = key();
    let wire = |url: &str| ServerWire::new(agent(url)?, url, key.as_deref());
    let started: Vec<String> =
        addresses.iter().filter(|one| matches!(one.place, EnginePlace::Command(_))).map(ToString::to_string).collect();
    if !started.is_empty() {
        screen::say(&format!("engine: starting {}", started.join(", ")));
    }
    if started.is_empty() && !args.gpus.is_empty() {
        return Err(Error::user("`--gpus` has no effect: no engine is started, since all of them have addresses")
            .hint("leave it out, or start engines: --engine 'vllm: vllm serve {model} --port {port}'"));
    }
    let options = EngineOptions {
        scratch: args.scratch.as_deref().unwrap_or(Path::new(IN_MEMORY)),
        timeout: Duration::from_secs(args.engine_timeout.into()),
        gpus: &args.gpus,
        model: &if started.is_empty() { PathBuf::new() } else { model()? },
        interrupt,
    };
    let engines = Engines::connect(&addresses, &options, wire)?;
    for note in engines.notes() {
        screen::say(&format!("note: {note}"));
    }
    let noticed = |what: &str| screen::say(&format!("engine: {what}"));
    Ok(Some(Arc::new(engines.noticed(noticed))))
}

/// Directory whose files are in memory.
const IN_MEMORY: &str = "/dev/shm";

/// The directory in which models of this size are written for judges: the one that the arguments name, else in memory if
/// there is room, else that of temporary files.
///
/// Fails if there is no room for a model.
pub(crate) fn scratch(args: &EngineArgs, bytes: u64) -> Result<Scratch> {
    let memory = Path::new(IN_MEMORY);
    let has_room = || file::room(memory).is_ok_and(|room| room > 2 * bytes);
    let usual = || if has_room() { memory.to_owned() } else { env::temp_dir() };
    let scratch = Scratch::begin(&args.scratch.clone().unwrap_or_else(usual))?;
    let room = scratch.room()?;
    if room > bytes {
        return Ok(scratch);
    }
    let (needs, has) = (screen::bytes(bytes), screen::bytes(room));
    Err(Error::user(format!("a model takes {needs}, but {} has only {has} free", scratch.parent().display()))
        .hint("`--scratch DIR` names another directory in which models are written for judges"))
}

/// Refuses a directory for models that nothing would be written to.
pub(crate) fn check_scratch(args: &EngineArgs, has_judges: bool) -> Result<()> {
    if args.scratch.is_none() || has_judges || !args.engine.is_empty() {
        return Ok(());
    }
    Err(Error::user("`--scratch` has no effect: neither an engine nor a judge scores").hint("remove it"))
}

/// Key of OpenAI-compatible servers, if the environment has one.
pub(crate) fn key() -> Option<String> {
    env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty())
}

/// Number of candidates of a search at work at once, and a note for the user.
///
/// While one is scored, the next is merged and written, if both have room.
pub(crate) fn at_once(engines: &Engines, file: &SearchFile, sources: &Sources) -> Result<(usize, Option<String>)> {
    if engines.hold_adapters() {
        return Ok((engines.count(), None));
    }
    check_depth(file, sources)?;
    let bytes = candidate_bytes(file, sources)?;
    let fitting = engines.at_once(bytes).map_err(|e| e.at(file.template.file.display()))?;
    // Files in memory are memory that nobody else has.
    let in_memory = (MachineMemory::here().free / bytes.max(1)).max(1) as usize;
    let (wanted, at_once) = (2 * engines.count(), fitting.min(in_memory));
    let note = (at_once < wanted).then(|| {
        let (there, candidates) = (screen::counted(at_once, "candidate"), screen::bytes(bytes));
        format!("there is room for {there} of {candidates} each, not for {wanted}: engines wait while the next one is written")
    });
    Ok((at_once, note))
}

/// Refuses a search whose candidates have different numbers of layers.
fn check_depth(file: &SearchFile, sources: &Sources) -> Result<()> {
    let planned = |recipe: &Recipe| Merge::plan(recipe, &sources.of(recipe));
    let Some(stacked) = baseline::stacked(&file.template, &file.template.space(sources)?) else { return Ok(()) };
    match unlike(&planned(&stand_in(file, sources)?)?, &planned(&stacked)?) {
        None => Ok(()),
        Some(_) => Err(Error::user(format!(
            "{}: its candidates have different numbers of layers, but an engine keeps the shape that it was started with",
            file.template.file.display()
        ))
        .hint("leave `--engine` out: evomerge scores paths through layers itself")),
    }
}

/// Bytes of a search's largest candidate or source.
pub(crate) fn candidate_bytes(file: &SearchFile, sources: &Sources) -> Result<u64> {
    let recipe = stand_in(file, sources)?;
    let merge = Merge::plan(&recipe, &sources.of(&recipe))?;
    let of = |weights: &dyn Weights| weights.index().values().map(|meta| meta.byte_len() as u64).sum::<u64>();
    let of_sources = sources.iter().map(|(_, source)| of(&**source)).max().unwrap_or(0);
    Ok(of(&merge).max(of_sources))
}

/// Holds the engines against our own forward pass, if that takes about a minute or less, and returns what to say of it.
pub(crate) fn compared_with_own(benchmarks: &Benchmarks, sources: &Sources) -> Result<Option<String>> {
    let Some((_, source)) = sources.iter().next() else { return Ok(None) };
    let name = &sources.labels()[0];
    let parameters: usize = source.index().values().map(Meta::len).sum();
    let tokens = (OPERATIONS / (2 * parameters.max(1)) as u64) as usize;
    let agreement = benchmarks.agreement(&**source, MachineMemory::here().free, tokens).map_err(|e| e.at(name))?;
    Ok(Some(match agreement {
        Some(agreement) => format!("engine: held against evomerge's own forward pass on {name}: {agreement}"),
        None => format!(
            "engine: {name} is too large for a comparison with evomerge's own forward pass, or it has none for it"
        ),
    }))
}

/// Multiplications and additions that a CPU does in about a minute.
const OPERATIONS: u64 = 10_000_000_000_000;

/// Says how a server of adapters answers as the merge of a recipe.
pub(crate) fn tell_option(engines: &Engines, recipe: &Recipe, sources: &Sources) -> Result<()> {
    if let Some(option) = engines.option(&Merge::plan(recipe, &sources.of(recipe))?)? {
        screen::say(&format!("llama-server answers as this merge, without its checkpoint, with: {option}"));
    }
    Ok(())
}

/// Says how each engine spent its time.
pub(crate) fn tell(engines: &Engines) {
    for one in engines.uses().iter().filter(|one| one.candidates > 0) {
        screen::say(&spent(one));
    }
}

fn spent(one: &EngineUse) -> String {
    let share = |seconds: f64| format!("{:.0}%", 100.0 * seconds / one.span.max(f64::MIN_POSITIVE));
    format!(
        "{}: {} in {}: {} scoring, {} loading weights, {} idle{}",
        one.engine,
        screen::counted(one.candidates, "model"),
        duration(one.span),
        share(one.scoring),
        share(one.loading),
        share(one.idle() * one.span),
        if one.out { "; taken out after it failed" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_engine_is_told_in_shares() {
        let one = EngineUse {
            engine: "vllm=http://127.0.0.1:8000".to_owned(),
            candidates: 12,
            loading: 10.0,
            scoring: 170.0,
            span: 200.0,
            out: false,
        };
        let said = "vllm=http://127.0.0.1:8000: 12 models in 3 min 20 s: 85% scoring, 5% loading weights, 10% idle";
        assert_eq!(spent(&one), said);
        assert_eq!(spent(&EngineUse { out: true, ..one }), format!("{said}; taken out after it failed"));
    }
}
