//! Searches whose workers are actors of Ray: a double of its module, with the faults of a real cluster.

use crate::{
    kit::{Dir, Said, root},
    search::SEARCH,
    workers::{check_done, study, workers_of},
};
use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

const RAY: &[&str] = &["--ray", "auto", "--workers", "2"];

/// A search on the double, with these settings of it.
fn command(dir: &Dir, more: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = dir.command(&[SEARCH, RAY, more].concat());
    command.env("PYTHONPATH", root().join("tests/data/ray")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env_remove("RAY_ADDRESS").envs(settings.iter().copied());
    command
}

fn search(dir: &Dir, more: &[&str], settings: &[(&str, &str)]) -> Said {
    Said::of(command(dir, more, settings).output().unwrap())
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_search_on_ray_finds_what_one_process_finds() {
    let dir = study();
    let said = search(&dir, &[], &[]);
    check_done(&dir, &said);
    assert!(said.err.contains("note: Ray 2.60.0, 2 nodes at auto"), "{}", said.err);
    assert!(said.err.contains("worker 1 is there") && said.err.contains("worker 2 is there"), "{}", said.err);
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_node_that_dies_is_replaced() {
    let dir = study();
    let said = search(&dir, &[], &[("FAKE_RAY_NODE_DIES", "0.3")]);
    check_done(&dir, &said);
    assert!(said.err.contains("its node has died"), "{}", said.err);
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn an_actor_that_waits_for_resources_keeps_nobody_waiting() {
    let dir = study();
    let said = search(&dir, &["--per-worker", "GPU: 1"], &[("FAKE_RAY_FREE", "1")]);
    check_done(&dir, &said);
    assert!(said.err.contains("0 candidates, 0 items"), "{}", said.err);
}

/// The driver, a child of the search.
fn driver_of(search: u32) -> Option<u32> {
    workers_of(search).first().copied()
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_driver_that_is_killed_is_started_again() {
    let dir = study();
    let mut running = command(&dir, &[], &[]).spawn().unwrap();
    let began = Instant::now();
    let mut kills = 0;
    while kills < 2 && running.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(700));
        if let Some(driver) = driver_of(running.id()) {
            let killed = Command::new("kill").args(["-9", &driver.to_string()]).status().unwrap();
            kills += usize::from(killed.success());
        }
    }
    assert!(kills > 0);
    check_done(&dir, &Said::of(running.wait_with_output().unwrap()));
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_ray_that_is_of_no_use_is_refused_with_the_reason() {
    let dir = study();
    let check = |settings: &[(&str, &str)], more: &[&str], error: &str| {
        let said = search(&dir, more, settings);
        assert_eq!((said.code, said.error()), (Some(1), error), "{}", said.err);
        assert!(!dir.path("out").exists());
    };
    let major = "no worker can be run by Ray: Ray 3.1.0 is of another major version: 2 is needed";
    check(&[("FAKE_RAY_VERSION", "3.1.0")], &[], major);
    let none = "no worker can be run by Ray: cannot connect to auto: no cluster";
    check(&[("FAKE_RAY_REFUSES", "no cluster")], &[], none);
    dir.write("missing/ray.py", "raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')");
    let missing = dir.path("missing").display().to_string();
    check(&[("PYTHONPATH", &missing)], &[], "no worker can be run by Ray: the Python module ray is missing");
    let launched = dir.run(&[SEARCH, &["--launch", "exec", "--workers", "2", "--per-worker", "GPU: 1"]].concat());
    assert!(launched.code == Some(2) && launched.err.contains("cannot be used with"), "{}", launched.err);
    let said = search(&dir, &["--python", "no-such-python"], &[]);
    assert!(said.error().starts_with("cannot start `no-such-python`: "), "{}", said.err);
}
