//! Resources that jobs share (memory, disks, threads), labels, logs and reports.

use crate::{
    kit::Dir,
    queue::{Server, job, jobs, long_search, merges, ok, wait},
};
use serde_json::Value;
use std::{fs, thread::sleep, time::Duration};

/// The job or resource that a queued job waits for, once the server has checked.
fn waits(dir: &Dir, id: u64) -> String {
    for _ in 0..300 {
        if let Some(waits) = job(dir, id)["waits"].as_str() {
            return waits.to_owned();
        }
        sleep(Duration::from_millis(20));
    }
    panic!("job {id} waits for nothing: {}", job(dir, id));
}

#[test]
fn what_waits_for_memory_is_not_overtaken() {
    let dir = long_search();
    ok(&dir, &["submit", "long.yaml"]);
    let needs = job(&dir, 1)["needs"]["memory"].as_u64().unwrap();
    ok(&dir, &["submit", "long.yaml", "--threads", "1"]);
    ok(&dir, &["submit", "merge.yaml"]);
    // The memory fits one search and the merge, but not two searches.
    let _server = Server::start(&dir, &["--slots", "3", "--memory", &(needs * 5 / 4).to_string()]);
    wait(&dir, 1, "running");
    assert!(waits(&dir, 2).contains(" of memory, of which "), "{}", job(&dir, 2));
    sleep(Duration::from_millis(300));
    assert_eq!(job(&dir, 3)["state"], "queued");
    ok(&dir, &["cancel", "1", "2"]);
    wait(&dir, 3, "done");
}

#[test]
fn what_the_disk_has_no_room_for_is_not_started() {
    let dir = merges();
    ok(&dir, &["submit", "merge.yaml"]);
    let server = Server::start(&dir, &["--reserve", "900TB"]);
    assert!(waits(&dir, 1).contains(" of disk and 900.0 TB kept free, of which "), "{}", job(&dir, 1));
    let said = dir.run(&["submit", "merge.yaml"]);
    assert!(said.error().starts_with("it writes about ") && said.hint().is_some(), "{}", said.err);
    drop(server);
    let _server = Server::start(&dir, &[]);
    wait(&dir, 1, "done");
}

#[test]
fn threads_are_shared_out_or_asked_for() {
    let dir = merges();
    ok(&dir, &["submit", "merge.yaml"]);
    ok(&dir, &["submit", "merge.yaml", "--threads", "3"]);
    ok(&dir, &["submit", "merge.yaml", "--", "--threads", "2"]);
    // So many slots that each has one thread.
    let _server = Server::start(&dir, &["--slots", "1000"]);
    let began = |id: u64| {
        wait(&dir, id, "done");
        ok(&dir, &["logs", &id.to_string()]).out.lines().next().unwrap().to_owned()
    };
    let ends = ["--threads 1", "--threads 3"];
    for (id, end) in (1..).zip(ends) {
        assert!(began(id).ends_with(end), "{}", began(id));
    }
    assert_eq!(began(3).matches("--threads").count(), 1, "{}", began(3));
}

#[test]
fn jobs_are_found_by_label_and_state() {
    let dir = merges();
    ok(&dir, &["submit", "merge.yaml", "--label", "ja", "--label", "night"]);
    ok(&dir, &["submit", "merge.yaml", "--label", "night"]);
    ok(&dir, &["pause", "2"]);
    let found = |args: &[&str]| -> Vec<u64> {
        let said = ok(&dir, &[&["jobs", "--json"], args].concat());
        let found: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        found.iter().map(|job| job["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(found(&["--label", "night"]), [1, 2]);
    assert_eq!(found(&["--label", "night", "--label", "ja"]), [1]);
    assert_eq!(found(&["--state", "paused"]), [2]);
    assert_eq!(found(&["--state", "done"]), Vec::<u64>::new());
    assert_eq!(jobs(&dir).len(), 2);
}

#[test]
fn a_log_is_followed_to_its_end() {
    let dir = long_search();
    ok(&dir, &["submit", "long.yaml"]);
    let follows = dir.command(&["logs", "1", "-f"]).spawn().unwrap();
    let _server = Server::start(&dir, &[]);
    while job(&dir, 1)["progress"].is_null() {
        sleep(Duration::from_millis(50));
    }
    ok(&dir, &["cancel", "1"]);
    wait(&dir, 1, "cancelled");
    let said = follows.wait_with_output().unwrap();
    let whole = fs::read_to_string(dir.path("home/jobs/1/log")).unwrap();
    assert!(said.status.success() && whole.contains("stopped; nothing is lost"), "{whole}");
    assert_eq!(String::from_utf8(said.stdout).unwrap(), whole);
}

/// A recipe is checked without downloading: its needs stay unknown.
#[test]
fn a_model_that_is_not_here_yet_is_no_hindrance() {
    let dir = merges();
    let text = fs::read_to_string(dir.path("merge.yaml")).unwrap().replace("model: b", "model: nobody/there");
    dir.write("hub.yaml", text);
    let said = ok(&dir, &["submit", "hub.yaml"]);
    assert_eq!(said.out, "job 1: hub (merge)\n".replace("hub", &name(&dir)));
    assert_eq!(job(&dir, 1)["needs"]["memory"], Value::Null);
}

/// Name of the job, which includes the directory's name.
fn name(dir: &Dir) -> String {
    let here = dir.path("").canonicalize().unwrap();
    let above = here.file_name().unwrap().to_string_lossy().into_owned();
    if above.starts_with('.') { "hub".to_owned() } else { format!("{above}-hub") }
}
