//! Submitting: files are read once and copied, and messages say what to do.

use crate::{
    kit::{Dir, Said, family},
    queue::{Server, events, job, long_search, merges, ok, refused, signal, sums, wait},
    search::{least_study, small_study},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    process::Command,
    time::{Duration, Instant},
};

/// A queued job gives the same results as a run by hand, even if its files are changed after
/// submission.
#[test]
fn files_may_be_edited_and_deleted_once_they_are_submitted() {
    let dir = Dir::new();
    small_study(&dir);
    dir.write("common.yaml", fs::read_to_string(dir.path("sums.yaml")).unwrap());
    dir.write("sums.yaml", "include: common.yaml\n");
    ok(&dir, &["search", "search.yaml", "--budget", "40", "-o", "by-hand/out"]);
    ok(&dir, &["submit", "search.yaml", "--", "--budget", "40"]);
    let recipe = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", "merge_method: nothing of the kind\n");
    fs::remove_file(dir.path("sums.yaml")).unwrap();
    dir.write("common.yaml", "task: another\n");
    let shown = ok(&dir, &["job", "1"]).out;
    let (file, copy) = (dir.path("").canonicalize().unwrap().join("search.yaml"), "home/jobs/1/submitted/");
    let kept = shown
        .lines()
        .find(|line| line.contains(&format!("reads      {}, copied when it was submitted: ", file.display())))
        .unwrap();
    let copy = format!("{copy}{}", kept.rsplit('/').next().unwrap());
    assert_eq!(fs::read_to_string(dir.path(&copy)).unwrap(), recipe);
    let _server = Server::start(&dir, &[]);
    let done = wait(&dir, 1, "done");
    let model = dir.path("home").canonicalize().unwrap().join("jobs/1/out/model");
    assert_eq!(done["model"], model.display().to_string());
    for name in ["result.json", "model/model.safetensors", "model/config.json", "model/README.md"] {
        let read = |place: &str| fs::read(dir.path(place).join(name)).unwrap();
        assert!(read("home/jobs/1/out") == read("by-hand/out"), "{name}");
    }
    // Paths in a recipe are relative to the recipe.
    let best = |place: &str| fs::read_to_string(dir.path(place).join("best.yaml")).unwrap().replace("../", "");
    assert_eq!(best("home/jobs/1/out"), best("by-hand/out"));
    // A report needs none of the submitted files.
    ok(&dir, &["submit", "--name", "spoilt", "report", "home/jobs/1/out"]);
    wait(&dir, 2, "done");
}

#[test]
fn a_merge_and_an_eval_read_what_they_were_when_they_were_submitted() {
    let dir = merges();
    sums(&dir);
    ok(&dir, &["submit", "merge.yaml"]);
    ok(&dir, &["submit", "merge.yaml", "--name", "spoilt"]);
    // No `--` is needed before a command.
    dir.write(
        "one.yaml",
        format!("merge_method: passthrough\nmodels: [{{model: {}}}]\n", family().join("ja").display()),
    );
    ok(&dir, &["submit", "--label", "ja", "eval", "one.yaml", "--tasks", "sums.yaml", "--no-memory"]);
    let same = ok(&dir, &["submit", "merge.yaml", "--key", "k", "--json"]).out;
    for name in ["merge.yaml", "sums.yaml", "one.yaml"] {
        dir.write(name, "merge_method: another\n");
    }
    refused(
        &dir,
        &["submit", "--key", "k", "eval", "a", "--tasks", "none.yaml"],
        "cannot read none.yaml: no such file or directory",
    );
    fs::remove_file(dir.path("merge.yaml")).unwrap();
    let said = ok(&dir, &["job", "2"]).out;
    let spoilt = dir.path("home/jobs/2/submitted/1-merge.yaml");
    assert!(said.contains("home/jobs/2/submitted/1-merge.yaml"), "{said}");
    fs::write(&spoilt, "merge_method: slerp\n").unwrap();
    let _server = Server::start(&dir, &[]);
    for id in [1, 3, 4] {
        wait(&dir, id, "done");
    }
    assert_eq!(serde_json::from_str::<Value>(&same).unwrap()[0]["id"], 4);
    ok(&dir, &["verify", "home/jobs/1/out"]);
    let failed = wait(&dir, 2, "failed");
    let why = failed["why"].as_str().unwrap();
    assert!(why.ends_with("merge.yaml is not what was handed in"), "{why}");
}

/// The queue adds its options before `--`, since nothing after it is an option.
#[test]
fn words_behind_dashes_are_no_options() {
    let dir = merges();
    sums(&dir);
    fs::rename(dir.path("merge.yaml"), dir.path("-odd.yaml")).unwrap();
    let ja = family().join("ja").display().to_string();
    ok(&dir, &["submit", "--", "eval", "--no-memory", "--tasks", "sums.yaml", "--", &ja]);
    ok(&dir, &["submit", "--", "merge", "--no-sync", "--", "-odd.yaml"]);
    let _server = Server::start(&dir, &[]);
    wait(&dir, 1, "done");
    wait(&dir, 2, "done");
    assert!(dir.path("home/jobs/1/out").is_dir());
    ok(&dir, &["verify", "home/jobs/2/out"]);
}

/// Names lead beside the file, else to the directory of submission; files that appear later beside
/// it change nothing.
#[test]
fn a_job_finds_what_it_found_when_it_was_handed_in() {
    let dir = merges();
    least_study(&dir);
    dir.write("sub/search.yaml", fs::read_to_string(dir.path("search.yaml")).unwrap());
    dir.write("sub/merge.yaml", fs::read_to_string(dir.path("merge.yaml")).unwrap());
    ok(&dir, &["submit", "sub/merge.yaml"]);
    ok(&dir, &["submit", "sub/search.yaml"]);
    for name in ["a", "b"] {
        dir.tiny(&format!("sub/{name}"), 9.0);
    }
    dir.write("sub/sums.yaml", "task: another\n");
    ok(&dir, &["merge", "merge.yaml", "-o", "by-hand", "--no-sync"]);
    let _server = Server::start(&dir, &[]);
    wait(&dir, 1, "done");
    let weights = |place: &str| fs::read(dir.path(place).join("model.safetensors")).unwrap();
    assert!(weights("home/jobs/1/out") == weights("by-hand"), "other models were merged");
    wait(&dir, 2, "done");
}

#[test]
fn words_say_what_is_wrong_with_them() {
    let dir = merges();
    refused(&dir, &["jobs", "--label", "nope"], "no job has the label `nope`");
    assert_eq!(dir.run(&["jobs", "--label", "nope"]).hint(), Some("the queue is empty"));
    ok(&dir, &["submit", "merge.yaml", "--label", "ja", "--label", "weekend"]);
    let hint = |args: &[&str]| dir.run(args).hint().unwrap().to_owned();
    assert_eq!(hint(&["jobs", "--label", "weekand"]), "did you mean `weekend`? there are: `ja`, `weekend`");
    assert_eq!(ok(&dir, &["jobs", "--label", "ja", "--state", "done"]).out, "no job matches all these filters\n");
    let said = dir.run(&["submit", "merge.yaml", "--disk", "1kB"]);
    assert!(
        said.error().starts_with("it writes about ") && said.error().ends_with("its directory may have 1.0 kB"),
        "{said:?}"
    );
    // Options of `submit` stand before the command's name.
    let said = dir.run(&["submit", "merge", "merge.yaml", "--priority", "3"]);
    assert_eq!((said.code, said.error()), (Some(1), "unexpected argument '--priority' found"));
    ok(&dir, &["priority", "7", "1"]);
    assert_eq!(job(&dir, 1)["priority"], 7);
    refused(&dir, &["priority", "7", "9"], "there is no job 9");
}

#[test]
fn who_waits_for_what_will_not_be_done_says_so_and_what_to_do() {
    let dir = merges();
    ok(&dir, &["submit", "merge.yaml"]);
    for before in ["1", "2"] {
        ok(&dir, &["submit", "merge.yaml", "--after", before]);
    }
    ok(&dir, &["cancel", "1"]);
    let check = |id: u64, waits: &str, advice: &str| {
        let job = job(&dir, id);
        assert_eq!((job["waits"].as_str(), job["advice"].as_str()), (Some(waits), Some(advice)));
        assert!(ok(&dir, &["jobs"]).out.contains(&format!("waits for {waits}: {advice}")));
        assert!(ok(&dir, &["job", &id.to_string()]).out.contains(advice));
    };
    let advice = |id| format!("`evomerge retry 1` runs that one again, `evomerge cancel {id}` gives this one up");
    check(2, "job 1, which was cancelled", &advice(2));
    check(3, "job 2, which waits for job 1, which was cancelled", &advice(3));
    ok(&dir, &["retry", "1"]);
    ok(&dir, &["pause", "1"]);
    check(2, "job 1, which is paused", "`evomerge resume 1` lets that one go on");
    ok(&dir, &["resume", "1"]);
    assert!(job(&dir, 2)["advice"].is_null());
    // Any of several jobs may be the cause, at any distance.
    ok(&dir, &["submit", "merge.yaml"]);
    for before in [["1", "4"], ["3", "5"]] {
        ok(&dir, &["submit", "merge.yaml", "--after", before[0], "--after", before[1]]);
    }
    check_waits(&dir, 5, "job 1, which is queued");
    ok(&dir, &["cancel", "4"]);
    check_waits(&dir, 5, "job 4, which was cancelled");
    check_waits(&dir, 6, "job 5, which waits for job 4, which was cancelled");
}

fn check_waits(dir: &Dir, id: u64, expected: &str) {
    assert_eq!(job(dir, id)["waits"], expected, "{id}");
}

/// The sender of a signal is unknown, and a retry states its delay.
#[test]
fn the_end_of_a_process_is_told_as_far_as_it_is_known() {
    let dir = long_search();
    let server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "long.yaml"]);
    let began = Instant::now();
    let why = "its process was killed by signal 9, SIGKILL: somebody or something else than this queue ended it";
    loop {
        let running = wait(&dir, 1, "running");
        if events(&running).iter().filter(|what| *what == "failed, and queued again").count() == 1 {
            break;
        }
        if running["memory"].is_u64() {
            signal(child_of(server.pid()), "KILL");
            let again = wait(&dir, 1, "queued");
            assert_eq!(again["why"], why);
            assert_eq!(again["waits"], "another attempt in 1 s");
        }
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    assert!(ok(&dir, &["logs", "1"]).out.contains("of memory when it was last looked at"));
    ok(&dir, &["pause", "1"]);
    wait(&dir, 1, "paused");
    let log = ok(&dir, &["logs", "1"]).out;
    assert!(log.contains("if it was paused, `evomerge resume 1` goes on"), "{log}");
}

/// Process that a server runs.
pub(crate) fn child_of(pid: u32) -> u32 {
    children_of(pid).first().copied().unwrap_or_else(|| panic!("process {pid} runs nothing"))
}

pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let said = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The queue stores paths as JSON, which holds only UTF-8; such a job must be run directly.
#[test]
fn paths_that_are_no_text_are_refused() {
    let dir = merges();
    let odd = dir.path("").join(OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&odd).unwrap();
    fs::copy(dir.path("merge.yaml"), odd.join("merge.yaml")).unwrap();
    let said = Said::of(dir.command(&["submit", "merge.yaml"]).current_dir(&odd).output().unwrap());
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.error().ends_with(": the queue keeps paths as text, and this one is not UTF-8"), "{}", said.err);
    assert!(said.hint().is_some());
}
