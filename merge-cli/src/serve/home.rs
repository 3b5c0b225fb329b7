//! The directory of a queue: its lock and the paths in it.

use merge_core::{
    environment,
    error::{Error, Result},
    queue::JobId,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// A state directory. One that is made here can be read by its user only.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// Maximum length of the path of the socket: every system allows 103 bytes, and a longer name, by
/// six bytes, is used while the socket is made.
const LONGEST_SOCKET: usize = 97;

/// Longest time that a command holds a queue.
const PATIENCE: Duration = Duration::from_secs(2);

impl Home {
    /// The directory `EVOMERGE_HOME`, else `evomerge` in `XDG_STATE_HOME` or `~/.local/state`; made
    /// if missing.
    pub(crate) fn from_env() -> Result<Self> {
        let state =
            || environment::path("XDG_STATE_HOME").or_else(|| Some(environment::path("HOME")?.join(".local/state")));
        let dir = environment::path("EVOMERGE_HOME")
            .or_else(|| Some(state()?.join("evomerge")))
            .ok_or_else(|| Error::user("no directory for the queue is known").hint("set EVOMERGE_HOME to one"))?;
        let failed = |e: std::io::Error| Error::io("create", &dir, &e);
        if !dir.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        }
        Ok(Self(dir.canonicalize().map_err(failed)?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the server's socket.
    pub(super) fn socket(&self) -> Result<PathBuf> {
        let path = self.0.join("socket");
        if path.as_os_str().len() > LONGEST_SOCKET {
            return Err(Error::user(format!("{}: this path is too long for a socket", path.display()))
                .hint("set EVOMERGE_HOME to a directory with a shorter path"));
        }
        Ok(path)
    }

    /// Directory of the events.
    pub(super) fn queue(&self) -> PathBuf {
        self.0.join("queue")
    }

    /// Directory of the jobs' directories.
    pub(super) fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// Directory of a job.
    pub(crate) fn job(&self, id: JobId) -> PathBuf {
        self.jobs().join(id.to_string())
    }

    /// Path of a job's log, its standard error.
    pub(crate) fn log(&self, id: JobId) -> PathBuf {
        self.job(id).join("log")
    }

    /// Path of a job's standard output.
    pub(crate) fn output(&self, id: JobId) -> PathBuf {
        self.job(id).join("output")
    }

    /// Locks the queue until the file is dropped; `None` if another process holds it.
    pub(super) fn own(&self) -> Result<Option<File>> {
        // The state directory itself may be readable by others.
        for private in [self.queue(), self.jobs()].iter().filter(|dir| !dir.exists()) {
            DirBuilder::new().mode(0o700).create(private).map_err(|e| Error::io("create", private, &e))?;
        }
        let (file, path) = self.lock_file()?;
        let failed = |e: std::io::Error| Error::io("lock", &path, &e);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0)).map_err(failed)?;
        Ok(Some(file))
    }

    /// Locks the queue; waits a moment for commands that hold it.
    ///
    /// Fails if another process keeps the lock.
    pub(super) fn own_soon(&self) -> Result<File> {
        let began = Instant::now();
        loop {
            match self.own()? {
                Some(file) => return Ok(file),
                None if began.elapsed() > PATIENCE => return Err(self.held()),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The error if another process holds the queue.
    pub(super) fn held(&self) -> Error {
        let pid = fs::read_to_string(self.0.join("lock")).unwrap_or_default();
        let place = self.0.display();
        let message = match pid.trim() {
            "" => format!("{place}: another process has this queue"),
            pid => format!("{place}: process {pid} has this queue"),
        };
        Error::user(message)
            .hint("a queue has one server: use that one, stop it, or set EVOMERGE_HOME to another directory")
    }

    fn lock_file(&self) -> Result<(File, PathBuf)> {
        let path = self.0.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        Ok((opened.map_err(|e| Error::io("open", &path, &e))?, path))
    }
}

/// Text of a file from byte `from` on, at most `most` bytes, and the byte where it ends. Without
/// `from`: the end of the file. Only whole characters; a missing file is empty.
pub(crate) fn tail(path: &Path, from: Option<u64>, most: u64) -> Result<(String, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((String::new(), 0)),
        Err(e) => return Err(Error::io("open", path, &e)),
    };
    let failed = |e: std::io::Error| Error::io("read", path, &e);
    let len = file.metadata().map_err(failed)?.len();
    let from = from.unwrap_or(len.saturating_sub(most)).min(len);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    // An incomplete character at the end is read next time.
    let cut = match std::str::from_utf8(&bytes) {
        Err(e) if e.error_len().is_none() && bytes.len() - e.valid_up_to() < 4 => e.valid_up_to(),
        _ => bytes.len(),
    };
    let next = from + cut as u64;
    Ok((String::from_utf8_lossy(&bytes[..cut]).into_owned(), next))
}

/// Appends a line to a file; errors are ignored.
pub(super) fn note(path: &Path, text: &str) {
    let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| writeln!(file, "{text}"));
}

#[cfg(test)]
mod tests {
    use super::tail;
    use std::fs;
    use tempfile::tempdir;

    #[test]
    fn a_log_is_read_on_from_where_it_ended_in_whole_letters() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(tail(&path, None, 100).unwrap(), (String::new(), 0));
        let bytes = "算数 up\n".as_bytes();
        fs::write(&path, &bytes[..4]).unwrap();
        assert_eq!(tail(&path, None, 100).unwrap(), ("算".to_owned(), 3));
        fs::write(&path, bytes).unwrap();
        assert_eq!(tail(&path, Some(3), 100).unwrap(), ("数 up\n".to_owned(), 10));
        assert_eq!(tail(&path, None, 4).unwrap().0, " up\n");
        assert_eq!(tail(&path, Some(99), 4).unwrap(), (String::new(), 10));
    }
}
