//! `evomerge`: merges open language-model checkpoints and evolves merges.

mod args;
mod command;
mod card;
#[expect(dead_code, reason = "no command calls it yet")]
mod hub;
#[cfg_attr(not(test), expect(dead_code, reason = "no command calls it yet"))]
mod licence;
mod report;
mod screen;

use args::{Args, Command};
use clap::Parser as _;
use merge_core::error::{Fault, Result};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(_) if !screen::all_said() => ExitCode::from(3),
        Ok(code) => code,
        Err(error) => {
            screen::error(&error);
            ExitCode::from(match error.fault() {
                Fault::User => 1,
                Fault::Machine => 3,
            })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Search(args) => return command::search::run(&args),
        Command::Merge(args) => command::merge::run(&args)?,
        Command::Eval(args) => command::eval::run(&args)?,
        Command::Methods(args) => command::methods::run(&args),
        Command::Schema(args) => command::schema::run(&args),
        Command::Completions(args) => command::completions::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}
