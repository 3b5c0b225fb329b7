//! The queue's own copies of the texts that a job reads, so that its user may change the files for the next variant.

use crate::screen;
use merge_core::{
    error::{Error, Result},
    export,
    queue::Mark,
    recipe::{Reads, Text},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where they are in a job's directory.
const DIRECTORY: &str = "submitted";
/// What says there which is whose.
const LIST: &str = "files.json";

/// A folder of tasks may hold many; who keeps more of them should name fewer.
const MOST: usize = 1000;
const LARGEST: usize = 32 << 20;

/// A file and its copy, or what is read where it is.
#[derive(Serialize, Deserialize)]
struct Copy {
    /// Where the file was.
    path: PathBuf,
    /// The copy's name, beside the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copy: Option<String>,
}

/// What texts are known by.
///
/// Fails if they are more than a job may bring.
pub(super) fn marks(texts: &[Text]) -> Result<Vec<Mark>> {
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
    let mark = |one: &Text| Mark { path: one.path.clone(), sha256: sha256(&one.text) };
    Ok(texts.iter().map(mark).collect())
}

/// Writes the copies into the directory of a job that is about to be taken in.
pub(super) fn write(place: &Path, reads: &Reads) -> Result<()> {
    let directory = place.join(DIRECTORY);
    // Of a job that was about to be taken in when all ended.
    remove(place);
    fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, &e))?;
    let mut list = Vec::new();
    for (number, one) in reads.texts.iter().enumerate() {
        let copy = name(number, &one.path);
        export::replace_file(&directory.join(&copy), &one.text)?;
        list.push(Copy { path: one.path.clone(), copy: Some(copy) });
    }
    list.extend(reads.places.iter().map(|path| Copy { path: path.clone(), copy: None }));
    export::replace_file(&directory.join(LIST), &(serde_json::to_string_pretty(&list).expect("plain data") + "\n"))
}

/// Takes the copies of a job away that was not taken in; what else is in its directory stays.
pub(super) fn remove(place: &Path) {
    let _ = fs::remove_dir_all(place.join(DIRECTORY)).and_then(|()| fs::remove_dir(place));
}

/// Refuses a job whose copies are not what was handed in.
pub(super) fn check(place: &Path, marks: &[Mark]) -> Result<()> {
    let Reads { texts, .. } = read(place)?;
    for mark in marks {
        let wrong = |what: &str| {
            let (file, copies) = (mark.path.display(), place.join(DIRECTORY));
            Error::user(format!("{}: the queue's copy of {file} is {what}", copies.display()))
                .hint("hand the job in again, and leave what is in the queue's directory alone")
        };
        let text = texts.iter().find(|one| one.path == mark.path).ok_or_else(|| wrong("gone"))?;
        if sha256(&text.text) != mark.sha256 {
            return Err(wrong("not what was handed in"));
        }
    }
    Ok(())
}

/// The texts of a job by the paths of the files, and where its names lead; nothing if it has none.
pub(crate) fn read(place: &Path) -> Result<Reads> {
    let directory = place.join(DIRECTORY);
    let list = directory.join(LIST);
    let bytes = match fs::read(&list) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Reads::default()),
        Err(e) => return Err(Error::io("read", &list, &e)),
    };
    let copies: Vec<Copy> =
        serde_json::from_slice(&bytes).map_err(|e| Error::user(format!("{}: {e}", list.display())))?;
    let mut reads = Reads::default();
    for Copy { path, copy } in copies {
        let Some(copy) = copy else {
            reads.places.push(path);
            continue;
        };
        let place = directory.join(copy);
        let text = fs::read_to_string(&place).map_err(|e| Error::io("read", &place, &e))?;
        reads.texts.push(Text { path, text });
    }
    Ok(reads)
}

/// Where the copies of the files are.
pub(super) fn places(place: &Path, marks: &[Mark]) -> Vec<(PathBuf, PathBuf)> {
    let copy =
        |(number, mark): (usize, &Mark)| (mark.path.clone(), place.join(DIRECTORY).join(name(number, &mark.path)));
    marks.iter().enumerate().map(copy).collect()
}

/// Two files may have one name.
fn name(number: usize, path: &Path) -> String {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}-{file}", number + 1)
}

fn sha256(text: &str) -> String {
    merge_core::checkpoint::hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::{check, marks, places, read, write};
    use merge_core::recipe::{Reads, Text};
    use std::fs;
    use tempfile::tempdir;

    #[test]
    fn copies_are_what_was_handed_in_or_are_refused() {
        let dir = tempdir().unwrap();
        let place = dir.path().join("jobs/3");
        let text = |path: &str, text: &str| Text { path: path.into(), text: text.to_owned() };
        let texts = [text("/r/a.yaml", "α: 1\n"), text("/r/tasks/a.yaml", "task: a\n")];
        let marks = marks(&texts).unwrap();
        assert_eq!(read(&place).unwrap(), Reads::default());
        let error = check(&place, &marks).unwrap_err();
        assert_eq!(error.to_string(), format!("{}/submitted: the queue's copy of /r/a.yaml is gone", place.display()));
        let reads = Reads { texts: texts.to_vec(), places: vec!["/r/tasks/a.yaml".into(), "/models/a".into()] };
        write(&place, &reads).unwrap();
        assert_eq!(read(&place).unwrap(), reads);
        check(&place, &marks).unwrap();
        let copies = places(&place, &marks);
        assert!(copies[1].1.ends_with("submitted/2-a.yaml"));
        assert_eq!(fs::read_to_string(&copies[0].1).unwrap(), "α: 1\n");
        fs::write(&copies[0].1, "α: 2\n").unwrap();
        let error = check(&place, &marks).unwrap_err();
        assert!(error.to_string().ends_with("the queue's copy of /r/a.yaml is not what was handed in"), "{error}");
        let many: Vec<Text> = (0..1001).map(|n| text(&format!("/r/{n}.yaml"), "")).collect();
        assert!(super::marks(&many).unwrap_err().to_string().starts_with("it reads 1001 recipes and tasks of 0 "));
    }
}
