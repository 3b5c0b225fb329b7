//! The server under attack: it goes on, and reveals no path of this machine.

use crate::{
    http::{Asked, JSON, recipe},
    kit::Dir,
    queue::{Server, job, ok, signal},
    submitting::children_of,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

fn merge_of(model: &str) -> Value {
    let text = format!("merge_method: linear\nmodels:\n- {{model: {model}, parameters: {{weight: 1}}}}\n");
    json!({ "text": text, "save_as": "recipes/x.yaml" })
}

/// The response about a path outside the roots is the same whether the path exists or not.
#[test]
fn nobody_learns_what_there_is_outside_the_roots() {
    let asked = Asked::new(&[]);
    symlink("/", asked.dir.path("recipes/out")).unwrap();
    let there = asked.dir.path("secret.yaml").canonicalize().unwrap().display().to_string();
    let not_there = there.replace("secret", "sacred");
    let check = |body: &dyn Fn(&str) -> Value, expected: &str| {
        let said = |place: &str| {
            let answer = asked.post("/api/check", &body(place));
            (answer.code, answer.body.replace(place, "PLACE").replace("sacred", "secret"))
        };
        assert_eq!(said(&there), said(&not_there), "{}", body("PLACE"));
        let (code, text) = said(&there);
        assert!(code == 422 && text.contains(expected), "{code}: {text}");
    };
    let outside = "this is not in a directory that the server opens";
    check(&|place| merge_of(place), outside);
    check(&|place| merge_of(&format!("out{place}")), outside);
    check(&|place| merge_of(&format!("a+{place}")), outside);
    check(&|place| merge_of(&format!("{place}@main")), outside);
    check(&|place| json!({ "file": format!("recipes/out{place}") }), outside);
    check(&|place| json!({ "text": "", "save_as": format!("recipes/out{place}") }), outside);
    check(&|place| json!({ "text": "", "save_as": format!("recipes/out{place}/x.yaml") }), outside);
    let search = |task: &str| {
        let text = recipe("a", "b").replace("weight: 1}", "weight: {search: [0, 1]}}");
        let more = format!("search: {{budget: 100, objective: [{{task: {task}}}]}}\n");
        json!({ "text": text + &more, "save_as": "recipes/x.yaml" })
    };
    check(&|place| search(place), outside);
    // A task's include and its data.
    let name = |place: &str| if place == there { "there" } else { "gone" };
    for place in [&there, &not_there] {
        let data = format!(
            "task: t\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {place}}}}}\ntest_split: test\noutput_type: \
             generate_until\ndoc_to_text: q\ndoc_to_target: a\nmetric_list: [{{metric: exact_match}}]\n"
        );
        asked.dir.write(&format!("recipes/data-{}.yaml", name(place)), data);
        asked.dir.write(&format!("recipes/include-{}.yaml", name(place)), format!("include: {place}\n"));
    }
    for kind in ["data", "include"] {
        let said = |place: &str| {
            let answer = asked.post("/api/check", &search(&format!("{kind}-{}.yaml", name(place))));
            assert_eq!(answer.code, 422);
            answer.body.replace("sacred", "secret").replace("gone", "there")
        };
        assert_eq!(said(&there), said(&not_there));
        assert!(said(&there).contains("there is no "), "{}", said(&there));
    }
    for place in [&there, &not_there] {
        let path = format!("/api/recipes/text?file=recipes%2Fout{}", place.replace('/', "%2F"));
        assert!(asked.get(&path).error().ends_with(outside));
    }
}

/// Kills every process that examines files.
#[test]
fn what_ends_the_process_that_looks_does_not_end_the_server() {
    let asked = Asked::new(&[]);
    let server = asked.server.pid();
    let done = Arc::new(AtomicBool::new(false));
    let killer = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                for child in children_of(server) {
                    // The process may have ended by itself meanwhile.
                    let _ = kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::KILL);
                }
            }
        }
    });
    // Some may finish before they are killed, but not all.
    let answers = (0..200).map(|_| asked.post("/api/check", &json!({ "file": "recipes/merge.yaml" })));
    let killed = answers.inspect(|answer| assert!([200, 422].contains(&answer.code))).find(|answer| answer.code == 422);
    done.store(true, Ordering::Relaxed);
    killer.join().unwrap();
    assert_eq!(killed.unwrap().error(), "looking at it ended the process that did, by signal 9");
    assert!(children_of(server).is_empty());
    assert_eq!(asked.post("/api/check", &json!({ "file": "recipes/merge.yaml" })).code, 200);
    // Both mistakes in a text are reported at once.
    let wrong = json!({ "text": recipe("a", "nowhere"), "save_as": "recipes/x.sh" });
    let error = asked.post("/api/check", &wrong).error();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "recipes/x.sh: the name of a recipe ends in `.yaml`");
    assert!(lines[1].starts_with("recipes/x.sh:4:11: neither "), "{error}");
    let look = asked.dir.run(&["look"]);
    assert_eq!(look.code, Some(1));
}

/// Models of a text are found beside it, or in its root.
#[test]
fn a_text_finds_the_models_of_its_root() {
    let asked = Asked::new(&[]);
    fs::create_dir(asked.dir.path("recipes/deep")).unwrap();
    let answer = asked.post("/api/jobs", &json!({ "text": recipe("a", "b"), "save_as": "recipes/deep/x.yaml" }));
    assert_eq!(answer.code, 201, "{}", answer.body);
    assert_eq!(asked.post("/api/check", &json!({ "file": "recipes/deep/x.yaml" })).code, 200);
    while asked.get("/api/jobs/1").json()["state"] != "done" {
        sleep(Duration::from_millis(50));
    }
    assert_eq!(asked.get("/api/jobs/1").json()["texts"][0]["file"], "recipes/deep/x.yaml");
    // This name leads out of the root from its top, but not from the text's directory.
    let beside = |model: &str| json!({ "text": recipe("../a", model), "save_as": "recipes/deep/y.yaml" });
    let answer = asked.post("/api/check", &beside("../b"));
    assert_eq!(answer.code, 200, "{}", answer.body);
    for outside in ["../none", "../../secret.yaml", "../../sacred.yaml"] {
        let answer = asked.post("/api/check", &beside(outside));
        let expected = "recipes/deep/y.yaml:4:11: this is not in a directory that the server opens";
        assert_eq!((answer.code, answer.error().as_str()), (422, expected), "{outside}");
    }
}

/// Silent connections keep no other client out, and are closed.
#[test]
fn connections_that_say_nothing_are_let_go() {
    let asked = Asked::new(&[]);
    // Half a body may take twice as long as half a head, so it is sent first.
    let mut slow = TcpStream::connect(asked.host()).unwrap();
    let head = format!("POST /api/check HTTP/1.1\r\nHost: {}\r\n{JSON}Content-Length: 9\r\n\r\n{{", asked.host());
    slow.write_all(head.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(asked.host()).unwrap();
        let _ = stream.write_all(b"GET /api/jobs HTTP/1.1\r\n");
        stream.set_nonblocking(true).unwrap();
        held.push(stream);
    }
    sleep(Duration::from_millis(300));
    let is_held = |stream: &mut TcpStream| {
        let mut room = [0; 4096];
        loop {
            match stream.read(&mut room) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let n = held.iter_mut().filter_map(|stream| is_held(stream).then_some(())).count();
    assert!(n <= 128, "{n} connections of one address are held");
    // The socket belongs to the user alone.
    let began = Instant::now();
    ok(&asked.dir, &["jobs"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    // Connections with half a head, or without a request after a response, have a time limit.
    let mut idle = TcpStream::connect(asked.host());
    if let Ok(stream) = &mut idle {
        let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", asked.host()).as_bytes());
        stream.set_nonblocking(true).unwrap();
    }
    let began = Instant::now();
    while held.iter_mut().any(&is_held) || idle.as_mut().is_ok_and(&is_held) {
        assert!(began.elapsed() < Duration::from_secs(15), "they are let go after ten seconds");
        sleep(Duration::from_millis(200));
    }
    assert_eq!(asked.get("/api/jobs").code, 200);
    let mut said = String::new();
    let _ = slow.read_to_string(&mut said);
    assert!(
        said.starts_with("HTTP/1.1 408 ") && said.contains("\"error\":\"the body has not come in 20 s\""),
        "{said}"
    );
}

/// Every refusal is JSON of one form.
#[test]
fn every_refusal_is_json() {
    let asked = Asked::new(&[]);
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(2 << 20));
    let put = ("PUT", "/api/jobs", "{}");
    // The address exists, though the job's name says otherwise.
    let after = json!({ "file": "recipes/merge.yaml", "name": "there is no job", "after": [9] }).to_string();
    let all = [
        (("GET", "/api/nothing", ""), 404, "there is nothing at this address"),
        (("GET", "/nothing", ""), 404, "there is nothing at this address"),
        (put, 405, "method not allowed"),
        (("GET", "/api/jobs/%ff", ""), 400, "Invalid URL: Invalid UTF-8 in `id`"),
        (("POST", "/api/check", &long), 413, "the body is longer than 1048576 bytes"),
        (("POST", "/api/check", "{"), 400, "the body is no JSON"),
        (("POST", "/api/check", "[]"), 422, "the body must be an object"),
        (("GET", "/api/jobs/9", ""), 404, "there is no job 9"),
        (("POST", "/api/jobs/9/priority", "{\"priority\": 1}"), 404, "there is no job 9"),
        (("POST", "/api/jobs", &after), 422, "there is no job: `after`: there is no job 9"),
        (("POST", "/api/jobs/9/priority", "{}"), 422, "the body: missing field `priority`"),
    ];
    for ((method, path, body), code, error) in all {
        let answer = asked.ask(method, path, JSON, body);
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        assert!(answer.error().starts_with(error), "{}", answer.body);
        assert!(answer.json().get("hint").is_some(), "{}", answer.body);
    }
    assert!(asked.ask("PUT", "/api/jobs", JSON, "{}").head.contains("allow: "));
    let index = asked.get("/api").json();
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["method"] == "POST" && route["path"] == "/api/jobs"), "{index}");
    assert_eq!(asked.get(index["description"].as_str().unwrap()).code, 200);
    let taken = asked.post("/api/jobs", &json!({ "file": "recipes/merge.yaml", "after": [] }));
    assert_eq!(taken.code, 201);
}

/// A server with a token and a name of its own also answers requests of its machine by other names.
#[test]
fn a_server_with_a_name_answers_on_its_own_machine() {
    let dir = Dir::new();
    let token = "0123456789abcdef0123";
    dir.write("token", token);
    let args = ["--listen", "0.0.0.0:0", "--token-file", "token", "--host", "mybox"];
    let server = Server::start(&dir, &args);
    let port = server.url.clone().unwrap().rsplit(':').next().unwrap().to_owned();
    let asked = |host: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let head = format!(
            "GET /api/jobs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said[9..12].to_owned()
    };
    let local = format!("127.0.0.1:{port}");
    let codes = ["mybox", &local, &format!("localhost:{port}"), "otherbox"].map(asked);
    assert_eq!(codes, ["200", "200", "200", "403"]);
}

/// A job whose servers are killed again and again is not started for ever.
#[test]
fn a_job_that_may_end_its_servers_waits_for_its_user() {
    let dir = crate::queue::long_search();
    ok(&dir, &["submit", "long.yaml", "--time", "1h"]);
    for _ in 0..3 {
        let server = Server::start(&dir, &[]);
        crate::queue::wait(&dir, 1, "running");
        sleep(Duration::from_millis(300));
        signal(server.pid(), "KILL");
    }
    let _server = Server::start(&dir, &[]);
    let held = job(&dir, 1);
    assert_eq!(
        (held["state"].as_str(), held["advice"].as_str()),
        (Some("paused"), Some("`evomerge resume 1` lets it go on"))
    );
    assert_eq!(held["why"], "its server went away 3 times in a row, soon after it had begun");
    // The time of an attempt counts even if nothing saw its end.
    assert!(held["seconds"].as_f64().unwrap() > 0.5, "{held}");
    ok(&dir, &["resume", "1"]);
    crate::queue::wait(&dir, 1, "running");
}
