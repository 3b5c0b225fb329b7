//! The job queue: a submitted job is done once, whatever happens to the server.

use crate::{
    kit::{Dir, Said, family},
    search::small_study,
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// A server, which is killed at the end of its test.
pub(crate) struct Server {
    child: Child,
    /// URL of its HTTP port, if it has one.
    pub(crate) url: Option<String>,
    /// Output of the server when it was ready.
    ready: String,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(dir: &Dir, args: &[&str]) -> Self {
        let mut child = dir.command(&[&["serve"], args].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let (mut url, mut ready) = (None, String::new());
        for line in &mut lines {
            url = url.or_else(|| line.strip_prefix("listening on ").map(str::to_owned));
            if line.starts_with("serving ") {
                ready = line;
                break;
            }
        }
        thread::spawn(move || lines.for_each(drop));
        Self { child, url, ready }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Stops the server. Returns the time that it took.
    fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        began.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// Two tiny models and a recipe that merges them.
pub(crate) fn merges() -> Dir {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.75);
    let model = |name: &str| format!("- {{model: {name}, parameters: {{weight: 1}}}}\n");
    dir.write("merge.yaml", format!("merge_method: linear\nmodels:\n{}{}dtype: float32\n", model("a"), model("b")));
    dir
}

/// A task of two items, which no model can answer.
pub(crate) fn sums(dir: &Dir) {
    dir.write("items.jsonl", "{\"q\": \"1+1\", \"a\": \"2\"}\n{\"q\": \"1+2\", \"a\": \"3\"}\n");
    dir.write(
        "sums.yaml",
        "task: sums\ndataset_path: json\ndataset_kwargs: {data_files: {test: items.jsonl}}\ntest_split: test\n\
         output_type: generate_until\ndoc_to_text: '{{q}}='\ndoc_to_target: '{{a}}'\n\
         metric_list: [{metric: exact_match}]\n",
    );
}

/// The small study with a budget that no test waits for.
pub(crate) fn long_search() -> Dir {
    let dir = merges();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("long.yaml", text.replace("budget: 240", "budget: 240000"));
    dir
}

pub(crate) fn ok(dir: &Dir, args: &[&str]) -> Said {
    let said = dir.run(args);
    assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
    said
}

pub(crate) fn refused(dir: &Dir, args: &[&str], error: &str) {
    let said = dir.run(args);
    assert_eq!((said.code, said.error()), (Some(1), error), "{args:?}");
}

pub(crate) fn jobs(dir: &Dir) -> Vec<Value> {
    serde_json::from_str(&ok(dir, &["jobs", "--all", "--json"]).out).unwrap()
}

pub(crate) fn job(dir: &Dir, id: u64) -> Value {
    serde_json::from_str(&ok(dir, &["job", &id.to_string(), "--json"]).out).unwrap()
}

/// Waits until a job is in a state.
pub(crate) fn wait(dir: &Dir, id: u64, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let job = job(dir, id);
        if job["state"] == state {
            return job;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "job {id} is not {state}: {job}");
        // Each check starts a process.
        sleep(Duration::from_millis(100));
    }
}

/// Events of a job, in order.
pub(crate) fn events(job: &Value) -> Vec<String> {
    job["events"].as_array().unwrap().iter().map(|event| event["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn jobs_are_taken_without_a_server_and_done_when_there_is_one() {
    let dir = merges();
    let said = ok(&dir, &["submit", "merge.yaml", "--name", "first", "--label", "ja"]);
    assert!(said.out.starts_with("job 1: first (merge, about ") && said.err.contains("no server runs"), "{said:?}");
    sums(&dir);
    let ja = family().join("ja").display().to_string();
    ok(&dir, &["submit", "--after", "1", "--priority", "-5", "--", "eval", "--tasks", "sums.yaml", "--", &ja]);
    fs::remove_file(dir.path("items.jsonl")).unwrap();
    let said = ok(&dir, &["jobs"]);
    assert!(said.out.contains("waits for job 1, which is queued"), "{}", said.out);
    assert_eq!(jobs(&dir).len(), 2);
    let server = Server::start(&dir, &[]);
    let done = wait(&dir, 1, "done");
    assert_eq!(events(&done), ["submitted", "started", "done"]);
    // The result is a merge like any other.
    ok(&dir, &["verify", "home/jobs/1/out"]);
    // Its data is missing. The user must fix that, so the job is not tried again by itself.
    let failed = wait(&dir, 2, "failed");
    assert_eq!(events(&failed), ["submitted", "started", "failed"]);
    assert!(failed["why"].as_str().unwrap().contains("items.jsonl: no such file"), "{failed}");
    assert!(ok(&dir, &["logs", "2"]).out.contains("error: "));
    for _ in 0..2 {
        ok(&dir, &["retry", "2"]);
        wait(&dir, 2, "failed");
    }
    assert!(ok(&dir, &["jobs"]).out.contains("quarantined"));
    let said = dir.run(&["retry", "2"]);
    assert!(said.error().starts_with("job 2 has failed the same way 3 times: "), "{}", said.err);
    ok(&dir, &["retry", "2", "--force"]);
    wait(&dir, 2, "failed");
    ok(&dir, &["rm", "2", "1"]);
    assert!(jobs(&dir).is_empty() && !dir.path("home/jobs/1").exists());
    assert!(server.stop() < Duration::from_secs(5));
}

/// A new server reports the jobs that wait for the user.
#[test]
fn a_server_says_what_is_paused_when_it_begins() {
    let dir = merges();
    ok(&dir, &["submit", "merge.yaml"]);
    ok(&dir, &["submit", "merge.yaml"]);
    ok(&dir, &["pause", "2"]);
    let server = Server::start(&dir, &[]);
    assert!(server.ready.contains(": one job at a time, 2 in the queue, 1 of them paused"), "{}", server.ready);
    wait(&dir, 1, "done");
    ok(&dir, &["resume", "2"]);
    wait(&dir, 2, "done");
}

#[test]
fn what_cannot_be_is_refused_when_it_is_handed_in() {
    let dir = merges();
    let here = dir.path("").canonicalize().unwrap();
    let at = |name: &str| here.join(name).display().to_string();
    let missing = format!("cannot read {}: no such file or directory", at("none.yaml"));
    refused(&dir, &["submit", "none.yaml"], &missing);
    dir.write("bad.yaml", "merge_method: tises\nmodels: []\n");
    refused(&dir, &["submit", "bad.yaml"], &format!("{}:1:15: there is no method `tises`", at("bad.yaml")));
    refused(&dir, &["submit", "--", "inspect", "a"], "inspect: is no job");
    refused(&dir, &["submit", "a"], &format!("{}: there is no study in it", at("a")));
    refused(&dir, &["submit", "merge.yaml", "--after", "7"], "merge: `after`: there is no job 7");
    let said = dir.run(&["submit", "--", "merge"]);
    assert_eq!(said.error(), "the following required arguments were not provided: <RECIPE>");
    ok(&dir, &["submit", "merge.yaml", "--key", "k"]);
    assert!(ok(&dir, &["submit", "merge.yaml", "--key", "k"]).out.starts_with("job 1: "), "the same again");
    let other = fs::read_to_string(dir.path("merge.yaml")).unwrap().replace("weight: 1", "weight: 2");
    dir.write("other.yaml", other);
    refused(
        &dir,
        &["submit", "other.yaml", "--key", "k"],
        "the key `k` already belongs to job 1, which does other work",
    );
    for args in [&["job", "9"], &["pause", "9"], &["rm", "9"], &["logs", "9"]] {
        refused(&dir, args, "there is no job 9");
    }
    refused(&dir, &["rm", "1"], "job 1 is queued");
    // The job needs more memory than jobs may use.
    let small = merges();
    let _server = Server::start(&small, &["--memory", "1MB"]);
    let said = small.run(&["submit", "merge.yaml"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.error().starts_with("it needs about ") && said.error().ends_with("jobs may use 1.0 MB here"),
        "{}",
        said.err
    );
}

#[test]
fn a_search_pauses_at_once_and_goes_on_from_where_it_was() {
    let dir = long_search();
    let server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "long.yaml", "--name", "ja"]);
    let progress = |job: &Value| job["progress"]["generation"].as_u64();
    let until = |least: u64| {
        let began = Instant::now();
        while progress(&job(&dir, 1)).is_none_or(|generation| generation < least) {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(50));
        }
    };
    until(2);
    let began = Instant::now();
    ok(&dir, &["pause", "1"]);
    wait(&dir, 1, "paused");
    // An item of this study takes milliseconds; the long limit is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let generations = || ok(&dir, &["report", "home/jobs/1/out", "--json"]).out;
    let steps = |text: &str| serde_json::from_str::<Value>(text).unwrap()["convergence"].as_array().unwrap().clone();
    let before = steps(&generations());
    ok(&dir, &["resume", "1"]);
    until(before.len() as u64 + 2);
    // The search stops with the server, and the next server resumes it.
    assert!(server.stop() < Duration::from_secs(5));
    let stopped = job(&dir, 1);
    assert_eq!((stopped["state"].as_str(), stopped["why"].as_str()), (Some("queued"), Some("the server stopped")));
    let mut server = Server::start(&dir, &[]);
    wait(&dir, 1, "running");
    // The same if the server is killed: the search ends with it.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Server::start(&dir, &[]);
    until(before.len() as u64 + 3);
    ok(&dir, &["cancel", "1"]);
    wait(&dir, 1, "cancelled");
    let after = steps(&generations());
    assert_eq!(after[..before.len()], before[..], "what it knew it knows");
    let happened = events(&job(&dir, 1));
    assert_eq!(happened.iter().filter(|what| *what == "interrupted").count(), 2, "{happened:?}");
    drop(server);
}

#[test]
fn what_takes_more_than_it_may_is_stopped() {
    let dir = long_search();
    let _server = Server::start(&dir, &["--slots", "2"]);
    ok(&dir, &["submit", "long.yaml", "--time", "2s"]);
    ok(&dir, &["submit", "--disk", "1GB", "search", "long.yaml", "-o", "elsewhere"]);
    wait(&dir, 2, "running");
    // Output elsewhere counts towards the limit too.
    while !dir.path("elsewhere/study").exists() {
        sleep(Duration::from_millis(20));
    }
    fs::File::create(dir.path("elsewhere/study/large")).unwrap().set_len(2_000_000_000).unwrap();
    let why = |id| wait(&dir, id, "failed")["why"].as_str().unwrap().to_owned();
    assert_eq!(why(1), "it has run for 2 s, its limit");
    assert_eq!(why(2), "it has written more than 1.0 GB, its limit");
    // With more time the job goes on.
    ok(&dir, &["retry", "1", "--time", "1h"]);
    wait(&dir, 1, "running");
}

/// A later attempt replaces only the queue's own output, not one that the user names.
#[test]
fn a_merge_that_is_there_is_not_replaced() {
    let dir = merges();
    ok(&dir, &["merge", "merge.yaml", "-o", "precious"]);
    let before = fs::read(dir.path("precious/evomerge.json")).unwrap();
    let _server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "--", "merge", "merge.yaml", "-o", "precious"]);
    wait(&dir, 1, "failed");
    ok(&dir, &["retry", "1"]);
    wait(&dir, 1, "failed");
    assert_eq!(fs::read(dir.path("precious/evomerge.json")).unwrap(), before);
}

#[test]
fn paths_start_where_a_job_was_handed_in() {
    let dir = merges();
    fs::create_dir(dir.path("deep")).unwrap();
    fs::rename(dir.path("merge.yaml"), dir.path("deep/merge.yaml")).unwrap();
    let mut child = dir.command(&["serve"]).current_dir("/").spawn().unwrap();
    while !dir.path("home/socket").exists() {
        sleep(Duration::from_millis(20));
    }
    // `a` and `b` are not beside the recipe, but in the current directory.
    ok(&dir, &["submit", "deep/merge.yaml"]);
    wait(&dir, 1, "done");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_queue_has_one_server() {
    let dir = merges();
    let server = Server::start(&dir, &[]);
    let mode = |name: &str| fs::metadata(dir.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("home/socket"), mode("home/queue"), mode("home/jobs")], [0o600, 0o700, 0o700]);
    let said = dir.run(&["serve"]);
    let place = dir.path("home").canonicalize().unwrap();
    assert_eq!(said.error(), format!("{}: process {} has this queue", place.display(), server.child.id()));
    assert_eq!(said.code, Some(1));
    drop(server);
    // The socket still exists, but nothing listens.
    assert!(dir.path("home/socket").exists());
    ok(&dir, &["submit", "merge.yaml"]);
}

#[test]
fn the_unit_for_systemd_starts_the_same_server() {
    let dir = merges();
    let said = ok(&dir, &["serve", "--systemd", "--listen", "127.0.0.1:7878", "--root", "a b", "--slots", "2"]);
    let here = dir.path("").canonicalize().unwrap();
    let root = format!("--root \"{}\"", here.join("a b").display());
    let line = said.out.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(line.contains(" serve --slots 2 --listen 127.0.0.1:7878 ") && line.contains(&root), "{line}");
    assert!(said.out.contains(&format!("Environment=\"EVOMERGE_HOME={}\"", here.join("home").display())));
    assert!(said.out.contains("\nEnvironment=\"EVOMERGE_LANG=en\"\n"), "{}", said.out);
    assert!(said.out.contains("KillMode=mixed\n") && said.out.contains("WantedBy=default.target"));
}
