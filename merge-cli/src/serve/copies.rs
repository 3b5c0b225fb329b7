//! The queue's copies of the texts that a job reads, so that users may edit the files after
//! submission.

use crate::draw::screen;
use merge_core::{
    error::{Error, Result},
    model::hash::sha256_of,
    queue::FileMark,
    yaml::{Reads, Text},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Name of the copies' directory in a job's directory.
const DIRECTORY: &str = "submitted";
/// Name of the list of copies, in the same directory.
const LIST: &str = "files.json";
/// Prefix of directories with copies that belong to no job yet.
const NEW: &str = ".new-";

/// Maximum number of texts of a job, which may name a folder of tasks.
const MOST: usize = 1000;
const LARGEST: usize = 32 << 20;

/// A file and its copy, or a path that is read in place.
#[derive(Serialize, Deserialize)]
struct Copy {
    /// Path of the file.
    path: PathBuf,
    /// Name of the copy, beside the list.
    #[serde(default, rename = "copy", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// SHA-256 of both. Lists of earlier versions lack it: there, the events had a mark for each
    /// file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sha256: String,
}

/// Marks of a job's texts: the mark of their list, which has the hash of each.
///
/// Fails if the texts are too many or too large.
pub(super) fn marks(reads: &Reads) -> Result<Vec<FileMark>> {
    let texts = &reads.texts;
    let bytes: usize = texts.iter().map(|one| one.text.len()).sum();
    if texts.len() > MOST || bytes > LARGEST {
        return Err(Error::user(format!(
            "it reads {} recipes and tasks of {} together, and the queue keeps {MOST} of {} at most for a job",
            texts.len(),
            screen::bytes(bytes as u64),
            screen::bytes(LARGEST as u64)
        ))
        .hint(
            "a group's tasks are looked for in all folders below it: put it into a folder with no more than it needs",
        ));
    }
    if *reads == Reads::default() {
        return Ok(Vec::new());
    }
    Ok(vec![FileMark { path: Path::new(DIRECTORY).join(LIST), sha256: sha256(&list(reads)?) }])
}

/// The mark of the list; `None` if an earlier version made the marks.
fn of_list(marks: &[FileMark]) -> Option<&FileMark> {
    marks.first().filter(|mark| mark.path == Path::new(DIRECTORY).join(LIST))
}

/// Content of the list of copies. Fails if a path is not UTF-8.
fn list(reads: &Reads) -> Result<String> {
    let copy = |(number, one): (usize, &Text)| Copy {
        path: one.path.clone(),
        name: Some(name(number, &one.path)),
        sha256: sha256(&one.text),
    };
    let place = |path: &PathBuf| Copy { path: path.clone(), name: None, sha256: String::new() };
    let all: Vec<Copy> = reads.texts.iter().enumerate().map(copy).chain(reads.places.iter().map(place)).collect();
    let no_text = all.iter().find(|one| one.path.to_str().is_none());
    no_text.map_or(Ok(()), |one| check_text(&one.path))?;
    Ok(serde_json::to_string_pretty(&all).expect("plain data") + "\n")
}

/// Refuses a path that is not UTF-8: JSON cannot contain it.
pub(crate) fn check_text(path: &Path) -> Result<()> {
    if path.to_str().is_some() {
        return Ok(());
    }
    let error = Error::user(format!("{}: the queue keeps paths as text, and this one is not UTF-8", path.display()));
    Err(error.hint("give it a name that is, or run the command itself, without the queue"))
}

/// Copies that belong to no job yet; deleted on drop unless a job gets them.
pub(super) struct Copies(PathBuf);

impl Copies {
    /// Writes the copies into a new directory beside those of the jobs.
    pub(super) fn write(jobs: &Path, reads: &Reads) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let new = Self(jobs.join(format!("{NEW}{}", NUMBER.fetch_add(1, Ordering::Relaxed))));
        fs::create_dir_all(&new.0).map_err(|e| Error::io("create", &new.0, &e))?;
        let texts = reads.texts.iter().enumerate().map(|(number, one)| (name(number, &one.path), one.text.as_str()));
        let list = list(reads)?;
        for (name, text) in texts.chain([(LIST.to_owned(), list.as_str())]) {
            let path = new.0.join(name);
            let written = File::create(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
            written.map_err(|e| Error::io("write", &path, &e))?;
        }
        sync(&new.0)?;
        Ok(new)
    }

    /// Moves the copies into a new job's directory, before the job is queued.
    pub(super) fn give(&self, place: &Path) -> Result<()> {
        // A crash before a job was queued may have left copies there.
        remove(place);
        fs::create_dir_all(place).map_err(|e| Error::io("create", place, &e))?;
        let directory = place.join(DIRECTORY);
        fs::rename(&self.0, &directory).map_err(|e| Error::io("rename to", &directory, &e))?;
        sync(place)?;
        place.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Deletes copies that a crash left before a job got them.
pub(super) fn clean(jobs: &Path) {
    let is_new = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(NEW);
    for entry in fs::read_dir(jobs).into_iter().flatten().flatten().filter(is_new) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", dir, &e))
}

/// Deletes the copies of a job that was not queued; other files in its directory stay.
pub(super) fn remove(place: &Path) {
    let _ = fs::remove_dir_all(place.join(DIRECTORY)).and_then(|()| fs::remove_dir(place));
}

/// Refuses a job whose copies differ from the submitted texts.
pub(super) fn check(place: &Path, marks: &[FileMark]) -> Result<()> {
    let directory = place.join(DIRECTORY);
    let hint = "hand the job in again, and leave what is in the queue's directory alone";
    let wrong = |file: &Path, what: &str| {
        let message = format!("{}: the queue's copy of {} is {what}", directory.display(), file.display());
        Error::user(message).hint(hint)
    };
    let copies = listed(place)?;
    let known: Vec<(&Path, &str)> = match of_list(marks) {
        Some(mark) => {
            let list = directory.join(LIST);
            if !list.is_file() || sha256_of(&list)? != mark.sha256 {
                return Err(Error::user(format!("{}: it is not what the queue wrote", list.display())).hint(hint));
            }
            let copied = copies.iter().filter(|one| one.name.is_some());
            copied.map(|one| (one.path.as_path(), one.sha256.as_str())).collect()
        }
        // An early version kept no copies, but a mark of the file itself.
        None if !directory.exists() => return marks.iter().try_for_each(check_file),
        None => marks.iter().map(|mark| (mark.path.as_path(), mark.sha256.as_str())).collect(),
    };
    for (path, sha256) in known {
        let copy =
            copies.iter().filter(|one| one.path == path).find_map(|one| Some(directory.join(one.name.as_ref()?)));
        match copy.filter(|copy| copy.is_file()) {
            None => return Err(wrong(path, "gone")),
            Some(copy) if sha256_of(&copy)? != sha256 => return Err(wrong(path, "not what was handed in")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Refuses a file that has changed.
fn check_file(FileMark { path, sha256 }: &FileMark) -> Result<()> {
    if sha256_of(path)? == *sha256 {
        return Ok(());
    }
    Err(Error::user(format!("{}: it is not what was handed in any more", path.display())).hint("hand it in again"))
}

/// Reads a job's texts, with the paths of their files, and the paths that are read in place.
pub(crate) fn read(place: &Path) -> Result<Reads> {
    let mut reads = Reads::default();
    for Copy { path, name, .. } in listed(place)? {
        let Some(name) = name else {
            reads.places.push(path);
            continue;
        };
        let place = place.join(DIRECTORY).join(name);
        let text = fs::read_to_string(&place).map_err(|e| Error::io("read", &place, &e))?;
        reads.texts.push(Text { path, text });
    }
    Ok(reads)
}

/// Reads a job's list of copies; empty if it has none.
fn listed(place: &Path) -> Result<Vec<Copy>> {
    let list = place.join(DIRECTORY).join(LIST);
    match fs::read(&list) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::user(format!("{}: {e}", list.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", &list, &e)),
    }
}

/// Paths of the files and of their copies.
pub(super) fn places(place: &Path) -> Vec<(PathBuf, PathBuf)> {
    let listed = listed(place).unwrap_or_default();
    listed.into_iter().filter_map(|one| Some((one.path, place.join(DIRECTORY).join(one.name?)))).collect()
}

/// Name of a copy: numbered, since two files may have the same name.
fn name(number: usize, path: &Path) -> String {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}-{file}", number + 1)
}

fn sha256(text: &str) -> String {
    merge_core::model::hash::hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::{Copies, FileMark, check, clean, marks, places, read, sha256};
    use merge_core::yaml::{Reads, Text};
    use std::{fs, path::PathBuf};
    use tempfile::tempdir;

    fn text(path: &str, text: &str) -> Text {
        Text { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn copies_are_what_was_handed_in_or_are_refused() {
        let dir = tempdir().unwrap();
        let (jobs, place) = (dir.path().join("jobs"), dir.path().join("jobs/3"));
        let texts = vec![text("/r/a.yaml", "α: 1\n"), text("/r/tasks/a.yaml", "task: a\n")];
        let reads = Reads { texts: texts.clone(), places: vec!["/r/tasks/a.yaml".into(), "/models/a".into()] };
        let marks = marks(&reads).unwrap();
        assert_eq!((read(&place).unwrap(), marks.len()), (Reads::default(), 1));
        let said = |marks: &[FileMark]| {
            let error = check(&place, marks).unwrap_err().to_string();
            error.strip_prefix(&format!("{}/submitted", place.display())).unwrap_or(&error).to_owned()
        };
        assert_eq!(said(&marks), "/files.json: it is not what the queue wrote");
        Copies::write(&jobs, &reads).unwrap().give(&place).unwrap();
        assert_eq!(read(&place).unwrap(), reads);
        check(&place, &marks).unwrap();
        let copies = places(&place);
        assert!(copies[1].1.ends_with("submitted/2-a.yaml"));
        assert_eq!(fs::read_to_string(&copies[0].1).unwrap(), "α: 1\n");
        // Marks of an earlier version: one for each text, in the event.
        let each: Vec<FileMark> =
            texts.iter().map(|one| FileMark { path: one.path.clone(), sha256: sha256(&one.text) }).collect();
        check(&place, &each).unwrap();
        fs::write(&copies[0].1, "α: 2\n").unwrap();
        assert_eq!(said(&marks), ": the queue's copy of /r/a.yaml is not what was handed in");
        assert_eq!(said(&each), said(&marks));
        fs::remove_file(&copies[0].1).unwrap();
        assert_eq!(said(&marks), ": the queue's copy of /r/a.yaml is gone");
        // Copies that no job got are deleted, at once or later.
        drop(Copies::write(&jobs, &reads).unwrap());
        std::mem::forget(Copies::write(&jobs, &reads).unwrap());
        clean(&jobs);
        let left: Vec<PathBuf> = fs::read_dir(&jobs).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [place]);
        let mut many =
            Reads { texts: (0..1001).map(|n| text(&format!("/r/{n}.yaml"), "")).collect(), places: Vec::new() };
        assert!(super::marks(&many).unwrap_err().to_string().starts_with("it reads 1001 recipes and tasks of 0 "));
        // The event is short for any number of texts.
        many.texts.pop();
        let event = serde_json::to_string(&super::marks(&many).unwrap()).unwrap();
        assert!(event.len() < 200, "{event}");
    }

    /// A job that was submitted before the queue kept copies reads the file itself, if it is
    /// unchanged.
    #[test]
    fn a_job_without_copies_has_the_mark_of_its_file() {
        let dir = tempdir().unwrap();
        let (place, path) = (dir.path().join("jobs/3"), dir.path().join("a.yaml"));
        fs::write(&path, "a: 1\n").unwrap();
        let mark = [FileMark { path: path.clone(), sha256: sha256("a: 1\n") }];
        check(&place, &mark).unwrap();
        check(&place, &[]).unwrap();
        fs::write(&path, "a: 2\n").unwrap();
        let error = check(&place, &mark).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: it is not what was handed in any more", path.display()));
    }
}
