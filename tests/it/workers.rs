//! Searches whose candidates are scored by workers at the other end of a pipe, which end, lie, and come back.

use crate::{
    kit::{Dir, Said, family},
    search::{SEARCH, finished, study_on},
};
use merge_core::model::hash::hex;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::LazyLock,
    thread::sleep,
    time::{Duration, Instant},
};

/// A directory with a small study.
pub(crate) fn study() -> Dir {
    let dir = Dir::new();
    study_on(&dir, [60, 2, 4, 2]);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 240", "budget: 60").replace("items: 8", "items: 3"));
    dir
}

/// A launcher that is no program of its own.
const HERE: &str = "exec";

fn search(dir: &Dir, launcher: &str, workers: usize) -> Said {
    dir.run(&[SEARCH, &["--launch", launcher, "--workers", &workers.to_string()]].concat())
}

/// Files of the result.
fn found(dir: &Dir) -> [Vec<u8>; 3] {
    ["best.yaml", "result.json", "model/model.safetensors"].map(|name| fs::read(dir.path("out").join(name)).unwrap())
}

/// What one process finds by itself.
fn own() -> &'static [Vec<u8>; 3] {
    static OWN: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| finished(&study(), found));
    &OWN
}

#[track_caller]
pub(crate) fn check_done(dir: &Dir, said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(&found(dir) == own(), "the result is another: {}", said.err);
}

/// Processes that a search has started.
pub(crate) fn workers_of(search: u32) -> Vec<u32> {
    let parent = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| parent(*id) == Some(search)).collect()
}

#[test]
fn any_number_of_workers_finds_what_one_process_finds() {
    for workers in [1, 2, 4] {
        let dir = study();
        // A banner of a login is no reply.
        let said = search(&dir, "echo Welcome to node{n}; exec", workers);
        check_done(&dir, &said);
        for number in 1..=workers {
            let line = said.err.lines().find(|line| line.starts_with(&format!("worker {number} on "))).unwrap();
            assert!(line.contains(" candidates, ") && line.contains("% idle"), "{line}");
        }
    }
}

/// Checks that three workers find what one process finds, and returns what that said.
#[track_caller]
fn check_same(dir: &Dir) -> Said {
    let alone = dir.run(SEARCH);
    assert_eq!(alone.code, Some(0), "{}", alone.err);
    let expected = found(dir);
    fs::remove_dir_all(dir.path("out")).unwrap();
    let said = search(dir, HERE, 3);
    assert!(said.code == Some(0) && found(dir) == expected, "{}", said.err);
    alone
}

/// Whoever has the first answers, a model is judged by them in the order of one process.
#[test]
fn broken_candidates_are_given_up_as_by_one_process() {
    let dir = study();
    study_on(&dir, [60, 4, 4, 2]);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("[0.0, 1.5]", "[0.0, 2.0e5]").replace("items: 8", "items: 20"));
    let said = check_same(&dir);
    assert!(said.err.contains("it says nothing (16 of 16 answers)"), "{}", said.err);
}

#[test]
fn layer_paths_are_scored_on_workers_as_by_one_process() {
    let dir = study();
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let [ja, math] = ["ja", "math-a"].map(|name| family().join(name).display().to_string());
    let hop = |model: &str, layers: &str| {
        format!(
            "- {{model: {model}, layer_range: {layers}, use: {{search: [false, true]}}, scale: {{search: [0.8, 1.2]}}}}\n"
        )
    };
    let path = format!(
        "merge_method: passthrough\nbase_model: {ja}\npath:\n- {{model: {ja}, layer_range: [0, 1]}}\n{}{}- {{model: {ja}, layer_range: [1, 6]}}\n",
        hop(&ja, "[1, 3]"),
        hop(&math, "[2, 4]")
    );
    dir.write("search.yaml", path + &text[text.find("dtype").unwrap()..].replace("cma_es", "cat_cma"));
    check_same(&dir);
}

#[test]
fn workers_and_searches_that_are_killed_change_nothing() {
    let dir = study();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let began = Instant::now();
    let (mut kills, mut rounds) = (0, 0);
    while kills < 8 {
        rounds += 1;
        assert!(began.elapsed() < Duration::from_secs(120), "{kills} kills");
        let args = [SEARCH, &["--launch", HERE, "--workers", "2"]].concat();
        let mut running = dir.command(&args).spawn().unwrap();
        for _ in 0..4 {
            sleep(Duration::from_millis(random.random_range(100..500)));
            if let Some(worker) = workers_of(running.id()).first() {
                let killed = std::process::Command::new("kill").args(["-9", &worker.to_string()]).status();
                kills += usize::from(killed.is_ok_and(|status| status.success()));
            }
            if running.try_wait().unwrap().is_some() {
                break;
            }
        }
        // The search itself is killed, too, unless it has ended.
        let _ = running.kill();
        if running.wait().unwrap().success() {
            assert!(&found(&dir) == own());
            fs::remove_dir_all(dir.path("out")).unwrap();
        }
    }
    assert!(rounds > 1);
    check_done(&dir, &search(&dir, HERE, 2));
}

#[test]
fn a_worker_ends_with_its_search() {
    let dir = study();
    let args = [SEARCH, &["--launch", HERE, "--workers", "2"]].concat();
    let mut running = dir.command(&args).spawn().unwrap();
    let began = Instant::now();
    let workers = loop {
        let workers = workers_of(running.id());
        if workers.len() == 2 {
            break workers;
        }
        assert!(began.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(20));
    };
    running.kill().unwrap();
    running.wait().unwrap();
    for worker in workers {
        while fs::exists(format!("/proc/{worker}")).unwrap() {
            assert!(began.elapsed() < Duration::from_secs(60), "worker {worker} is still there");
            sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_launcher_that_starts_no_worker_ends_the_search_with_what_it_said() {
    let dir = study();
    let said = search(&dir, "echo no such partition >&2; exit 5 #", 2);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.error().contains("did not greet: `echo no such partition"), "{}", said.err);
    assert!(said.err.contains("no such partition"), "{}", said.err);
    assert!(!dir.path("out").exists(), "no study is begun");
    // The other one is asked alone.
    let said = search(&dir, "test {n} = 2 && exec", 2);
    check_done(&dir, &said);
}

/// A program in place of a worker: greets, and says these lines to each order.
fn impostor(greeting: &str, replies: &str) -> String {
    format!("sh -c 'echo \"$0\"; while read -r line; do {replies}; done' '{greeting}' #")
}

const GREETING: &str = r#"{"hello": {"protocol": 2, "version": "VERSION", "machine": "m", "processor": "p"}}"#;

#[test]
fn a_worker_of_another_version_or_with_other_files_is_refused() {
    let dir = study();
    let old = impostor(&GREETING.replace("VERSION", "0.0.1"), "true");
    let said = search(&dir, &old, 1);
    let own = env!("CARGO_PKG_VERSION");
    let error = format!("worker 1: is evomerge 0.0.1 (lines of version 2), and the search is {own} (version 2)");
    assert!(said.code == Some(3) && said.error().contains(&error), "{}", said.err);
    let refuses = r#"echo "{\"refused\": {\"message\": \"`ja` has other files here\", \"fault\": \"user\"}}""#;
    let said = search(&dir, &impostor(&GREETING.replace("VERSION", own), refuses), 1);
    assert!(said.error().contains("no worker can be asked"), "{}", said.err);
}

#[test]
fn scores_that_nobody_asked_for_are_not_taken() {
    let dir = study();
    let scores =
        r#"echo "{\"scores\": [{\"item\": \"00\", \"score\": {\"score\": [1.0, 0, false]}, \"answers\": []}]}""#;
    let liar = with_impostor(scores);
    let said = search(&dir, &liar.replace("{n} = 1", "1 = 1"), 8);
    let error = "on m is not believed: it tells scores of other items than it was asked";
    assert!(said.code == Some(3) && said.error().ends_with(error), "{}", said.err);
    // Nothing of it was kept.
    check_done(&dir, &search(&dir, &liar, 2));
}

/// `evomerge work`, told orders by hand.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(dir: &Dir) -> Self {
        let mut child = dir.command(&["work"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut worker = Self { child, input, output };
        assert_eq!(worker.reply()["hello"]["version"], env!("CARGO_PKG_VERSION"));
        worker
    }

    fn tell(&mut self, order: &Value) {
        writeln!(self.input, "{order}").unwrap();
    }

    /// The next reply that is no sign of life.
    fn reply(&mut self) -> Value {
        let mut line = String::new();
        while line.is_empty() || line.contains("\"alive\"") {
            line.clear();
            self.output.read_line(&mut line).unwrap();
        }
        serde_json::from_str(&line).unwrap()
    }

    /// The study of a directory as an order, whose models and tasks are not compared.
    fn study(dir: &Dir) -> Value {
        json!({ "study": {
            "file": dir.path("search.yaml"), "directory": dir.path(""), "stage": 0, "earlier": [], "tasks": [],
            "text": fs::read_to_string(dir.path("search.yaml")).unwrap(), "sources": [],
        } })
    }
}

#[test]
fn a_worker_proves_its_files_and_answers_whatever_it_is_told() {
    let dir = study();
    let mut worker = Worker::start(&dir);
    worker.tell(&json!("not an order"));
    assert!(worker.reply()["refused"]["message"].as_str().unwrap().starts_with("an order cannot be read"));
    let items = json!({ "goal": 0, "items": [], "in_pool": false });
    worker.tell(&json!({ "score": { "candidate": { "source": "ja" }, "items": items } }));
    assert_eq!(worker.reply()["failed"]["message"], "a candidate came before its study");
    let ja = family().join("ja");
    let mut study = Worker::study(&dir);
    study["study"]["sources"] = json!([[ja, { "model.safetensors": "0" }]]);
    worker.tell(&study);
    let refused = format!("`{}` has other files here than where the search runs", ja.display());
    assert_eq!(worker.reply()["refused"]["message"], refused);
    drop(worker.input);
    assert!(worker.child.wait().unwrap().success());
}

#[test]
fn a_worker_runs_no_command_that_it_is_not_allowed_to_run() {
    let dir = study();
    let mut worker = Worker::start(&dir);
    let mut study = Worker::study(&dir);
    study["study"]["engine"] = json!({
        "engine": "vllm: touch was-here; exec false {model} {port}", "gpus": [], "scratch": null, "timeout": 5, "is_compared": false,
    });
    worker.tell(&study);
    let refused = worker.reply()["refused"].clone();
    let message = "the search has a command run here: vllm: touch was-here; exec false {model} {port}";
    assert!(refused["message"] == message && refused["fault"] == "user", "{refused}");
    assert!(!dir.path("was-here").exists());
}

/// A launcher whose first worker answers every candidate so, and whose others are workers.
fn with_impostor(replies: &str) -> String {
    let score = format!(r#"case $line in *study*) echo "{{\"ready\": {{}}}}";; *) {replies};; esac"#);
    let impostor = impostor(&GREETING.replace("VERSION", env!("CARGO_PKG_VERSION")), &score);
    format!("if test {{n}} = 1; then {}; else exec {{work}}; fi", impostor.trim_end_matches('#'))
}

#[test]
fn what_fails_on_one_machine_goes_to_another() {
    let dir = study();
    let failed = r#"echo "{\"failed\": {\"message\": \"the disk is gone\", \"fault\": \"machine\"}}""#;
    let said = search(&dir, &with_impostor(failed), 2);
    check_done(&dir, &said);
    assert!(said.err.contains("worker 1 on m failed, the candidate goes to another: the disk is gone"), "{}", said.err);
}

/// A launcher whose worker `number` gets its orders through these commands of a shell.
fn with_orders_through(number: &str, commands: &str) -> String {
    format!("if test {{n}} = {number}; then {{ {commands}; }} | {{work}}; else exec {{work}}; fi")
}

#[test]
fn a_candidate_that_ends_every_worker_stops_the_search() {
    let dir = study();
    // The models themselves are scored after the first generation.
    let deadly = r#"while read -r line; do case $line in *"{\"source"*) exit 9;; esac; printf '%s\n' "$line"; done"#;
    let said = search(&dir, &with_orders_through("{n}", deadly), 4);
    let error = "10 workers have ended with the same candidate, at last worker";
    assert!(said.code == Some(3) && said.error().starts_with(error), "{}", said.err);
    // Nobody was given up.
    check_done(&dir, &search(&dir, HERE, 2));
}

#[test]
fn nobody_waits_for_a_worker_that_hangs() {
    let dir = study();
    // It opens the study; then it lives, and no order arrives.
    let hangs = r#"read -r line; printf '%s\n' "$line"; exec cat > /dev/null"#;
    let said = search(&dir, &with_orders_through("1", hangs), 3);
    check_done(&dir, &said);
    assert!(said.err.contains(" scores what another worker takes too long for"), "{}", said.err);
}

/// Ids of the search items.
fn search_items(dir: &Dir) -> Vec<String> {
    let text = fs::read_to_string(dir.path("search.jsonl")).unwrap();
    let id = |line: &str| {
        let sorted: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        hex(&Sha256::digest(serde_json::to_string(&sorted).unwrap()))[..32].to_owned()
    };
    text.lines().map(id).collect()
}

#[test]
fn a_worker_stops_what_is_not_needed_any_more() {
    let dir = study();
    let mut worker = Worker::start(&dir);
    worker.tell(&Worker::study(&dir));
    assert_eq!(worker.reply(), json!({ "ready": { "engine": null } }));
    let items = search_items(&dir);
    let score = |items: &[String]| json!({ "score": { "candidate": { "source": family().join("ja") }, "items": { "goal": 0, "items": items, "in_pool": false } } });
    worker.tell(&score(&items));
    worker.tell(&json!("stop"));
    assert_eq!(worker.reply(), "stopped");
    // A wish that comes too late ends nothing else.
    worker.tell(&score(&items[..1]));
    let scored = worker.reply()["scores"].as_array().unwrap().len();
    worker.tell(&json!("stop"));
    worker.tell(&score(&items[..2]));
    assert_eq!((scored, worker.reply()["scores"].as_array().unwrap().len()), (1, 2));
    worker.tell(&score(&["00".to_owned()]));
    assert_eq!(worker.reply()["failed"]["message"], "the search asks for items that its tasks have not");
}

#[test]
fn the_lines_have_a_schema() {
    let schema: Value = serde_json::from_str(&Dir::new().run(&["schema", "work"]).out).unwrap();
    let tags = |number: usize| {
        let all = schema["oneOf"][number]["oneOf"].as_array().unwrap().iter();
        let of = |one: &Value| {
            one["required"][0].as_str().or(one["const"].as_str()).or(one["enum"][0].as_str()).map(str::to_owned)
        };
        all.filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(tags(0), ["study", "score", "stop"]);
    for tag in ["hello", "ready", "note", "refused", "scores", "stopped", "failed", "alive"] {
        assert!(tags(1).iter().any(|known| known == tag), "{tag}: {:?}", tags(1));
    }
}

#[test]
fn the_queue_starts_no_workers() {
    let dir = study();
    let said = dir.run(&["submit", "search.yaml", "--", "--launch", HERE, "--workers", "2"]);
    assert!(said.error().contains("the queue starts no workers"), "{}", said.err);
}
