//! The files that a user names or has beside what is named: opened only if they are files, and only if they are what they stand for.
//!
//! A pipe would keep whoever opens it waiting for ever, and a device may do anything. What is read here may be looked at twice.

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

/// How a pointer of Git LFS begins; it stands in a file's place in a clone without the large files.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Most bytes of a file that is read whole, data and dictionaries, and of one that people or tokenizers write.
const MOST: u64 = 2 << 30;
const MOST_OF_SMALL: u64 = 256 << 20;

/// Why something that is there is not read; [`Error::io`](crate::error::Error::io) has the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A pipe with a name, or one that the shell has made.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal, a disk, `/dev/zero`.
    Device,
    /// A few lines of Git LFS that name a file's hash.
    LfsPointer,
    /// What a hub shows of a file in a browser, or says in its place.
    WebPage,
    /// More bytes than a file of its kind has.
    TooLarge,
}

impl Unreadable {
    fn of(kind: FileType) -> Option<Self> {
        let device = kind.is_block_device() || kind.is_char_device();
        let kinds = [(kind.is_fifo(), Self::Pipe), (kind.is_socket(), Self::Socket), (device, Self::Device)];
        kinds.into_iter().find(|(is, _)| *is).map(|(_, what)| what)
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Pipe | Self::Socket | Self::Device => "write what it holds to a file, and name that",
            Self::TooLarge => "it is another file than it should be, or has a hole in it: download or write it again",
            Self::WebPage => "download the file itself: on the hub its address has `/resolve/`, not `/blob/`",
            Self::LfsPointer => {
                "`git lfs pull` in that directory brings the file itself (`git lfs install` first, if it is not known)"
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

/// The path that was probably meant by one that leads nowhere: its first name that is not there, as a neighbour spells it.
pub fn nearest(path: &Path) -> Option<PathBuf> {
    // Whoever has more files in one directory is not helped by a guess.
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

/// Opens a file to be read. Fails at once for a pipe, a socket, a device and a directory.
pub fn open(path: &Path) -> io::Result<File> {
    let check = |kind: FileType| match Unreadable::of(kind) {
        Some(what) => Err(refuse(what)),
        None if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        None => Ok(()),
    };
    // Before, since a socket cannot be opened and a device may not want to be; after, since it may be another by then.
    check(fs::metadata(path)?.file_type())?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Opens a file to be read from its beginning. Fails, beside where [`open`] does, for what only stands in a file's place.
pub fn open_itself(path: &Path) -> io::Result<File> {
    let mut file = open(path)?;
    let mut head = Vec::new();
    (&mut file).take(128).read_to_end(&mut head)?;
    check(&head)?;
    file.rewind()?;
    Ok(file)
}

/// All bytes of a file. Fails, beside where [`open`] does, for what only stands in a file's place, and for what is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    up_to(MOST, path)
}

/// All of a file that is text. Fails, beside where [`read`] does, if it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// All bytes of a file that is small: a text, a configuration, a tokenizer.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    up_to(MOST_OF_SMALL, path)
}

fn up_to(most: u64, path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata().map_or(0, |one| one.len());
    let mut bytes = Vec::new();
    if len <= most {
        bytes.try_reserve_exact(len as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // It may grow meanwhile.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if len.max(bytes.len() as u64) > most {
        return Err(refuse(Unreadable::TooLarge));
    }
    check(&bytes)?;
    Ok(bytes)
}

/// Where a path leads to, through every link at its end; there need not be anything yet.
///
/// What is written beside that and renamed is on its disk, and leaves the links as they are.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    // A `/` at the end would have a link be what it leads to.
    let mut path: PathBuf = path.components().collect();
    // As many as Linux follows.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target).components().collect(),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Fails if a file's bytes are not its content: a pointer of Git LFS, or a web page.
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
