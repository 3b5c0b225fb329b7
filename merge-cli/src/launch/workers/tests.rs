//! Tests: a worker that is silent, and reads nothing.

use super::{super::message::StudyOrder, *};
use merge_core::error::Fault;
use std::path::PathBuf;

#[test]
fn a_worker_that_says_nothing_is_taken_for_dead() {
    let greeting = format!(
        r#"{{"hello": {{"protocol": {PROTOCOL}, "version": "{}", "machine": "m", "processor": "p"}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let launcher = format!("echo '{greeting}'; sleep 2 #");
    let launcher = Launcher::Command { launcher, program: String::new() };
    let has_ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&has_ended);
    let interrupt = Interrupt::from(&has_ended);
    let workers = Workers::start(launcher, 1, Duration::from_millis(100), interrupt.clone(), move |said| {
        flag.fetch_or(said.contains("is taken for dead"), Ordering::Relaxed);
    });
    let (file, directory, text) = (PathBuf::new(), PathBuf::new(), "more than a pipe holds".repeat(10_000));
    let study = StudyOrder {
        is_mergekit: false,
        file,
        directory,
        text,
        stage: 0,
        earlier: Vec::new(),
        sources: Vec::new(),
        tasks: Vec::new(),
        engine: None,
    };
    let desk = workers.desk();
    // It is waited for again, until somebody says that it ended.
    let why = desk.announce(study, &interrupt).unwrap_err();
    assert_eq!(why.fault(), Fault::Interrupted, "{why}");
    assert_eq!(workers.uses()[0].items, 0);
}
