//! The data of the benchmarks: data sets, their licences and origins, and the reading of their files.
//!
//! No data comes with the program. [`SOURCES`] and [`DATASETS`] list what is known, and the
//! manifest beside them the exact bytes. [`Shelf`] is the directory of the files, in the form in
//! which their authors publish them, and reads them as the documents that the harnesses see. A file
//! that differs from the manifest is refused: a score on unknown data is worth nothing.

pub mod manifest;
pub mod derive;
mod read;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    manifest::{Address, File, FileDigest},
    sources::{DataSource, SOURCES},
    table::{DATASETS, DataSplit, Dataset},
};

use merge_core::{
    error::{Error, Result},
    file,
    model::hash::hex,
    words::did_you_mean,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The directory of data sets.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

/// The part of a data set that is on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// All of its files.
    Whole,
    /// Some of its files.
    Part,
    /// None of its files.
    None,
}

/// Finds a data set by its name.
pub fn dataset(name: &str) -> Result<&'static Dataset> {
    DATASETS.iter().find(|dataset| dataset.name == name).ok_or_else(|| {
        let error = Error::user(format!("there is no data set `{name}`"));
        match did_you_mean(name, DATASETS.iter().map(|dataset| dataset.name)) {
            Some(near) => error.hint(format!("did you mean `{near}`? `evomerge data list` lists them all")),
            None => error.hint("`evomerge data list` lists them all"),
        }
    })
}

impl Shelf {
    /// A shelf in a directory, which may not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The shelf of the environment: in `EVOMERGE_DATA`, else `evomerge` in `XDG_DATA_HOME` or `~/.local/share`.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|text| !text.trim().is_empty()).map(PathBuf::from);
        let dir = set("EVOMERGE_DATA")
            .or_else(|| Some(set("XDG_DATA_HOME")?.join("evomerge")))
            .or_else(|| Some(set("HOME")?.join(".local/share/evomerge")));
        let dir = dir.ok_or_else(|| {
            Error::user("no directory for data sets is known").hint("EVOMERGE_DATA sets it to a directory")
        })?;
        Ok(Self { dir })
    }

    /// The directory of the shelf.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of a file on the shelf.
    pub fn path(&self, file: &File) -> PathBuf {
        self.dir.join(file.path)
    }

    /// The part of a data set that is here, by its files' names and lengths.
    pub fn stock(&self, dataset: &Dataset) -> Stock {
        let files = dataset.files();
        let here = |file: &&File| {
            fs::metadata(self.path(file)).is_ok_and(|found| {
                found.is_file()
                    && (file.known.is_empty() || file.known.iter().any(|digest| digest.bytes == found.len()))
            })
        };
        match files.iter().filter(here).count() {
            0 => Stock::None,
            n if n == files.len() => Stock::Whole,
            _ => Stock::Part,
        }
    }

    /// Reads a file and checks its contents; `dataset` is for messages.
    pub fn bytes(&self, dataset: &Dataset, file: &File) -> Result<Vec<u8>> {
        let path = self.path(file);
        let again = if file.address.is_some() {
            format!(
                "`evomerge data fetch {}` downloads it; with `--from DIR` it is copied from a directory",
                dataset.name
            )
        } else {
            format!("`evomerge data fetch {} --from DIR` takes it from a directory: {}", dataset.name, dataset.about)
        };
        let bytes = file::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::user(format!("the data set {} is not here: there is no {}", dataset.name, path.display()))
                    .hint(again.clone())
            }
            _ => Error::io("read", &path, &error),
        })?;
        file.check(&bytes).map_err(|error| error.at(path.display()).hint(again))?;
        Ok(bytes)
    }

    /// The documents of a split, in the order and the form in which the harnesses see them.
    pub fn docs(&self, dataset: &Dataset, split: &str) -> Result<Vec<Value>> {
        let found = dataset.splits.iter().find(|known| known.name == split).ok_or_else(|| {
            let known: Vec<&str> = dataset.splits.iter().map(|split| split.name).collect();
            Error::user(format!("{} has no split `{split}`", dataset.name)).hint(match known[..] {
                [] => "it is not a benchmark: other benchmarks are marked with it".to_owned(),
                _ => format!("it has {}", known.join(", ")),
            })
        })?;
        let mut docs = Vec::with_capacity(found.rows);
        for file in found.files() {
            let bytes = self.bytes(dataset, &file)?;
            let read = found.read.docs(&file, &bytes).map_err(|error| error.at(self.path(&file).display()))?;
            docs.extend(read);
        }
        if found.rows > 0 && docs.len() != found.rows {
            let (n, rows) = (docs.len(), found.rows);
            return Err(Error::machine(format!("{} {split}: documents read: {n}, not {rows}", dataset.name)));
        }
        Ok(docs)
    }

    /// One hash of all files of a split, which identifies the data that a score was measured on.
    pub fn fingerprint(&self, dataset: &Dataset, split: &str) -> Result<String> {
        let mut hasher = Sha256::new();
        let split = dataset.splits.iter().find(|known| known.name == split);
        for file in split.map_or_else(Vec::new, DataSplit::files) {
            hasher.update(Sha256::digest(self.bytes(dataset, &file)?));
        }
        Ok(hex(&hasher.finalize()))
    }
}
