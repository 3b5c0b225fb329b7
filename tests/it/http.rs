//! The queue by HTTP: its responses, its permissions, and the paths that it hides.

use crate::{
    kit::{Dir, family, root},
    queue::Server,
    search::small_study,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

/// Response: status, head and body.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// A server with a root `recipes`, to which requests are sent byte by byte.
pub(crate) struct Asked {
    pub(crate) dir: Dir,
    pub(crate) server: Server,
}

impl Asked {
    pub(crate) fn new(args: &[&str]) -> Self {
        let dir = Dir::new();
        for (name, value) in [("recipes/a", 0.25), ("recipes/b", 0.75), ("outside", 0.5)] {
            dir.tiny(name, value);
        }
        dir.write("recipes/merge.yaml", recipe("a", "b"));
        dir.write("recipes/leads-out.yaml", recipe("a", "../outside"));
        dir.write("secret.yaml", "token: hunter2\n");
        let server = Server::start(&dir, &[&["--listen", "127.0.0.1:0", "--root", "recipes"], args].concat());
        Self { dir, server }
    }

    pub(crate) fn host(&self) -> &str {
        self.server.url.as_deref().unwrap().strip_prefix("http://").unwrap()
    }

    /// Sends a request as it is.
    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // An early refusal may close the connection while the request is still being sent.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body =
            if head.to_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        Answer { code, head: head.to_lowercase(), body }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let host =
            if headers.to_lowercase().contains("host:") { String::new() } else { format!("Host: {}\r\n", self.host()) };
        let len = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {len}\r\n\r\n{body}"
        ))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, JSON, &body.to_string())
    }
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) fn recipe(a: &str, b: &str) -> String {
    let model = |name: &str| format!("- {{model: {name}, parameters: {{weight: 1}}}}\n");
    format!("merge_method: linear\nmodels:\n{}{}dtype: float32\n", model(a), model(b))
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((len, rest)) = body.split_once("\r\n") {
        let len = usize::from_str_radix(len.trim(), 16).unwrap_or(0);
        if len == 0 || rest.len() < len {
            break;
        }
        text += &rest[..len];
        body = rest[len..].trim_start_matches("\r\n");
    }
    text
}

#[test]
fn a_job_is_handed_in_watched_and_removed() {
    let asked = Asked::new(&[]);
    let recipes = asked.get("/api/recipes").json();
    let expected = json!({ "recipes": [
        { "file": "recipes/leads-out.yaml", "kind": "merge" }, { "file": "recipes/merge.yaml", "kind": "merge" },
    ] });
    assert_eq!(recipes, expected);
    let text = asked.get("/api/recipes/text?file=recipes%2Fmerge.yaml").json();
    assert_eq!(text["text"], recipe("a", "b"));
    let checked = asked.post("/api/check", &json!({ "file": "recipes/merge.yaml" }));
    assert_eq!((checked.code, checked.json()["kind"].as_str()), (200, Some("merge")));
    let wanted = json!({ "file": "recipes/merge.yaml", "name": "one", "key": "k", "labels": ["ja"] });
    let taken = asked.post("/api/jobs", &wanted);
    assert_eq!((taken.code, taken.json()["id"].as_u64()), (201, Some(1)), "{}", taken.body);
    assert_eq!(asked.post("/api/jobs", &wanted).code, 200, "the same again");
    let new = json!({ "text": recipe("b", "a"), "save_as": "recipes/new.yaml" });
    assert_eq!(asked.post("/api/jobs", &new).code, 201);
    assert_eq!(fs::read_to_string(asked.dir.path("recipes/new.yaml")).unwrap(), recipe("b", "a"));
    let other = json!({ "text": recipe("a", "b"), "save_as": "recipes/new.yaml" });
    assert_eq!(asked.post("/api/jobs", &other).error(), "recipes/new.yaml: there is such a file already");
    assert_eq!(asked.get("/api/jobs/2").json()["name"], "recipes-new");
    // A refused recipe is not saved, and a repeated request adds no second job.
    let late = json!({ "text": recipe("a", "b"), "save_as": "recipes/late.yaml", "after": [99] });
    assert_eq!((asked.post("/api/jobs", &late).code, asked.dir.path("recipes/late.yaml").exists()), (422, false));
    let twice = json!({ "text": recipe("a", "b"), "save_as": "recipes/twice.yaml", "key": "t" });
    let ids =
        [(); 2].map(|()| asked.post("/api/jobs", &twice)).map(|answer| (answer.code, answer.json()["id"].as_u64()));
    assert_eq!(ids, [(201, Some(3)), (200, Some(3))]);
    for id in 1..=3 {
        let path = format!("/api/jobs/{id}");
        while asked.get(&path).json()["state"] != "done" {
            sleep(Duration::from_millis(50));
        }
        assert!(
            asked.get(&format!("{path}/log")).json()["text"]
                .as_str()
                .unwrap()
                .starts_with("== attempt 1: evomerge merge")
        );
        assert_eq!(asked.get(&format!("{path}/output")).code, 200);
        assert_eq!(asked.post(&format!("{path}/pause"), &json!({})).code, 409);
    }
    assert!(asked.get("/metrics").body.contains("evomerge_jobs{state=\"done\"} 3"));
    assert_eq!(asked.ask("DELETE", "/api/jobs/1", "", "").code, 204);
    assert_eq!(asked.get("/api/jobs/1").code, 404);
    assert_eq!(asked.get("/api/jobs").json()["jobs"].as_array().unwrap().len(), 2);
}

#[test]
fn recipes_and_models_outside_the_roots_are_nobodys() {
    let asked = Asked::new(&[]);
    let outside = asked.dir.path("secret.yaml").canonicalize().unwrap().display().to_string();
    for file in ["secret.yaml", "../secret.yaml", "recipes/../secret.yaml", &outside, "recipes/../../etc/passwd"] {
        let answer = asked.post("/api/jobs", &json!({ "file": file }));
        assert_eq!(answer.code, 422, "{file}");
        let path = format!("/api/recipes/text?file={}", file.replace('/', "%2F"));
        let answer = asked.get(&path);
        assert!(answer.code == 422 && !answer.body.contains("hunter2"), "{file}");
    }
    let answer = asked.post("/api/jobs", &json!({ "file": "recipes/leads-out.yaml" }));
    let outside = "recipes/leads-out.yaml:4:11: this is not in a directory that the server opens";
    assert_eq!((answer.code, answer.error().as_str()), (422, outside));
    let search = recipe("a", "b").replace("weight: 1}", "weight: {search: [0, 1]}}")
        + "search: {budget: 100, objective: [{task: ../secret.yaml}]}\n";
    let answer = asked.post("/api/check", &json!({ "text": search, "save_as": "recipes/x.yaml" }));
    let outside = "recipes/x.yaml:6:42: this is not in a directory that the server opens";
    assert_eq!((answer.code, answer.error().as_str()), (422, outside));
    // A hint names no existing file either: neither the secret nor the model beside the root.
    for (model, task) in [("b", "../secrt.yaml"), ("../outsid", "../secret.yaml"), ("../outside/confg.json", "x.yaml")]
    {
        let text = recipe("a", model).replace("weight: 1}", "weight: {search: [0, 1]}}")
            + &format!("search: {{budget: 100, objective: [{{task: {task}}}]}}\n");
        let answer = asked.post("/api/check", &json!({ "text": text, "save_as": "recipes/x.yaml" }));
        assert!(answer.code == 422 && !answer.body.contains("did you mean"), "{}", answer.body);
    }
    for save_as in ["new.yaml", "recipes/../new.yaml", "recipes/none/new.yaml", "recipes/new.sh", "/tmp/new.yaml"] {
        let answer = asked.post("/api/jobs", &json!({ "text": recipe("a", "b"), "save_as": save_as }));
        assert_eq!(answer.code, 422, "{save_as}");
    }
    for more in [json!({ "words": ["merge", "x"] }), json!({ "file": "recipes/merge.yaml", "directory": "/" })] {
        assert_eq!(asked.post("/api/jobs", &more).code, 422, "{more}");
    }
    // No refusal reveals a path of this machine.
    let place = asked.dir.path("").canonicalize().unwrap().display().to_string();
    let wrong = json!({ "text": recipe("a", "nowhere"), "save_as": "recipes/x.yaml" });
    let answer = asked.post("/api/check", &wrong);
    assert!(answer.error().starts_with("recipes/x.yaml:4:"), "{}", answer.body);
    asked.post("/api/jobs", &json!({ "file": "recipes/merge.yaml" }));
    sleep(Duration::from_millis(500));
    for path in ["/api/jobs", "/api/jobs/1", "/api/jobs/1/log", "/api/jobs/1/output", "/metrics", "/api/recipes"] {
        assert!(!asked.get(path).body.contains(&place), "{path}");
    }
    assert!(!answer.body.contains(&place), "{}", answer.body);
    let left: Vec<String> =
        asked.dir.tree().into_iter().filter(|path| path.contains("draft") || path.contains("new.")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn who_comes_from_elsewhere_is_sent_away() {
    let asked = Asked::new(&[]);
    let (host, own) = (asked.host().to_owned(), format!("Origin: http://{}\r\n", asked.host()));
    let port = host.rsplit(':').next().unwrap();
    let check = |headers: &str, code: u16| {
        let headers = format!("{headers}{JSON}");
        assert_eq!(asked.ask("POST", "/api/check", &headers, "{}").code, code, "{headers}");
    };
    check("", 422);
    check(&own, 422);
    check(&format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"), 422);
    check("Host: evil.example\r\n", 403);
    check(&format!("Host: evil.example:{port}\r\n"), 403);
    check("Host: \r\n", 403);
    check("Origin: http://evil.example\r\n", 403);
    check("Origin: null\r\n", 403);
    check("Sec-Fetch-Site: cross-site\r\n", 403);
    // A form of another page cannot send JSON.
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(asked.ask("POST", "/api/jobs", kind, "{}").code, 415, "{kind}");
        assert_eq!(asked.ask("POST", "/api/jobs/1/cancel", kind, "{}").code, 415, "{kind}");
    }
    assert_eq!(asked.ask("POST", "/api/jobs", JSON, "{").code, 400);
    assert_eq!(asked.ask("POST", "/api/jobs", JSON, "[]").code, 422);
    assert_eq!(asked.ask("POST", "/api/jobs", JSON, r#"{"file": "x", "fiel": 1}"#).code, 422);
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(asked.ask("POST", "/api/check", JSON, &long).code, 413);
    assert_eq!(asked.get("/api/nothing").code, 404);
    assert_eq!(asked.ask("PUT", "/api/jobs", JSON, "{}").code, 405);
    let page = asked.get("/");
    assert_eq!(page.code, 200);
    for header in
        ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "x-frame-options: deny"]
    {
        assert!(page.head.contains(header), "{}", page.head);
    }
    // The page loads nothing from other sites.
    for entry in fs::read_dir(root().join("merge-cli/src/serve/page")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("https://") && !text.contains("//cdn"), "{}", path.display());
    }
}

#[test]
fn a_token_is_asked_for_and_told_nobody() {
    let dir = Dir::new();
    let file = dir.write("token", "0123456789abcdef0123\n");
    let asked = Asked::new(&["--token-file", &file.display().to_string()]);
    assert_eq!(asked.get("/").code, 200, "the page asks for it");
    for path in ["/api/jobs", "/metrics", "/api/openapi.json", "/api/jobs?token=0123456789abcdef0123"] {
        let answer = asked.get(path);
        assert_eq!(answer.code, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let with = |token: &str| asked.ask("GET", "/api/jobs", &format!("Authorization: {token}\r\n"), "").code;
    let codes = ["Bearer 0123456789abcdef0123", "Bearer 0123456789abcdef012", "Basic 0123456789abcdef0123", "Bearer "]
        .map(with);
    assert_eq!(codes, [200, 401, 401, 401]);
    dir.write("short", "abc");
    let said = dir.run(&["serve", "--listen", "127.0.0.1:0", "--token-file", "short"]);
    assert_eq!(said.error(), "short: a token has 16 letters or more");
    let said = dir.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(said.error(), "--listen 0.0.0.0:0: others can reach this address, and no token is asked for");
}

#[test]
fn news_come_as_they_happen() {
    let asked = Asked::new(&[]);
    let mut stream = TcpStream::connect(asked.host()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", asked.host());
    stream.write_all(request.as_bytes()).unwrap();
    sleep(Duration::from_millis(200));
    asked.post("/api/jobs", &json!({ "file": "recipes/merge.yaml" }));
    let (mut text, mut room) = (String::new(), [0; 4096]);
    while !text.contains("\"state\":\"done\"") {
        let n = stream.read(&mut room).unwrap();
        assert!(n > 0, "{text}");
        text += &String::from_utf8_lossy(&room[..n]);
    }
    let place = |state: &str| text.find(&format!("\"state\":\"{state}\"")).unwrap_or_else(|| panic!("{state}: {text}"));
    assert!(place("queued") < place("running") && place("running") < place("done"));
    assert!(text.contains("event: job\n"));
    // A listener learns no path of this machine.
    let place = asked.dir.path("").canonicalize().unwrap().display().to_string();
    assert!(text.contains("recipes/merge.yaml") && !text.contains(&place), "{text}");
    asked.ask("DELETE", "/api/jobs/1", "", "");
    while !text.contains("event: removed\ndata: {\"id\":1}") {
        let n = stream.read(&mut room).unwrap();
        assert!(n > 0, "{text}");
        text += &String::from_utf8_lossy(&room[..n]);
    }
}

#[test]
fn a_search_that_is_done_has_a_report_and_a_chart() {
    let dir = Dir::new();
    small_study(&dir);
    let (root, family) = (dir.path("").display().to_string(), family().display().to_string());
    let server = Server::start(&dir, &["--listen", "127.0.0.1:0", "--root", &root, "--root", &family]);
    let asked = Asked { dir, server };
    let root = asked.dir.path("").canonicalize().unwrap();
    let file = format!("{}/search.yaml", root.file_name().unwrap().to_string_lossy());
    let taken = asked.post("/api/jobs", &json!({ "file": file, "budget": 80 }));
    assert_eq!(taken.code, 201, "{}", taken.body);
    assert_eq!((asked.get("/api/jobs/1/report").code, asked.get("/api/jobs/1/output").code), (404, 200));
    while asked.get("/api/jobs/1").json()["state"] != "done" {
        sleep(Duration::from_millis(50));
    }
    let report = asked.get("/api/jobs/1/report");
    assert_eq!(report.code, 200);
    assert!(report.head.contains("content-security-policy: sandbox;"), "{}", report.head);
    assert!(report.body.contains("<h2>Result</h2>") && report.body.contains("<h2>Convergence</h2>"));
    // The chart has as many generations as the study.
    let generations = std::process::Command::new(env!("CARGO_BIN_EXE_evomerge"))
        .args(["report", "--json", &asked.dir.path("home/jobs/1/out").display().to_string()])
        .output()
        .unwrap();
    let generations: Value = serde_json::from_slice(&generations.stdout).unwrap();
    let drawn = asked.get("/api/jobs/1/chart").body;
    let progress = &asked.get("/api/jobs/1").json()["progress"];
    assert_eq!(progress["phase"], "report", "what was said last is kept");
    assert_eq!(drawn.matches("<circle").count(), generations["convergence"].as_array().unwrap().len());
    assert!(asked.get("/api/jobs/1/output").json()["text"].as_str().unwrap().contains("evolved"));
}

/// Each route of the description exists, and responds as described.
#[test]
fn the_description_says_what_may_come_back() {
    let asked = Asked::new(&[]);
    let described = asked.get("/api/openapi.json").json();
    for (path, ways) in described["paths"].as_object().unwrap() {
        for (way, operation) in ways.as_object().unwrap() {
            assert_ne!(operation["summary"], "", "{way} {path}");
            if path == "/api/events" {
                continue;
            }
            let answer = asked.ask(&way.to_uppercase(), &path.replace("{id}", "1"), JSON, "{}");
            let code = answer.code.to_string();
            assert!(operation["responses"].get(&code).is_some(), "{way} {path} answers {code}, which is not described");
            assert!(!answer.body.contains("there is nothing at this address"), "{way} {path}");
        }
    }
}
