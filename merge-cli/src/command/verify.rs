//! `evomerge verify`: checks a directory against its `evomerge.json`, and merges again to compare.

use crate::{
    args::Verify as Args,
    artefact::provenance::{self, InputModel, Provenance},
    draw::screen::{self, Meter},
    hub::Hub,
    work::execution::{on_device, set_threads},
};
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    export, file,
    merge::{Merge, sources::Sources},
    model::{Meta, Weights as _, hash::sha256_of},
    recipe::Recipe,
};
use rayon::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn run(args: &Args) -> Result<()> {
    set_threads(&args.execution)?;
    let dir = find(&args.dir)?;
    let provenance = Provenance::read(&dir)?;
    prove_outputs(&provenance, &dir)?;
    let file = dir.join(provenance::FILE);
    let documents = Recipe::parse_all(&provenance.recipe, &file)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    let sources = Sources::open(recipe, earlier, &Hub::from_env())?;
    prove_inputs(&provenance, &sources, &file)?;
    if args.quick {
        return Ok(());
    }
    let merge = on_device(Merge::plan(recipe, &sources)?, &args.execution)?;
    prove_merge(&merge, &dir, &provenance.reason_of_difference())
}

/// The merge's directory: `dir`, or its `model` if it is a search's.
fn find(dir: &Path) -> Result<PathBuf> {
    if dir.join(provenance::FILE).exists() {
        return Ok(dir.to_owned());
    }
    let model = dir.join("model");
    if model.join(provenance::FILE).exists() {
        screen::say(&format!("{}: a search, whose model is {}", dir.display(), model.display()));
        return Ok(model);
    }
    let nothing = |why: &str| Error::user(format!("{}: {why}", dir.display()));
    if dir.join("study").is_dir() || dir.join("stages").is_dir() {
        let again = "the same `evomerge search` again goes on to its end, and writes the model with its record";
        return Err(nothing("a search that has no model with a record yet").hint(again));
    }
    let entries =
        fs::read_dir(dir).map_err(|e| Error::io("read", dir, &e))?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut seeds: Vec<PathBuf> = entries.filter(|path| path.join("study").is_dir()).collect();
    seeds.sort();
    Err(match seeds.first() {
        Some(seed) => nothing("several searches").hint(format!("verify them one by one, as {}", seed.display())),
        None => nothing(&format!("there is no {} in it", provenance::FILE))
            .hint("only what `evomerge merge` or `evomerge search` has written can be verified"),
    })
}

/// Formats a result: `1 file matches its hash`, `3 files match their hashes`.
fn matching(n: usize) -> String {
    screen::counted(n, "file") + if n == 1 { " matches its hash" } else { " match their hashes" }
}

/// Checks that the directory holds exactly the files that were written, unchanged.
fn prove_outputs(provenance: &Provenance, dir: &Path) -> Result<()> {
    let file = dir.join(provenance::FILE);
    if provenance.outputs.is_empty() {
        return Err(Error::user(format!("{}: was merged without hashes", file.display()))
            .hint("merge again without `--no-hash`"));
    }
    provenance.outputs.par_iter().try_for_each(|(name, hash)| {
        let path = dir.join(name);
        if path.file_name().is_none_or(|plain| plain.to_str() != Some(name.as_str())) {
            return Err(Error::user(format!("{}: `{name}` is not the name of a file beside it", file.display()))
                .hint("the record was changed: merge again"));
        }
        let now = sha256_of(&path).map_err(|e| e.hint("the merge is not whole: merge again"))?;
        same(&now, hash, &path.display().to_string(), "the file was changed or damaged: merge again")
    })?;
    let mut notes = Vec::new();
    for name in provenance.unlisted_entries(dir)? {
        // Loaders ignore hidden files; hubs and version control leave theirs here.
        if !name.starts_with('.') {
            return Err(Error::user(format!("{}: holds `{name}`, which was not merged", dir.display()))
                .hint("a loader may read it: move it elsewhere, or merge again"));
        }
        notes.push(name);
    }
    screen::data(&format!("outputs: {}", matching(provenance.outputs.len())));
    if !notes.is_empty() {
        screen::say(&format!("note: {}: not written by the merge, and not checked", notes.join(", ")));
    }
    Ok(())
}

/// Checks that the models are those that were merged.
fn prove_inputs(provenance: &Provenance, sources: &Sources, file: &Path) -> Result<()> {
    let other = |what: &str| Error::user(format!("{}: {what}", file.display())).hint("merge again");
    if sources.files().count() != provenance.inputs.len() {
        return Err(other("its inputs are not those of its recipe"));
    }
    let mut n = 0;
    for ((name, now), InputModel { files: then, .. }) in sources.sha256()?.into_iter().zip(&provenance.inputs) {
        if let Some(missing) = now.keys().find(|file| !then.contains_key(*file)) {
            return Err(other(&format!("it has no hash of {missing} of {name}, so it proves nothing")));
        }
        for (file, hash) in then {
            n += 1;
            let hint = "the model was changed since: merge again, or get the one that was merged";
            let now = now.get(file).ok_or_else(|| Error::user(format!("{name}: {file} is missing")).hint(hint))?;
            same(now, hash, &format!("{name}: {file}"), hint)?;
        }
    }
    screen::data(&format!("inputs: {}", matching(n)));
    Ok(())
}

/// Checks that merging again gives the same tensors and the same files beside them.
fn prove_merge(merge: &Merge, dir: &Path, why: &str) -> Result<()> {
    let written = Checkpoint::open(dir)?;
    if merge.index() != written.index() {
        return Err(Error::user(format!("{}: has other tensors than its recipe makes", dir.display())).hint(why));
    }
    for (name, bytes) in export::beside_tensors(merge)? {
        let path = dir.join(&name);
        if file::read(&path).map_err(|e| Error::io("read", &path, &e).hint(why))? != bytes {
            return Err(Error::user(format!("{}: is not what merging again makes", path.display())).hint(why));
        }
    }
    let bar = Meter::bytes("merging again", written.index().values().map(|meta| meta.byte_len() as u64).sum());
    merge.index().iter().try_for_each(|(name, meta): (&String, &Meta)| {
        let (again, then) = (merge.tensor(name)?, written.tensor(name)?);
        let equal = stretches(meta.len(), again.granule()).into_par_iter().map(|(start, len)| {
            let size = meta.dtype.size();
            let mut bytes = vec![0; len * size];
            again.copy(start, &mut bytes)?;
            bar.add(bytes.len() as u64);
            let mut stored = vec![0; len * size];
            then.copy(start, &mut stored)?;
            Ok(bytes == stored)
        });
        if equal.collect::<Result<Vec<_>>>()?.into_iter().all(|equal| equal) {
            return Ok(());
        }
        Err(Error::user(format!("{}: `{name}` is not what merging again makes", dir.display())).hint(why))
    })?;
    bar.finish();
    let tensors = merge.index().len();
    let are = if tensors == 1 { "is" } else { "are" };
    screen::data(&format!("merging again: {} {are} the same, bit for bit", screen::counted(tensors, "tensor")));
    Ok(())
}

/// Starts and lengths of a tensor's stretches: whole granules, about a megabyte each.
fn stretches(len: usize, granule: usize) -> Vec<(usize, usize)> {
    let step = ((1 << 18) / granule).max(1) * granule;
    (0..len).step_by(step).map(|start| (start, step.min(len - start))).collect()
}

fn same(now: &str, then: &str, what: &str, hint: &str) -> Result<()> {
    if now == then {
        return Ok(());
    }
    Err(Error::user(format!("{what}: its SHA-256 is {now}, and was {then}")).hint(hint))
}
