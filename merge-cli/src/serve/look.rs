//! Examines the files of a request in a separate process with limits of memory and time: a bad file
//! may end that process, never the server.

use super::{
    proof::{self, Permission, WorkEstimate},
    roots::Roots,
    wanted::SubmitRequest,
    work,
};
use crate::{
    draw::screen,
    job,
    language::{self, Language},
    study_report,
};
use merge_core::{
    error::{Error, Fault, Result},
    yaml::{Reads, Text, confine, hold, read_text},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    env,
    io::{self, Read, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

/// Name of the command that this process runs.
pub(super) const COMMAND: &str = "look";

/// Task of such a process.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Look {
    /// Check that a request by HTTP can be done; gives [`SubmissionProof`].
    Prove { wanted: Box<SubmitRequest>, roots: Roots },
    /// Read the text of a recipe, given by its name in a root.
    Text { file: String, roots: Roots },
    /// Make the page of a study; `name` is the study's name for the reader.
    Report { name: String, study: PathBuf },
}

/// A submission as arguments of a command.
#[derive(Serialize, Deserialize)]
pub(super) struct SubmissionProof {
    pub(super) words: Vec<String>,
    /// Directory that paths in `words` are relative to.
    pub(super) directory: PathBuf,
    pub(super) proof: WorkEstimate,
    /// Recipe to save if the job is queued.
    pub(super) new: Option<Text>,
}

/// Answer of the process.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LookAnswer {
    Done(serde_json::Value),
    Refused { error: String, hint: Option<String>, by_machine: bool },
}

/// Limit of memory, for headers, tokenizers and data of tasks: a model of 70 billion parameters
/// needs some hundred megabytes.
const MEMORY: u64 = 2 << 30;
/// Limit of processor time in seconds.
const COMPUTING: u64 = 30;
/// Limit of time, for slow disks; less than a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(40);
/// Maximum size of an answer in bytes.
const LARGEST: u64 = 64 << 20;

/// Runs a process for a task and returns its answer.
///
/// Fails with the error of the process, or with a description of its end.
pub(super) fn at<T: DeserializeOwned>(look: &Look) -> Result<T> {
    let failed = |what: &str, e: &dyn std::fmt::Display| Error::machine(format!("cannot {what}: {e}"));
    let program = env::current_exe().map_err(|e| failed("find this program", &e))?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_remove(job::DIRECTORY)
        .env(language::VARIABLE, Language::chosen().code())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("start a process", &e))?;
    let (out, err) = (heard(child.stdout.take()), heard(child.stderr.take()));
    if let Some(mut stdin) = child.stdin.take() {
        // If the process has ended already, its end explains why.
        let _ = stdin.write_all(&serde_json::to_vec(look).expect("plain data"));
    }
    let status = ended(&mut child).map_err(|e| failed("wait for a process", &e))?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let answer = status.filter(ExitStatus::success).and_then(|_| serde_json::from_slice(&out).ok());
    match answer {
        Some(LookAnswer::Done(value)) => {
            serde_json::from_value(value).map_err(|e| failed("read what a process says", &e))
        }
        Some(LookAnswer::Refused { error, hint, by_machine }) => {
            let error = if by_machine { Error::machine(error) } else { Error::user(error) };
            Err(hint.map_or_else(|| error.clone(), |hint| error.clone().hint(hint)))
        }
        None => Err(end_of(status, &String::from_utf8_lossy(&err))),
    }
}

/// Reads a pipe in a thread, up to the maximum size.
fn heard(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(LARGEST).read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits for the end of a process; `None` if it took too long and was killed.
fn ended(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(2));
    }
}

/// Describes the end of a process that has not answered.
fn end_of(status: Option<ExitStatus>, said: &str) -> Error {
    let what = match status.and_then(|status| status.signal()) {
        _ if status.is_none() => {
            format!("looking at it took longer than {} s, the limit", PATIENCE.as_secs())
        }
        Some(24) => format!("looking at it took longer than {COMPUTING} s of computing, the limit"),
        _ if said.contains("memory allocation of ") => {
            format!("looking at it takes more than {} of memory, the limit", screen::bytes(MEMORY))
        }
        _ if said.contains("overflowed its stack") => {
            "looking at it ended the process that did: something in it nests too deep".to_owned()
        }
        Some(signal) => format!("looking at it ended the process that did, by signal {signal}"),
        None => {
            let told = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word");
            format!("looking at it ended the process that did: {told}")
        }
    };
    Error::user(what).hint("a file that it names, of a model, a task or data, may be damaged: `evomerge inspect` and `evomerge plan` say more")
}

/// Does the task given at standard input; see [`at`].
pub(crate) fn run() -> Result<()> {
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    // If the system lacks these limits, the time limit remains.
    for (resource, most) in [(Resource::Data, MEMORY), (Resource::Cpu, COMPUTING), (Resource::Core, 0)] {
        let _ = setrlimit(resource, limit(most));
    }
    let asked = serde_json::from_reader(io::stdin().lock());
    let look: Look = asked.map_err(|e| Error::user(format!("this is a command of the server's own: {e}")))?;
    let answer = match answer(look) {
        Ok(value) => LookAnswer::Done(value),
        Err(error) => LookAnswer::Refused {
            error: error.to_string(),
            hint: error.advice().map(str::to_owned),
            by_machine: error.fault() == Fault::Machine,
        },
    };
    screen::data(&serde_json::to_string(&answer).expect("plain data"));
    Ok(())
}

fn answer(look: Look) -> Result<serde_json::Value> {
    let value = match look {
        Look::Prove { wanted, roots } => serde_json::to_value(prove(&wanted, roots)?),
        Look::Text { file, roots } => serde_json::to_value(read_text(&roots.recipe(&file)?)?),
        Look::Report { name, study } => serde_json::to_value(study_report::page_of(&name, &study)?),
    };
    Ok(value.expect("plain data"))
}

fn prove(wanted: &SubmitRequest, roots: Roots) -> Result<SubmissionProof> {
    let (path, new) = match (&wanted.file, &wanted.text, &wanted.save_as) {
        // A directory is a study, for a report.
        (Some(file), None, None) => match roots.find(file)? {
            path if path.is_dir() => (path, None),
            _ => (roots.recipe(file)?, None),
        },
        (None, Some(text), Some(save_as)) => match new_text(text, save_as, &roots) {
            Ok((new, is_there)) => (new.path.clone(), Some(new).filter(|_| !is_there)),
            // Also report other mistakes in the text, so that the user can fix all at once.
            Err(error) => return Err(both(error, prove_elsewhere(wanted, text, save_as, roots).err())),
        },
        _ => return Err(Error::user("nothing is handed in").hint("give a `file`, or a `text` and where to `save_as`")),
    };
    prove_at(wanted, &path, new, roots)
}

/// A new text with its path, and true if the same text is there already.
///
/// Fails if another file is there.
fn new_text(text: &str, save_as: &str, roots: &Roots) -> Result<(Text, bool)> {
    let new = Text { path: roots.new_file(save_as)?, text: text.to_owned() };
    if !new.path.exists() {
        return Ok((new, false));
    }
    // The same request may be sent twice.
    if read_text(&roots.find(save_as)?).is_ok_and(|known| known == text) {
        return Ok((new, true));
    }
    Err(Error::user(format!("{save_as}: there is such a file already"))
        .hint("choose another name, or hand that file in"))
}

/// Checks a text regardless of its place, in the first root.
fn prove_elsewhere(wanted: &SubmitRequest, text: &str, save_as: &str, roots: Roots) -> Result<SubmissionProof> {
    let Some(root) = roots.first() else { return Err(Error::user("there is no root")) };
    let path = root.join(Path::new(save_as).file_name().unwrap_or("recipe.yaml".as_ref()));
    let new = Text { path: path.clone(), text: text.to_owned() };
    prove_at(wanted, &path, Some(new), roots)
}

fn both(error: Error, other: Option<Error>) -> Error {
    let Some(other) = other else { return error };
    let hints: Vec<&str> = [error.advice(), other.advice()].into_iter().flatten().collect();
    Error::user(format!("{error}\n{other}")).hint(hints.join("; "))
}

fn prove_at(wanted: &SubmitRequest, path: &Path, new: Option<Text>, roots: Roots) -> Result<SubmissionProof> {
    let directory = roots.root_of(path).map(PathBuf::from).unwrap_or_default();
    env::set_current_dir(&directory).map_err(|e| Error::io("enter", &directory, &e))?;
    hold(Reads { texts: new.iter().cloned().collect(), places: Vec::new() });
    let mut words = work::words_for(&path.to_string_lossy(), &directory)?;
    let option = |name: &str, value: Option<u64>| {
        value.map(|value| [format!("--{name}"), value.to_string()]).into_iter().flatten()
    };
    words.extend(option("seed", wanted.seed).chain(option("budget", wanted.budget)));
    let may = roots.clone();
    // Outside the roots, files that a recipe names are refused with a message; for tasks and their
    // includes, such files do not exist.
    confine(move |path| roots.contains(path));
    let permission = Permission { read: &|path| may.check(path), judge: &|judge, file| may.check_judge(judge, file) };
    let proof = proof::prove(&words, &directory, !wanted.after.is_empty(), &permission)?;
    Ok(SubmissionProof { words, directory, proof, new })
}

#[cfg(test)]
mod tests {
    use super::end_of;
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    #[test]
    fn the_end_of_a_process_is_told_as_far_as_it_is_known() {
        let by = |signal: i32| Some(ExitStatus::from_raw(signal));
        let check = |status, said: &str, expected: &str| assert_eq!(end_of(status, said).to_string(), expected);
        check(None, "", "looking at it took longer than 40 s, the limit");
        check(by(24), "", "looking at it took longer than 30 s of computing, the limit");
        let memory = "looking at it takes more than 2.1 GB of memory, the limit";
        check(by(6), "memory allocation of 4294967296 bytes failed\n", memory);
        let stack = "looking at it ended the process that did: something in it nests too deep";
        check(by(6), "thread 'main' has overflowed its stack\n", stack);
        check(by(9), "", "looking at it ended the process that did, by signal 9");
        let panic = "looking at it ended the process that did: thread 'main' panicked at x.rs:1";
        check(Some(ExitStatus::from_raw(101 << 8)), "\nthread 'main' panicked at x.rs:1\n", panic);
    }
}
