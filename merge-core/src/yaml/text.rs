//! Texts that people write, recipes and tasks: as they are on disk or, for a job, as they were when it was submitted.
//!
//! A job may start hours after it was submitted, when its user has edited the file for the next variant. So the process
//! that accepts a job asks which texts a piece of work reads ([`reading`]) and keeps them; the job's process holds them
//! before it reads anything ([`hold`]). Paths stay those of the files: a path leads where it led when the job was
//! submitted, and messages and results show names that the user knows.

#[cfg(test)]
mod tests;

use super::{Mistake, Place};
use crate::{
    error::{Error, Result},
    file,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A file that people write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Path of the file.
    pub path: PathBuf,
    /// Content of the file.
    pub text: String,
}

/// Everything that a piece of work reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Texts, by absolute paths in order.
    pub texts: Vec<Text>,
    /// Paths found for names that could lead to several places ([`first_there`]): absolute and in order.
    pub places: Vec<PathBuf>,
}

/// The texts of this process: global, as its current directory is.
static TEXTS: Mutex<Texts> =
    Mutex::new(Texts { held: BTreeMap::new(), places: BTreeSet::new(), read: None, allowed: None });

struct Texts {
    /// Texts that replace the files at these paths.
    held: BTreeMap<PathBuf, String>,
    /// Paths to prefer for names that could lead to several places.
    places: BTreeSet<PathBuf>,
    /// Texts read and places found so far, while [`reading`] records them.
    read: Option<(BTreeMap<PathBuf, String>, BTreeSet<PathBuf>)>,
    /// Test of the paths that may be followed; `None` allows all.
    allowed: Option<PathFilter>,
}

/// True for a path that may be followed.
type PathFilter = Box<dyn Fn(&Path) -> bool + Send>;

/// Reads the text of a file that people write.
pub fn read_text(path: &Path) -> Result<String> {
    let place = absolute(path);
    let (held, is_open) = {
        let texts = texts();
        (texts.held.get(&place).cloned(), texts.is_open(path))
    };
    let text = match held {
        Some(text) => text,
        None if is_open => read_file(path)?,
        None => return Err(Error::user(format!("{} does not exist, or may not be read here", path.display()))),
    };
    if let Some((read, _)) = &mut texts().read {
        read.insert(place, text.clone());
    }
    Ok(text)
}

/// True if a text is held for this path, or if anything is there on disk.
pub fn is_there(path: &Path) -> bool {
    let texts = texts();
    texts.held.contains_key(&absolute(path)) || (texts.is_open(path) && path.exists())
}

/// The first of several paths that exists. A job's names lead where they led when it was submitted.
pub fn first_there(places: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let places: Vec<(PathBuf, PathBuf)> = places.into_iter().map(|path| (absolute(&path), path)).collect();
    let known = |(place, _): &&(PathBuf, PathBuf)| {
        let texts = texts();
        texts.held.contains_key(place) || texts.places.contains(place)
    };
    let found = places.iter().find(known).or_else(|| places.iter().find(|(_, path)| is_there(path)));
    let (place, path) = found?;
    if let Some((_, read)) = &mut texts().read {
        read.insert(place.clone());
    }
    Some(path.clone())
}

/// From now on, a path that `allowed` refuses leads nowhere in this process, so that nobody learns what exists there.
pub fn confine(allowed: impl Fn(&Path) -> bool + Send + 'static) {
    texts().allowed = Some(Box::new(allowed));
}

/// From now on, these texts and places count in this process, whatever happens to the files.
pub fn hold(given: Reads) {
    let mut texts = texts();
    texts.held.extend(given.texts.into_iter().map(|one| (absolute(&one.path), one.text)));
    texts.places.extend(given.places);
}

/// The held texts in a directory and the subdirectories that contain some, in order.
pub fn held_in(directory: &Path) -> Vec<PathBuf> {
    let place = absolute(directory);
    let texts = texts();
    let below = texts.held.keys().filter_map(|path| path.strip_prefix(&place).ok()?.components().next());
    below.map(|name| directory.join(name)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Does some work, and returns its result with everything that it read.
pub fn reading<T>(work: impl FnOnce() -> T) -> (T, Reads) {
    texts().read = Some(Default::default());
    let done = work();
    let (read, places) = texts().read.take().unwrap_or_default();
    let texts = read.into_iter().map(|(path, text)| Text { path, text }).collect();
    (done, Reads { texts, places: places.into_iter().collect() })
}

impl Texts {
    fn is_open(&self, path: &Path) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed(path))
    }
}

fn texts() -> MutexGuard<'static, Texts> {
    // A panic cannot leave the texts half changed.
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps `..`: after a link it leads elsewhere than it seems.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn read_file(path: &Path) -> Result<String> {
    let bytes = file::read_small(path).map_err(|error| {
        let unread = Error::io("read", path, &error);
        if path.is_dir() { unread.hint("give the YAML file, not a directory") } else { unread }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(whole);
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        let place = Place { line: before.matches('\n').count() as u32 + 1, column: column as u32 };
        Mistake::new("this is not UTF-8 text").hint("save the file as UTF-8").at(place).into_error(path)
    })
}
