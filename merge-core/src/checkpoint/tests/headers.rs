//! Tests of malicious headers of safetensors files.

use crate::{checkpoint::Checkpoint, model::Weights as _};
use std::fs;

/// Checks the error for a file of this header and `data` bytes of data; `None` if it is read.
#[track_caller]
fn check(header: &str, data: usize, expected: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let len = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&len[..], header.as_bytes(), &vec![0; data]].concat()).unwrap();
    let found = Checkpoint::open(&path).map(|opened| {
        // Every tensor can be read to the end.
        for name in opened.index().keys() {
            opened.bytes(name).unwrap();
        }
    });
    match (found, expected) {
        (Ok(()), None) => {}
        (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
        (found, _) => panic!("{header:.80}: {found:?}, and not {expected:?}"),
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let w = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;
    check(&format!("{{\"w\":{{{w}}}}}"), 8, None);
    // Entries may stand in any order, and tensors may be empty.
    let apart = r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    check(apart, 8, None);
    check(r#"{"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]}}"#, 0, None);
    check("{}", 0, Some("no tensor in it"));
    check("", 0, Some("damaged: "));
    check("[", 0, Some("damaged: "));
    check(&"[".repeat(1 << 20), 0, Some("damaged: "));
    check(&format!("{{\"w\":{}", "{\"a\":".repeat(1 << 18)), 0, Some("damaged: "));
    check(&format!("{{\"w\":{{{w}}},\"w\":{{{w}}}}}"), 8, None);
    let twice = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    check(twice, 8, Some("damaged: "));
    let lie = |shape: &str, offsets: &str, data: usize, expected: &str| {
        check(
            &format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}"),
            data,
            Some(expected),
        );
    };
    lie("[2]", "[0,12]", 12, "a tensor's shape and its length disagree");
    lie("[2]", "[8,0]", 8, "damaged: ");
    lie("[2]", "[4,12]", 12, "overlap another tensor's or leave a gap");
    lie("[2]", "[0,8]", 9, "its header describes more or fewer bytes than it has");
    lie("[4294967296,4294967296]", "[0,8]", 8, "damaged: ");
    lie("[2]", "[18446744073709551608,18446744073709551615]", 8, "damaged: ");
    lie("[-1]", "[0,8]", 8, "damaged: ");
    lie("[1e400]", "[0,8]", 8, "damaged: ");
}
