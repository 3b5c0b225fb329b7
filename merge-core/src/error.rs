//! One error type for the whole program: what is wrong, where, whose fault it is, and what to do.

use crate::file::{Unreadable, nearest};
use std::{fmt, io, path::Path};

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The party that can fix an error; the command line turns it into its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user can: a wrong recipe, a damaged file, an output that exists. Exit code 1.
    User,
    /// The user probably can't: a full disk, a failing device, a bug. Exit code 3.
    Machine,
    /// Nobody needs to: the user asked to stop. Exit code 130.
    Interrupted,
}

/// An error: a lowercase message that fits after `error: `, a hint for the user, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    fault: Fault,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error that the user can fix.
    pub fn user(message: impl Into<String>) -> Self {
        Self { fault: Fault::User, message: message.into(), hint: None }
    }

    /// An error that the user probably cannot fix.
    pub fn machine(message: impl Into<String>) -> Self {
        Self { fault: Fault::Machine, message: message.into(), hint: None }
    }

    /// The error for a run that the user asked to stop.
    pub fn interrupted() -> Self {
        Self { fault: Fault::Interrupted, message: "interrupted".to_owned(), hint: None }
    }

    /// The error for a failed operation of the file system: `io("open", path, &e)` reads "cannot open PATH: …".
    ///
    /// The user can fix a path that is missing, forbidden or taken; a full or failing disk is the
    /// machine's fault. For a missing path, the hint suggests an existing one with a similar name.
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
            // The standard library's own error for a name that contains a NUL.
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

    /// The same error with this hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with this hint, unless it has one already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same error with a place in front of the message: a file, a tensor, a key.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The same error as the machine's fault: whoever caused it, it says nothing about the model that was scored.
    #[must_use]
    pub fn as_machine(self) -> Self {
        Self { fault: Fault::Machine, ..self }
    }

    /// Says who can fix the error.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The hint for the user, if there is one.
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

/// The hint "did you mean `PATH`?" for a missing path, if an existing one is similar.
pub fn meant(path: &Path) -> Option<String> {
    nearest(path).map(|near| format!("did you mean `{}`?", near.display()))
}

/// The message with a lowercase first letter, and without "(os error 2)" at its end.
fn strip_os_code(message: &str) -> String {
    let text = message.split(" (os error").next().unwrap_or(message);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
