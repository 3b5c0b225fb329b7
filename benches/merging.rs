//! Time of `evomerge merge` from disk to disk, compared with `cp` of a file of the output's size.
//!
//! `cargo bench --bench merging` makes, merges and removes models of 0.3 GB; `-- --large` uses and
//! keeps models of 2.2 GB; `-- --huge` plans and begins merges of 141 GB. Arguments select methods.
//! Needs Linux.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod measured;
mod synthetic;

use clap::Parser;
use measured::{Measured, begun, measured};
use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};
use synthetic::{HUGE, LARGE, MODELS, RECIPES, SMALL};

/// Measures `evomerge merge` against `cp`.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "they are what can be typed")]
struct Args {
    /// Measure only these methods.
    methods: Vec<String>,
    /// Merge models of 1.1 billion parameters.
    #[arg(long, conflicts_with = "huge")]
    large: bool,
    /// Plan and begin merges of models of 70 billion parameters.
    #[arg(long)]
    huge: bool,
    /// Make the models and recipes, print their directory, and measure nothing.
    #[arg(long)]
    make: bool,
    /// Directory for models and merges [default: evomerge/synthetic in the user's cache].
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Number of runs of each merge [default: 5, and 3 with --large].
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Path of another build of evomerge.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_evomerge"))]
    program: PathBuf,
    /// Added by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    if let Some(unknown) = args.methods.iter().find(|name| RECIPES.iter().all(|(known, _)| known != name)) {
        let known = RECIPES.map(|(known, _)| known).join(", ");
        return Err(io::Error::other(format!("there is no recipe `{unknown}` here, but {known}")));
    }
    let shape = [(args.huge, HUGE), (args.large, LARGE), (true, SMALL)].into_iter().find(|(asked, _)| *asked);
    let (_, shape) = shape.expect("one of them is always asked for");
    let temporary = tempfile::tempdir()?;
    let within = match &args.models {
        Some(dir) => dir.clone(),
        None if args.large || args.huge || args.make => cache()?.join("evomerge/synthetic"),
        None => temporary.path().to_owned(),
    };
    fs::create_dir_all(&within)?;
    let dir = synthetic::made(&shape, &within.canonicalize()?)?;
    if args.make {
        println!("{}", dir.display());
        return Ok(());
    }
    let scratch = tempfile::tempdir_in(&dir)?;
    let bench = Bench { program: &args.program, dir: &dir, scratch: scratch.path() };
    let chosen =
        RECIPES.into_iter().filter(|(name, _)| args.methods.is_empty() || args.methods.iter().any(|m| m == name));
    if args.huge {
        chosen.for_each(|(name, _)| bench.begin(name));
        return Ok(());
    }
    bench.compare(&chosen.collect::<Vec<_>>(), args.runs.unwrap_or(if args.large { 3 } else { 5 }).max(1))
}

fn cache() -> io::Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.ok_or_else(|| io::Error::other("there is no HOME: say where with --models"))
}

/// Options that leave out what a copy does not do either.
const BARE: [&str; 2] = ["--no-sync", "--no-hash"];

struct Bench<'a> {
    program: &'a Path,
    /// Directory of models and recipes.
    dir: &'a Path,
    /// Directory for outputs, on the same file system.
    scratch: &'a Path,
}

impl Bench<'_> {
    /// Measures each recipe and a copy in turn, several times: a noisy minute affects all alike.
    fn compare(&self, recipes: &[(&str, f64)], runs: usize) -> io::Result<()> {
        for model in MODELS {
            io::copy(&mut File::open(self.dir.join(model).join("model.safetensors"))?, &mut io::sink())?;
        }
        let (mut copies, mut synced) = (Vec::new(), Vec::new());
        let mut merges = vec![(Vec::new(), Vec::new()); recipes.len()];
        let mut refused = vec![None; recipes.len()];
        for _ in 0..runs {
            for (i, (name, _)) in recipes.iter().enumerate() {
                if refused[i].is_some() {
                    continue;
                }
                let [copied, and_synced] = self.copy()?;
                let both = self.merge(name, &BARE).and_then(|bare| Ok((bare, self.merge(name, &[])?)));
                match both {
                    Ok((bare, whole)) => {
                        merges[i].0.push(bare);
                        merges[i].1.push(whole);
                        copies.push(copied);
                        synced.push(and_synced);
                    }
                    Err(e) => refused[i] = Some(first_line(&e)),
                }
            }
        }
        let (copy, sync) = (median(&copies, |s| *s), median(&synced, |s| *s));
        println!("| {:15} | cp s | merge s | ratio | wanted | CPU s | own MB | synced: cp s | merge s | ratio |", "");
        println!("|{:-<17}|-----:|--------:|------:|-------:|------:|-------:|-------------:|--------:|------:|", "");
        for (((name, wanted), (bare, whole)), refused) in recipes.iter().zip(&merges).zip(&refused) {
            if let Some(refused) = refused {
                println!("| {name:15} | {refused} |");
                continue;
            }
            let [merge, published] = [bare, whole].map(|runs| median(runs, |run| run.wall));
            let cpu = median(bare, |run| run.cpu);
            let anon = bare.iter().chain(whole).map(|run| run.anon).max().unwrap_or(0) as f64 / 1e6;
            println!(
                "| {name:15} | {copy:4.2} | {merge:7.2} | {:5.2} | {wanted:6.1} | {cpu:5.2} | {anon:6.0} | {sync:12.2} | \
                 {published:7.2} | {:5.2} |",
                merge / copy,
                published / sync
            );
        }
        println!(
            "medians of {runs} runs, a copy before each merge, inputs in the page cache; first without syncing and hashing, \
             as `cp`; then with both, against `cp` and a sync"
        );
        Ok(())
    }

    /// Seconds of a copy, without and with its sync.
    fn copy(&self) -> io::Result<[f64; 2]> {
        self.settle()?;
        let to = self.scratch.join("copy.safetensors");
        let began = Instant::now();
        measured(Command::new("cp").arg(self.dir.join(MODELS[0]).join("model.safetensors")).arg(&to))?;
        let copied = began.elapsed();
        File::open(&to)?.sync_all()?;
        Ok([copied, began.elapsed()].map(|time| time.as_secs_f64()))
    }

    fn merge(&self, name: &str, options: &[&str]) -> io::Result<Measured> {
        self.settle()?;
        measured(self.command("merge", name).args(options).arg("-o").arg(self.scratch.join("merged")))
    }

    /// Measures the plan and the beginning of a merge that would fill the disk.
    fn begin(&self, name: &str) {
        let plan = self.settle().and_then(|()| measured(&mut self.command("plan", name)));
        let output = self.scratch.join("merged");
        let merge = self.settle().and_then(|()| {
            let mut command = self.command("merge", name);
            begun(command.args(BARE).arg("-o").arg(output), self.scratch, 4_000_000_000)
        });
        match plan {
            Ok(plan) => println!("{name}: planned in {:.2} s, {:.0} MB of its own", plan.wall, plan.anon as f64 / 1e6),
            Err(e) => println!("{name}: no plan: {}", first_line(&e)),
        }
        match merge {
            Ok((run, written)) => println!(
                "{name}: the first {:.1} GB in {:.2} s, {:.2} GB/s, {:.1} s of processors, {:.0} MB of its own",
                written as f64 / 1e9,
                run.wall,
                written as f64 / 1e9 / run.wall,
                run.cpu,
                run.anon as f64 / 1e6
            ),
            Err(e) => println!("{name}: no merge: {}", first_line(&e)),
        }
    }

    fn command(&self, command: &str, recipe: &str) -> Command {
        let mut program = Command::new(self.program);
        program.current_dir(self.dir).arg(command).arg(format!("{recipe}.yaml"));
        program
    }

    /// Empties the outputs and syncs, so that every run begins alike.
    fn settle(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.scratch)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
        measured(Command::new("sync").arg("-f").arg(self.scratch)).map(drop)
    }
}

fn first_line(e: &io::Error) -> String {
    e.to_string().lines().next().unwrap_or("it failed without a word").to_owned()
}

fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
