//! `evomerge merge`: merges models by a recipe into a checkpoint.

use super::plan;
use crate::{
    args::MergeArgs as Args,
    artefact::{
        card,
        licence::Licences,
        provenance::{self, Provenance},
    },
    draw::screen::{self, Meter},
    hub::Hub,
    work::{
        execution::{on_device, set_threads},
        interrupt,
    },
};
use merge_core::{
    error::{Error, Result},
    export::{self, Export, Options},
    merge::{
        Merge,
        sources::{Sources, short},
    },
    model::{Meta, Weights as _},
    recipe::Recipe,
};
use serde_json::json;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    set_threads(&args.execution)?;
    let documents = Recipe::read_all(&args.recipe)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    let sources = Sources::open(recipe, earlier, &Hub::from_env())?;
    check_destination(&args.output, args.replace, &sources)?;
    let merge = on_device(Merge::plan(recipe, &sources)?, &args.execution)?;
    if args.dry_run {
        plan::show(&merge, &sources, args.json);
        return Ok(());
    }
    for note in merge.notes() {
        screen::say(&format!("note: {note}"));
    }
    let licences = Licences::of(sources.files().map(|(name, path)| (short(name), path.to_owned())))?;
    let total: usize = merge.index().values().map(Meta::byte_len).sum();
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; nothing is written")?;
    let bar = Meter::bytes("merging", total as u64);
    let wrote = |n: usize| {
        bar.add(n as u64);
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let export = Export::begin(&args.output)?;
    let written = export.weights(&merge, &Options { shard_len: args.shard_size, on_written: &wrote });
    bar.finish();
    match written {
        Err(_) if interrupted.load(Ordering::Relaxed) => return Err(Error::interrupted()),
        written => written?,
    }
    let merged = began.elapsed().as_secs_f64();
    let (synced, described) = rayon::join(
        || if args.no_sync { Ok(()) } else { export.sync() },
        || describe(args, &documents, &sources, &export),
    );
    let provenance = synced.and(described)?;
    let untouched = sources.check_untouched();
    untouched.map_err(|e| e.hint("nothing is written: merge again when the model is whole"))?;
    let hashes: Vec<_> = provenance.inputs.iter().map(|one| (one.model.clone(), one.files.clone())).collect();
    export.file("README.md", card::of_merge(&documents, &licences, &hashes).as_bytes())?;
    export.file(provenance::FILE, provenance.to_json().as_bytes())?;
    if !args.no_sync {
        export.sync()?;
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::interrupted());
    }
    if args.replace { export.publish() } else { export.publish_new() }?;

    let (n, s) = (merge.index().len(), began.elapsed().as_secs_f64());
    if args.json {
        let said = json!({
            "output": args.output, "tensors": n, "bytes": total, "seconds": s, "seconds_merging": merged,
            "notes": merge.notes(), "licences": licences.line(), "restriction": licences.restriction(),
        });
        screen::data(&screen::json(&said));
    }
    let rate = total as f64 / 1e9 / merged;
    screen::say(&format!(
        "{}: {}, {}, merged in {merged:.2} s ({rate:.2} GB/s), done in {s:.2} s",
        args.output.display(),
        screen::counted(n, "tensor"),
        screen::bytes(total as u64),
    ));
    screen::say(&licences.line());
    Ok(())
}

/// Makes the record of the merge.
fn describe(args: &Args, documents: &[Recipe], sources: &Sources, export: &Export) -> Result<Provenance> {
    let hash = !args.no_hash;
    let (inputs, outputs) = rayon::join(
        || if hash { sources.sha256() } else { Ok(Vec::new()) },
        || if hash { export.sha256() } else { Ok(std::collections::BTreeMap::default()) },
    );
    Provenance::new(documents, sources, &args.execution.device, export.beside(), inputs?, outputs?)
}

/// Refuses an existing destination, unless it is an earlier merge that may be replaced.
fn check_destination(output: &Path, replace: bool, sources: &Sources) -> Result<()> {
    let inputs = || sources.files().map(|(_, path)| path);
    if replace && output.join(provenance::FILE).is_file() {
        export::check_input(output, inputs())?;
        let unlisted = Provenance::read(output)
            .and_then(|earlier| earlier.unlisted_entries(output))
            .map_err(|e| e.hint("only what `evomerge merge` has written is replaced: choose another directory"))?;
        return unlisted.first().map_or(Ok(()), |name| {
            Err(Error::user(format!("{}: holds `{name}`, which was not merged", output.display()))
                .hint("move it elsewhere, as the directory is replaced as a whole; or choose another directory"))
        });
    }
    export::check_destination(output, inputs()).map_err(|error| match error.advice() {
        Some(advice) if output.join(provenance::FILE).is_file() => {
            let advice = format!("{advice}; `--replace` replaces a merge when the new one is whole");
            error.hint(advice)
        }
        _ => error,
    })
}
