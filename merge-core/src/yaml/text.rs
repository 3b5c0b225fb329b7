//! The texts that people write, recipes and tasks: as they are on disk or, for a job, as they were when it was handed in.
//!
//! A job may begin hours after it was handed in, and by then its user has edited the file for the next variant. So whoever takes a
//! job in asks which texts a piece of work reads ([`reading`]) and keeps them, and the job's process says so before it reads
//! anything ([`hold`]). The paths stay those of the files: what they name is found where it was, whatever is beside them by now, and
//! messages and results name what the user knows.

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
    /// Where it stands, or stood.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// What a piece of work reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Texts, by absolute paths in order.
    pub texts: Vec<Text>,
    /// Where names led that may lead to several places ([`first_there`]), by absolute paths in order.
    pub places: Vec<PathBuf>,
}

/// A process has one set of texts, as it has one current directory.
static TEXTS: Mutex<Texts> =
    Mutex::new(Texts { held: BTreeMap::new(), places: BTreeSet::new(), read: None, may: None });

struct Texts {
    /// What counts instead of the files of these paths.
    held: BTreeMap<PathBuf, String>,
    /// Where names lead that may lead to several places.
    places: BTreeSet<PathBuf>,
    /// What has been read, and where names have led, while somebody wants to know.
    read: Option<(BTreeMap<PathBuf, String>, BTreeSet<PathBuf>)>,
    /// Which paths may be followed, if not all.
    may: Option<May>,
}

/// Whether a path may be followed.
type May = Box<dyn Fn(&Path) -> bool + Send>;

/// The text of a file that people write.
pub fn read_text(path: &Path) -> Result<String> {
    let place = absolute(path);
    let (held, is_open) = {
        let texts = texts();
        (texts.held.get(&place).cloned(), texts.is_open(path))
    };
    let text = match held {
        Some(text) => text,
        None if is_open => read_file(path)?,
        None => return Err(Error::user(format!("{} is not here", path.display()))),
    };
    if let Some((read, _)) = &mut texts().read {
        read.insert(place, text.clone());
    }
    Ok(text)
}

/// Whether there is a text of this path, or anything else on disk.
pub fn is_there(path: &Path) -> bool {
    let texts = texts();
    texts.held.contains_key(&absolute(path)) || (texts.is_open(path) && path.exists())
}

/// The first of several places where there is something. A job's names lead where they led when it was handed in.
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

/// From now on other paths than these lead nowhere in this process, whatever is there: nobody learns which do.
pub fn confine(may: impl Fn(&Path) -> bool + Send + 'static) {
    texts().may = Some(Box::new(may));
}

/// From now on these count in this process, whatever becomes of the files.
pub fn hold(given: Reads) {
    let mut texts = texts();
    texts.held.extend(given.texts.into_iter().map(|one| (absolute(&one.path), one.text)));
    texts.places.extend(given.places);
}

/// What is in a directory, as far as texts are held there: they and the directories in which they are, in order.
pub fn held_in(directory: &Path) -> Vec<PathBuf> {
    let place = absolute(directory);
    let texts = texts();
    let below = texts.held.keys().filter_map(|path| path.strip_prefix(&place).ok()?.components().next());
    below.map(|name| directory.join(name)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Does some work, and says what it has read.
pub fn reading<T>(work: impl FnOnce() -> T) -> (T, Reads) {
    texts().read = Some(Default::default());
    let done = work();
    let (read, places) = texts().read.take().unwrap_or_default();
    let texts = read.into_iter().map(|(path, text)| Text { path, text }).collect();
    (done, Reads { texts, places: places.into_iter().collect() })
}

impl Texts {
    fn is_open(&self, path: &Path) -> bool {
        self.may.as_ref().is_none_or(|may| may(path))
    }
}

fn texts() -> MutexGuard<'static, Texts> {
    // Nothing is half done while it is held.
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `..` stays: behind a link it leads elsewhere than it seems.
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
