//! Downloads a commit's files into the cache: resumes them, checks their hashes, then renames them.

use super::{
    cache::CachePlace,
    listing::{Hash, HubPromise, Listing},
    wire::{self, HubFailure, HubResult, HubWire},
};
use crate::draw::screen;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use merge_core::{
    error::{Error, Result},
    file,
    model::hash::hex,
};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use ureq::{
    ResponseExt as _,
    http::{StatusCode, header},
};

/// Number of retries in a row without progress.
const RETRIES: u32 = 5;
const PIECE: usize = 1 << 20;

/// Download of one commit's files into the cache.
pub(super) struct Download<'a> {
    pub(super) wire: &'a HubWire,
    pub(super) place: &'a CachePlace,
    pub(super) repo: &'a str,
    pub(super) listing: &'a Listing,
    pub(super) pause: Duration,
}

impl Download<'_> {
    /// Downloads the missing ones of these files.
    pub(super) fn all(&self, names: &[String]) -> Result<()> {
        let Listing { commit, files } = self.listing;
        let snapshot = self.place.snapshot(commit);
        let there = |path: &Path, promise: &HubPromise| fs::metadata(path).is_ok_and(|file| file.len() == promise.size);
        let missing: Vec<(&String, &HubPromise)> = names
            .iter()
            .filter_map(|name| files.get_key_value(name))
            .filter(|(name, promise)| !there(&snapshot.join(name), promise))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.place.prepare(commit)?;
        let blob = |promise: &HubPromise| self.place.blob(promise.hash.etag());
        let part = |promise: &HubPromise| fs::metadata(incomplete(&blob(promise))).map_or(0, |part| part.len());
        let absent = missing.iter().filter(|(_, promise)| !there(&blob(promise), promise));
        self.fits(absent.map(|(_, promise)| promise.size.saturating_sub(part(promise))).sum())?;
        for (name, promise) in missing {
            let etag = promise.hash.etag();
            let _lock = self.place.lock(etag, || screen::say(&format!("waiting for another download of {name}")))?;
            if !there(&blob(promise), promise) {
                self.one(name, promise)?;
            }
            self.place.link(commit, name, etag)?;
        }
        Ok(())
    }

    /// Fails if the disk has less free space than `needed` bytes.
    fn fits(&self, needed: u64) -> Result<()> {
        let root = self.place.root();
        // If the file system does not tell its free space, the write itself fails when it is full.
        let Ok(free) = file::room(root) else { return Ok(()) };
        if needed <= free {
            return Ok(());
        }
        let (needed, free) = (DecimalBytes(needed), DecimalBytes(free));
        let message = format!("{}: {needed} to download, but only {free} free in {}", self.repo, root.display());
        Err(Error::machine(message).hint("free some space, or set HF_HOME to a directory on a larger disk"))
    }

    /// Downloads a file, checks its hash and renames it.
    fn one(&self, name: &str, promise: &HubPromise) -> Result<()> {
        let blob = self.place.blob(promise.hash.etag());
        let path = incomplete(&blob);
        let at = |e: Error| e.at(format_args!("{}: {name}", self.repo));
        let mut part = PartialFile::open(path.clone(), promise)?;
        let mut resumed = part.len > 0;
        let meter = DownloadMeter::new(self.repo, name, promise.size, part.len);
        let (mut furthest, mut tries) = (part.len, 0);
        loop {
            match self.go_on(&mut part, name, promise, &meter) {
                Ok(()) if part.proves(&promise.hash) => break,
                Ok(()) if resumed => {
                    // Another program may have begun this file, with its parts in another order.
                    resumed = false;
                    part.restart(promise)?;
                }
                Ok(()) => {
                    drop(part);
                    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
                    return Err(at(Error::user("what arrived does not have the hash that the hub promised").hint(
                        "nothing of it was kept: try again; if it happens again, something between this machine and the hub changes files",
                    )));
                }
                Err(HubFailure::Lasting(error)) => return Err(at(error)),
                Err(HubFailure::Passing(error)) => {
                    tries = if part.len > furthest { 1 } else { tries + 1 };
                    furthest = furthest.max(part.len);
                    if tries > RETRIES {
                        return Err(at(error).hint("what has arrived is kept: the same command goes on from there"));
                    }
                    thread::sleep(self.pause * 2u32.pow(tries - 1));
                }
            }
        }
        meter.finish();
        part.file.sync_all().and_then(|()| fs::rename(&path, &blob)).map_err(|e| Error::io("write", &blob, &e))
    }

    /// Requests the rest of a file and appends it.
    fn go_on(&self, part: &mut PartialFile, name: &str, promise: &HubPromise, meter: &DownloadMeter) -> HubResult<()> {
        if part.len == promise.size {
            return Ok(());
        }
        let Listing { commit, .. } = self.listing;
        let mut answer = self.wire.file(self.repo, commit, name, part.len)?;
        let short = |len| {
            let (len, size) = (DecimalBytes(len), DecimalBytes(promise.size));
            HubFailure::Passing(Error::machine(format!("the download ended after {len} of {size}")))
        };
        let starts = answer.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let goes_on = starts.is_some_and(|range| range.starts_with(&format!("bytes {}-", part.len)));
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let len = part.len;
            part.restart(promise)?;
            return Err(short(len));
        }
        if part.len > 0 && !(answer.status() == StatusCode::PARTIAL_CONTENT && goes_on) {
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                return Err(HubFailure::Passing(Error::machine(
                    "another part of the file was sent than was asked for",
                )));
            }
            part.restart(promise)?;
        }
        let address = answer.get_uri().to_string();
        let mut body = answer.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        loop {
            meter.set(part.len);
            match body.read(&mut piece) {
                Ok(0) if part.len == promise.size => return Ok(()),
                Ok(0) => return Err(short(part.len)),
                Ok(n) if part.len + n as u64 > promise.size => {
                    part.restart(promise)?;
                    let size = DecimalBytes(promise.size);
                    return Err(HubFailure::Lasting(
                        Error::user(format!("more arrives than the {size} that were promised"))
                            .hint("nothing of it was kept; is HF_ENDPOINT the address of a hub?"),
                    ));
                }
                Ok(n) => part.push(&piece[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(wire::broken(&address, &e)),
            }
        }
    }
}

/// Path of an unfinished download, as in the hub's own library.
fn incomplete(blob: &Path) -> PathBuf {
    blob.with_extension("incomplete")
}

/// Downloaded part of a file, and its hash.
struct PartialFile {
    path: PathBuf,
    file: File,
    len: u64,
    hasher: Hasher,
}

impl PartialFile {
    /// Opens or creates the part, and hashes its content.
    fn open(path: PathBuf, promise: &HubPromise) -> Result<Self> {
        let file = File::options().read(true).append(true).create(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, &e))?;
        let mut part = Self { path, file, len: 0, hasher: Hasher::new(promise) };
        let mut piece = vec![0; PIECE];
        loop {
            let n = part.file.read(&mut piece).map_err(|e| Error::io("read", &part.path, &e))?;
            if n == 0 {
                break;
            }
            part.hasher.update(&piece[..n]);
            part.len += n as u64;
        }
        if part.len > promise.size {
            part.restart(promise)?;
        }
        Ok(part)
    }

    /// Empties the part.
    fn restart(&mut self, promise: &HubPromise) -> Result<()> {
        self.file.set_len(0).map_err(|e| Error::io("write", &self.path, &e))?;
        (self.len, self.hasher) = (0, Hasher::new(promise));
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| {
            let error = Error::io("write", &self.path, &e);
            let full = e.kind() == io::ErrorKind::StorageFull;
            if full { error.hint("free some space, or set HF_HOME to a directory on a larger disk") } else { error }
        })?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn proves(&self, hash: &Hash) -> bool {
        self.hasher.hex() == hash.etag()
    }
}

/// Hasher of the kind that the hub's listing promised.
enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    fn new(promise: &HubPromise) -> Self {
        match promise.hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            Hash::Git(_) => Self::Git(Sha1::new().chain_update(format!("blob {}\0", promise.size))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    fn hex(&self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.clone().finalize()),
            Self::Git(hasher) => hex(&hasher.clone().finalize()),
        }
    }
}

/// Progress of a download: a bar on a terminal, else one line.
struct DownloadMeter(Option<ProgressBar>);

impl DownloadMeter {
    fn new(repo: &str, name: &str, size: u64, here: u64) -> Self {
        if io::stderr().is_terminal() {
            let style =
                "{msg} {wide_bar} {percent:>3}% of {decimal_total_bytes} · {decimal_bytes_per_sec} · {eta} left";
            let bar = ProgressBar::new(size)
                .with_style(ProgressStyle::with_template(style).expect("a constant template"))
                .with_position(here)
                .with_message(screen::in_line(name).into_owned());
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            return Self(Some(bar));
        }
        let rest = if here > 0 { format!(", {} of it here", DecimalBytes(here)) } else { String::new() };
        screen::say(&format!("downloading {repo}: {name} ({}{rest})", DecimalBytes(size)));
        Self(None)
    }

    fn set(&self, position: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
