//! Time to list 10,000 queued jobs, with and without a server: promised are less than 100 ms.

use merge_core::queue::{JobKind, JournalFile, Limits, Needs, Queue, Submission};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const JOBS: usize = 10_000;

fn main() {
    divan::main();
}

/// A directory whose queue holds 10,000 jobs that no server starts.
fn filled() -> TempDir {
    let home = TempDir::new().expect("a directory");
    let job = |number: usize| Submission {
        kind: JobKind::Merge,
        name: format!("merge-{number}"),
        words: vec!["merge".to_owned(), format!("recipes/{number}.yaml")],
        directory: home.path().to_owned(),
        texts: Vec::new(),
        priority: (number % 7) as i32,
        after: Vec::new(),
        labels: vec!["night".to_owned()],
        limits: Limits::default(),
        attempts: 3,
        threads: None,
        needs: Needs { memory: Some(1 << 30), disk: Some(1 << 30) },
        key: Some(format!("key-{number}")),
    };
    let mut queue = Queue::open(JournalFile::open(&home.path().join("queue")).expect("new")).expect("empty");
    // The first job is paused, and all others wait for it.
    let first = queue.submit(vec![job(0)]).expect("room")[0];
    queue.pause(first).expect("it is queued");
    let rest = (1..JOBS).map(|number| Submission { after: vec![first], ..job(number) }).collect();
    queue.submit(rest).expect("room");
    home
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evomerge"));
    command.args(args).env("EVOMERGE_HOME", home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn list(home: &Path) {
    let said = command(home, &["jobs"]).output().expect("it is built");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// The whole command, which opens the queue itself.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn lists_without_a_server(bencher: divan::Bencher<'_, '_>) {
    let home = filled();
    bencher.bench_local(|| list(home.path()));
}

/// The whole command, which asks the server.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn lists_with_a_server(bencher: divan::Bencher<'_, '_>) {
    let home = filled();
    let mut server: Child = command(home.path(), &["serve"]).spawn().expect("it is built");
    let mut lines = BufReader::new(server.stderr.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("serving "))));
    bencher.bench_local(|| list(home.path()));
    server.kill().expect("it runs");
    server.wait().expect("it was killed");
}

/// Reference: a command that does nothing.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn says_nothing(bencher: divan::Bencher<'_, '_>) {
    let home = TempDir::new().expect("a directory");
    bencher.bench_local(|| assert!(command(home.path(), &["--version"]).status().expect("it is built").success()));
}
