//! Options of searches: what is searched, and what scores.

use super::{
    MOST_THREADS,
    number::{resources, whole},
};
use clap::ValueEnum;
use merge_core::search::MOST_BUDGET;
use std::{collections::BTreeMap, path::PathBuf};

#[derive(clap::Args)]
pub(crate) struct SearchArgs {
    /// The search file: a recipe with holes and a `search` block.
    #[arg(required_unless_present = "from_mergekit")]
    pub(crate) file: Option<PathBuf>,
    /// Run the search of a mergekit-evolve file, instead of a search file.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) from_mergekit: Option<PathBuf>,
    /// Directory of the study and its result; a search that is already there continues.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Search with this seed instead of the file's.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(0..=u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// Search with N seeds, one after the other, and report the spread.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(2..=1000))]
    pub(crate) seeds: Option<u16>,
    /// Spend N item evaluations instead of the file's `budget`; of several stages, in the last.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(1..=MOST_BUDGET))]
    pub(crate) budget: Option<u64>,
    /// Candidates scored at the same time [default: one for each core, as memory allows].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) workers: Option<u16>,
    /// Score on workers that this command starts, `--workers` of them, such as `srun -n1` or `ssh node{n}`.
    ///
    /// `evomerge work` is appended to it, or put in place of `{work}`; `{n}` is a worker's number. Its standard input and output
    /// must be the worker's. A worker that ends is started again. The models must be at the same paths on its machine.
    #[arg(long, value_name = "COMMAND", requires = "workers", conflicts_with = "dry_run")]
    pub(crate) launch: Option<String>,
    /// Score on workers that are actors of this Ray cluster, `--workers` of them: `auto` for the one of this machine, or an
    /// address such as `node1:6379`.
    ///
    /// The program and the models must be at the same paths on all nodes.
    #[arg(long, value_name = "ADDRESS", requires = "workers", conflicts_with_all = ["launch", "dry_run"])]
    pub(crate) ray: Option<String>,
    /// Resources of a Ray actor, such as `GPU: 1, CPU: 4` [default: none, so that Ray starts all at once].
    #[arg(long, value_name = "RESOURCES", requires = "ray", conflicts_with = "launch", value_parser = resources)]
    pub(crate) per_worker: Option<BTreeMap<String, f64>>,
    /// Python that has the module `ray`.
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "ray", conflicts_with = "launch")]
    pub(crate) python: String,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
    /// Replace a result that has a larger budget, more report tasks or more seeds than this one.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Score one candidate, print what the search would cost, and write nothing.
    #[arg(long, conflicts_with = "replace")]
    pub(crate) dry_run: bool,
    /// Print the result as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct LaunchArgs {
    /// The kind of cluster: Slurm; PBS, as on ABCI 3.0; Grid Engine, as on TSUBAME4; Kubernetes; Ray.
    pub(crate) cluster: Cluster,
    /// The search file.
    #[arg(default_value = "search.yaml")]
    pub(crate) file: PathBuf,
    /// Directory of the study and its result.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub(crate) output: PathBuf,
    /// Number of workers, each with a GPU.
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true, value_parser = whole::<u16>(1..=MOST_THREADS))]
    pub(crate) workers: u16,
}

/// A kind of cluster.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Cluster {
    Slurm,
    Pbs,
    Age,
    Kubernetes,
    Ray,
}

#[derive(clap::Args)]
pub(crate) struct WorkArgs {
    /// Run the commands that a search names, such as one that starts an engine.
    #[arg(long)]
    pub(crate) allow_commands: bool,
}

/// Inference engines that are given weights and score in place of evomerge's own forward pass.
#[derive(clap::Args)]
pub(crate) struct EngineArgs {
    /// Score on a running engine, which is given the weights: `vllm=URL` or `sglang=URL`.
    ///
    /// Several engines score side by side. vLLM 0.32 or newer must run with `VLLM_SERVER_DEV_MODE=1`, on this machine, with
    /// one of the models to be merged; it gets its own model back at the end. A command starts an engine, which ends with
    /// the search: 'vllm: vllm serve {model} --port {port}'.
    #[arg(long, value_name = "KIND=URL")]
    pub(crate) engine: Vec<String>,
    /// GPUs of engines that a command starts, such as `0,1`: one engine for each.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "engine")]
    pub(crate) gpus: Vec<String>,
    /// Directory, best in memory, in which models are written for engines and judges [default: /dev/shm].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Seconds that an engine may take for one request, and to come back after a failure.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "engine", allow_negative_numbers = true, value_parser = whole::<u32>(1..=86_400))]
    pub(crate) engine_timeout: u32,
}
