//! The built-in tasks: each benchmark as each published protocol asks and marks it, and in our own way.
//!
//! Each is a task file that `evomerge tasks --show` prints: copy it to change the prompt or to drop
//! a quirk. The same benchmark has different files under different protocols, so a score means
//! little without both names.

mod shelf;
#[cfg(test)]
mod tests;

use crate::{
    dataset::{self, Dataset, Shelf, Stock},
    task::{self, Benchmark, Datasets, Fractions},
};
use merge_core::{
    error::{Error, Result},
    words::did_you_mean,
};
use std::sync::LazyLock;

/// A way of asking and marking.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Name on the command line.
    pub name: &'static str,
    /// Short description.
    pub about: &'static str,
    /// Folder of its task files.
    folder: &'static str,
    /// Stability AI's prompt versions, in order of preference; empty for other protocols.
    versions: &'static [&'static str],
}

const fn stability(name: &'static str, about: &'static str, versions: &'static [&'static str]) -> Protocol {
    Protocol { name, about, folder: "stability", versions }
}

/// All protocols. Stability's leaderboard combines 0.2 with 0.0 for benchmarks without 0.2.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "strict",
        about: "ours: no known quirk, exact numbers, examples fixed",
        folder: "strict",
        versions: &[],
    },
    Protocol { name: "sakana", about: "MGSM as Sakana AI's paper has it", folder: "sakana", versions: &[] },
    stability("stability-0.1", "Stability AI's harness, prompts in brackets", &["0.1", "0.0"]),
    stability("stability-0.2", "Stability AI's harness, plain prompts, as for base models", &["0.2", "0.0"]),
    stability("stability-0.2.1", "the same, with choices asked for by their text", &["0.2.1", "0.2", "0.0"]),
    stability("stability-0.3", "Stability AI's harness, prompts in Alpaca's form", &["0.3"]),
    stability("stability-0.4", "Stability AI's harness, prompts for rinna's dialogue models", &["0.4"]),
    stability("stability-0.5", "the same, for rinna's bilingual models", &["0.5"]),
    stability("stability-0.6", "Stability AI's harness, prompts for Llama-2-chat", &["0.6"]),
    Protocol {
        name: "eleuther",
        about: "lm-evaluation-harness 0.4.13: japanese_leaderboard and mgsm_*",
        folder: "eleuther",
        versions: &[],
    },
];

/// A list of benchmarks.
#[derive(Clone, Copy, Debug)]
pub struct BenchmarkList {
    /// Name on the command line.
    pub name: &'static str,
    /// Names of its benchmarks.
    pub benchmarks: &'static [&'static str],
}

/// All suites; the second is the first with `JCoLA`, as in Sakana AI's paper.
pub const SUITES: &[BenchmarkList] = &[
    BenchmarkList { name: "jp-lmeh", benchmarks: JP_LMEH_9.split_at(8).0 },
    BenchmarkList { name: "jp-lmeh-9", benchmarks: JP_LMEH_9 },
];

/// In the order of Stability's leaderboard, whose numbers of examples are 3, 3, 3, 2, 1, 1, 0 and 5; then `JCoLA`.
const JP_LMEH_9: &[&str] =
    &["jcommonsenseqa", "jnli", "marc-ja", "jsquad", "jaqket-v2", "xlsum-ja", "xwinograd-ja", "mgsm-ja", "jcola"];

/// A built-in task.
#[derive(Debug)]
pub struct Builtin {
    /// Name of its own, which tells the protocol: `jnli-1.3-0.3`, `ja_leaderboard_jnli`.
    pub name: String,
    /// Name of the benchmark: `jnli`. Other ways to ask it have names of their own: `jsquad-1.2`, `mgsm-direct-ja`.
    pub benchmark: String,
    /// Stability AI's prompt version; `None` for other protocols, and for a benchmark with only one.
    version: Option<String>,
    folder: &'static str,
    /// Text of the task file.
    pub text: String,
}

macro_rules! files {
    ($($folder:literal: $($file:literal)*;)*) => {
        &[$($(($folder, $file, include_str!(concat!("tasks/", $folder, "/", $file, ".yaml"))),)*)*]
    };
}

/// Folder, benchmark and text of each file. If a file has several documents, the first holds their common keys.
const FILES: &[(&str, &str, &str)] = files! {
    "strict": "mgsm-ja" "jcommonsenseqa" "jnli" "jsquad" "xwinograd-ja" "jcola" "jmmlu" "jemhopqa" "mawps-ja" "aozora"
        "marc-ja" "jaqket-v2" "xlsum-ja";
    "sakana": "mgsm-ja";
    "stability": "mgsm-ja" "jcommonsenseqa" "jnli" "jsquad" "xwinograd-ja" "jcola" "marc-ja" "jaqket-v2" "xlsum-ja";
    "eleuther": "mgsm-ja" "mgsm-direct-ja" "mgsm-native-cot-ja" "mgsm-en-cot-ja" "jcommonsenseqa" "jnli" "jsquad"
        "xwinograd-ja" "marc-ja" "jaqket-v2" "xlsum-ja";
};

/// All built-in tasks.
pub static TASKS: LazyLock<Vec<Builtin>> = LazyLock::new(|| FILES.iter().flat_map(|file| builtins(*file)).collect());

fn builtins((folder, benchmark, text): (&'static str, &str, &str)) -> Vec<Builtin> {
    let Some((common, rest)) = text.split_once("\n---\n") else {
        return vec![builtin(folder, benchmark, text.to_owned())];
    };
    // Comments at the top of a file describe it.
    let top: String = common.split_inclusive('\n').take_while(|line| line.starts_with('#')).collect();
    let common = &common[top.len()..];
    rest.split("\n---\n")
        .map(|own| builtin(folder, benchmark, format!("{top}{}\n{common}\n", own.trim_end())))
        .collect()
}

fn builtin(folder: &'static str, benchmark: &str, text: String) -> Builtin {
    let name = text.lines().find_map(|line| line.strip_prefix("task: ")).unwrap_or_default().to_owned();
    let mut version = None;
    let mut benchmark = benchmark.to_owned();
    // `jsquad-1.2-0.3`: benchmark, its version, the prompt's version.
    if let ("stability", [_, own, prompt]) = (folder, &name.split('-').collect::<Vec<_>>()[..]) {
        version = Some((*prompt).to_owned());
        if *own == "1.2" {
            benchmark.push_str("-1.2");
        }
    }
    Builtin { name, benchmark, version, folder, text }
}

/// Finds a protocol by its name.
pub fn protocol(name: &str) -> Result<Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
        let near = did_you_mean(name, names.iter().copied());
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Error::user(format!("there is no protocol `{name}`")).hint(format!("{near}there are {}", names.join(", ")))
    })
}

/// Finds a protocol's task for a benchmark, or any task by its own name (`jsquad-1.2-0.3`).
pub fn find(task: &str, protocol: &str) -> Result<&'static Builtin> {
    let protocol = self::protocol(protocol)?;
    if let Some(found) = named(task) {
        return Ok(found);
    }
    protocol.task(task).ok_or_else(|| {
        let others: Vec<&str> =
            PROTOCOLS.iter().filter(|other| other.task(task).is_some()).map(|other| other.name).collect();
        if others.is_empty() {
            let known = TASKS.iter().map(|task| task.benchmark.as_str()).chain(SUITES.iter().map(|suite| suite.name));
            let near = did_you_mean(task, known).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            return Error::user(format!("there is no task `{task}`"))
                .hint(format!("{near}`evomerge tasks` lists them all; a task of your own is a YAML file"));
        }
        Error::user(format!("the protocol {} has no {task}", protocol.name))
            .hint(format!("these protocols have it: {}", others.join(", ")))
    })
}

/// Finds a task by its own name.
fn named(task: &str) -> Option<&'static Builtin> {
    TASKS.iter().find(|builtin| builtin.name == task)
}

impl Protocol {
    /// The protocol's task for a benchmark, if it has one.
    pub fn task(&self, benchmark: &str) -> Option<&'static Builtin> {
        let mut own = TASKS.iter().filter(|task| task.folder == self.folder && task.benchmark == benchmark);
        if self.versions.is_empty() {
            return own.next();
        }
        let own: Vec<&Builtin> = own.collect();
        let of = |version: &&str| own.iter().find(|task| task.version.as_deref() == Some(*version));
        let only = || own.iter().find(|task| task.version.is_none());
        self.versions.iter().find_map(of).or_else(only).copied()
    }
}

/// The tasks chosen by name, and the benchmarks that had to be left out.
#[derive(Debug, Default)]
pub struct ProtocolChoice {
    /// The tasks, in order.
    pub tasks: Vec<&'static Builtin>,
    /// Benchmarks of suites that are left out, with the reason.
    pub missing: Vec<(&'static str, String)>,
}

/// Chooses tasks by name; a name may also be a suite.
///
/// Fails if a task is unknown or its data is not here. A benchmark of a suite is left out, and listed as missing, if
/// the protocol does not have it, or if users must bring its data and did not.
pub fn choose(names: &[impl AsRef<str>], protocol: &str, shelf: &Shelf) -> Result<ProtocolChoice> {
    let mut chosen = ProtocolChoice::default();
    let mut to_fetch: Vec<&str> = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let Some(suite) = SUITES.iter().find(|suite| suite.name == name) else {
            let task = find(name, protocol)?;
            let dataset = task.dataset();
            match (shelf.stock(dataset), dataset.is_user_supplied()) {
                (Stock::None, true) => return Err(missing_data(dataset)),
                (Stock::None, false) => to_fetch.push(dataset.name),
                _ => {}
            }
            chosen.tasks.push(task);
            continue;
        };
        for benchmark in suite.benchmarks {
            let Some(task) = self::protocol(protocol)?.task(benchmark) else {
                chosen.missing.push((benchmark, format!("the protocol {protocol} does not have it")));
                continue;
            };
            let dataset = task.dataset();
            match (shelf.stock(dataset), dataset.is_user_supplied()) {
                (Stock::None, true) => chosen.missing.push((benchmark, missing_data(dataset).to_string())),
                (Stock::None, false) => to_fetch.push(dataset.name),
                _ => chosen.tasks.push(task),
            }
        }
    }
    if to_fetch.is_empty() {
        return Ok(chosen);
    }
    to_fetch.dedup();
    let names = to_fetch.join(" ");
    Err(Error::user(format!("the data of {} is not in {}", to_fetch.join(", "), shelf.dir().display()))
        .hint(format!("`evomerge data fetch {names}` gets it; with `--from DIR` it is copied from a directory")))
}

fn missing_data(dataset: &Dataset) -> Error {
    Error::user(format!("the data of {} is not here, and cannot be downloaded", dataset.name))
        .hint(format!("`evomerge data fetch {} --from DIR` takes it from a directory: {}", dataset.name, dataset.about))
}

impl Builtin {
    /// The data set of its documents.
    ///
    /// # Panics
    /// If its file names no data set; a test checks that each does.
    pub fn dataset(&self) -> &'static Dataset {
        let name = self.text.lines().find_map(|line| line.strip_prefix("dataset_path: evomerge/"));
        name.and_then(|name| dataset::dataset(name).ok()).expect("a test looks every data set up")
    }

    /// Reads the task with its documents.
    pub fn read(&self, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
        task::read_text(&self.name, &self.text, fractions, datasets)
    }

    /// Reads the task for a search: the split that is asked is divided by the content of its items.
    pub fn divided(&self, fractions: Fractions, shelf: &Shelf) -> Result<Benchmark> {
        let ours = "  evomerge:\n";
        let text = self.text.replacen(ours, &format!("{ours}    divide: {}\n", self.split()), 1);
        task::read_text(&self.name, &text, fractions, shelf)
    }

    /// A single value of its file, such as `num_fewshot` or `output_type`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(": "))
    }

    /// The split that is asked: the test split or, without one, the validation split.
    pub fn split(&self) -> &str {
        self.value("test_split").or_else(|| self.value("validation_split")).unwrap_or_default()
    }

    /// Names of the measures; tables and searches use the first.
    pub fn metrics(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("  - metric: ")).collect()
    }
}
