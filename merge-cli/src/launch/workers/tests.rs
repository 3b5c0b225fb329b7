//! Tests: a worker that is silent.

use super::*;
use merge_core::error::Fault;
use std::path::PathBuf;

#[test]
fn a_worker_that_says_nothing_is_taken_for_dead() {
    let greeting = format!(
        r#"{{"hello": {{"protocol": {PROTOCOL}, "version": "{}", "machine": "m", "processor": "p"}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let launcher = format!("echo '{greeting}'; exec cat >&2 #");
    let has_ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&has_ended);
    let notice = move |said: &str| flag.fetch_or(said.contains("has ended"), Ordering::Relaxed);
    let interrupt = Interrupt::from(&has_ended);
    let workers = Workers::start(&launcher, "", 1, Duration::from_millis(100), interrupt, move |said| {
        notice(said);
    });
    let (file, directory, text) = (PathBuf::new(), PathBuf::new(), String::new());
    let study =
        StudyOrder { file, directory, text, stage: 0, earlier: Vec::new(), sources: Vec::new(), tasks: Vec::new() };
    // It is waited for again, until somebody says that it ended.
    assert_eq!(workers.lease(&study).map(|_| ()).unwrap_err().fault(), Fault::Interrupted);
    assert_eq!(workers.uses()[0].deaths, 1);
}
