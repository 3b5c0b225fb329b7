//! `evomerge verify`: proves that a directory is what its `evomerge.json` says, and that it can be made again.

use super::merge::set_threads;
use crate::{
    args::Verify as Args,
    hub::Hub,
    provenance::{self, Provenance},
    screen::{self, Meter},
};
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    export::sha256_of,
    merge::Merge,
    recipe::Recipe,
    sources::Sources,
    weights::{Meta, Weights as _},
};
use rayon::prelude::*;

pub(crate) fn run(args: &Args) -> Result<()> {
    set_threads(&args.execution)?;
    let provenance = Provenance::read(&args.dir)?;
    if provenance.outputs.is_empty() {
        let file = args.dir.join(provenance::FILE);
        return Err(Error::user(format!("{}: was merged without hashes", file.display()))
            .hint("merge again without `--no-hash`"));
    }
    provenance.outputs.par_iter().try_for_each(|(name, hash)| {
        let path = args.dir.join(name);
        let now = sha256_of(&path).map_err(|e| e.hint("the merge is not whole: merge again"))?;
        same(&now, hash, &path.display().to_string(), "the file was changed or damaged: merge again")
    })?;
    screen::data(&format!("outputs: {} files are what was written", provenance.outputs.len()));

    let file = args.dir.join(provenance::FILE);
    let documents = Recipe::parse_all(&provenance.recipe, &file)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    let sources = Sources::open(recipe, earlier, &Hub::from_env())?;
    if sources.files().count() != provenance.inputs.len() {
        return Err(
            Error::user(format!("{}: its inputs are not those of its recipe", file.display())).hint("merge again")
        );
    }
    let mut n = 0;
    for ((name, now), then) in sources.sha256()?.into_iter().zip(&provenance.inputs) {
        for (file, hash) in &then.files {
            n += 1;
            let now = now.get(file).map_or("missing", String::as_str);
            same(
                now,
                hash,
                &format!("{name}: {file}"),
                "the model was changed since: merge again, or get the one that was merged",
            )?;
        }
    }
    screen::data(&format!("inputs: {n} files are what was merged"));
    if args.quick {
        return Ok(());
    }

    let merge = super::merge::on_device(Merge::plan(recipe, &sources)?, &args.execution)?;
    let written = Checkpoint::open(&args.dir)?;
    if merge.index() != written.index() {
        return Err(Error::user(format!("{}: has other tensors than its recipe makes", args.dir.display()))
            .hint(provenance.why()));
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
        Err(Error::user(format!("{}: `{name}` is not what merging again makes", args.dir.display()))
            .hint(provenance.why()))
    })?;
    bar.finish();
    screen::data(&format!("merging again: {} tensors are the same, bit for bit", merge.index().len()));
    Ok(())
}

/// Stretches of a tensor, in whole granules of about a megabyte.
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
