//! Command-line arguments of the job queue's commands.

use super::size;
use clap::builder::PossibleValuesParser;
use merge_core::queue::JobState;
use std::{net::SocketAddr, path::PathBuf};

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Number of jobs that run at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) slots: u16,
    /// Also answer HTTP requests, with a page, at an address such as `127.0.0.1:7878`.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// A directory whose recipes and models may be used over HTTP; may be given several times.
    #[arg(long, value_name = "DIR", requires = "listen")]
    pub(crate) root: Vec<PathBuf>,
    /// A directory whose programs and items may be judges of searches handed in over HTTP, or the address of a service that
    /// may be; may be given several times.
    #[arg(long, value_name = "DIR|URL", requires = "listen")]
    pub(crate) judges: Vec<String>,
    /// File with the token that HTTP clients must send; required if others can reach the address.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
    /// A name or address by which browsers reach the server, if not that of `--listen`; may be
    /// given several times. Required with 0.0.0.0. `localhost` and `127.0.0.1` always work.
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) host: Vec<String>,
    /// Memory that all jobs together may use, such as `48GB` [default: all of the machine's].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<usize>,
    /// Disk space to keep free: jobs stop before they use it, and continue when there is room.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = size)]
    pub(crate) reserve: usize,
    /// Print a systemd unit that starts this server, and do nothing else.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) systemd: bool,
    /// Rebuild the queue's damaged store from the file of events beside it, and do nothing else.
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(clap::Args)]
#[command(subcommand_negates_reqs = true, override_usage = SUBMIT)]
pub(crate) struct Submit {
    /// Recipes, search files or studies to report on; or one file, then `--` and options for its
    /// command, such as `search.yaml -- --seeds 5`.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) words: Vec<String>,
    /// A command with its arguments, such as `eval MODEL --tasks mgsm-ja`.
    #[command(subcommand)]
    pub(crate) command: Option<JobCommand>,
    /// Name of the job [default: after the file].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Priority: jobs with a higher one start first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Start only when this job is done; may be given several times.
    #[arg(long, value_name = "JOB", value_parser = number)]
    pub(crate) after: Vec<u64>,
    /// A label to find the job by; may be given several times.
    #[arg(long, value_name = "WORD")]
    pub(crate) label: Vec<String>,
    /// Maximum running time, all attempts together, such as `90m`, `12h` or `3d`.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) time: Option<u64>,
    /// Maximum size of what the job writes, such as `50GB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk: Option<usize>,
    /// Maximum number of attempts, if the machine fails the job.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) attempts: u8,
    /// Number of threads [default: the job's share of the machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// A word of your choice: submitting the same job again with the same key makes no second job.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Print the jobs as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const SUBMIT: &str = "evomerge submit [OPTIONS] FILE...
       evomerge submit [OPTIONS] FILE -- [OPTIONS OF ITS COMMAND]
       evomerge submit [OPTIONS] (merge|search|eval|report) [ITS WORDS]";

/// A command that can be a job. Everything after its name belongs to it, options too.
#[derive(clap::Subcommand)]
pub(crate) enum JobCommand {
    /// Merge models by a recipe; takes all arguments of `evomerge merge`.
    Merge(Words),
    /// Search a recipe with holes; takes all arguments of `evomerge search`.
    Search(Words),
    /// Score models; takes all arguments of `evomerge eval`.
    Eval(Words),
    /// Show the results of a search; takes all arguments of `evomerge report`.
    Report(Words),
}

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

impl JobCommand {
    /// The command's name, followed by its arguments.
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
    /// Show the list again every second, until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    /// Show only jobs in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(JobState::ALL.map(JobState::name)))]
    pub(crate) state: Option<String>,
    /// Show only jobs with this label; may be given several times: all must match.
    #[arg(long, value_name = "WORD")]
    pub(crate) label: Vec<String>,
    /// Show all jobs that have ended, not only the last 10.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print the jobs as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct JobOf {
    /// The job's number.
    #[arg(value_parser = number)]
    pub(crate) job: u64,
    /// Print the job as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Logs {
    /// The job's number.
    #[arg(value_parser = number)]
    pub(crate) job: u64,
    /// Continue printing until the job has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(clap::Args)]
pub(crate) struct Ids {
    /// The jobs' numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
}

#[derive(clap::Args)]
pub(crate) struct Retry {
    /// The jobs' numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
    /// Also retry jobs in quarantine, which have failed the same way several times.
    #[arg(long)]
    pub(crate) force: bool,
    /// New maximum running time of each job, all attempts together.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) time: Option<u64>,
    /// New maximum size of what each job writes, all attempts together.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk: Option<usize>,
}

#[derive(clap::Args)]
pub(crate) struct Priority {
    /// New priority: jobs with a higher one start first; the default is 0.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// The jobs' numbers.
    #[arg(required = true, value_name = "JOB", value_parser = number)]
    pub(crate) jobs: Vec<u64>,
}

/// Parses a job's number.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a job is named by its number, which `evomerge jobs` shows".to_owned())
}

/// Parses an address to listen at: `127.0.0.1:7878`, `[::1]:7878` or `localhost:7878`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let plain = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    plain
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "write an address and a port, such as 127.0.0.1:7878".to_owned())
}

/// Parses a time into seconds: `90s`, `90m`, `12h`, `3d`.
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
