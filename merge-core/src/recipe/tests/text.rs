//! Texts that are held count instead of their files, and what is read is known.

use crate::recipe::{Text, held_in, hold, is_there, read_text, reading};
use std::fs;
use tempfile::tempdir;

#[test]
fn what_is_held_counts_whatever_becomes_of_the_file() {
    let dir = tempdir().unwrap();
    let (kept, other) = (dir.path().join("kept.yaml"), dir.path().join("sub/other.yaml"));
    fs::create_dir(dir.path().join("sub")).unwrap();
    for path in [&kept, &other] {
        fs::write(path, "on disk").unwrap();
    }
    let (texts, read) = reading(|| [&kept, &other].map(|path| read_text(path).unwrap()));
    assert_eq!(texts, ["on disk", "on disk"]);
    let text = |path: &std::path::Path| Text { path: path.to_owned(), text: "on disk".to_owned() };
    // Other tests of this process may read at the same time.
    assert!([text(&kept), text(&other)].iter().all(|one| read.contains(one)), "{read:?}");
    hold([Text { path: kept.clone(), text: "held".to_owned() }]);
    fs::remove_file(&kept).unwrap();
    assert_eq!((read_text(&kept).unwrap(), is_there(&kept)), ("held".to_owned(), true));
    assert_eq!((held_in(dir.path()), is_there(&dir.path().join("none"))), (vec![kept], false));
    let deep = dir.path().join("sub/deep");
    hold([Text { path: deep.join("c.yaml"), text: String::new() }]);
    assert_eq!((held_in(&dir.path().join("sub")), held_in(&deep)), (vec![deep.clone()], vec![deep.join("c.yaml")]));
}
