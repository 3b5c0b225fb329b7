//! What starts workers: a command of a shell, or a Ray cluster.

use super::{
    pipe::{Carrier, LineWriter, WorkerPipe, each_line},
    ray::RayCluster,
};
use evaluator::process_group::RunningGroup;
use merge_core::error::{Error, Result};
use std::{
    process::{Command, Stdio},
    thread,
};

/// What stands for the worker's command in a launcher.
const WORK: &str = "{work}";

/// What starts workers.
pub(crate) enum Launcher {
    /// A command of a shell, whose standard input and output are the worker's.
    Command {
        /// The worker's own command is appended to it or replaces its `{work}`, and `{n}` is a worker's number, from 1 on.
        launcher: String,
        /// The worker's own command.
        program: String,
    },
    /// A Ray cluster.
    Ray(RayCluster),
}

impl Launcher {
    /// Starts a worker. Fails if that cannot even be tried, or if all `is_over`.
    pub(super) fn start(&self, number: usize, is_over: &dyn Fn() -> bool) -> Result<WorkerPipe> {
        match self {
            Self::Ray(cluster) => cluster.start(is_over),
            Self::Command { launcher, program } => start(&command(launcher, program, number)),
        }
    }

    /// What starts a worker, for messages.
    pub(super) fn called(&self, number: usize) -> String {
        match self {
            Self::Ray(_) => "the Ray actor".to_owned(),
            Self::Command { launcher, program } => format!("`{}`", command(launcher, program, number)),
        }
    }
}

fn command(launcher: &str, program: &str, number: usize) -> String {
    let command =
        if launcher.contains(WORK) { launcher.replace(WORK, program) } else { format!("{launcher} {program}") };
    command.replace("{n}", &number.to_string())
}

/// Starts a command of a shell, in a process group of its own.
fn start(command: &str) -> Result<WorkerPipe> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    WorkerPipe::new(|ear| {
        let mut running =
            RunningGroup::spawn(&mut shell).map_err(|e| Error::machine(format!("cannot start `{command}`: {e}")))?;
        let words = ear.words.clone();
        if let Some(out) = running.child.stdout.take() {
            thread::spawn(move || each_line(out, |line| ear.take(line)));
        }
        if let Some(err) = running.child.stderr.take() {
            thread::spawn(move || {
                each_line(err, |line| {
                    words.keep(line);
                    true
                });
            });
        }
        let input = running.child.stdin.take().map(LineWriter::new);
        Ok(Carrier::Process(running, input))
    })
}
