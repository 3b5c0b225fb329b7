//! `evomerge merge`: a recipe in, a checkpoint out.

use crate::{args::Merge as Args, card, screen};
use merge_core::{
    error::Result,
    export,
    merge::{Merge, Sources},
    recipe::Recipe,
    weights::Weights as _,
};
use std::time::Instant;

pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let recipe = Recipe::read(&args.recipe)?;
    let sources = Sources::open(&recipe)?;
    export::check_destination(&args.output, sources.dirs())?;
    let merge = Merge::plan(&recipe, &sources)?;
    export::export(&merge, &args.output, &card::of_merge(&recipe, &sources)?)?;
    let bytes: usize = merge.index().values().map(merge_core::weights::Meta::byte_len).sum();
    let (n, s) = (merge.index().len(), began.elapsed().as_secs_f64());
    screen::say(&format!("{}: {n} tensors, {:.1} MB, in {s:.2} s", args.output.display(), bytes as f64 / 1e6));
    Ok(())
}
