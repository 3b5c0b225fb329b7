//! A headless Chromium, controlled by the `WebDriver` protocol (W3C Recommendation, 2018).

use crate::kit::{CHROMIUM, Dir, program};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};
use ureq::Agent;

/// A browser with one page. It is closed at the end of the test.
pub(crate) struct Browser {
    driver: Child,
    agent: Agent,
    /// URL of the session.
    session: String,
}

/// Maximum time that a test waits for anything, on any machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Key of a reference to an element, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    pub(crate) fn start(dir: &Dir) -> Self {
        let chromium = program(CHROMIUM);
        let mut driver = Command::new(program(&["chromedriver"]))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = |line: String| {
            line.split_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        };
        let port = lines.find_map(port).unwrap();
        thread::spawn(move || lines.for_each(drop));
        let profile = format!("--user-data-dir={}", dir.path("profile").display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,1000",
            &profile,
        ];
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let mut browser = Self { driver, agent, session: format!("http://127.0.0.1:{port}/session") };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": chromium, "args": args },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let made = browser.post("", &wanted);
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub(crate) fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    /// Clicks on an element as soon as a user could.
    pub(crate) fn click(&self, css: &str) {
        self.until(&format!("{css} can be clicked on"), || {
            let Some(path) = self.element(css) else { return false };
            self.send(&format!("{path}/click"), Some(&json!({})))["error"].is_null()
        });
    }

    /// Replaces the text of a field, key by key.
    pub(crate) fn write(&self, css: &str, text: &str) {
        let path = self.element(css).unwrap_or_else(|| panic!("there is no {css}"));
        self.post(&format!("{path}/clear"), &json!({}));
        self.post(&format!("{path}/value"), &json!({ "text": text }));
    }

    /// Visible text of an element; empty if it is absent or hidden.
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.element(css).map(|path| self.send(&format!("{path}/text"), None));
        text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Waits until an element's text contains `text`.
    pub(crate) fn wait(&self, css: &str, text: &str) {
        self.until(&format!("{css} says `{text}`"), || self.text(css).contains(text));
    }

    /// Waits until a condition is true.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let page = || self.script("return document.body.innerText");
            assert!(begun.elapsed() < PATIENCE, "waited for: {what}; the page says: {}", page());
            sleep(Duration::from_millis(30));
        }
    }

    /// Value that a script returns.
    pub(crate) fn script(&self, text: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": text, "args": [] }))
    }

    /// The page as a PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        decoded(self.get("/screenshot").as_str().unwrap())
    }

    /// Errors in the browser's console since the last call.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let severe = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// URLs that the pages of a server have requested.
    pub(crate) fn requests(&self, server: &str) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "performance" }));
        let told = log.as_array().unwrap().iter().map(|entry| -> Value {
            let told: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            told["message"].clone()
        });
        // Leaves out the requests of the browser's own first page.
        let asks = told.filter(|told| {
            let page = told["params"]["documentURL"].as_str().unwrap_or_default();
            told["method"] == "Network.requestWillBeSent" && page.starts_with(server)
        });
        asks.map(|told| told["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Path of an element within the session.
    fn element(&self, css: &str) -> Option<String> {
        let found = self.send("/element", Some(&json!({ "using": "css selector", "value": css })));
        Some(format!("/element/{}", found[ELEMENT].as_str()?))
    }

    fn get(&self, path: &str) -> Value {
        let said = self.send(path, None);
        assert!(said["error"].is_null(), "{path}: {said}");
        said
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let said = self.send(path, Some(body));
        assert!(said["error"].is_null(), "{path} {body}: {said}");
        said
    }

    /// Value of the response, which may be an error.
    fn send(&self, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.session);
        let answer = match body {
            Some(body) => self.agent.post(url).content_type("application/json").send(body.to_string()),
            None => self.agent.get(url).call(),
        };
        let text = answer.unwrap().body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without this, the browser would outlive its driver.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Decodes base64 (RFC 4648, section 4).
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    bytes
}
