//! Paths in environment variables, with `~` and other variables expanded as Python programs do.
//!
//! A shell expands both; a systemd unit, a `.env` file and a compose file do not. The hub's own library does
//! (`os.path.expandvars(os.path.expanduser(…))`). So does this program: one line means one directory everywhere.

use std::{env, fs, path::PathBuf};

/// The path in a variable of this process; `None` if the variable is not set or is empty.
pub fn path(name: &str) -> Option<PathBuf> {
    let set = env::var_os(name).filter(|text| !text.is_empty())?;
    Some(set.to_str().map_or_else(|| set.clone().into(), |text| expanded(text, &|name| env::var(name).ok()).into()))
}

/// `text` with a home directory for a leading `~`, and values of variables for `$NAME` and
/// `${NAME}`. An unknown user or variable stays as it is written.
pub fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    if let Some(after) = text.strip_prefix('~') {
        let name = after.split('/').next().unwrap_or_default();
        let home = if name.is_empty() { variable("HOME").or_else(|| home_of(&whoami()?)) } else { home_of(name) };
        if let Some(home) = home {
            done += home.trim_end_matches('/');
            rest = &after[name.len()..];
        }
        if done.is_empty() && rest.is_empty() {
            return "/".to_owned();
        }
    }
    // A variable's value is not expanded again.
    while let Some((before, after)) = rest.split_once('$') {
        done += before;
        let (name, len) = if let Some((name, _)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            (name, name.len() + 2)
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            (&after[..end], end)
        };
        if let Some(value) = variable(name).filter(|_| !name.is_empty()) {
            done += &value;
        } else {
            done.push('$');
            done += &after[..len];
        }
        rest = &after[len..];
    }
    done + rest
}

fn whoami() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    passwd()
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&id))
        .and_then(|line| Some(line.split(':').next()?.to_owned()))
}

/// The user's home directory according to `/etc/passwd`.
fn home_of(user: &str) -> Option<String> {
    let passwd = passwd();
    let mut fields = passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(user))?;
    fields.nth(5).map(str::to_owned)
}

fn passwd() -> String {
    fs::read_to_string("/etc/passwd").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tildes_and_variables_are_what_they_are_for_the_hubs_library() {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/me/".to_owned()),
            "DISK" => Some("/mnt/$HOME".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let check = |text: &str, expected: &str| assert_eq!(expanded(text, &variable), expected, "{text}");
        check("~/hf", "/home/me/hf");
        check("~", "/home/me");
        check("/a/~/b", "/a/~/b");
        check("~nobody-of-that-name/hf", "~nobody-of-that-name/hf");
        check("~root/hf", "/root/hf");
        check("$HOME/hf", "/home/me//hf");
        check("${DISK}/hf", "/mnt/$HOME/hf");
        check("a$EMPTY$NONE-${NONE}${}$", "a$NONE-${NONE}${}$");
        check("~/$DISK", "/home/me//mnt/$HOME");
        check("${HOME", "${HOME");
    }
}
