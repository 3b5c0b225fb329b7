//! The one page, in the files that a browser asks for.

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where each file is, what it is, and what is in it.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/queue.js", SCRIPT, include_str!("page/queue.js")),
    ("/job.js", SCRIPT, include_str!("page/job.js")),
    ("/form.js", SCRIPT, include_str!("page/form.js")),
    ("/server.js", SCRIPT, include_str!("page/server.js")),
    ("/elements.js", SCRIPT, include_str!("page/elements.js")),
    ("/words.js", SCRIPT, include_str!("page/words.js")),
];
