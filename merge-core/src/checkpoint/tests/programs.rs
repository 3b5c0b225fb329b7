//! Tests of programs of pickles: allowed instructions, and limits.

use crate::{
    checkpoint::Checkpoint,
    model::{Weights as _, dtype::Dtype},
};
use std::{fs, io::Write as _, path::Path, time::Instant};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Writes an archive as `PyTorch` does, with a program and a storage of these floats.
fn archive(path: &Path, program: &[u8], floats: &[f32]) {
    let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let floats: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    for (name, bytes) in [("data.pkl", program), ("data/0", &floats)] {
        zip.start_file(format!("archive/{name}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// The error for a program; `None` if it is read.
fn error(program: &[u8]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    archive(&path, program, &[1.0, 2.0]);
    let error = Checkpoint::open(&path).err()?;
    Some(error.to_string().replace(&format!("{}: ", path.display()), ""))
}

/// `{"w": a tensor of two floats}`, as protocol 2 writes it.
const TWO: &[u8] = b"\x80\x02}q\x00X\x01\0\0\0wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\0\0\0storageq\x03\
ctorch\nFloatStorage\nq\x04X\x01\0\0\x000q\x05X\x03\0\0\0cpuq\x06K\x02tq\x07QK\0K\x02\x85q\x08K\x01\x85q\x09\x89\
ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.";

/// The same tensor, as protocol 4 writes it.
const FOUR: &[u8] = b"\x80\x04\x95\xa0\0\0\0\0\0\0\0}\x94\x8c\x01w\x94\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94\
((\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0cFloatStorage\x94\x93\x94\x8c\x010\x94\x8c\x03cpu\x94K\x02t\x94QK\0K\x02\x85\x94K\x01\x85\x94\x89\
\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94t\x94R\x94s.";

#[test]
fn every_protocol_since_2_gives_the_same_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    for program in [TWO, FOUR] {
        archive(&path, program, &[0.5, -2.0]);
        let opened = Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(opened.index()["w"].dtype, Dtype::F32);
        assert_eq!(opened.bytes("w").unwrap(), [0.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat());
    }
}

#[test]
fn what_a_program_may_say_is_bounded() {
    let check = |program: &[u8], expected: &str| assert_eq!(error(program).as_deref(), Some(expected));
    check(b"\x80\x02.", "damaged: data.pkl takes a value where there is none");
    check(b"\x80\x02}", "damaged: data.pkl ends too early");
    check(b"\x80\x02}(.", "damaged: data.pkl takes a value where there is none");
    check(b"\x80\x02}t.", "damaged: data.pkl ends a list that it has not begun");
    check(b"\x80\x02h\x05.", "damaged: data.pkl refers to a value that it has not stored");
    check(
        b"\x80\x02K\x01K\x01K\x01s.",
        "damaged: data.pkl adds half an entry, or adds one to a value that is not a dictionary",
    );
    check(b"\x80\x02\x8a\x09123456789.", "damaged: a number in data.pkl has more than 64 bits");
    check(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "damaged: data.pkl ends too early");
    check(b"\x80\x02i.", "data.pkl has the instruction 0x69, which no tensor needs");
    check(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "it wants `posix.system`, which no tensor needs");
    check(b"\x80\x02).", "not a dictionary of tensors");
    // A dictionary that holds itself, and one whose key is not a text.
    check(b"\x80\x02}q\0X\x01\0\0\0wh\0s.", "`w` is not a tensor but a dictionary");
    check(b"\x80\x02}K\x01K\x02s.", "a tensor has a name that is not a text");
}

#[test]
fn programs_made_to_harm_end_in_an_error_at_once() {
    let began = Instant::now();
    // Three million nested tuples.
    let nested = [b"\x80\x02)".to_vec(), vec![0x85; 3_000_000], b".".to_vec()].concat();
    assert_eq!(error(&nested).unwrap(), "not a dictionary of tensors");
    // A pair of the last pair and itself, five hundred times.
    let mut doubled = b"\x80\x02)q\0".to_vec();
    doubled.extend(b"h\0h\0\x86q\0".repeat(500));
    doubled.push(b'.');
    assert_eq!(error(&doubled).unwrap(), "not a dictionary of tensors");
    // One shape of a million axes, remembered and named by four hundred tensors; PyTorch itself allows 64 axes.
    let of = |axes: usize| {
        let ones = [b"(".to_vec(), b"K\x01".repeat(axes), b"tq\x08".to_vec()].concat();
        let text = TWO[..TWO.len() - 2].to_vec();
        let at = text.windows(5).position(|part| part == b"K\x02\x85q\x08").unwrap();
        let strides = text.windows(5).position(|part| part == b"K\x01\x85q\x09").unwrap();
        let more: Vec<u8> = (0..400).flat_map(|n| format!("X\x03\0\0\0{n:03}h\x0ds").into_bytes()).collect();
        [&text[..at], &ones, b"h\x08", &text[strides + 5..], b"s", &more, b"."].concat()
    };
    assert_eq!(error(&of(1_000_000)).unwrap(), "`w` is made in a way that is not known here");
    assert_eq!(error(&of(64)), None);
    // One name for several tensors, which may each time be as long as the program.
    let named = [&TWO[..TWO.len() - 1], &b"h\x01h\x0ds".repeat(3), b"."].concat();
    assert_eq!(error(&named).unwrap(), "damaged: data.pkl names two tensors the same");
    let many = "data.pkl makes far more values than tensors need";
    for one in [&b")"[..], b"(", b"N\x94"] {
        assert_eq!(error(&[&b"\x80\x02N"[..], &one.repeat(5_000_000)].concat()).unwrap(), many);
    }
    assert_eq!(error(&vec![b'N'; 70_000_000]).unwrap(), "data.pkl has 70000000 bytes, far more than tensors need");
    assert!(began.elapsed().as_secs() < 60);
}
