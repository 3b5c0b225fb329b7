//! Damage is repaired as far as possible, and everything else is left alone.

use super::*;
use std::{cell::Cell, collections::BTreeMap};
use tempfile::tempdir;

/// Opens a store of another kind: no `!` in its log, and the configuration of a new one.
fn letters(dir: &Path) -> Opened<String> {
    let (conf, log) = (dir.join(CONFIGURATION), dir.join(LOG));
    let new = |path: &Path, text: &str| if path.exists() { Ok(()) } else { fs::write(path, text) };
    new(&conf, "form 1").and_then(|()| new(&log, "")).map_err(|e| Error::io("write", dir, &e))?;
    let text = fs::read_to_string(&log).unwrap();
    let is_whole = fs::read_to_string(&conf).is_ok_and(|text| text == "form 1") && !text.contains('!');
    if is_whole { Ok(text) } else { Err(OpenFailure::Damaged("no sense".to_owned())) }
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(inner, text)| (format!("{name}/{inner}"), text)));
        } else {
            all.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    all
}

/// Writes a log whose second step is damaged; returns its text.
fn damaged(dir: &Path) -> String {
    let text = "a".repeat(STEP as usize + 10) + "!" + &"b".repeat(STEP as usize);
    fs::write(dir.join(LOG), &text).unwrap();
    text
}

#[test]
fn what_the_machine_cannot_do_now_changes_nothing() {
    let dir = tempdir().unwrap();
    damaged(dir.path());
    fs::write(dir.path().join(CONFIGURATION), "form 1").unwrap();
    fs::write(dir.path().join("snap.1"), "").unwrap();
    let before = files(dir.path());
    // Opening fails always, or after some successes.
    for left in 0..6 {
        let left = Cell::new(left);
        let open = |dir: &Path| match left.get() {
            0 => Err(OpenFailure::Damaged("too few threads".to_owned())),
            n => {
                left.set(n - 1);
                letters(dir)
            }
        };
        let Err(OpenFailure::Refused(error)) = repair(dir.path(), true, &open) else { panic!("{left:?}") };
        assert_eq!(
            error.to_string(),
            format!("{}: no store can be opened in this directory at the moment", dir.path().display())
        );
        assert_eq!(error.fault(), crate::error::Fault::Machine);
        let after = files(dir.path());
        assert_eq!(after.get(LOG), before.get(LOG));
        assert!(after == before || after.contains_key("damaged/snap.1"));
    }
}

#[test]
fn what_opens_at_the_second_try_is_left_as_it_is() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(LOG), "whole").unwrap();
    let (store, aside) = repair(dir.path(), true, &letters).unwrap();
    assert_eq!((store.as_str(), aside), ("whole", None));
    assert_eq!(files(dir.path()).keys().collect::<Vec<_>>(), [CONFIGURATION, LOG]);
}

#[test]
fn a_log_is_cut_before_its_damage_and_each_damaged_one_is_kept() {
    let dir = tempdir().unwrap();
    for name in ["damaged", "damaged-2", "damaged-3"] {
        let text = damaged(dir.path());
        let Err(OpenFailure::Damaged(why)) = repair(dir.path(), false, &letters) else { panic!("it may not be cut") };
        assert_eq!(why, "no sense");
        let (store, aside) = repair(dir.path(), true, &letters).unwrap();
        assert_eq!((store, aside), ("a".repeat(STEP as usize), Some(dir.path().join(name))));
        assert!(fs::read_to_string(dir.path().join(name).join(LOG)).unwrap() == text);
    }
    assert!(!dir.path().join("trial").exists());
}

#[test]
fn a_configuration_that_is_damaged_or_torn_costs_nothing() {
    for (conf, kept) in [(Some("forn 1"), true), (Some("\0\0\0\0\0\0"), true), (Some(""), true), (None, false)] {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join(LOG), "all").unwrap();
        conf.map_or(Ok(()), |conf| fs::write(dir.path().join(CONFIGURATION), conf)).unwrap();
        let (store, aside) = repair(dir.path(), false, &letters).unwrap();
        assert_eq!((store.as_str(), aside.is_some()), ("all", kept), "{conf:?}");
        assert_eq!(aside.map(|aside| fs::read_to_string(aside.join(CONFIGURATION)).unwrap()).as_deref(), conf);
    }
    // A whole configuration of another form is another version's.
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(LOG), "all").unwrap();
    let other = [&b"form 2"[..], &crc32(b"form 2").to_le_bytes()].concat();
    fs::write(dir.path().join(CONFIGURATION), &other).unwrap();
    let Err(OpenFailure::Refused(error)) = repair(dir.path(), true, &letters) else { panic!("it is not ours") };
    assert!(error.to_string().ends_with("this store has another format"), "{error}");
    assert_eq!(fs::read(dir.path().join(CONFIGURATION)).unwrap(), other);
}

#[test]
fn one_that_another_has_is_left_to_it() {
    let dir = tempdir().unwrap();
    damaged(dir.path());
    let held = File::open(dir.path()).unwrap();
    held.lock().unwrap();
    assert!(matches!(repair(dir.path(), true, &letters), Err(OpenFailure::Held)));
}
