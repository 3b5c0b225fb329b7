//! Which bytes a data set's files hold, and where they are published: a table beside this file.

use merge_core::{
    error::{Error, Result},
    model::hash::hex,
};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// A file of a data set.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path on the shelf; the first part is the folder of its source.
    pub path: &'static str,
    /// What it may hold: one form, or for texts of Aozora Bunko also what our own cleaning makes of it. Empty for a file that
    /// the user brings and of which nothing is known.
    pub known: Vec<Promise>,
    /// Where it is published; none for a file that the user brings.
    pub address: Option<Address>,
}

/// A file's length and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: &'static str,
}

/// Where a file is published, and what has to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// As it is.
    File(&'static str),
    /// MGSM's few-shot examples are a Python file in eleven languages; two are kept, as JSON
    /// ([`derive::exemplars`](super::derive::exemplars)).
    Exemplars(&'static str),
    /// A member of a compressed archive.
    Archive(&'static str),
}

impl Address {
    /// What is downloaded.
    pub fn url(self) -> &'static str {
        let (Self::File(url) | Self::Exemplars(url) | Self::Archive(url)) = self;
        url
    }
}

/// The archive of `unidic-lite`, from which its members are unpacked.
pub const UNIDIC_LITE: Promise =
    Promise { bytes: 47_356_746, sha256: "db9d4572d9fdd4d00a97949d4b0741ec480ee05a7e7e2e32f547500dae27b245" };

/// Every file that is known.
pub static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let rows = include_str!("manifest.tsv").lines().skip(1);
    rows.map(|row| file(row).expect("a test reads every row of the manifest")).collect()
});

fn file(row: &'static str) -> Option<File> {
    let mut cells = row.split('\t');
    let path = cells.next()?;
    let promise = |cells: &mut std::str::Split<'static, char>| {
        Some(Promise { bytes: cells.next()?.parse().ok()?, sha256: cells.next()? })
    };
    let mut known = vec![promise(&mut cells)?];
    let address = cells.next()?;
    known.extend(promise(&mut cells));
    let address = match address.split_once(':')? {
        ("exemplars", url) => Address::Exemplars(url),
        ("tar", url) => Address::Archive(url),
        _ => Address::File(address),
    };
    Some(File { path, known, address: Some(address) })
}

impl File {
    /// Fails if these bytes are not what the manifest promises.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let [first, ..] = self.known[..] else { return Ok(()) };
        let sha256 = hex(&Sha256::digest(bytes));
        if self.known.iter().any(|promise| promise.sha256 == sha256) {
            return Ok(());
        }
        let (expected, wanted, n) = (first.sha256, first.bytes, bytes.len());
        Err(Error::user(format!(
            "{} is another file than the one that is known: its SHA-256 should be {expected} ({wanted} bytes), and is {sha256} \
             ({n} bytes)",
            self.path
        )))
    }

    /// Its name without folders.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}
