//! The page of `evomerge serve` in a browser, in two languages: submit, watch, cancel, and see
//! mistakes.

use crate::{
    browser::Browser,
    kit::{Dir, root, walk},
    queue::Server,
    search::small_study,
};
use serde_json::Value;
use std::{env, fs, path::PathBuf};

/// A server that runs one job at a time, with two roots.
fn serve(dir: &Dir, language: &str) -> Server {
    let family = root().join("recipes/sansu").display().to_string();
    let roots = ["--root", "recipes", "--root", &family];
    Server::start(dir, &[&["--lang", language, "--slots", "1", "--listen", "127.0.0.1:0"], &roots[..]].concat())
}

/// A folder of recipes: a merge that takes no time, and a search longer than any test.
fn recipes() -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    fs::create_dir(dir.path("recipes")).unwrap();
    for name in
        ["search.yaml", "sums.yaml", "choices.yaml", "search.jsonl", "select.jsonl", "report.jsonl", "choices.jsonl"]
    {
        fs::rename(dir.path(name), dir.path("recipes").join(name)).unwrap();
    }
    let text = fs::read_to_string(dir.path("recipes/search.yaml")).unwrap();
    dir.write("recipes/search.yaml", text.replace("budget: 240", "budget: 24000"));
    for (name, value) in [("a", 0.25), ("b", 0.75)] {
        dir.tiny(&format!("recipes/{name}"), value);
    }
    dir.write("recipes/average.yaml", AVERAGE);
    dir
}

const AVERAGE: &str = "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: \
                       {weight: 1}}\ndtype: float32\n";

#[test]
#[cfg_attr(not(has_chromium), ignore = "needs chromium and chromedriver on the path")]
fn jobs_are_handed_in_watched_and_cancelled() {
    let dir = recipes();
    let browser = Browser::start(&dir);
    let server = serve(&dir, "en");
    let url = server.url.clone().unwrap();
    browser.open(&url);
    browser.wait("#connection", "live");
    browser.wait("#nothing", "The queue is empty.");

    // Submit a merge by its file.
    browser.click("#to-submit");
    browser.click("#file option[value='recipes/average.yaml']");
    browser.wait("#verdict", "a merge that can be done");
    browser.click("#send");
    browser.wait("#job-state", "done");
    browser.wait("#events", "submitted");
    let mut written = Vec::new();
    walk(&dir.path("home/jobs/1"), &mut |path| written.push(path.to_owned()));
    assert!(written.iter().any(|path| path.ends_with("model.safetensors")), "{written:?}");

    // Write a text with mistakes, then correct it. Its folder is that of the chosen recipe.
    browser.click("#to-submit");
    browser.click("input[value=text]");
    assert_eq!(browser.script("return document.getElementById('save-as').value").as_str(), Some("recipes/recipe.yaml"));
    browser.write("#save-as", "recipes/mine.sh");
    browser.write("#text", &AVERAGE.replace("linear", "lineal"));
    browser.wait("#verdict .wrong", "recipes/mine.sh: the name of a recipe ends in `.yaml`");
    browser.wait("#verdict .wrong", "there is no method `lineal`");
    browser.write("#save-as", "recipes/mine.yaml");
    browser.write(
        "#text",
        &AVERAGE.replace("- {model: b, parameters: {weight: 1}}", "- {model: b, parameters: {wieght: 1}}"),
    );
    browser.wait("#verdict .wrong", "recipes/mine.yaml:4:");
    browser.wait("#verdict .wrong", "wieght");
    assert_eq!(browser.script("return document.getElementById('mark').dataset.line").as_str(), Some("4"));
    browser.wait("#verdict button", "Go to line 4");
    shot(&browser, "form");
    assert!(!dir.path("recipes/mine.yaml").exists(), "what is only looked at is not saved");
    browser.write("#text", AVERAGE);
    browser.wait("#verdict", "a merge that can be done");

    // Submit a search, and then the new text as a job after it.
    browser.click("input[value=file]");
    browser.click("#file option[value='recipes/search.yaml']");
    browser.wait("#verdict", "a search that can be done");
    browser.write("#name", "ja-math");
    browser.write("#labels", "ja, weekend");
    browser.click("#send");
    browser.wait("#job-state", "running");
    let watched = browser.url();
    browser.click("#to-submit");
    browser.click("input[value=text]");
    browser.write("#save-as", "recipes/mine.yaml");
    browser.write("#text", AVERAGE);
    browser.write("#name", "after all");
    browser.write("#after", "2");
    browser.wait("#verdict", "a merge that can be done");
    browser.click("#send");
    browser.wait("#job-state", "queued");
    assert_eq!(fs::read_to_string(dir.path("recipes/mine.yaml")).unwrap(), AVERAGE);
    // Change the job's priority, and see the files that it reads.
    browser.wait("#facts", "recipes/mine.yaml");
    browser.click("#facts button[aria-label='Higher priority']");
    browser.wait("#events", "given another priority: 1");
    browser.click("#to-queue");
    browser.wait("#rows tr:nth-child(1)", "ja-math");
    browser.wait("#rows tr:nth-child(1) .progress", "generation");
    browser.wait("#rows tr:nth-child(2)", "waits for job 2, which is running");
    browser.wait("#rows tr:nth-child(3)", "done");
    shot(&browser, "queue");

    browser.open(&watched);
    browser.wait("#job-progress", "generation");
    browser.wait("#chart", "generations");
    let drawn = || browser.script("return document.querySelectorAll('#chart circle').length").as_u64().unwrap();
    let first = drawn();
    browser.until("the chart grows", || drawn() > first);
    browser.until("the log is there", || !browser.text("#log").is_empty());
    shot(&browser, "search");
    browser.click("#job-buttons button:nth-child(2)");
    browser.wait("#confirm", "Cancel job 2?");
    browser.click("#confirm-yes");
    browser.wait("#job-state", "cancelled");
    browser.wait("#events", "cancelled");

    // The only errors in the console are about the text with mistakes.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains("/api/check") && text.contains("422")), "{complaints:?}");
    let here = url;
    let asked = browser.requests(&here);
    assert!(
        asked.len() > 10 && asked.iter().all(|url| url.starts_with(&here) || url.starts_with("data:")),
        "{asked:?}"
    );
}

/// English texts on a page, except names, data and messages that the server writes only in English.
const LEFT_OVER: &str = "
    const parts = 'nav, #connection, #machine, h1:not(#job-title), h2, label, legend, th, dt, button, .state, .kind, ' +
        '#job-time, #events span, .legend, dialog';
    const texts = [...document.querySelectorAll(parts)].map((node) => node.textContent);
    const beside = [...document.querySelectorAll('[aria-label], [placeholder]')];
    texts.push(document.title, ...beside.flatMap((node) => [node.ariaLabel ?? '', node.placeholder ?? '']));
    return texts.filter((text) => /[A-Za-z]{3}/.test(text.replace(/evomerge|recipes-average|nightly/g, '')));
";

#[test]
#[cfg_attr(not(has_chromium), ignore = "needs chromium and chromedriver on the path")]
fn the_page_speaks_japanese() {
    let dir = recipes();
    let browser = Browser::start(&dir);
    let server = serve(&dir, "ja");
    let all_is_japanese = || assert_eq!(browser.script(LEFT_OVER), Value::Array(Vec::new()));
    browser.open(server.url.as_deref().unwrap());
    browser.wait("#connection", "オンライン");
    browser.wait("#nothing", "キューは空です。");
    browser.wait("#queue-title", "キュー");
    assert_eq!(browser.script("return document.documentElement.lang").as_str(), Some("ja"));
    all_is_japanese();

    browser.click("#to-submit");
    browser.wait("#submit-title", "ジョブ投入");
    browser.click("#file option[value='recipes/average.yaml']");
    browser.wait("#verdict", "マージとして実行可能");
    browser.write("#seconds", "１時間30分");
    browser.wait("#send", "投入");
    shot(&browser, "form-ja");
    browser.click("#send");
    browser.wait("#job-state", "完了");
    browser.wait("#facts", "1時間30分");
    browser.wait("#events", "投入");
    browser.click("#job-buttons button");
    browser.wait("#confirm", "ジョブ1を削除しますか？");
    all_is_japanese();
    browser.click("#confirm-no");
    browser.click("#to-queue");
    browser.wait("#rows .kind", "マージ");
    browser.wait("#rows .state", "完了");
    all_is_japanese();
    shot(&browser, "queue-ja");

    // A job of this server speaks its language, and so do the pictures of it.
    browser.click("#to-submit");
    browser.click("#file option[value='recipes/search.yaml']");
    browser.wait("#verdict", "探索として実行可能");
    browser.click("#send");
    browser.wait("#job-state", "実行中");
    browser.wait("#job-progress", "世代");
    browser.wait("#chart", "世代");
    shot(&browser, "search-ja");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Writes a picture of the page to the folder `EVOMERGE_SHOTS`, if set.
fn shot(browser: &Browser, name: &str) {
    if let Some(folder) = env::var_os("EVOMERGE_SHOTS").map(PathBuf::from) {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), browser.picture()).unwrap();
    }
}
