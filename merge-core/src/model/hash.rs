//! SHA-256 of files, and bytes in hexadecimal.

use crate::{
    error::{Error, Result},
    file,
};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, io::Read as _, path::Path};

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let unread = |e: std::io::Error| Error::io("read", path, &e);
    let mut file = file::open(path).map_err(unread)?;
    let (mut hash, mut room) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut room).map_err(unread)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&room[..n]),
        }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
        text
    })
}
