//! The command line: commands and their options.

mod number;
mod queue;
mod search;

pub(crate) use queue::{Ids, JobCommand, JobOf, Jobs, Logs, Priority, Retry, Serve, Submit};
pub(crate) use search::{Cluster, EngineArgs, LaunchArgs, SearchArgs, WorkArgs};

use crate::language::Language;
use clap::{Parser, Subcommand, ValueEnum};
use number::whole;
use std::path::PathBuf;

/// Largest number of threads, of workers and of simultaneous answers: more only takes memory.
const MOST_THREADS: u64 = 1024;

/// Merges open language-model checkpoints and evolves merges.
///
/// Exit codes: 0 done, 1 you can fix it, 2 wrong usage, 3 the machine failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "evomerge", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Language of results, reports and the queue's page [default: `EVOMERGE_LANG`, or the locale's, or English].
    #[arg(long, global = true, ignore_case = true, value_name = "LANGUAGE")]
    pub(crate) lang: Option<Language>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Search a recipe with holes for the best merge, or continue a search that stopped.
    Search(SearchArgs),
    /// Show the results of a search, finished or not; also as an HTML page, tables or JSON.
    Report(Report),
    /// Merge models by a recipe, and write the result as a checkpoint.
    Merge(MergeArgs),
    /// Show what a merge would do, tensor by tensor, without reading a weight.
    Plan(PlanArgs),
    /// Check that a merge matches its `evomerge.json`, and that merging again gives the same bytes.
    Verify(Verify),
    /// Score models, or recipes that are merged in memory, on Japanese benchmarks, and compare them.
    Eval(Eval),
    /// Run the jobs of the queue, one at a time by default, and answer requests about them.
    Serve(Serve),
    /// Score candidates for a search: orders on standard input, scores on standard output. `search --launch` starts it.
    Work(WorkArgs),
    /// Print a job script, or a manifest, for a search on a cluster, to be changed and handed in.
    Launch(LaunchArgs),
    /// Put a merge, a search, an eval or a report into the queue.
    Submit(Submit),
    /// List the jobs of the queue.
    Jobs(Jobs),
    /// Show one job: its settings, its history and its output.
    Job(JobOf),
    /// Print a job's log.
    Logs(Logs),
    /// Cancel jobs; a running one is asked to stop.
    Cancel(Ids),
    /// Hold jobs until they are resumed; a running one is asked to stop.
    Pause(Ids),
    /// Let paused jobs run again.
    Resume(Ids),
    /// Queue failed or cancelled jobs again; they continue from where they stopped.
    Retry(Retry),
    /// Change the priority of jobs: those with a higher one start first.
    Priority(Priority),
    /// Remove jobs that have ended, and delete their directories in the queue.
    Rm(Ids),
    /// List the benchmarks: items, metrics, licences, protocols, and whether the data is present.
    Tasks(Tasks),
    /// Get the data of the benchmarks, or list the data sets.
    Data(Data),
    /// Show a model's architecture, sizes, types, vocabulary and tensors.
    Inspect(Inspect),
    /// Show where two models differ, by layer and component.
    Diff(Diff),
    /// List the merge methods and their parameters.
    Methods(Methods),
    /// Print the JSON Schema of recipe, search or task files, for an editor.
    Schema(Schema),
    /// Print completions for a shell.
    Completions(Completions),
    /// Answer a server's question about files, in a process with limits.
    #[command(hide = true)]
    Look,
}

#[derive(clap::Args)]
pub(crate) struct Report {
    /// The directory that `search -o` wrote, or one of its `stages/*` or `seed-*` directories.
    pub(crate) study: PathBuf,
    /// Also write everything to this file as one HTML page, which needs no other file or network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also write candidates.csv, scores.csv and items.csv into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) csv: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Pick another member of the front by weights, such as `math=1,reading=0.5,layers=-0.01`.
    ///
    /// The largest weighted sum wins. Scores are from 0 to 1, costs are as they are: with
    /// `layers=-0.01`, a layer is worth a percentage point. Nothing is evaluated again.
    #[arg(long, value_name = "WEIGHTS", conflicts_with_all = ["html", "csv"])]
    pub(crate) pick: Option<String>,
    /// Write the picked member's recipe to this file.
    #[arg(short, long, value_name = "FILE", requires = "pick")]
    pub(crate) output: Option<PathBuf>,
}

/// Device and number of threads that compute tensors.
#[derive(clap::Args)]
pub(crate) struct Execution {
    /// Number of threads [default: one for each core]; the result does not depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) threads: Option<u16>,
    /// Device to compute on: `cpu` or `cuda:0`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct MergeArgs {
    /// The recipe.
    pub(crate) recipe: PathBuf,
    /// The directory to write; it must not exist yet.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Show what would be done, as `plan` does, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace an earlier merge at the destination, once the new one is complete.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Maximum size of a file of weights, such as `5GB` or `500MB`.
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    pub(crate) shard_size: usize,
    /// Don't hash inputs and outputs; `verify` cannot check such a merge.
    #[arg(long)]
    pub(crate) no_hash: bool,
    /// Don't wait until all data is on disk; a power cut soon after may damage the result.
    #[arg(long)]
    pub(crate) no_sync: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
    /// Print what was done as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct PlanArgs {
    /// The recipe.
    pub(crate) recipe: PathBuf,
    #[command(flatten)]
    pub(crate) execution: Execution,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Verify {
    /// A directory that `merge` or `search` has written.
    pub(crate) dir: PathBuf,
    /// Only compare the files with their hashes; don't merge again.
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// Parses a number of bytes: `5GB`, `500MB`, `2GiB`, `1000000`.
fn size(text: &str) -> Result<usize, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err("write a number and a unit, such as 5GB, 500MB or 2GiB".to_owned()),
    };
    match number.parse::<f64>() {
        Ok(number) if number * unit >= 1.0 => Ok((number * unit) as usize),
        _ => Err("write a number and a unit, such as 5GB, 500MB or 2GiB".to_owned()),
    }
}

#[derive(clap::Args)]
pub(crate) struct Eval {
    /// Checkpoints, recipes or hub names; the others are compared with the first, item by item.
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// Tasks to ask: names and suites of `evomerge tasks`, such as `jp-lmeh`, and task files.
    #[arg(long, required = true, num_args = 1.., value_name = "TASK")]
    pub(crate) tasks: Vec<String>,
    /// Protocol by which named tasks are asked and marked; `evomerge tasks` lists the protocols.
    #[arg(long, default_value = "strict")]
    pub(crate) protocol: String,
    /// Split of each task's items to ask.
    #[arg(long, value_enum, default_value_t = ItemSplit::Report)]
    pub(crate) items: ItemSplit,
    /// Ask only the first N items of each task.
    #[arg(long, value_name = "N", value_parser = items)]
    pub(crate) limit: Option<usize>,
    /// Write results and samples to DIR as lm-evaluation-harness does; without DIR, print JSON.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given, given with a directory")]
    pub(crate) json: Option<Option<PathBuf>>,
    /// Ask in the form of a conversation, with the model's chat template.
    #[arg(long)]
    pub(crate) chat: bool,
    /// System message at the start of each conversation.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    /// Also ask an OpenAI-compatible server, such as `http://127.0.0.1:8000` of vLLM or llama.cpp.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// Name of the model to ask on a server that has several [default: its first].
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) served: Option<String>,
    /// Maximum number of answers generated at the same time; no answer depends on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) batch: Option<u16>,
    /// Directory in which answers are remembered [default: evomerge/answers in the user's cache].
    #[arg(long, value_name = "DIR", conflicts_with = "no_memory")]
    pub(crate) memory: Option<PathBuf>,
    /// Neither look up nor remember answers.
    #[arg(long)]
    pub(crate) no_memory: bool,
    /// Round hidden states to bfloat16 and multiply in it: faster, less exact, needs AVX512-BF16.
    ///
    /// Scores differ from those without this option, which are the same on every processor.
    #[arg(long, conflicts_with = "engine")]
    pub(crate) bf16_dot: bool,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// A split of a task's items.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ItemSplit {
    /// Items on which a search scores its candidates.
    Search,
    /// Items on which a search chooses its answer.
    Select,
    /// Items on which results are reported.
    Report,
}

#[derive(clap::Args)]
pub(crate) struct Tasks {
    /// List only this protocol, such as `strict` or `stability-0.3`.
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Option<String>,
    /// Print this benchmark's task file, to copy and change; by default that of `strict`.
    #[arg(long, value_name = "TASK", conflicts_with = "json")]
    pub(crate) show: Option<String>,
    /// Print the list as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Get data sets, check their hashes, and keep their licences beside them.
    ///
    /// The directory is `EVOMERGE_DATA`, else `evomerge` in `XDG_DATA_HOME` or `~/.local/share`.
    Fetch(Fetch),
    /// List the data sets: licence, splits, and whether each is present.
    List(ListArgs),
}

#[derive(clap::Args)]
pub(crate) struct Fetch {
    /// Names of data sets, such as `mgsm-ja`; `evomerge data list` lists them.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Take the files from this directory, or from a mirror: an `https://` or `http://` address.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Print the list as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// A checkpoint's directory, or a recipe.
    pub(crate) model: PathBuf,
    /// Hash the files, and all tensors together; this reads every byte.
    #[arg(long)]
    pub(crate) hash: bool,
    /// Print everything as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Diff {
    /// A checkpoint's directory, or a recipe.
    pub(crate) a: PathBuf,
    /// The model to compare it with: a checkpoint's directory, or a recipe.
    pub(crate) b: PathBuf,
    /// The model both were made from: also compare their task vectors, the differences from it.
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<PathBuf>,
    /// Also draw the heat maps into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print all numbers as JSON, also those of each tensor.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Methods {
    /// Name of one method: show all its details, with a recipe.
    pub(crate) method: Option<String>,
    /// Print the list as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Schema {
    /// Kind of file.
    #[arg(value_enum, default_value_t = SchemaOf::Search)]
    pub(crate) of: SchemaOf,
}

/// Kinds of files that people write.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    /// A recipe, with or without holes and a `search` block.
    Search,
    /// A task definition.
    Task,
    /// The lines of `evomerge work`.
    Work,
}

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Parses a number of items, 1 or more.
fn items(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(items) if items > 0 => Ok(items),
        _ => Err("write a whole number, 1 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        let read = ["5GB", "1.5 gb", "2GiB", "1000", "500M"].map(|text| size(text).unwrap());
        assert_eq!(read, [5_000_000_000, 1_500_000_000, 2_147_483_648, 1000, 500_000_000]);
        for wrong in ["", "GB", "5XB", "-1GB", "0"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
