//! Remembered values come back, whatever happens to the files, or an error says that they cannot.

use super::*;
use crate::store::database::{CHECKSUM_LEN, CHUNK};
use std::fs;
use tempfile::{TempDir, tempdir};

const RECIPE: Fingerprint = [1; 32];
const TASK: Fingerprint = [2; 32];

fn item(number: u32) -> ItemId {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&number.to_be_bytes());
    ItemId(id)
}

fn score(number: u32) -> ItemScore {
    // Not a short decimal: the score must come back to the last bit.
    ItemScore { value: 1.0 / f64::from(number + 3), tokens: number, truncated: number.is_multiple_of(2) }
}

/// Remembers many scores and a few values, and closes the store; returns its contents.
fn fill(dir: &Path) -> Contents {
    let store = Store::open(dir).expect("a new store");
    for first in (0..1000).step_by(100) {
        let scores = (first..first + 100).map(|number| (item(number), score(number)));
        store.remember(&RECIPE, &TASK, scores).expect("room");
    }
    for generation in 0..10u64 {
        let text = "state ".repeat(2000);
        store.set(&[("generation", &generation), ("optimizer", &text)]).expect("room");
    }
    store.contents().expect("readable")
}

type Contents = Vec<(Vec<u8>, Vec<u8>)>;

/// Result of opening a filled store whose files `spoil` has changed, and the contents before.
fn check(spoil: impl Fn(&Path)) -> (Result<Store>, Contents, TempDir) {
    let dir = tempdir().expect("a directory");
    let before = fill(dir.path());
    spoil(dir.path());
    (Store::open(dir.path()), before, dir)
}

#[test]
fn scores_come_back_to_the_last_bit_by_recipe_and_task() {
    let dir = tempdir().expect("a directory");
    fill(dir.path());
    let store = Store::open(dir.path()).expect("it was closed");
    assert_eq!(store.repaired(), None);
    let asked = [item(999), item(1000), item(0)];
    let known = |recipe, task| store.scores(&recipe, &task, &asked).expect("readable");
    assert_eq!(known(RECIPE, TASK), [Some(score(999)), None, Some(score(0))]);
    assert_eq!(known(TASK, RECIPE), [None; 3]);
    assert_eq!(store.get("generation"), Ok(Some(9u64)));
    assert_eq!(store.get::<u64>("generatio"), Ok(None), "a name is not a prefix");
}

#[test]
fn what_is_kept_by_content_comes_back_by_it_alone() {
    let dir = tempdir().expect("a directory");
    let long = "答え".repeat(CHUNK);
    let store = Store::open(dir.path()).expect("a new store");
    store.keep(&[(RECIPE, "短い"), (TASK, &long)]).expect("room");
    drop(store);
    let store = Store::open(dir.path()).expect("it was closed");
    let known: Vec<Option<String>> = store.recall(&[TASK, [3; 32], RECIPE]).expect("readable");
    assert_eq!(known, [Some(long), None, Some("短い".to_owned())]);
    assert_eq!(store.scores(&RECIPE, &TASK, &[item(0)]), Ok(vec![None]));
    let (key, mut record) = store.contents().expect("readable").pop().expect("a chunk");
    record[0] ^= 1;
    store.0.spoil(&key, record);
    assert!(store.recall::<String>(&[TASK]).is_err(), "its last chunk is damaged");
}

#[test]
fn a_value_may_be_large_and_leaves_nothing_when_it_shrinks() {
    let dir = tempdir().expect("a directory");
    let letters: String = ('a'..='z').cycle().take(200_000).collect();
    for len in [200_000, CHUNK, CHUNK - 1 - CHECKSUM_LEN - 2, 70_000, 0] {
        let store = Store::open(dir.path()).expect("it was closed");
        store.set(&[("state", &&letters[..len]), ("other", &len)]).expect("room");
        assert_eq!(store.get("state"), Ok(Some(letters[..len].to_owned())));
        drop(store);
        let store = Store::open(dir.path()).expect("it was closed");
        assert_eq!(store.get("state"), Ok(Some(letters[..len].to_owned())));
        assert!(store.contents().expect("readable").iter().all(|(_, record)| record.len() <= CHUNK));
        let n_chunks = (len + 2 + 1 + CHECKSUM_LEN).div_ceil(CHUNK);
        assert_eq!(store.contents().map(|records| records.len()), Ok(n_chunks + 1));
    }
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_no_record_is_lost() {
    let garbage: &[u8] = &[0xa5; 64];
    for (name, bytes) in [
        ("snap.0000000000000000", &b""[..]),
        ("snap.000000000000F000", garbage),
        ("snap.000000000000F000.generating", garbage),
        ("snap.000000000000F000.generating", b""),
    ] {
        let (opened, before, dir) = check(|dir| fs::write(dir.join(name), bytes).expect("room"));
        let store = opened.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(store.contents() == Ok(before), "{name}");
        if let Some(aside) = store.repaired() {
            assert_eq!(fs::read(aside.join(name)).expect("it is kept"), bytes);
        }
        store.set(&[("goes", &"on")]).expect("room");
        drop(store);
        let store = Store::open(dir.path()).expect("it is whole again");
        assert_eq!((store.repaired(), store.get("goes")), (None, Ok(Some("on".to_owned()))), "{name}");
    }
}

#[test]
fn snapshots_that_sled_has_written_may_be_damaged_too() {
    let spoil = |dir: &Path| {
        drop(Store::open(dir).expect("it was closed"));
        for entry in fs::read_dir(dir).expect("it exists") {
            let path = entry.expect("readable").path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
                let bytes = fs::read(&path).expect("readable");
                fs::write(&path, &bytes[..bytes.len() / 2]).expect("room");
            }
        }
    };
    let (opened, before, _dir) = check(spoil);
    assert!(opened.expect("the log is whole").contents() == Ok(before));
}

#[test]
fn a_record_with_any_bit_flipped_is_an_error_and_no_panic() {
    let dir = tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.remember(&RECIPE, &TASK, [(item(7), score(7))]).expect("room");
    let key = score_key(&RECIPE, &TASK, &item(7));
    let record = store.contents().expect("readable").pop().expect("remembered").1;
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for position in 0..record.len() {
        for bit in 0..8 {
            let mut flipped = record.clone();
            flipped[position] ^= 1 << bit;
            store.0.spoil(&key, flipped);
            let error = store.scores(&RECIPE, &TASK, &[item(7)]).expect_err("it is damaged");
            let text = error.to_string().replace(&format!("{}/", dir.path().display()), "");
            *said.entry(text.split(" (").next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let expected = [
        ("db: a record is damaged: its checksum is wrong", 8 * (record.len() - 1)),
        ("db: written by another version", 8),
    ];
    assert_eq!(said, expected.map(|(text, n)| (text.to_owned(), n)).into());
    for cut in [0, 1, CHECKSUM_LEN] {
        store.0.spoil(&key, record[..cut].to_vec());
        assert!(store.scores(&RECIPE, &TASK, &[item(7)]).is_err());
    }
}

#[test]
fn a_damaged_log_gives_back_only_what_was_remembered() {
    // sled ends its log before the damage: a search goes on with fewer scores, but no wrong ones.
    for position in (0..8).map(|step| 20 + step * 50_021) {
        for flips in [true, false] {
            let spoil = |dir: &Path| {
                let path = dir.join("db");
                let mut bytes = fs::read(&path).expect("readable");
                let at = position % bytes.len();
                if flips {
                    bytes[at] ^= 0xff;
                } else {
                    bytes.truncate(at);
                }
                fs::write(&path, bytes).expect("room");
            };
            let (opened, before, _dir) = check(spoil);
            let left = opened.and_then(|store| store.contents()).expect("a log that ends early is a log");
            assert!(left.iter().all(|record| before.contains(record)), "{position}");
            let n_scores = left.iter().filter(|(key, _)| key.starts_with(b"score/")).count();
            assert!(n_scores.is_multiple_of(100), "{position}: what was remembered together is there together");
        }
    }
}

#[test]
fn what_a_damaged_log_has_lost_is_counted_until_something_is_written_again() {
    // A thousand scores, ten generations, and ten states in a chunk each.
    let all = 1020;
    let written = |records: &Contents| records.iter().filter(|(key, _)| key.starts_with(b"score/")).count() as u64;
    for position in [60_000, 200_000] {
        let flip = |dir: &Path| {
            let path = dir.join("db");
            let mut bytes = fs::read(&path).expect("readable");
            bytes[position] ^= 1;
            fs::write(&path, bytes).expect("room");
        };
        let (opened, _, dir) = check(flip);
        let store = opened.expect("a log that ends early is a log");
        let left = store.contents().expect("readable");
        let lost = store.lost().expect("readable").expect("something is gone");
        assert_eq!(lost.of, all);
        assert!(lost.records >= all - 20 - written(&left) && lost.records <= all, "{lost:?}");
        assert_eq!(store.lost(), Ok(Some(lost)), "however often it is asked");
        drop(store);
        let store = Store::open(dir.path()).expect("it was closed");
        assert_eq!(store.lost(), Ok(Some(lost)), "to open it changes nothing");
        store.set(&[("goes", &"on")]).expect("room");
        drop(store);
        assert_eq!(Store::open(dir.path()).expect("it was closed").lost(), Ok(None));
    }
    let empty = |dir: &Path| {
        for name in ["db", "conf"] {
            fs::remove_file(dir.join(name)).expect("it is there");
        }
    };
    let (opened, _, _dir) = check(empty);
    assert_eq!(opened.expect("a new log").lost(), Ok(Some(Lost { records: all, of: all })));
    for tip in [&b""[..], b"some text of seventeen", &[1; 17]] {
        let (opened, before, _dir) = check(|dir| fs::write(dir.join("tip"), tip).expect("room"));
        let store = opened.expect("the log is whole");
        assert_eq!(
            (store.lost(), store.contents() == Ok(before)),
            (Ok(None), true),
            "what says nothing tells of no damage"
        );
    }
}

/// sled never syncs the configuration: a power cut may leave anything in it.
#[test]
fn a_damaged_configuration_loses_no_record() {
    let flip = |at: usize, bit: u8| {
        move |dir: &Path| {
            let mut bytes = fs::read(dir.join("conf")).expect("readable");
            bytes[at] ^= 1 << bit;
            fs::write(dir.join("conf"), bytes).expect("room");
        }
    };
    let spoiled: [&dyn Fn(&Path); 6] = [
        // A key, a digit of a number, a letter that becomes invalid, and the checksum.
        &flip(0, 0),
        &flip(15, 1),
        &flip(30, 7),
        &flip(60, 3),
        &|dir: &Path| fs::write(dir.join("conf"), [0; 62]).expect("room"),
        &|dir: &Path| fs::write(dir.join("conf"), b"segment_size: 52").expect("room"),
    ];
    for (number, spoil) in spoiled.iter().enumerate() {
        let (opened, before, dir) = check(spoil);
        drop(opened);
        for cuts in [false, true] {
            let store = if cuts {
                Store::open(dir.path())
            } else {
                Store::open_unless_held(dir.path()).map(|store| store.expect("nobody has it"))
            };
            let store = store.unwrap_or_else(|e| panic!("{number}: {e}"));
            assert!(store.contents().expect("readable") == before, "{number}");
            assert_eq!((store.repaired(), store.lost()), (None, Ok(None)), "{number}: it is mended already");
        }
        // Again: files that were set aside stay there.
        spoil(dir.path());
        drop(Store::open_unless_held(dir.path()).expect("it is mended"));
        let kept = ["damaged/conf", "damaged-2/conf"].map(|name| fs::read(dir.path().join(name)).ok());
        assert!(kept[0] == kept[1], "{number}");
    }
    // The configuration was torn when the store was new, and there is no log yet.
    let dir = tempdir().expect("a directory");
    fs::write(dir.path().join("conf"), b"segment_size: 52").expect("room");
    Store::open(dir.path()).and_then(|store| store.set(&[("goes", &"on")])).expect("a new store");
}

#[test]
fn a_store_that_is_open_is_refused_to_all_others() {
    let dir = tempdir().expect("a directory");
    let held = Store::open(dir.path()).expect("a new store");
    let error = Store::open(dir.path()).err().expect("it is held");
    assert_eq!(error.to_string(), format!("{}: another process is using this study", dir.path().display()));
    assert!(error.advice().is_some());
    drop(held);
    Store::open(dir.path()).expect("it was closed");
}
