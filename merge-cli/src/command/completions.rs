//! `evomerge completions`: prints a completion script for a shell.

use crate::args::{Args, Completions};
use clap::CommandFactory as _;

pub(crate) fn run(args: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "evomerge", &mut script);
    crate::draw::screen::data(String::from_utf8_lossy(&script).trim_end());
}
