//! The manifest: exact contents and addresses of the data sets' files, read from the table beside this file.

use merge_core::{
    error::{Error, Result},
    model::hash::hex,
};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// A file of a data set.
#[derive(Clone, Debug)]
pub struct File {
    /// Path on the shelf; its first part is the source's folder.
    pub path: &'static str,
    /// Known contents: one, or for texts of Aozora Bunko also the result of our own cleaning. Empty
    /// for a file that the user brings and of which nothing is known.
    pub known: Vec<FileDigest>,
    /// Address where it is published; `None` for a file that the user brings.
    pub address: Option<Address>,
}

/// Length and hash of a file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Number of bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: &'static str,
}

/// Address where a file is published, and the form that it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The file itself.
    File(&'static str),
    /// MGSM's few-shot examples, a Python file in eleven languages; two are kept, as JSON
    /// ([`derive::exemplars`](super::derive::exemplars)).
    Exemplars(&'static str),
    /// A compressed archive with the file in it.
    Archive(&'static str),
}

impl Address {
    /// The address to download from.
    pub fn url(self) -> &'static str {
        let (Self::File(url) | Self::Exemplars(url) | Self::Archive(url)) = self;
        url
    }
}

/// The archive of `unidic-lite`, which holds several of the files.
pub const UNIDIC_LITE: FileDigest =
    FileDigest { bytes: 47_356_746, sha256: "db9d4572d9fdd4d00a97949d4b0741ec480ee05a7e7e2e32f547500dae27b245" };

/// All known files.
pub static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let rows = include_str!("manifest.tsv").lines().skip(1);
    rows.map(|row| file(row).expect("a test reads every row of the manifest")).collect()
});

fn file(row: &'static str) -> Option<File> {
    let mut cells = row.split('\t');
    let path = cells.next()?;
    let digest = |cells: &mut std::str::Split<'static, char>| {
        Some(FileDigest { bytes: cells.next()?.parse().ok()?, sha256: cells.next()? })
    };
    let mut known = vec![digest(&mut cells)?];
    let address = cells.next()?;
    known.extend(digest(&mut cells));
    let address = match address.split_once(':')? {
        ("exemplars", url) => Address::Exemplars(url),
        ("tar", url) => Address::Archive(url),
        _ => Address::File(address),
    };
    Some(File { path, known, address: Some(address) })
}

impl File {
    /// Fails if these bytes are not those that the manifest promises.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let [first, ..] = self.known[..] else { return Ok(()) };
        let sha256 = hex(&Sha256::digest(bytes));
        if self.known.iter().any(|digest| digest.sha256 == sha256) {
            return Ok(());
        }
        let (expected, wanted, n) = (first.sha256, first.bytes, bytes.len());
        Err(Error::user(format!(
            "{} is not the expected file: its SHA-256 should be {expected} ({wanted} bytes), and is {sha256} ({n} bytes)",
            self.path
        )))
    }

    /// Name of the file without folders.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}
