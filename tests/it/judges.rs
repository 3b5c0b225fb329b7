//! Searches whose candidates are scored by programs and services of the user's own, good and bad ones.

use crate::{
    engine_double::{EngineDouble, EngineForm},
    http::Asked,
    kit::{Dir, Said, Snapshot, family, safetensors_bytes, tiny_tensors},
    queue::signal,
    search::{SEARCH, least_study},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::LazyLock,
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// Reads a model of one number, and the items on standard input; `SCORE` makes a score of them.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, os, struct, sys, time
model = sys.argv[1]
assert model == os.environ["EVOMERGE_MODEL"]
data = open(model + "/model.safetensors", "rb").read()
start = 8 + struct.unpack("<Q", data[:8])[0]
(value,) = struct.unpack("<f", data[start : start + 4])
is_parent = value in (0.25, 0.75)
open("calls", "a").write(model + "\n")
for line in sys.stdin:
    item = json.loads(line)
    print(json.dumps({"id": item["id"], "score": 1 - abs(value - item["wants"]), "text": "-", "tokens": 2}))
"#;

/// A search of a mean of two models without a configuration, on a judge with these keys.
fn study(keys: &str) -> Dir {
    let dir = Dir::new();
    for (name, value) in [("a", 0.25), ("b", 0.75)] {
        dir.write(&format!("{name}/model.safetensors"), safetensors_bytes(&tiny_tensors(value)));
    }
    let model =
        |name: &str| format!("- {{model: {name}, parameters: {{weight: {{search: [0.0, 1.0], init: 0.5}}}}}}\n");
    let search = format!(
        "merge_method: linear\nmodels:\n{}{}dtype: float32\nsearch:\n  budget: 40\n  optimizer: {{name: cma_es, population: 4}}\n  objective:\n  - {{{keys}}}\n",
        model("a"),
        model("b")
    );
    dir.write("search.yaml", search);
    let split = |n: usize| ["search", "select", "report"][n / 8];
    let row = |n: usize| json!({ "id": n, "split": split(n), "wants": 0.55 + n as f64 / 240.0 }).to_string() + "\n";
    dir.write("items.jsonl", (0..24).map(row).collect::<Vec<_>>().concat());
    program(&dir, PROGRAM);
    fs::create_dir(dir.path("scratch")).unwrap();
    dir
}

/// Writes a program of Python. It names the interpreter itself: what stands for it on a path may be slow to find it.
fn program(dir: &Dir, text: &str) {
    static PYTHON: LazyLock<String> = LazyLock::new(|| {
        let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    });
    let path = dir.write("score.py", text.replace("/usr/bin/env python3", &PYTHON));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const JUDGE: &str = "command: [./score.py, \"{model}\"], name: near, items: items.jsonl, per_generation: 2";
const ON_SCRATCH: &[&str] = &["search", "search.yaml", "-o", "out", "--scratch", "scratch"];

#[track_caller]
fn done(dir: &Dir) -> (Said, Value) {
    let said = dir.run(ON_SCRATCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(is_empty(&dir.path("scratch")));
    let result = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    (said, result)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

fn calls(dir: &Dir) -> usize {
    fs::read_to_string(dir.path("calls")).map_or(0, |text| text.lines().count())
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_search_on_a_judge_needs_no_forward_pass_and_has_intervals() {
    let dir = study(JUDGE);
    let (said, result) = done(&dir);
    let score = &result["winner"]["scores"]["near"];
    assert_eq!((score["metric"].as_str(), score["n"].as_u64()), (Some("score"), Some(8)), "{result}");
    assert!(score["ci95"].is_array() && score["value"].as_f64().unwrap() > 0.8, "{result}");
    assert!(said.out.contains("near on 8 items"), "{}", said.out);
    // A finished search asks nobody.
    let before = calls(&dir);
    assert!(before > 10);
    let (again, _) = done(&dir);
    assert_eq!((calls(&dir), &again.out), (before, &said.out));
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_judge_beside_a_task_and_one_number_for_a_model() {
    let dir = Dir::new();
    least_study(&dir);
    fs::create_dir(dir.path("scratch")).unwrap();
    dir.write(
        "items.jsonl",
        (0..6)
            .map(|n| format!("{{\"id\": {n}, \"split\": \"{}\"}}\n", ["search", "select", "report"][n / 2]))
            .collect::<Vec<_>>()
            .concat(),
    );
    dir.write(
        "even.sh",
        "while read -r row; do echo \"$row\" | sed 's/{\"id\":\\([0-9]*\\).*/{\"id\": \\1, \"score\": 0.5}/'; done\n",
    );
    dir.write("size.sh", "test -f \"$EVOMERGE_MODEL/config.json\" && echo '{\"score\": 0.625}'\n");
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let judges = "  - {command: [sh, even.sh], name: even, items: items.jsonl, per_generation: 2}\n  - {command: [sh, size.sh], name: size, weight: 0.5}\n\
                  \x20 constraints: [{command: [sh, size.sh, again], name: again, within: 0.1}]\n  report: [choices.yaml, {command: [sh, size.sh, more], name: more}]\n";
    dir.write("search.yaml", text.replace("  report: [choices.yaml]\n", judges).replace("budget: 10", "budget: 40"));
    let (said, result) = done(&dir);
    let scores = &result["winner"]["scores"];
    assert_eq!((&scores["even"]["value"], &scores["even"]["n"]), (&json!(0.5), &json!(2)));
    for name in ["size", "again", "more"] {
        let score = &scores[name];
        assert_eq!(
            (&score["value"], &score["ci95"], &score["stderr"]),
            (&json!(0.625), &Value::Null, &Value::Null),
            "{name}"
        );
        assert!(said.out.contains(&format!("{name} one number for a model")), "{}", said.out);
    }
    assert!(said.out.contains("62.5 [no interval]"), "{}", said.out);
    assert!(scores["mgsm-ja-mini"]["ci95"].is_array());
    assert!(!said.err.contains("task size has"), "{}", said.err);
    let card = fs::read_to_string(dir.path("out/model/README.md")).unwrap();
    assert!(card.contains("size is one number for a model. It has no interval"), "{card}");
    // Beside an engine, judges get the files that it loads, and the result is the same.
    let engine = EngineDouble::start(EngineForm::Vllm, &family().join("base"));
    let address = engine.address();
    let served = ["search", "search.yaml", "-o", "served", "--scratch", "scratch", "--engine", &address];
    let said = dir.run(&served);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut on_engine: Value = serde_json::from_slice(&fs::read(dir.path("served/result.json")).unwrap()).unwrap();
    on_engine["study"].as_object_mut().unwrap().shift_remove("engine");
    assert_eq!(on_engine, result);
    assert!(is_empty(&dir.path("scratch")));
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_service_judges() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/score", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut len) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                assert!(!line.to_lowercase().starts_with("authorization"), "no key is sent");
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    len = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body).unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            assert!(Path::new(asked["model"].as_str().unwrap()).join("model.safetensors").is_file());
            let scores: Vec<Value> =
                asked["items"].as_array().unwrap().iter().map(|row| json!({ "id": row["id"], "score": 0.5 })).collect();
            let body = json!({ "scores": scores }).to_string();
            // Some requests come while it is busy.
            let status = if number % 8 == 3 { "503 Service Unavailable" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let dir = study(&format!("service: \"{address}\", name: near, items: items.jsonl, per_generation: 2"));
    let mut command = dir.command(ON_SCRATCH);
    let said = Said::of(command.env("OPENAI_API_KEY", "sk-secret").output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(![said.out, said.err].concat().contains("gave up"), "a busy service tells nothing about a candidate");
    // Nobody there: the machine's fault, and nothing is lost.
    let dir = study("service: \"http://127.0.0.1:1/score\", name: near, items: items.jsonl, per_generation: 2");
    let said = dir.run(ON_SCRATCH);
    let error = "judge near: http://127.0.0.1:1/score: connection refused";
    assert_eq!((said.code, said.error()), (Some(3), error), "{}", said.err);
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_candidate_that_a_judge_cannot_score_is_given_up_with_the_reason() {
    let dir = study(JUDGE);
    program(
        &dir,
        &PROGRAM.replace("for line", "if not is_parent and value > 0.5:\n    sys.exit(\"too large for me\")\nfor line"),
    );
    let (said, _) = done(&dir);
    let told = [&said.out[..], &said.err].concat();
    assert!(
        told.contains("gave up ") && told.contains("it ended with exit code 1") && told.contains("too large for me"),
        "{told}"
    );
    // The reason names no directory that is gone.
    assert!(!told.contains("evomerge-scratch-"), "{told}");
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_judge_that_is_broken_for_all_stops_the_search_and_no_candidate_is_given_up() {
    let dir = study(JUDGE);
    program(
        &dir,
        &PROGRAM.replace("for line", "if not os.path.exists(\"mended\"):\n    sys.exit(\"no GPU\")\nfor line"),
    );
    let said = dir.run(ON_SCRATCH);
    let error = "on the model a, which is merged: judge near: `./score.py {model}`: it ended with exit code 1; the last lines of its error output:";
    assert_eq!((said.code, said.error()), (Some(3), error), "{}", said.err);
    assert!(said.err.contains("  no GPU") && is_empty(&dir.path("scratch")), "{}", said.err);
    dir.write("mended", "");
    let (said, _) = done(&dir);
    assert!(!said.out.contains("gave up") && !said.err.contains("gave up"), "{}", said.err);
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_study_is_bound_to_its_judges() {
    let whole = study(JUDGE);
    done(&whole);
    let whole = Snapshot::of(&whole);
    let check = |change: &dyn Fn(&Dir)| {
        let dir = whole.restore();
        program(&dir, PROGRAM);
        change(&dir);
        let said = dir.run(ON_SCRATCH);
        let error = "search.yaml: this directory holds another study: the objective differs";
        assert!(said.code == Some(1) && said.error().starts_with(error), "{}", said.err);
    };
    check(&|dir| program(dir, &PROGRAM.replace("1 - abs", "0.9 - abs")));
    check(&|dir| {
        let items = fs::read_to_string(dir.path("items.jsonl")).unwrap();
        dir.write("items.jsonl", items.replacen("0.55", "0.56", 1));
    });
    check(&|dir| {
        let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
        dir.write("search.yaml", text.replace("\"{model}\"]", "\"{model}\", other]"));
    });
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn an_interrupted_search_leaves_no_child_and_no_file() {
    let dir = study(JUDGE);
    let seconds = format!("{}.5", 100_000 + std::process::id());
    program(&dir, &PROGRAM.replace("for line", &format!("os.system(\"sleep {seconds}\")\nfor line")));
    let runs = || {
        let mut all =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|one| fs::read(one.path().join("cmdline")).ok());
        all.any(|words| String::from_utf8_lossy(&words).contains(&seconds))
    };
    let running = dir.command(ON_SCRATCH).spawn().unwrap();
    while !runs() {
        sleep(Duration::from_millis(10));
    }
    let began = Instant::now();
    signal(running.id(), "INT");
    let said = Said::of(running.wait_with_output().unwrap());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains("--scratch scratch"), "{}", said.err);
    assert!(!runs() && is_empty(&dir.path("scratch")));
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn judges_that_cannot_score_are_refused_before_the_search_begins() {
    let check = |from: &str, to: &str, error: &str| {
        let dir = study(&JUDGE.replace(from, to));
        let said = dir.run(ON_SCRATCH);
        assert!(said.code == Some(1) && said.error().starts_with(error), "{}", said.err);
        assert!(said.hint().is_some() && !dir.path("out").exists());
    };
    check("./score.py", "./scor.py", "search.yaml:10:16: there is no program ./scor.py");
    check("items.jsonl", "item.jsonl", "search.yaml:10:59: ");
    check(
        "per_generation: 2",
        "per_generation: 9",
        "search.yaml:10:46: judge near: 9 items per generation, but it has only 8 search items",
    );
    let dir = Dir::new();
    least_study(&dir);
    let said = dir.run(&[SEARCH, &["--scratch", "."]].concat());
    assert_eq!((said.code, said.error()), (Some(1), "`--scratch` has no effect: neither an engine nor a judge scores"));
}

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn a_server_runs_only_judges_that_its_operator_named() {
    let text = |judge: &str| {
        let model = |name: &str| format!("- {{model: {name}, parameters: {{weight: {{search: [0, 1]}}}}}}\n");
        format!(
            "merge_method: linear\nmodels:\n{}{}dtype: float32\nsearch:\n  budget: 40\n  objective:\n  - {{name: j, {judge}}}\n",
            model("a"),
            model("b")
        )
    };
    let refused = |asked: &Asked, judge: &str, what: &str| {
        let answer = asked.post("/api/jobs", &json!({ "text": text(judge), "save_as": "recipes/j.yaml" }));
        assert_eq!(answer.code, 422, "{judge}: {}", answer.body);
        assert!(answer.error().ends_with(what), "{judge}: {}", answer.error());
        assert!(!asked.dir.path("recipes/j.yaml").exists());
    };
    let (program, service) = ("this server runs no such program to judge", "this server asks no such service to judge");
    let asked = Asked::new(&[]);
    asked.dir.write("recipes/evil.sh", "touch pwned\n");
    refused(&asked, "command: [sh, evil.sh]", program);
    refused(&asked, "service: \"http://127.0.0.1:1/\"", service);
    // A user of the machine may.
    asked.dir.write("own.yaml", text("command: [sh, -c, \"echo 1\"]").replace("model: ", "model: recipes/"));
    let said = asked.dir.run(&["submit", "own.yaml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    drop(asked);

    let dir = Dir::new();
    let judges = dir.path("judges");
    let script = dir.write("judges/score.sh", "#!/bin/sh\necho '{\"score\": 0.5}'\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = Asked::new(&["--judges", judges.to_str().unwrap(), "--judges", "http://127.0.0.1:9/score"]);
    refused(&asked, "command: [sh, -c, id]", program);
    refused(&asked, "service: \"http://127.0.0.1:1/\"", service);
    refused(&asked, &format!("command: [sh, {}]", script.display()), program);
    let allowed = text(&format!("command: [{}, \"{{model}}\"]", script.display()));
    let answer = asked.post("/api/jobs", &json!({ "text": allowed, "save_as": "recipes/j.yaml" }));
    assert_eq!(answer.code, 201, "{}", answer.body);
    let began = Instant::now();
    loop {
        let state = asked.get("/api/jobs/1").json()["state"].clone();
        if state == "done" {
            break;
        }
        assert!(
            state != "failed" && began.elapsed() < Duration::from_secs(60),
            "{}",
            asked.get("/api/jobs/1/log").body
        );
        sleep(Duration::from_millis(50));
    }
}
