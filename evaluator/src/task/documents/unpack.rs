//! Reads the text of a data file: unpacks it if it is compressed, and checks that it is UTF-8.

use super::place_after;
use encoding_rs::{EUC_JP, SHIFT_JIS};
use flate2::read::MultiGzDecoder;
use merge_core::{
    error::{Error, Result},
    file,
};
use serde_json::Value;
use std::{
    io::{self, Read},
    path::Path,
};

/// Most bytes of a file's unpacked documents: a small file may unpack to a very large one.
pub(super) const LARGEST: usize = 1 << 30;

/// Most memory of documents, as a multiple of their file's bytes, where that is more than [`LARGEST`].
const GROWTH: usize = 128;

/// Estimated bytes of a value in memory: itself, as much again for its container's growth, and its name.
const VALUE: usize = 3 * size_of::<Value>();

/// First bytes of a file that is not plain text, the name of its format, and the function that unpacks it.
type Kind = (&'static [u8], &'static str, Option<Unpack>);
type Unpack = fn(&[u8]) -> io::Result<Vec<u8>>;

const KINDS: [Kind; 11] = [
    (b"\x1f\x8b", "gzip", Some(gzip)),
    (b"\x28\xb5\x2f\xfd", "Zstandard", Some(zstd)),
    (b"\x50\x2a\x4d\x18", "Zstandard", Some(zstd)),
    (b"BZh", "bzip2", Some(bzip2)),
    (b"\xfd7zXZ\0", "xz", None),
    (b"PK\x03\x04", "zip", None),
    (b"\x04\x22\x4d\x18", "LZ4", None),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", None),
    (b"PAR1", "Parquet", None),
    (b"\xff\xfe", "UTF-16", None),
    (b"\xfe\xff", "UTF-16", None),
];

/// The text of a file, without a byte order mark.
pub(super) fn text(path: &Path) -> Result<String> {
    let mut bytes = file::read(path).map_err(|e| Error::io("read", path, &e))?;
    let most = LARGEST.max(GROWTH.saturating_mul(bytes.len()));
    let at = |e: Error| e.at(path.display());
    if let Some((_, what, unpack)) = KINDS.iter().find(|(begin, ..)| bytes.starts_with(begin)) {
        let Some(unpack) = unpack else { return Err(at(other(what))) };
        bytes = unpack(&bytes).map_err(|e| {
            // The library's own message depends on its build.
            let broken = || Error::user(format!("cannot be unpacked as {what}")).hint("download it again");
            at(if e.kind() == io::ErrorKind::FileTooLarge { too_large() } else { broken() })
        })?;
    }
    let values = bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b'\n' | b'\t')).count();
    if values.saturating_mul(VALUE).saturating_add(bytes.len()) > most {
        let message = format!("its documents would take more than {} GB of memory", most >> 30);
        return Err(at(Error::user(message).hint("divide it, or take a part of it")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let (bytes, place) = (error.as_bytes(), place_after(&error.as_bytes()[..valid]));
        let is = |encoding: &'static encoding_rs::Encoding| {
            encoding.decode_without_bom_handling_and_without_replacement(bytes).is_some()
        };
        let found = [EUC_JP, SHIFT_JIS].into_iter().find(|encoding| is(encoding));
        let looks = found.map_or_else(String::new, |encoding| format!(", but looks like {}", encoding.name()));
        Error::user(format!("{}:{place}: this is not UTF-8 text{looks}", path.display())).hint("save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// The error for a file of another format than text.
fn other(what: &str) -> Error {
    let error = Error::user(format!("this is {what}, not text"));
    match what {
        "Parquet" => error.hint("say `dataset_path: parquet`"),
        "UTF-16" => error.hint("save the file as UTF-8"),
        _ => error.hint("unpack it, or compress it with gzip"),
    }
}

pub(super) fn too_large() -> Error {
    Error::user(format!("its documents have more than {} GB", LARGEST >> 30)).hint("divide it, or take a part of it")
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    whole(MultiGzDecoder::new(bytes), LARGEST)
}

fn zstd(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        if let Some(length) = skippable(bytes) {
            bytes = bytes.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
            continue;
        }
        let mut frame = ruzstd::decoding::StreamingDecoder::new(&mut bytes).map_err(io::Error::other)?;
        all.extend(whole(&mut frame, LARGEST - all.len())?);
        // The library does not compare the two checksums itself.
        if let Some(said) = frame.decoder.get_checksum_from_data()
            && Some(said) != frame.decoder.get_calculated_checksum()
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(all)
}

/// The length of a Zstandard frame without content, such as a seek table, if `bytes` begins with one.
fn skippable(bytes: &[u8]) -> Option<usize> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*rest.first_chunk()?);
    (u32::from_le_bytes(*magic) & !0xf == 0x184d_2a50).then_some(8 + length as usize)
}

fn bzip2(bytes: &[u8]) -> io::Result<Vec<u8>> {
    whole(bzip2::read::MultiBzDecoder::new(bytes), LARGEST)
}

fn whole(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}
