//! Files of the queue's web page.

use crate::language::{Language, page, study};
use minijinja::{Environment, context};
use serde_json::json;
use std::collections::BTreeMap;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
pub(super) struct PageFile {
    /// Path of the file in its URL.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

/// All files of the page in a language.
pub(super) fn files(language: Language) -> Vec<PageFile> {
    // The page shows a search's progress with texts of its report.
    let texts = page::ALL.iter().chain(study::ALL);
    let t: BTreeMap<&str, &str> = texts.map(|text| (text.name, language.text(text))).collect();
    let code = language.code();
    let script = format!("export const language = '{code}';\nexport const texts = {};\n", json!(t));
    let index =
        Environment::new().render_named_str("index.html", include_str!("page/index.html"), context! { t, code });
    let fixed = [
        ("/page.css", CSS, include_str!("page/page.css")),
        ("/page.js", SCRIPT, include_str!("page/page.js")),
        ("/queue.js", SCRIPT, include_str!("page/queue.js")),
        ("/job.js", SCRIPT, include_str!("page/job.js")),
        ("/form.js", SCRIPT, include_str!("page/form.js")),
        ("/server.js", SCRIPT, include_str!("page/server.js")),
        ("/elements.js", SCRIPT, include_str!("page/elements.js")),
        ("/words.js", SCRIPT, include_str!("page/words.js")),
    ];
    let fixed = fixed.map(|(path, content_type, text)| PageFile { path, content_type, text: text.to_owned() });
    let made = [
        PageFile { path: "/", content_type: HTML, text: index.expect("the page is ours, and a test asks for it") },
        PageFile { path: "/texts.js", content_type: SCRIPT, text: script },
    ];
    made.into_iter().chain(fixed).collect()
}
