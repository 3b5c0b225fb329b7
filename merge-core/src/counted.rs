//! Numbers of things, as people say them.

/// So many of something, as people say it: `1 generation`, `1500 items`.
#[must_use]
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {}", noun(n, what))
}

/// What is counted, of which there are so many.
#[must_use]
pub fn noun(n: usize, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{what}s") }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_said_as_one() {
        assert_eq!([0, 1, 1500].map(|n| counted(n, "item")), ["0 items", "1 item", "1500 items"]);
    }
}
