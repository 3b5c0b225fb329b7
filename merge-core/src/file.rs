//! Opens and reads the user's files, and refuses pipes, devices and stand-ins for the real file.
//!
//! A pipe may block its reader for ever, and a device may do anything. Also, a file may be read twice.

#[cfg(test)]
mod tests;

use crate::words::did_you_mean;
use std::{
    error, fmt,
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read as _, Seek as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Start of a Git LFS pointer, which replaces a file in a clone without the large files.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Most bytes of a file that is read whole: by [`read`], and by [`read_small`].
const MAX_BYTES: u64 = 2 << 30;
const MAX_SMALL_BYTES: u64 = 256 << 20;

/// Reason why an existing file is not read; [`Error::io`](crate::error::Error::io) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A named pipe, or one that the shell made.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal, a disk, `/dev/zero`.
    Device,
    /// A Git LFS pointer: a few lines with the file's hash.
    LfsPointer,
    /// A web page that a hub sends to browsers, or instead of the file.
    WebPage,
    /// A file with more bytes than its kind has.
    TooLarge,
}

impl Unreadable {
    fn of(kind: FileType) -> Option<Self> {
        let device = kind.is_block_device() || kind.is_char_device();
        let kinds = [(kind.is_fifo(), Self::Pipe), (kind.is_socket(), Self::Socket), (device, Self::Device)];
        kinds.into_iter().find(|(is, _)| *is).map(|(_, what)| what)
    }

    /// Advice for the user.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Pipe | Self::Socket | Self::Device => "write its content to a file, and name that file",
            Self::TooLarge => "it is probably the wrong file, or a damaged one: download or write it again",
            Self::WebPage => "download the file itself: on the hub its address has `/resolve/`, not `/blob/`",
            Self::LfsPointer => {
                "`git lfs pull` in that directory downloads the file itself (run `git lfs install` first if Git LFS is not set up)"
            }
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe => "it is a pipe, not a file",
            Self::Socket => "it is a socket, not a file",
            Self::Device => "it is a device, not a file",
            Self::LfsPointer => "it is a pointer of Git LFS, not the file itself",
            Self::WebPage => "it is a web page, not the file itself",
            Self::TooLarge => "it is far larger than such a file may be",
        })
    }
}

impl error::Error for Unreadable {}

fn refuse(what: Unreadable) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An existing path like `path`: its first missing part is replaced by a neighbour with a similar name.
pub fn nearest(path: &Path) -> Option<PathBuf> {
    // Among more names, a guess does not help.
    const MOST_NAMES: usize = 10_000;
    let is_missing = |at: &&Path| !at.as_os_str().is_empty() && at.symlink_metadata().is_err();
    let missing = path.ancestors().take_while(is_missing).last()?;
    let dir = missing.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = fs::read_dir(dir)
        .ok()?
        .take(MOST_NAMES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let near = did_you_mean(missing.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    let meant = missing.with_file_name(near);
    let rest = path.strip_prefix(missing).ok()?;
    let meant = if rest.as_os_str().is_empty() { meant } else { meant.join(rest) };
    meant.exists().then_some(meant)
}

/// Opens a file for reading. Fails at once for a pipe, a socket, a device and a directory.
pub fn open(path: &Path) -> io::Result<File> {
    let check = |kind: FileType| match Unreadable::of(kind) {
        Some(what) => Err(refuse(what)),
        None if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        None => Ok(()),
    };
    // Checked twice: a socket cannot be opened, and the path may lead to another file by then.
    check(fs::metadata(path)?.file_type())?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Opens a file for reading. Fails as [`open`] does, and for a stand-in ([`check`]).
pub fn open_itself(path: &Path) -> io::Result<File> {
    let mut file = open(path)?;
    let mut head = Vec::new();
    (&mut file).take(128).read_to_end(&mut head)?;
    check(&head)?;
    file.rewind()?;
    Ok(file)
}

/// All bytes of a file. Fails as [`open`] does, for a stand-in ([`check`]), and above 2 GiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    up_to(MAX_BYTES, path)
}

/// The text of a file. Fails as [`read`] does, and if the file is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Bytes that a user may still write to the file system of a directory.
pub fn room(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// All bytes of a small file, such as a configuration. Fails as [`read`] does, and above 256 MiB.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    up_to(MAX_SMALL_BYTES, path)
}

fn up_to(most: u64, path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata().map_or(0, |one| one.len());
    let mut bytes = Vec::new();
    if len <= most {
        bytes.try_reserve_exact(len as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // The file may grow meanwhile.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if len.max(bytes.len() as u64) > most {
        return Err(refuse(Unreadable::TooLarge));
    }
    check(&bytes)?;
    Ok(bytes)
}

/// The path that `path` leads to, through every link at its end; nothing needs to exist there yet.
///
/// A file that is written beside that path and renamed to it stays on its disk and keeps the links.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    // With a `/` at the end, `read_link` would see the link's target instead of the link.
    let mut path: PathBuf = path.components().collect();
    // As many links as Linux follows.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target).components().collect(),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Fails if the bytes stand in for a file's content: a Git LFS pointer, or a web page.
pub fn check(bytes: &[u8]) -> io::Result<()> {
    let start = bytes[..bytes.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    if bytes.starts_with(LFS) {
        Err(refuse(Unreadable::LfsPointer))
    } else if [&b"<!doctype html"[..], b"<html"].iter().any(|tag| start.starts_with(tag)) {
        Err(refuse(Unreadable::WebPage))
    } else {
        Ok(())
    }
}
