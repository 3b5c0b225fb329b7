//! Output for people: text on a terminal, progress, pictures on a terminal and in SVG.

pub(crate) mod line;
pub(crate) mod measure;
pub(crate) mod picture;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod view;

/// Escapes text from outside for HTML or SVG.
pub(crate) fn escaped(text: &str) -> String {
    minijinja::HtmlEscape(text).to_string()
}
