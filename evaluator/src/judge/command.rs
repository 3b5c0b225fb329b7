//! A judge that is a program: its words, the files that they name, and one run of it.

use super::{
    MOST_OUTPUT,
    items::AskedRow,
    process::{self, ProcessEnd, ProcessFate},
    verdict,
};
use crate::{
    engine::{Scratch, ScratchFile},
    interrupt::Interrupt,
};
use merge_core::{
    error::{Error, Result},
    file,
    item::{ItemId, ItemScore},
    model::hash::sha256_of,
    yaml::{At, first_there},
};
use rustix::fs::Access;
use serde_json::{Value, json};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

/// Stand-ins for paths in the words of a program.
const MODEL: &str = "{model}";
const ITEMS: &str = "{items}";
/// Environment variables that tell the same paths.
const MODEL_VARIABLE: &str = "EVOMERGE_MODEL";
const ITEMS_VARIABLE: &str = "EVOMERGE_ITEMS";

/// A program that scores models.
pub(super) struct JudgeCommand {
    /// As they were written: they stand for the program in messages and in a study's identity.
    words: Vec<String>,
    /// Words that name files elsewhere than in `directory` are paths from the root.
    run: Vec<OsString>,
    /// Directory in which it runs: that of the search file.
    directory: PathBuf,
    files: Vec<NamedFile>,
    timeout: Duration,
}

/// A file that a word names.
struct NamedFile {
    word: String,
    path: PathBuf,
    sha256: String,
    state: Option<(u64, SystemTime)>,
}

impl JudgeCommand {
    /// Reads the words of a program, and hashes the files that they name.
    ///
    /// Fails if the program is not there or may not be run.
    pub(super) fn read(words: &[At<String>], is_whole: bool, timeout: Duration, file: &Path) -> Result<Self> {
        let file_path = std::path::absolute(file).map_err(|e| Error::io("open", file, &e))?;
        let directory = file_path.parent().map(Path::to_owned).unwrap_or_default();
        let mut command = Self { words: Vec::new(), run: Vec::new(), directory, files: Vec::new(), timeout };
        for (number, word) in words.iter().enumerate() {
            let at = |e: Error| e.at(word.place.of(file));
            if is_whole && word.contains(ITEMS) {
                return Err(at(Error::user(format!("`{ITEMS}` stands for a file of items, but the judge has none")))
                    .hint("write `items: FILE.jsonl` beside `command`, or leave the word out"));
            }
            let run = if number == 0 { command.program(word).map_err(at)? } else { command.word(word).map_err(at)? };
            command.run.push(run);
            command.words.push(word.value.clone());
        }
        Ok(command)
    }

    /// The program as it is run, hashed if the word is a path.
    fn program(&mut self, word: &str) -> Result<OsString> {
        if word.contains('/') {
            let found = self.named(word).filter(|path| path.is_file());
            let Some(path) = found else {
                let error = Error::user(format!("there is no program {word}"));
                return Err(error.hint("its path is relative to the search file, or to the current directory"));
            };
            if !may_run(&path) {
                return Err(Error::user(format!("{word}: it may not be run"))
                    .hint("make it executable (`chmod +x`), or write what runs it before it, such as `python3`"));
            }
            self.know(word, &path)?;
            return Ok(path.into());
        }
        let folders = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&folders).map(|folder| folder.join(word)).any(|path| path.is_file() && may_run(&path)) {
            return Ok(word.into());
        }
        let error = Error::user(format!("there is no program `{word}` in PATH"));
        Err(match self.named(word) {
            Some(_) => error.hint(format!("write `./{word}` for the file beside the search file")),
            None => error.hint("install it, or write its path"),
        })
    }

    /// A further word as the program gets it, hashed if it names a file.
    fn word(&mut self, word: &str) -> Result<OsString> {
        let is_plain = !word.is_empty() && !word.contains(MODEL) && !word.contains(ITEMS);
        match self.named(word).filter(|path| is_plain && path.is_file()) {
            None => Ok(word.into()),
            Some(path) => {
                self.know(word, &path)?;
                // The program runs beside the search file, where the word means the same as in the file.
                Ok(if path == self.directory.join(word) { word.into() } else { path.into() })
            }
        }
    }

    /// The path that a word names, relative to the search file or to the current directory.
    fn named(&self, word: &str) -> Option<PathBuf> {
        let here = env::current_dir().unwrap_or_default();
        first_there([self.directory.join(word), here.join(word)])
    }

    fn know(&mut self, word: &str, path: &Path) -> Result<()> {
        let named =
            NamedFile { word: word.to_owned(), path: path.to_owned(), sha256: sha256_of(path)?, state: state(path) };
        self.files.push(named);
        Ok(())
    }

    /// Everything about the program that a score depends on.
    pub(super) fn identity(&self) -> Value {
        let files: Vec<Value> =
            self.files.iter().map(|file| json!({ "word": file.word, "sha256": file.sha256 })).collect();
        json!({ "command": self.words, "files": files })
    }

    /// Runs the program on a model's directory, and reads its scores.
    pub(super) fn run(
        &self,
        model: &Path,
        asked: &[AskedRow<'_>],
        scratch: &Scratch,
        interrupt: &Interrupt,
        worst: f64,
    ) -> Result<Vec<(ItemId, ItemScore)>> {
        self.check_unchanged()?;
        let rows = rows(asked);
        let items =
            (!rows.is_empty()).then(|| scratch.file("-items.jsonl", &rows)).transpose().map_err(Error::as_machine)?;
        let mut command = self.command(model, items.as_ref()).map_err(Error::as_machine)?;
        let ProcessEnd { how, out, last_lines } = process::run(&mut command, self.timeout, MOST_OUTPUT, interrupt)?;
        let scored = match how {
            ProcessFate::Done => String::from_utf8(out)
                .map_err(|_| "its output is not UTF-8 text".to_owned())
                .and_then(|text| verdict::scores(&text, asked, worst)),
            ProcessFate::Code(code) => Err(format!("it ended with exit code {code}")),
            ProcessFate::Signal(signal) => Err(format!("it was ended by signal {signal}")),
            ProcessFate::TimedOut => Err(format!("it took longer than {} s, its `timeout`", self.timeout.as_secs())),
            ProcessFate::TooMuch => Err(format!("it printed more than {} MiB", MOST_OUTPUT >> 20)),
        };
        scored.map_err(|what| {
            // Paths differ for each candidate, but the reason may be the same.
            let said = |line: &str| {
                let line = line.replace(&*model.to_string_lossy(), MODEL);
                items.as_ref().map_or(line.clone(), |items| line.replace(&*items.path().to_string_lossy(), ITEMS))
            };
            let lines: Vec<String> = last_lines.iter().map(|line| said(line)).collect();
            let lines = match lines.len() {
                0 => String::new(),
                _ => format!("; the last lines of its error output:\n  {}", lines.join("\n  ")),
            };
            Error::user(format!("`{}`: {}{lines}", self.words.join(" "), said(&what)))
        })
    }

    fn command(&self, model: &Path, items: Option<&ScratchFile>) -> Result<Command> {
        let items = items.map(ScratchFile::path);
        let fill = |word: &OsString| fill(word, model, items);
        let mut command = Command::new(&self.run[0]);
        command.args(self.run[1..].iter().map(fill)).current_dir(&self.directory).env(MODEL_VARIABLE, model);
        match items {
            Some(path) => {
                let rows = file::open(path).map_err(|e| Error::io("open", path, &e))?;
                command.env(ITEMS_VARIABLE, path).stdin(Stdio::from(rows));
            }
            None => {
                command.env_remove(ITEMS_VARIABLE).stdin(Stdio::null());
            }
        }
        Ok(command)
    }

    /// Fails if a file that a word names is another one by now: its scores would be another judge's.
    fn check_unchanged(&self) -> Result<()> {
        for NamedFile { word, path, sha256, state: known } in &self.files {
            let is_same = known.is_some() && state(path) == *known;
            if !is_same && sha256_of(path).map_err(Error::as_machine)? != *sha256 {
                return Err(Error::machine(format!("{word} is not what it was when the search began"))
                    .hint("nothing that was scored is lost: put back the file that the search began with, and run the same command again; or search with the new one in another directory"));
            }
        }
        Ok(())
    }
}

/// Length and time of the last change of a file.
fn state(path: &Path) -> Option<(u64, SystemTime)> {
    let data = fs::metadata(path).ok()?;
    Some((data.len(), data.modified().ok()?))
}

fn may_run(path: &Path) -> bool {
    rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// The rows of items, one on each line; empty for the whole model.
fn rows(asked: &[AskedRow<'_>]) -> String {
    let rows = asked.iter().filter_map(|one| one.row);
    rows.map(|row| Value::Object(row.clone()).to_string() + "\n").collect()
}

/// A word with the paths in place of their stand-ins.
fn fill(word: &OsStr, model: &Path, items: Option<&Path>) -> OsString {
    let Some(text) = word.to_str() else { return word.to_owned() };
    let (mut filled, mut rest) = (OsString::new(), text);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push(before);
        let (path, len) = match items {
            _ if from.starts_with(MODEL) => (model.as_os_str(), MODEL.len()),
            Some(items) if from.starts_with(ITEMS) => (items.as_os_str(), ITEMS.len()),
            _ => (OsStr::new("{"), 1),
        };
        filled.push(path);
        rest = &from[len..];
    }
    filled.push(rest);
    filled
}
