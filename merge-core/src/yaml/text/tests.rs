//! Held texts replace their files, and everything that is read is recorded.

use crate::yaml::{Reads, Text, first_there, held_in, hold, is_there, read_text, reading};
use std::{fs, sync::Mutex};
use tempfile::tempdir;

/// Only one piece of work at a time can record what a process reads.
static READING: Mutex<()> = Mutex::new(());

#[test]
fn what_is_held_counts_whatever_becomes_of_the_file() {
    let dir = tempdir().unwrap();
    let (kept, other) = (dir.path().join("kept.yaml"), dir.path().join("sub/other.yaml"));
    fs::create_dir(dir.path().join("sub")).unwrap();
    for path in [&kept, &other] {
        fs::write(path, "on disk").unwrap();
    }
    let one_at_a_time = READING.lock().unwrap();
    let (texts, read) = reading(|| [&kept, &other].map(|path| read_text(path).unwrap()));
    assert_eq!(texts, ["on disk", "on disk"]);
    drop(one_at_a_time);
    let text = |path: &std::path::Path| Text { path: path.to_owned(), text: "on disk".to_owned() };
    // Other tests of this process may read at the same time.
    assert!([text(&kept), text(&other)].iter().all(|one| read.texts.contains(one)), "{read:?}");
    let texts = |text: Text| Reads { texts: vec![text], places: Vec::new() };
    hold(texts(Text { path: kept.clone(), text: "held".to_owned() }));
    fs::remove_file(&kept).unwrap();
    assert_eq!((read_text(&kept).unwrap(), is_there(&kept)), ("held".to_owned(), true));
    assert_eq!((held_in(dir.path()), is_there(&dir.path().join("none"))), (vec![kept], false));
    let deep = dir.path().join("sub/deep");
    hold(texts(Text { path: deep.join("c.yaml"), text: String::new() }));
    assert_eq!((held_in(&dir.path().join("sub")), held_in(&deep)), (vec![deep.clone()], vec![deep.join("c.yaml")]));
}

#[test]
fn a_name_leads_where_it_led_whatever_is_there_by_now() {
    let dir = tempdir().unwrap();
    let places = |name: &str| [dir.path().join("beside").join(name), dir.path().join(name)];
    let lead = |name: &str| first_there(places(name));
    for name in ["model", "data"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let one_at_a_time = READING.lock().unwrap();
    let (led, read) = reading(|| lead("model"));
    drop(one_at_a_time);
    let model = dir.path().join("model");
    assert!(led.as_ref() == Some(&model) && read.places.contains(&model), "{read:?}");
    for name in ["beside/model", "beside/data", "beside/text"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    assert_eq!(lead("model").unwrap(), places("model")[0]);
    let text = Text { path: dir.path().join("text"), text: String::new() };
    hold(Reads { texts: vec![text], places: vec![model.clone()] });
    assert_eq!(lead("model").unwrap(), model);
    assert_eq!(lead("text").unwrap(), places("text")[1]);
    assert_eq!(lead("data").unwrap(), places("data")[0]);
    assert_eq!(lead("none"), None);
    // A held place counts even after it was removed; no other takes its part.
    fs::remove_dir(&model).unwrap();
    assert_eq!(lead("model").unwrap(), model);
}
