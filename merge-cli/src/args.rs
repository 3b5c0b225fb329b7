//! What can be typed.

mod number;
mod queue;

pub(crate) use queue::{Ids, JobCommand, JobOf, Jobs, Logs, Priority, Retry, Serve, Submit};

use clap::{Parser, Subcommand, ValueEnum};
use merge_core::search::MOST_BUDGET;
use number::whole;
use std::path::PathBuf;

/// Most threads, workers and answers side by side: none gains by more, and each takes memory.
const MOST_THREADS: u64 = 1024;

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
    Search(SearchArgs),
    /// Show what a search found and how, also of one that is not done yet; as a page, tables or JSON too.
    Report(Report),
    /// Merge as a recipe says, and write the result as a checkpoint.
    Merge(MergeArgs),
    /// Show what a merge would do, tensor by tensor, without reading a weight.
    Plan(PlanArgs),
    /// Prove that a merge is what its `evomerge.json` says, and that merging again makes it.
    Verify(Verify),
    /// Score models, or recipes that are merged in memory, on Japanese benchmarks, and compare them.
    Eval(Eval),
    /// Run jobs from the queue, one after the other, and answer who asks for them.
    Serve(Serve),
    /// Put a merge, a search, an eval or a report into the queue.
    Submit(Submit),
    /// List the jobs of the queue.
    Jobs(Jobs),
    /// Show a job: what it is, what has happened to it, what it found.
    Job(JobOf),
    /// Print what a job said.
    Logs(Logs),
    /// Give jobs up; one that runs is asked to stop.
    Cancel(Ids),
    /// Hold jobs until they are resumed; one that runs is asked to stop.
    Pause(Ids),
    /// Let paused jobs have their turn again.
    Resume(Ids),
    /// Queue jobs again that failed or were cancelled; they go on from where they were.
    Retry(Retry),
    /// Give jobs another priority: higher ones go first.
    Priority(Priority),
    /// Forget jobs that have ended, and delete what they wrote into their directories.
    Rm(Ids),
    /// List the benchmarks: what each is, how it is asked and marked, and whether its data is here.
    Tasks(Tasks),
    /// Get the data of benchmarks, or list what there is.
    Data(Data),
    /// Show what a model is: its architecture, sizes, types, vocabulary and tensors.
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
pub(crate) struct SearchArgs {
    /// The search file: a recipe with holes and a `search` block.
    #[arg(required_unless_present = "from_mergekit")]
    pub(crate) file: Option<PathBuf>,
    /// Search what a file of mergekit-evolve says, instead of a search file.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) from_mergekit: Option<PathBuf>,
    /// Where to keep the study and its result; a search that is there already goes on.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Search with this seed instead of the file's.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(0..=u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// Search with so many seeds, one after the other, and report the spread.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(2..=1000))]
    pub(crate) seeds: Option<u16>,
    /// Spend so many item evaluations instead of the file's; of several stages, in the last.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(1..=MOST_BUDGET))]
    pub(crate) budget: Option<u64>,
    /// Candidates scored side by side [default: one for each core, as far as the memory goes].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) workers: Option<u16>,
    /// Let the answer of a smaller budget, or of fewer tasks to report on or seeds, take the place of one that is there.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print the result as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Report {
    /// The directory that `search -o` wrote, or one of its `stages` or `seed-*`.
    pub(crate) study: PathBuf,
    /// Draw everything in this file too: one page that needs no other file and no network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write candidates.csv, scores.csv and items.csv into this directory too.
    #[arg(long, value_name = "DIR")]
    pub(crate) csv: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Pick another member of the front by weights, such as `math=1,reading=0.5,layers=-0.01`.
    ///
    /// Scores count from 0 to 1 and costs as they are: with `layers=-0.01` a layer is worth a percentage point. Nothing is
    /// evaluated again.
    #[arg(long, value_name = "WEIGHTS", conflicts_with_all = ["html", "csv"])]
    pub(crate) pick: Option<String>,
    /// Write the recipe of the picked one to this file.
    #[arg(short, long, value_name = "FILE", requires = "pick")]
    pub(crate) output: Option<PathBuf>,
}

/// Where and with how much of the machine tensors are computed.
#[derive(clap::Args)]
pub(crate) struct Execution {
    /// Threads that compute [default: one for each core]; the result does not depend on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) threads: Option<u16>,
    /// Where to compute: `cpu` or `cuda:0`.
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
    /// Replace an earlier merge at the destination, when the new one is whole.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Most bytes of weights in a file, such as `5GB` or `500MB`.
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    pub(crate) shard_size: usize,
    /// Don't hash inputs and outputs; `verify` then has nothing to go by.
    #[arg(long)]
    pub(crate) no_hash: bool,
    /// Don't wait until the disk has everything; a power cut soon after may damage the result.
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
    /// A directory that `merge` has written, or `search`.
    pub(crate) dir: PathBuf,
    /// Compare files with their hashes only, and don't merge again.
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// A number of bytes: `5GB`, `500MB`, `2GiB`, `1000000`.
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
    /// Checkpoints' directories, recipes, or names on the hub; the others are compared with the first, item by item.
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// What to ask: names and suites that `evomerge tasks` lists, such as `jp-lmeh`, and task files.
    #[arg(long, required = true, num_args = 1.., value_name = "TASK")]
    pub(crate) tasks: Vec<String>,
    /// How named tasks are asked and marked; `evomerge tasks` lists the protocols.
    #[arg(long, default_value = "strict")]
    pub(crate) protocol: String,
    /// Which items.
    #[arg(long, value_enum, default_value_t = ItemSplit::Report)]
    pub(crate) items: ItemSplit,
    /// Ask only the first so many items of each task.
    #[arg(long, value_name = "N", value_parser = items)]
    pub(crate) limit: Option<usize>,
    /// Write results and samples as lm-evaluation-harness does, for its tools; without DIR, print the scores as JSON.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given, given with a directory")]
    pub(crate) json: Option<Option<PathBuf>>,
    /// Ask in the form of a conversation, by the model's chat template.
    #[arg(long)]
    pub(crate) chat: bool,
    /// What the system says first in a conversation.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    /// Ask an OpenAI-compatible server too, such as `http://127.0.0.1:8000` of vLLM or llama.cpp.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// The model to ask of a server that has several [default: its first].
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) served: Option<String>,
    /// Most answers generated side by side; no answer depends on it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) batch: Option<u16>,
    /// Where to remember answers [default: evomerge/answers in the user's cache].
    #[arg(long, value_name = "DIR", conflicts_with = "no_memory")]
    pub(crate) memory: Option<PathBuf>,
    /// Neither look up nor remember answers.
    #[arg(long)]
    pub(crate) no_memory: bool,
    /// Multiply weights in bfloat16 by hidden states rounded to it: faster, less exact, and for processors with AVX512-BF16.
    ///
    /// Scores are other ones than without, which are the same on every processor.
    #[arg(long)]
    pub(crate) bf16_dot: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// A task's splits.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ItemSplit {
    /// What candidates of a search are scored on.
    Search,
    /// What a search's answer is chosen on.
    Select,
    /// What results are reported on.
    Report,
}

#[derive(clap::Args)]
pub(crate) struct Tasks {
    /// Only this way of asking and marking, such as `strict` or `stability-0.3`.
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Option<String>,
    /// Print the task file of this benchmark, to be copied and changed; of `strict`, unless `--protocol` says otherwise.
    #[arg(long, value_name = "TASK", conflicts_with = "json")]
    pub(crate) show: Option<String>,
    /// Print them as JSON.
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
    /// Get data sets, prove them, and keep their licence beside them.
    ///
    /// They are kept in `EVOMERGE_DATA`, else in `evomerge` under `XDG_DATA_HOME` or `~/.local/share`.
    Fetch(Fetch),
    /// List the data sets: licence, splits, and whether they are here.
    List(ListArgs),
}

#[derive(clap::Args)]
pub(crate) struct Fetch {
    /// Data sets, such as `mgsm-ja`; `evomerge data list` lists them.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Take the files from this directory instead, or from a mirror: an address that begins with `https://` or `http://`.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Print them as JSON.
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
    /// Another.
    pub(crate) b: PathBuf,
    /// What both were made from; their task vectors, the differences from it, are then compared too.
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<PathBuf>,
    /// Draw the heat maps in this file too, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print all numbers as JSON, tensor by tensor too.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Methods {
    /// One method: all about it, with a recipe.
    pub(crate) method: Option<String>,
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

/// Some items, of which there is one at least.
fn items(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one item is asked".to_owned()),
        Ok(items) => Ok(items),
        Err(_) => Err("a whole number is wanted".to_owned()),
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
