//! Judges of searches that are handed in by HTTP: only those run that the server's operator has named.

use super::roots::real;
use merge_core::{
    error::{Error, Result},
    search::{JudgeCall, JudgeEntry},
    yaml::At,
};
use serde::{Deserialize, Serialize};
use std::{
    env,
    path::{Path, PathBuf},
};

/// Directories of programs and items, and addresses of services, given by `--judges`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Judges {
    directories: Vec<PathBuf>,
    services: Vec<String>,
}

const HINT: &str = "whoever runs it names directories and services with `--judges`; `evomerge submit` on the server's own machine needs no such leave";

/// True if a judge is named by an address.
pub(super) fn is_address(named: &str) -> bool {
    named.starts_with("http://") || named.starts_with("https://")
}

impl Judges {
    /// Opens the directories. Fails if one is not there.
    pub(super) fn open(given: &[String]) -> Result<Self> {
        let (services, directories): (Vec<String>, Vec<String>) =
            given.iter().cloned().partition(|one| is_address(one));
        let open = |dir: &String| {
            let path = Path::new(dir).canonicalize();
            let path = path.map_err(|e| Error::io("open", Path::new(dir), &e).at("--judges"))?;
            if path.is_dir() && path.parent().is_some() {
                return Ok(path);
            }
            Err(Error::user(format!("{dir}: is no directory of judges")))
        };
        Ok(Self { directories: directories.iter().map(open).collect::<Result<_>>()?, services })
    }

    /// True if a path, after links are followed, is in one of the directories.
    pub(super) fn contains(&self, path: &Path) -> bool {
        real(path).is_some_and(|there| self.directories.iter().any(|dir| there.starts_with(dir)))
    }

    /// Refuses a judge whose program or items are elsewhere, or whose service is another. `is_open` tells the paths that
    /// its further words may name.
    ///
    /// The program itself must be named: what a shell or an interpreter is told to do could be anything. The message is the
    /// same whether a file exists or not.
    pub(super) fn check(&self, judge: &JudgeEntry, file: &Path, is_open: &dyn Fn(&Path) -> bool) -> Result<()> {
        let refused = |at: &At<String>, what: &str| Err(Error::user(what).at(at.place.of(file)).hint(HINT));
        let places = |word: &str| {
            let here = env::current_dir().unwrap_or_default();
            [std::path::absolute(file).unwrap_or_default().with_file_name("").join(word), here.join(word)]
        };
        // Wherever the name leads first, now or later.
        let is_ours = |word: &str| {
            let there: Vec<PathBuf> = places(word).into_iter().filter(|path| path.exists()).collect();
            !there.is_empty() && there.iter().all(|path| self.contains(path))
        };
        match &judge.call {
            JudgeCall::Service(address) if !self.services.contains(address) => {
                return refused(address, "this server asks no such service to judge");
            }
            JudgeCall::Service(_) => {}
            JudgeCall::Command(words) => {
                let Some((program, rest)) = words.split_first() else { return Ok(()) };
                if !program.contains('/') || !is_ours(program) {
                    return refused(program, "this server runs no such program to judge");
                }
                if let Some(word) = rest.iter().find(|word| !places(word).iter().all(|path| is_open(path))) {
                    return refused(word, "this word names a file that the server does not open");
                }
            }
        }
        match &judge.items {
            Some(items) if !is_ours(items) => {
                refused(items, "these items are not in a directory of the server's judges")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use merge_core::search::{ScoredBy, SearchFile};
    use std::fs;
    use tempfile::tempdir;

    #[test]
    fn only_named_programs_items_and_services_judge() {
        let dir = tempdir().unwrap();
        for path in ["judges/score", "judges/items.jsonl", "recipes/evil", "recipes/items.jsonl"] {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("recipes/evil"), dir.path().join("judges/link")).unwrap();
        let named = [dir.path().join("judges").display().to_string(), "http://127.0.0.1:9000/score".to_owned()];
        let (judges, none) = (Judges::open(&named).unwrap(), Judges::default());
        let check = |entry: &str, expected: Option<&str>| {
            let text = format!(
                "merge_method: linear\nmodels:\n- {{model: a, parameters: {{weight: {{search: [0, 1]}}}}}}\nsearch:\n  budget: 9\n  objective:\n  - {{name: j, {entry}}}\n"
            );
            let file = dir.path().join("recipes/s.yaml");
            let read = SearchFile::parse(&text, &file).unwrap();
            let ScoredBy::Judge(judge) = &read.search.objective[0].by else { panic!("{entry}") };
            // As in a server, the current directory is in a root.
            let here = env::current_dir().unwrap();
            let is_open =
                |path: &Path| real(path).is_some_and(|path| path.starts_with(dir.path()) || path.starts_with(&here));
            let said = judges.check(judge, &file, &is_open).err().map(|e| e.to_string());
            assert_eq!(said.as_deref().map(|said| said.rsplit(": ").next().unwrap()), expected, "{entry}");
            assert!(none.check(judge, &file, &is_open).is_err(), "{entry}");
        };
        let program = Some("this server runs no such program to judge");
        check("command: [../judges/score, \"{model}\", acc], items: ../judges/items.jsonl", None);
        check("command: [./evil]", program);
        check("command: [../judges/link]", program);
        check("command: [../judges/none]", program);
        check("command: [python3, ../judges/score]", program);
        check("command: [sh, -c, id]", program);
        let word = Some("this word names a file that the server does not open");
        check("command: [../judges/score, /etc/passwd]", word);
        let items = Some("these items are not in a directory of the server's judges");
        check("command: [../judges/score], items: items.jsonl", items);
        check("service: \"http://127.0.0.1:9000/score\"", None);
        check("service: \"http://127.0.0.1:9000/score2\"", Some("this server asks no such service to judge"));
    }
}
