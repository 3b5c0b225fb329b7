//! What can be typed of the job queue.

use super::size;
use clap::builder::PossibleValuesParser;
use merge_core::queue::JobState;
use std::{net::SocketAddr, path::PathBuf};

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Jobs that run side by side.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) slots: u16,
    /// Answer by HTTP too, with a page, at an address such as `127.0.0.1:7878`.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// A directory whose recipes and models may be used by HTTP; may be given several times.
    #[arg(long, value_name = "DIR", requires = "listen")]
    pub(crate) root: Vec<PathBuf>,
    /// A file with the token that whoever asks by HTTP must know; needed if others can reach the address.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
    /// A name or an address by which browsers reach the server, if not the one it listens at; may be given several times. Needed
    /// with 0.0.0.0, which is nobody's address. `localhost` and `127.0.0.1` are always among them.
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) host: Vec<String>,
    /// Memory that jobs may use together, such as `48GB` [default: all that there is].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<usize>,
    /// What is kept free on the disk: jobs stop before they take it, and go on when there is room again.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = size)]
    pub(crate) reserve: usize,
    /// Print a unit for systemd that starts this server, and do nothing.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) systemd: bool,
    /// Make a damaged store of the queue anew from the file of events beside it, and do nothing else.
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(clap::Args)]
#[command(subcommand_negates_reqs = true, override_usage = SUBMIT)]
pub(crate) struct Submit {
    /// Recipes, search files or studies to report on; or a file, and after `--` what its command is to be told, such as
    /// `search.yaml -- --seeds 5`.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) words: Vec<String>,
    /// A command with its words, such as `eval MODEL --tasks mgsm-ja`.
    #[command(subcommand)]
    pub(crate) command: Option<JobCommand>,
    /// What to call it [default: after the file].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Higher ones go first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Start only when this job is done; may be given several times.
    #[arg(long, value_name = "JOB", value_parser = number)]
    pub(crate) after: Vec<u64>,
    /// A word to find it by; may be given several times.
    #[arg(long, value_name = "WORD")]
    pub(crate) label: Vec<String>,
    /// How long it may run, all attempts together, such as `90m`, `12h` or `3d`.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) time: Option<u64>,
    /// How much it may write, such as `50GB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk: Option<usize>,
    /// How often it is tried if the machine fails it.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) attempts: u8,
    /// Threads [default: its share of the machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// A word of your own: if the same job is submitted again with the same key, there is still one job.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Print the jobs as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const SUBMIT: &str = "evomerge submit [OPTIONS] FILE...
       evomerge submit [OPTIONS] FILE -- [OPTIONS OF ITS COMMAND]
       evomerge submit [OPTIONS] (merge|search|eval|report) [ITS WORDS]";

/// A command that can be a job. What stands behind its name is its own, options too.
#[derive(clap::Subcommand)]
pub(crate) enum JobCommand {
    /// Merge as a recipe says: all that `evomerge merge` takes.
    Merge(Words),
    /// Search a recipe with holes: all that `evomerge search` takes.
    Search(Words),
    /// Score models: all that `evomerge eval` takes.
    Eval(Words),
    /// Show what a search found: all that `evomerge report` takes.
    Report(Words),
}

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

impl JobCommand {
    /// The words, the command's name first.
    pub(crate) fn words(&self) -> Vec<String> {
        let (name, Words { words }) = match self {
            Self::Merge(words) => ("merge", words),
            Self::Search(words) => ("search", words),
            Self::Eval(words) => ("eval", words),
            Self::Report(words) => ("report", words),
        };
        std::iter::once(name.to_owned()).chain(words.iter().cloned()).collect()
    }
}

#[derive(clap::Args)]
pub(crate) struct Jobs {
    /// Show them again every second, until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    /// Only those in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(JobState::ALL.map(JobState::name)))]
    pub(crate) state: Option<String>,
    /// Only those with this word; may be given several times.
    #[arg(long, value_name = "WORD")]
    pub(crate) label: Vec<String>,
    /// All that have ended too, not only the last.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print them as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct JobOf {
    /// Its number.
    #[arg(value_parser = number)]
    pub(crate) job: u64,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Logs {
    /// The job's number.
    #[arg(value_parser = number)]
    pub(crate) job: u64,
    /// Go on until the job has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(clap::Args)]
pub(crate) struct Ids {
    /// Their numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
}

#[derive(clap::Args)]
pub(crate) struct Retry {
    /// Their numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
    /// Also those that have failed the same way again and again.
    #[arg(long)]
    pub(crate) force: bool,
    /// How long each may run from now on, all attempts together.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) time: Option<u64>,
    /// How much it may have written from now on, all attempts together.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk: Option<usize>,
}

#[derive(clap::Args)]
pub(crate) struct Priority {
    /// Higher ones go first; 0 is usual.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// The jobs' numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
}

/// A job's number.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a job is named by its number, which `evomerge jobs` shows".to_owned())
}

/// Where to listen: `127.0.0.1:7878`, `[::1]:7878` or `localhost:7878`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let plain = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    plain
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "write an address and a port, such as 127.0.0.1:7878".to_owned())
}

/// A time in seconds: `90s`, `90m`, `12h`, `3d`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and a unit, such as 90m, 12h or 3d".to_owned();
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|s| *s > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{address, number, seconds};

    #[test]
    fn addresses_have_ports_and_jobs_have_numbers() {
        let read = ["127.0.0.1:7878", "localhost:7878", "[::1]:80"].map(|text| address(text).unwrap().to_string());
        assert_eq!(read, ["127.0.0.1:7878", "127.0.0.1:7878", "[::1]:80"]);
        for wrong in ["7878", ":7878", "localhost", "example.org:80", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(number("12"), Ok(12));
        assert!(number("ja-math").unwrap_err().contains("`evomerge jobs`"));
    }

    #[test]
    fn times_have_units() {
        let read = ["90s", "90m", "2 h", "3d"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [90, 5400, 7200, 259_200]);
        for wrong in ["", "h", "5", "1.5h", "-1h", "0m", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
