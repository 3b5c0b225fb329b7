//! One error for the whole program: what is wrong, where, whose fault it is, and what to do.

use crate::file::{Unreadable, nearest};
use std::{fmt, io, path::Path};

/// The result of everything that can go wrong.
pub type Result<T> = std::result::Result<T, Error>;

/// Who can mend it; the command line turns this into its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user can: a wrong recipe, a damaged file, an output that exists. Exit code 1.
    User,
    /// The user probably can't: a full disk, a failing device, a bug. Exit code 3.
    Machine,
    /// Nobody needs to: the user asked to stop. Exit code 130.
    Interrupted,
}

/// A lowercase fragment that fits after `error: `, and a hint that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    fault: Fault,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// Something the user can mend.
    pub fn user(message: impl Into<String>) -> Self {
        Self { fault: Fault::User, message: message.into(), hint: None }
    }

    /// Something the machine did.
    pub fn machine(message: impl Into<String>) -> Self {
        Self { fault: Fault::Machine, message: message.into(), hint: None }
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self { fault: Fault::Interrupted, message: "interrupted".to_owned(), hint: None }
    }

    /// An operation of the file system that failed: `io("open", path, &e)` reads "cannot open PATH: …".
    ///
    /// A path that is missing, forbidden or taken is the user's to mend; a full or failing disk is the machine's. The hint for one
    /// that is missing looks for a neighbour whose name is like it.
    pub fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::ReadOnlyFilesystem => Fault::User,
            // The standard library has no stable kind for a link that leads to itself.
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Fault::User,
            // Of the standard library itself, about the name: it has a NUL.
            io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => Fault::User,
            _ => Fault::Machine,
        };
        let unreadable = error.get_ref().and_then(|inner| inner.downcast_ref::<Unreadable>());
        let full = error.kind() == io::ErrorKind::StorageFull;
        let hint = unreadable
            .map(|what| what.hint())
            .or_else(|| full.then_some("free some space, then run the same command again"))
            .map(str::to_owned)
            .or_else(|| if error.kind() == io::ErrorKind::NotFound { meant(path) } else { None });
        let what = strip_os_code(&error.to_string());
        Self { fault, message: format!("cannot {verb} {}: {what}", path.display()), hint }
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with what to do about it, if it does not say that already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same error with the place it was found in front: a file, a tensor, a key.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Who can mend it.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What to do about it, if there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::machine(format!("tensor operation failed: {error}"))
    }
}

/// "did you mean `PATH`?": the hint for a path at which there is nothing.
pub fn meant(path: &Path) -> Option<String> {
    nearest(path).map(|near| format!("did you mean `{}`?", near.display()))
}

/// "No such file or directory (os error 2)" says nothing more with its number.
fn strip_os_code(message: &str) -> String {
    let text = message.split(" (os error").next().unwrap_or(message);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
