//! Time that the program takes to start and print its help.

use std::process::{Command, Stdio};

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn help() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evomerge"));
    let status = command.arg("--help").stdout(Stdio::null()).status().expect("it is built");
    assert!(status.success());
}
