//! Arguments of jobs, parsed as the command line parses them.

use crate::args::{Args, Command, Eval, MergeArgs, Report, SearchArgs};
use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind, parser::ValueSource};
use merge_core::{
    error::{Error, Result},
    queue::{JobKind, Submission},
    yaml::read_text,
};
use std::path::{Path, PathBuf};

/// Parsed arguments of a job.
pub(super) struct JobWords {
    words: Vec<String>,
    /// Names of the options that they give.
    given: Vec<String>,
    pub(super) args: JobArgs,
}

/// The arguments of a job's command.
pub(super) enum JobArgs {
    Merge(MergeArgs),
    Search(SearchArgs),
    Eval(Eval),
    Report(Report),
}

/// Name of a job's output in the job's directory.
const OUTPUT: &str = "out";

impl JobWords {
    /// Parses the arguments of a job.
    ///
    /// Fails as the command itself would, except that `--output` is optional; also if the command
    /// cannot be a job.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let optional =
            |command: clap::Command| command.mut_arg("output", |arg| arg.required(false).default_value(OUTPUT));
        let command = Args::command().mut_subcommand("merge", optional).mut_subcommand("search", optional);
        let typed = std::iter::once("evomerge").chain(words.iter().map(String::as_str));
        let first = words.first().map_or("", String::as_str);
        let matches = command.try_get_matches_from(typed).map_err(|e| refusal(&e, first))?;
        let args = match Args::from_arg_matches(&matches).map_err(|e| refusal(&e, first))?.command {
            Command::Merge(args) => JobArgs::Merge(args),
            Command::Search(args) => JobArgs::Search(args),
            Command::Eval(args) => JobArgs::Eval(args),
            Command::Report(args) => JobArgs::Report(args),
            _ => {
                let error = Error::user(format!("{first}: is no job"));
                return Err(error.hint("a job is a merge, a search, an eval or a report"));
            }
        };
        let (_, own) = matches.subcommand().expect("a command was read");
        let is_given = |id: &&clap::Id| own.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let given = own.ids().filter(is_given).map(ToString::to_string).collect();
        Ok(Self { words: words.to_vec(), given, args })
    }

    fn gives(&self, option: &str) -> bool {
        self.given.iter().any(|given| given == option)
    }

    /// Path of the output: the one that the arguments name, relative to `directory`, else one in
    /// `place`.
    pub(super) fn output(&self, directory: &Path, place: &Path) -> PathBuf {
        match &self.args {
            JobArgs::Merge(MergeArgs { output, .. }) | JobArgs::Search(SearchArgs { output: Some(output), .. })
                if self.gives("output") =>
            {
                directory.join(output)
            }
            _ => place.join(OUTPUT),
        }
    }

    /// Arguments of an attempt: adds the output, in `place`, and the number of threads. A later
    /// attempt replaces the output of an earlier one.
    pub(super) fn completed(&self, place: &Path, threads: usize, is_later: bool) -> Vec<String> {
        let (out, threads) = (place.join(OUTPUT).to_string_lossy().into_owned(), threads.to_string());
        let options = match self.args {
            JobArgs::Merge(_) => vec![("output", out), ("threads", threads)],
            JobArgs::Search(ref args) if !args.engines.engine.is_empty() => vec![("output", out)],
            JobArgs::Search(_) => vec![("output", out), ("workers", threads)],
            JobArgs::Eval(_) => vec![("json", out), ("threads", threads)],
            // A report in another form needs no page.
            JobArgs::Report(_) if ["csv", "json", "pick"].iter().any(|form| self.gives(form)) => Vec::new(),
            JobArgs::Report(_) => vec![("html", format!("{out}.html"))],
        };
        let missing = options.into_iter().filter(|(name, _)| !self.gives(name));
        let mut added: Vec<String> = missing.flat_map(|(name, value)| [format!("--{name}"), value]).collect();
        if is_later && matches!(self.args, JobArgs::Merge(_)) && !self.gives("output") && !self.gives("replace") {
            // An earlier attempt may have written it without reporting. An output that the user
            // names is kept.
            added.push("--replace".to_owned());
        }
        // Added options go before `--`, since nothing after it is an option.
        let (options, rest) = self.words.split_at(self.words.iter().take_while(|word| *word != "--").count());
        [options, &added, rest].concat()
    }
}

/// Turns clap's error into ours.
fn refusal(error: &clap::Error, command: &str) -> Error {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Error::user("there is nothing to be done in these words");
    }
    // The first paragraph says what is wrong.
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let said = lines.join(" ");
    Error::user(said.strip_prefix("error: ").unwrap_or(&said)).hint(format!("`evomerge {command} --help` says how"))
}

/// Path of a job's output: the default one if this version cannot parse the arguments.
pub(super) fn output_of(submission: &Submission, place: &Path) -> PathBuf {
    let words = JobWords::parse(&submission.words);
    words.map_or_else(|_| place.join(OUTPUT), |words| words.output(&submission.directory, place))
}

/// True if a word is the name of a command.
pub(crate) fn is_command(word: &str) -> bool {
    Args::command().find_subcommand(word).is_some()
}

/// Arguments of a job for a file: a recipe, a search, or the output directory of a search.
pub(crate) fn words_for(file: &str, directory: &Path) -> Result<Vec<String>> {
    let path = directory.join(file);
    let kind = if path.is_dir() { JobKind::Report } else { kind_of(&read_text(&path)?).unwrap_or(JobKind::Merge) };
    Ok(vec![kind.name().to_owned(), file.to_owned()])
}

/// Kind of job for a recipe's text: a search if it has `search`, a merge if it has `merge_method`,
/// else `None`.
pub(super) fn kind_of(text: &str) -> Option<JobKind> {
    let has = |key: &str| text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    if has("search") {
        return Some(JobKind::Search);
    }
    has("merge_method").then_some(JobKind::Merge)
}

#[cfg(test)]
mod tests {
    use super::JobWords;
    use std::path::Path;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Compares the arguments of the first and of a later attempt in `/q/3` with four threads, and
    /// the path of the output.
    fn check(text: &str, first: &str, later: &str, output: &str) {
        let (read, place) = (JobWords::parse(&words(text)).unwrap(), Path::new("/q/3"));
        assert_eq!(read.completed(place, 4, false), words(first));
        assert_eq!(read.completed(place, 4, true), words(later));
        assert_eq!(read.output(Path::new("/w"), place), Path::new(output));
    }

    /// Checks arguments that are the same in both attempts.
    fn check_same(text: &str, told: &str, output: &str) {
        check(text, told, told, output);
    }

    #[test]
    fn a_merge_is_told_where_to_write_unless_it_says_so() {
        let told = "merge r.yaml --output /q/3/out --threads 4";
        check("merge r.yaml", told, &format!("{told} --replace"), "/q/3/out");
        let told = "merge r.yaml --replace --threads=2 --output /q/3/out";
        check_same("merge r.yaml --replace --threads=2", told, "/q/3/out");
        for named in ["-o else", "-oelse", "-o=else", "--output else", "--output=else"] {
            let text = format!("merge {named} r.yaml");
            check_same(&text, &format!("{text} --threads 4"), "/w/else");
        }
        check_same("merge r.yaml -o /else", "merge r.yaml -o /else --threads 4", "/else");
    }

    #[test]
    fn added_options_stand_before_dashes() {
        let told = "merge --output /q/3/out --threads 4";
        check(
            "merge -- -odd.yaml",
            &format!("{told} -- -odd.yaml"),
            &format!("{told} --replace -- -odd.yaml"),
            "/q/3/out",
        );
        check_same(
            "eval --tasks t -- --threads",
            "eval --tasks t --json /q/3/out --threads 4 -- --threads",
            "/q/3/out",
        );
    }

    #[test]
    fn each_command_is_told_what_it_takes() {
        check_same("search s.yaml", "search s.yaml --output /q/3/out --workers 4", "/q/3/out");
        check_same("search s.yaml --workers 2 -oelse", "search s.yaml --workers 2 -oelse", "/w/else");
        check_same("eval m --tasks t --json", "eval m --tasks t --json --threads 4", "/q/3/out");
        check_same("report s", "report s --html /q/3/out.html", "/q/3/out");
        for form in ["--html p", "--csv d", "--json", "--pick a=1"] {
            check_same(&format!("report s {form}"), &format!("report s {form}"), "/q/3/out");
        }
    }

    #[test]
    fn words_that_are_no_job_are_refused() {
        let check = |text: &str, expected: &str| {
            let error = JobWords::parse(&words(text)).err().unwrap();
            assert_eq!(error.to_string(), expected);
        };
        check("merge", "the following required arguments were not provided: <RECIPE>");
        check("merge r.yaml --thread 4", "unexpected argument '--thread' found");
        check("merge --help", "there is nothing to be done in these words");
        check("inspect a", "inspect: is no job");
    }
}
