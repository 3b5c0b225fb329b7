//! The job queue when things go wrong: killed processes, many clients at once, a damaged store.

use crate::{
    kit::{Dir, Said},
    queue::{Server, events, job, jobs, long_search, merges, ok, signal, wait},
    search::small_study,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    thread::{self, sleep},
    time::{Duration, Instant},
};

#[test]
fn a_process_that_is_killed_is_tried_again_but_not_for_ever() {
    let dir = long_search();
    let _server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "long.yaml"]);
    for attempt in 1..=3 {
        let began = Instant::now();
        while job(&dir, 1)["attempts"] != attempt || job(&dir, 1)["progress"].is_null() {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(50));
        }
        // The process with this environment variable is the attempt.
        let place = dir.path("home/jobs/1").canonicalize().unwrap();
        let found = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let wanted = format!("EVOMERGE_JOB={}", place.display());
            let is_it = environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
            is_it.then(|| entry.file_name().to_string_lossy().parse::<u32>().unwrap())
        });
        signal(found.expect("it runs"), "KILL");
    }
    let failed = wait(&dir, 1, "failed");
    assert_eq!(failed["quarantined"], true);
    assert!(failed["why"].as_str().unwrap().starts_with("its process was killed by signal 9"), "{failed}");
}

/// Number of jobs that are submitted before the server is killed.
const JOBS: u64 = 10;

/// Resumes the jobs that were paused because their servers were killed several times.
fn resume_all(dir: &Dir) {
    for job in jobs(dir).iter().filter(|job| job["state"] == "paused") {
        ok(dir, &["resume", &job["id"].to_string()]);
    }
}

/// No job is done twice or lost, though the server is killed 25 times.
#[test]
fn every_job_ends_exactly_once_though_the_server_is_killed_again_and_again() {
    let dir = merges();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 240", "budget: 80"));
    let whole = ok(&dir, &["search", "search.yaml", "-o", "whole"]);
    assert!(!whole.out.is_empty());
    for number in 0..JOBS {
        ok(
            &dir,
            &["submit", if number % 5 == 0 { "search.yaml" } else { "merge.yaml" }, "--name", &format!("n{number}")],
        );
    }
    let mut random = ChaCha8Rng::seed_from_u64(20);
    for _ in 0..25 {
        let mut child = dir.command(&["serve", "--slots", "2"]).spawn().unwrap();
        sleep(Duration::from_millis(random.random_range(5..250)));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!said.contains("damaged") && !said.contains("panicked"), "{said}");
        resume_all(&dir);
    }
    let _server = Server::start(&dir, &["--slots", "2"]);
    // The last kill may have been the third for a job, which pauses it.
    resume_all(&dir);
    let mut ended: BTreeMap<u64, Value> = BTreeMap::new();
    for id in 1..=JOBS {
        ended.insert(id, wait(&dir, id, "done"));
    }
    assert_eq!(jobs(&dir).len() as u64, JOBS);
    for (id, job) in &ended {
        let happened = events(job);
        assert_eq!(happened.iter().filter(|what| *what == "done").count(), 1, "{id}: {happened:?}");
        assert_eq!(happened.last().map(String::as_str), Some("done"), "{id}");
        let out = format!("home/jobs/{id}/out");
        if job["kind"] == "merge" {
            ok(&dir, &["verify", &out]);
        } else {
            let file = |place: &str| fs::read(dir.path(&format!("{place}/model/model.safetensors"))).unwrap();
            assert!(file(&out) == file("whole"), "{id}: the model that a search finds that nothing interrupts");
        }
    }
}

/// Several clients submit and cancel jobs at random for 4 seconds; with `EVOMERGE_MINUTE=1`, for a
/// minute.
#[test]
fn nothing_is_lost_or_done_twice_among_many_clients() {
    let dir = merges();
    let _server = Server::start(&dir, &[]);
    let span = if std::env::var_os("EVOMERGE_MINUTE").is_some() { 60 } else { 4 };
    let until = Instant::now() + Duration::from_secs(span);
    let counts: Vec<(Vec<u64>, Vec<u64>)> = thread::scope(|scope| {
        let client = |seed: u64| {
            let dir = &dir;
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let (mut mine, mut cancelled): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
                while Instant::now() < until {
                    if mine.is_empty() || random.random_bool(0.6) {
                        let key = format!("{seed}-{}", mine.len());
                        // Submitted twice, as by a client that missed the response.
                        let id =
                            |said: &Said| serde_json::from_str::<Value>(&said.out).unwrap()[0]["id"].as_u64().unwrap();
                        let first = id(&ok(dir, &["submit", "merge.yaml", "--key", &key, "--json"]));
                        let again = id(&ok(dir, &["submit", "merge.yaml", "--key", &key, "--json"]));
                        assert_eq!(first, again);
                        mine.push(first);
                    } else {
                        let id = mine[random.random_range(0..mine.len())];
                        // A job that is done cannot be cancelled.
                        if dir.run(&["cancel", &id.to_string()]).code == Some(0) {
                            cancelled.push(id);
                        }
                    }
                }
                (mine, cancelled)
            })
        };
        let clients: Vec<_> = (0..8).map(client).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut ids: Vec<u64> = counts.iter().flat_map(|(mine, _)| mine.clone()).collect();
    ids.sort_unstable();
    assert!(ids.len() > 8);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "every job has its number, and no other");
    let all = jobs(&dir);
    assert_eq!(all.len(), ids.len());
    for (_, cancelled) in &counts {
        for id in cancelled {
            let state = all[*id as usize - 1]["state"].as_str().unwrap().to_owned();
            // A running job may end before it is cancelled.
            assert!(["cancelled", "running", "done"].contains(&state.as_str()), "{id}: {state}");
        }
    }
}

#[test]
fn a_damaged_store_is_told_of_with_what_mends_it() {
    let dir = merges();
    for _ in 0..5 {
        ok(&dir, &["submit", "merge.yaml"]);
    }
    let path = dir.path("home/queue/store/db");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for byte in &mut bytes[end - 40..=end] {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    for entry in fs::read_dir(dir.path("home/queue/store")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for args in [&["jobs"][..], &["submit", "merge.yaml"], &["serve"]] {
        let said = dir.run(args);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.error().contains("the store of the queue is damaged"), "{}", said.err);
        assert_eq!(said.hint(), Some("`evomerge serve --repair` rebuilds it from the file of events beside it"));
    }
    let said = ok(&dir, &["serve", "--repair"]);
    assert!(said.err.starts_with("5 events are there again; the damaged store is now "), "{}", said.err);
    assert_eq!(jobs(&dir).len(), 5);
    // A whole store is left as it is, whatever is in the file.
    fs::write(dir.path("home/queue/events.jsonl"), "").unwrap();
    assert!(
        dir.run(&["serve", "--repair"])
            .error()
            .ends_with("the store of the queue is whole: there is nothing to repair")
    );
    assert_eq!(jobs(&dir).len(), 5);
}
