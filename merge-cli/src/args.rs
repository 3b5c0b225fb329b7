//! What can be typed.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Merges open language-model checkpoints and evolves merges.
///
/// Exit codes: 0 done, 1 something you can mend, 2 wrong usage, 3 the machine failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "evomerge", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Search a recipe with holes for the best merge, or go on where a search stopped.
    Search(Search),
    /// Merge as a recipe says, and write the result as a checkpoint.
    Merge(Merge),
    /// Score a model, or a recipe that is merged in memory.
    Eval(Eval),
    /// List the merge methods and their parameters.
    Methods(Methods),
    /// Print the JSON Schema of recipe, search or task files, for an editor.
    Schema(Schema),
    /// Print completions for a shell.
    Completions(Completions),
}

#[derive(clap::Args)]
pub(crate) struct Search {
    /// The search file: a recipe with holes and a `search` block.
    pub(crate) file: PathBuf,
    /// Where to keep the study and its result; a search that is there already goes on.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Search with this seed instead of the file's.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Candidates scored side by side [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
    /// Print the result as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Merge {
    /// The recipe.
    pub(crate) recipe: PathBuf,
    /// The directory to write; it must not exist yet.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Eval {
    /// A checkpoint's directory, or a recipe.
    pub(crate) model: PathBuf,
    /// Task files.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) tasks: Vec<PathBuf>,
    /// Which items.
    #[arg(long, value_enum, default_value_t = Items::Report)]
    pub(crate) items: Items,
    /// Where to compute: `cpu` or `cuda:0`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Print the scores as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A task's splits.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Items {
    /// What candidates of a search are scored on.
    Search,
    /// What a search's answer is chosen on.
    Select,
    /// What results are reported on.
    Report,
}

#[derive(clap::Args)]
pub(crate) struct Methods {
    /// Print them as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Schema {
    /// Which file.
    #[arg(value_enum, default_value_t = SchemaOf::Search)]
    pub(crate) of: SchemaOf,
}

/// The files people write.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    /// A recipe, with or without holes and a `search` block.
    Search,
    /// A task definition.
    Task,
}

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}
