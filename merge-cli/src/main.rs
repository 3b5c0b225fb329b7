//! `evomerge`: merges open language-model checkpoints and evolves merges.
//!
//! # The map, in reading order: each room uses those before it
//!
//! | room | has |
//! |---|---|
//! | `allocator` | the C library's heaps |
//! | `language` | the texts of results in English and Japanese |
//! | `args` | the command line |
//! | `lead`, `job` | a search's lead over the best parent; this process's reports to the queue |
//! | `draw` | text on a terminal, progress, pictures |
//! | `hub` | models of the Hugging Face hub |
//! | `study_report` | a study's verdicts, tables and HTML page (the queue's page is in `serve`) |
//! | `work` | steps that commands and the server share: open, check, estimate, stop |
//! | `artefact` | the files beside a merged model: model card, record, licences |
//! | `launch` | workers that score at the other end of a pipe |
//! | `serve` | the queue's server, its page and its client |
//! | `command` | one file for each command |

mod allocator;
mod language;
mod args;
mod lead;
mod job;
mod draw;
mod hub;
mod study_report;
mod work;
mod artefact;
mod launch;
mod serve;
mod command;

use args::{Args, Command};
use clap::Parser as _;
use draw::screen;
use language::Language;
use merge_core::error::{Fault, Result};
use std::process::ExitCode;
use work::interrupt;

fn main() -> ExitCode {
    allocator::share();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(said) => {
            screen::usage(&said);
            return match said.exit_code() {
                0 if screen::all_said() => ExitCode::SUCCESS,
                0 => ExitCode::from(3),
                _ => ExitCode::from(2),
            };
        }
    };
    // Its lock is held until the end: an attempt that starts later waits for it.
    let job = job::begin(serve::copies_of);
    match Language::choose(args.lang).and(job).and_then(|_running| run(args.command)) {
        Ok(()) if !screen::all_said() => ExitCode::from(3),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match error.fault() {
                Fault::User => 1,
                Fault::Machine => 3,
                Fault::Interrupted => interrupt::CODE,
            };
            if error.fault() != Fault::Interrupted {
                screen::error(&error);
            }
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Eval(args) => command::eval::run(&args)?,
        Command::Merge(args) => command::merge::run(&args)?,
        Command::Search(args) => command::search::run(&args)?,
        Command::Report(args) => command::report::run(&args)?,
        Command::Serve(args) => command::serve::run(&args)?,
        Command::Work(args) => launch::serve(&args)?,
        Command::Launch(args) => command::launch::run(&args)?,
        Command::Submit(args) => command::submit::run(&args)?,
        Command::Jobs(args) => command::jobs::list(&args)?,
        Command::Job(args) => command::jobs::show(&args)?,
        Command::Logs(args) => command::jobs::logs(&args)?,
        Command::Cancel(args) => command::jobs::cancel(&args)?,
        Command::Pause(args) => command::jobs::pause(&args)?,
        Command::Resume(args) => command::jobs::resume(&args)?,
        Command::Retry(args) => command::jobs::retry(&args)?,
        Command::Priority(args) => command::jobs::prioritise(&args)?,
        Command::Rm(args) => command::jobs::remove(&args)?,
        Command::Plan(args) => command::plan::run(&args)?,
        Command::Verify(args) => command::verify::run(&args)?,
        Command::Tasks(args) => command::tasks::run(&args)?,
        Command::Data(args) => command::data::run(&args)?,
        Command::Inspect(args) => command::inspect::run(&args)?,
        Command::Diff(args) => command::diff::run(&args)?,
        Command::Methods(args) => command::methods::run(&args)?,
        Command::Schema(args) => command::schema::run(&args),
        Command::Completions(args) => command::completions::run(&args),
        Command::Look => serve::look()?,
    }
    Ok(())
}
