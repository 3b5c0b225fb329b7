//! `evomerge`: merges open language-model checkpoints and evolves merges.

mod allocator;
mod args;
mod command;
mod card;
mod chosen;
mod hub;
mod interrupt;
mod job;
mod judgement;
mod lead;
mod licence;
mod line;
mod measure;
mod memory;
mod model;
mod picture;
mod provenance;
mod report;
mod screen;
mod serve;
mod view;

use args::{Args, Command};
use clap::Parser as _;
use merge_core::error::{Fault, Result};
use std::process::ExitCode;

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
    // Until the end it is known that this job runs.
    let job = job::begin();
    match job.and_then(|_running| run(args.command)) {
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
