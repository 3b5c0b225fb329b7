//! Numbers of things, as people say them.

/// `1 item`, `2 items`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
