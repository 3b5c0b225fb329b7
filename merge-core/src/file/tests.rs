//! Tests of the files that are opened, of links, and of guesses for misspelt paths.

use super::*;
use crate::error::{Error, Fault};
use std::os::unix::{fs::symlink, net::UnixListener};

#[test]
fn only_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let directory = rustix::fs::open(dir.path(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::mknodat(&directory, "pipe", rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    symlink("pipe", path("link")).unwrap();
    fs::write(path("pointer"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n").unwrap();
    let check = |file: &Path, expected: &str| {
        let failed = Error::io("read", file, &read(file).expect_err("it is refused"));
        assert_eq!(failed.fault(), Fault::User, "{}", file.display());
        assert_eq!(failed.to_string(), format!("cannot read {}: {expected}", file.display()));
    };
    check(&path("pipe"), "it is a pipe, not a file");
    check(&path("link"), "it is a pipe, not a file");
    check(&path("socket"), "it is a socket, not a file");
    check(Path::new("/dev/zero"), "it is a device, not a file");
    check(dir.path(), "is a directory");
    // A sparse file takes no room on the disk.
    File::create(path("hole")).unwrap().set_len(1 << 40).unwrap();
    check(&path("hole"), "it is far larger than such a file may be");
    assert!(read_small(&path("hole")).is_err());
    check(&path("pointer"), "it is a pointer of Git LFS, not the file itself");
    check(Path::new("a\0b"), "file name contained an unexpected NUL byte");
}

#[test]
fn links_lead_to_what_is_there_or_will_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("disk")).unwrap();
    for (target, link) in [("disk/new", "one"), ("one", "two"), ("round", "round")] {
        symlink(target, path(link)).unwrap();
    }
    let check = |name: &str, expected: &str| assert_eq!(behind_links(&path(name)).unwrap(), path(expected), "{name}");
    check("two", "disk/new");
    check("one/", "disk/new");
    check("plain", "plain");
    check("disk/", "disk");
    let round = Error::io("open", &path("round"), &behind_links(&path("round")).unwrap_err());
    assert_eq!(round.fault(), Fault::User, "{round}");
}

#[test]
fn what_is_not_there_may_be_a_neighbour_misspelt() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("recipes/sansu")).unwrap();
    for name in ["recipes/sansu/search.yaml", "算数.jsonl"] {
        fs::write(path(name), "").unwrap();
    }
    let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(&path(name)), expected.map(path), "{name}");
    check("recipes/sansu/serch.yaml", Some("recipes/sansu/search.yaml"));
    check("recipe/sansu/search.yaml", Some("recipes/sansu/search.yaml"));
    check("recipe/sansu/nothing.yaml", None);
    check("算术.jsonl", Some("算数.jsonl"));
    check("quite-another.yaml", None);
    check("recipes/sansu", None);
    let error = Error::io("read", &path("recipe"), &read(&path("recipe")).unwrap_err());
    assert_eq!(error.advice(), Some(format!("did you mean `{}`?", path("recipes").display())).as_deref());
}
