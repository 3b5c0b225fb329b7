//! Writes a model as a checkpoint: offsets first, then every tensor at its offset, then a rename.
//!
//! All files go into a directory beside the destination, which gets its name when it is complete.
//! So at any instant the destination is what it was before, or complete.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    file,
    model::{Index, Weights, belongings, elements::stretch_len, hash::sha256_of},
    python_json,
};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::Write as _,
    ops::ControlFlow,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// Most bytes of tensors in one shard by default; other tools use the same number.
pub const SHARD_LEN: usize = 5_000_000_000;

/// Refuses a destination that is or contains an input, or that exists and is not an empty directory.
pub fn check_destination<'a>(dir: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    check_input(dir, inputs)?;
    let taken = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => dir.exists(),
    };
    if taken {
        return Err(Error::user(format!("{}: exists already", dir.display()))
            .hint("choose another directory, or remove this one first"));
    }
    Ok(())
}

/// Refuses a destination that is one of the inputs or contains one.
pub fn check_input<'a>(dir: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let destination = canonical(dir);
    if inputs.into_iter().any(|input| canonical(input).starts_with(&destination)) {
        return Err(Error::user(format!("{}: is one of the models to be merged", dir.display()))
            .hint("choose another directory for the result"));
    }
    Ok(())
}

/// Options of an export.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Most bytes of tensors in one shard; a tensor that is larger has a shard of its own.
    pub shard_len: usize,
    /// Called with the number of bytes written since its last call; `Break` stops the export.
    pub on_written: &'a (dyn Fn(usize) -> ControlFlow<()> + Sync),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { shard_len: SHARD_LEN, on_written: &|_| ControlFlow::Continue(()) }
    }
}

/// A checkpoint that is being written: a directory beside its destination, whose name it gets when it is complete.
///
/// If it is dropped before [`Export::publish`], it leaves nothing behind.
pub struct Export {
    dir: PathBuf,
    beside: PathBuf,
    /// Locked while this process writes.
    _lock: File,
    published: bool,
}

impl Export {
    /// Begins to write the checkpoint that will be at `dir`. Removes what a crashed attempt has left.
    ///
    /// Fails if another process is writing there.
    pub fn begin(dir: &Path) -> Result<Self> {
        let dir = &file::behind_links(dir).map_err(|e| Error::io("open", dir, &e))?;
        let beside = hidden(dir, "partial")?;
        let parent = parent(dir);
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
        let lock = || {
            let held = File::open(&beside).map_err(|e| Error::io("open", &beside, &e))?;
            match held.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    Err(Error::user(format!("{}: another process is writing it", dir.display()))
                        .hint("wait until it ends, or choose another directory"))
                }
                // Another process may have replaced the directory before it was locked.
                Ok(()) if !is_at(&held, &beside) => {
                    Err(Error::user(format!("{}: another process is writing it", dir.display()))
                        .hint("wait until it ends, or choose another directory"))
                }
                // A file system without locks is accepted.
                _ => Ok(held),
            }
        };
        if beside.exists() {
            let _left_by_a_crash = lock()?;
            fs::remove_dir_all(&beside).map_err(|e| Error::io("remove", &beside, &e))?;
        }
        fs::create_dir(&beside).map_err(|e| Error::io("create", &beside, &e))?;
        let lock = lock()?;
        Ok(Self { dir: dir.to_owned(), beside, _lock: lock, published: false })
    }

    /// Path of the directory that is being written, beside the destination.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Writes the weights, `config.json`, and the other files that belong to the model.
    ///
    /// Fails if a tensor cannot be computed, is not finite, or the disk is full.
    #[expect(clippy::missing_panics_doc, reason = "an index is a JSON text")]
    pub fn weights(&self, weights: &dyn Weights, options: &Options<'_>) -> Result<()> {
        for (name, bytes) in beside_tensors(weights)? {
            self.file(&name, &bytes)?;
        }
        let shards = shards(weights.index(), options.shard_len);
        for shard in &shards {
            write_shard(weights, &self.beside.join(&shard.file), &shard.tensors, options.on_written)?;
        }
        if shards.len() > 1 {
            let map: BTreeMap<&str, &str> = shards
                .iter()
                .flat_map(|shard| shard.tensors.iter().map(|name| (name.as_str(), shard.file.as_str())))
                .collect();
            let total: usize = weights.index().values().map(crate::model::Meta::byte_len).sum();
            let listing = json!({ "metadata": { "total_size": total }, "weight_map": map });
            let text = serde_json::to_string_pretty(&listing).expect("an index is JSON");
            self.file("model.safetensors.index.json", text.as_bytes())?;
        }
        Ok(())
    }

    /// Writes one more file.
    pub fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.beside.join(name);
        fs::write(&path, bytes).map_err(|e| Error::io("write", &path, &e))
    }

    /// The SHA-256 of every file written so far, in hexadecimal, by name. Reads every byte.
    pub fn sha256(&self) -> Result<BTreeMap<String, String>> {
        let hash = |path: &PathBuf| Ok((file_name(path), sha256_of(path)?));
        self.files()?.par_iter().map(hash).collect()
    }

    /// Flushes every file written so far to the disk.
    pub fn sync(&self) -> Result<()> {
        self.files()?.par_iter().try_for_each(|path| {
            File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io("write", path, &e))
        })?;
        sync_dir(&self.beside)
    }

    /// Renames the directory to its destination; fails if a file or a filled directory is there by now.
    pub fn publish_new(mut self) -> Result<()> {
        fs::rename(&self.beside, &self.dir).map_err(|e| {
            Error::io("rename to", &self.dir, &e)
                .hint("if something was written there meanwhile, choose another directory")
        })?;
        self.published = true;
        sync_dir(parent(&self.dir))
    }

    /// Renames the directory to its destination, and removes what was there before.
    pub fn publish(mut self) -> Result<()> {
        let was = exchange(&self.beside, &self.dir)?;
        self.published = true;
        sync_dir(parent(&self.dir))?;
        match was {
            Previous::Nothing => Ok(()),
            Previous::Replaced(old) => fs::remove_dir_all(&old).map_err(|e| Error::io("remove", &old, &e)),
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let unread = |e| Error::io("read", &self.beside, &e);
        let entries = fs::read_dir(&self.beside).map_err(unread)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(unread)).collect()
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if !self.published {
            // The first error is the one to report; the next export removes what is left.
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}

/// The files of a model beside its tensors, by name: its configuration, and those that belong to it.
pub fn beside_tensors(weights: &dyn Weights) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    if !weights.config().0.is_empty() {
        let config = python_json::pretty(&Value::Object(weights.config().0.clone()));
        files.push(("config.json".to_owned(), config.into_bytes()));
    }
    for name in belongings::of(weights)?.files {
        files.extend(weights.sidecar(&name)?.map(|bytes| (name, bytes)));
    }
    Ok(files)
}

/// Writes a model with its card to a directory, and replaces an existing one when the new one is on the disk.
///
/// Fails, leaving the existing one, if a tensor cannot be computed, is not finite, or the disk is full.
pub fn export(weights: &dyn Weights, dir: &Path, card: &str) -> Result<()> {
    let export = Export::begin(dir)?;
    export.weights(weights, &Options::default())?;
    export.file("README.md", card.as_bytes())?;
    export.sync()?;
    export.publish()
}

/// True if an open directory is still the one at this path.
fn is_at(held: &File, path: &Path) -> bool {
    let id = |metadata: std::io::Result<fs::Metadata>| metadata.map(|one| (one.dev(), one.ino())).ok();
    id(held.metadata()) == id(fs::metadata(path))
}

/// State of a destination before a directory was put there.
enum Previous {
    Nothing,
    /// Taken; the old directory is at this path now.
    Replaced(PathBuf),
}

/// Puts a directory in the place of another, or where nothing is.
///
/// If the system can exchange names, readers see the old directory or the new one at any instant.
/// If it cannot, a crash between two renames leaves the old one beside, as `.NAME.old`.
fn exchange(new: &Path, dir: &Path) -> Result<Previous> {
    let renamed = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| Error::io("rename to", to, &e));
    if !dir.exists() {
        return renamed(new, dir).map(|()| Previous::Nothing);
    }
    #[cfg(target_os = "linux")]
    if rustix::fs::renameat_with(rustix::fs::CWD, new, rustix::fs::CWD, dir, rustix::fs::RenameFlags::EXCHANGE).is_ok()
    {
        return Ok(Previous::Replaced(new.to_owned()));
    }
    let old = hidden(dir, "old")?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|e| Error::io("remove", &old, &e))?;
    }
    renamed(dir, &old)?;
    if let Err(error) = renamed(new, dir) {
        // Restores the old directory, if possible.
        let _ = fs::rename(&old, dir);
        return Err(error);
    }
    Ok(Previous::Replaced(old))
}

/// Path of a hidden directory beside `dir`: `.NAME.` and `what`.
fn hidden(dir: &Path, what: &str) -> Result<PathBuf> {
    let name =
        dir.file_name().ok_or_else(|| Error::user(format!("{}: is not a name for a directory", dir.display())))?;
    Ok(parent(dir).join(format!(".{}.{what}", name.to_string_lossy())))
}

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

struct Shard {
    file: String,
    tensors: Vec<String>,
}

/// Fills shards in order of tensor name; a tensor larger than a shard gets its own.
fn shards(index: &Index, shard_len: usize) -> Vec<Shard> {
    let mut groups: Vec<(usize, Vec<String>)> = Vec::new();
    for (name, meta) in index {
        match groups.last_mut() {
            Some((len, group)) if *len + meta.byte_len() <= shard_len => {
                *len += meta.byte_len();
                group.push(name.clone());
            }
            _ => groups.push((meta.byte_len(), vec![name.clone()])),
        }
    }
    let n = groups.len();
    let file = |number: usize| match n {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{n:05}.safetensors", number + 1),
    };
    groups.into_iter().enumerate().map(|(i, (_, tensors))| Shard { file: file(i), tensors }).collect()
}

/// Writes a shard: its header, known from lengths alone, then every tensor at its offset, in any order.
fn write_shard(
    weights: &dyn Weights,
    path: &Path,
    tensors: &[String],
    on_written: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
) -> Result<()> {
    let index = weights.index();
    let (mut header, mut end) = (Map::new(), 0);
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offsets = Vec::with_capacity(tensors.len());
    for name in tensors {
        let meta = &index[name];
        let start = end;
        end += meta.byte_len();
        offsets.push(start);
        let dtype = meta.dtype.safetensors_name();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": meta.shape, "data_offsets": [start, end] }));
    }
    let mut header = serde_json::to_vec(&Value::Object(header)).expect("a header is JSON");
    // The data begins at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = File::create(path).map_err(|e| Error::io("create", path, &e))?;
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let data = size_of::<u64>() + header.len();
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).map_err(failed)?;
    file.write_all_at(&header, size_of::<u64>() as u64).map_err(failed)?;
    tensors.par_iter().zip(offsets).try_for_each(|(name, offset)| {
        let tensor = weights.tensor(name)?;
        let (size, len) = (index[name].dtype.size(), index[name].len());
        assert_eq!((tensor.dtype(), tensor.len()), (index[name].dtype, len), "`{name}` is what its index says");
        let stretch = stretch_len(&*tensor);
        let starts: Vec<usize> = (0..len).step_by(stretch).collect();
        starts.into_par_iter().try_for_each_init(Vec::new, |room, start| {
            let len = stretch.min(len - start);
            let bytes = if let Some(bytes) = tensor.lent() {
                let bytes = &bytes[start * size..(start + len) * size];
                if let Some(element) = tensor.dtype().first_not_finite(bytes) {
                    // If this is a merge, `copy` fails with an error that names the model.
                    room.resize(len * size, 0);
                    tensor.copy(start, room)?;
                    return Err(Error::user(format!("`{name}`: element {} is NaN or infinite", start + element))
                        .hint("the checkpoint is broken: download it again, or leave it out"));
                }
                bytes
            } else {
                room.resize(len * size, 0);
                tensor.copy(start, room)?;
                room.as_slice()
            };
            file.write_all_at(bytes, (data + offset + start * size) as u64).map_err(failed)?;
            match on_written(bytes.len()) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::user("interrupted: nothing was written")),
            }
        })
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes a small file and flushes it to the disk.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("write", path, &e))
}

/// Replaces a small file in one step: readers see the old text or the new, even after a crash.
///
/// If the path is a link, its target is replaced. Fails if the path cannot be a file's.
pub fn replace_file(path: &Path, text: &str) -> Result<()> {
    let path = &file::behind_links(path).map_err(|e| Error::io("open", path, &e))?;
    let no_file = || Error::user(format!("{}: is not a name for a file", path.display()));
    let name = path.file_name().ok_or_else(no_file)?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.partial"));
    let replaced = write_file(&beside, text.as_bytes()).and_then(|()| {
        fs::rename(&beside, path).map_err(|e| Error::io("rename", &beside, &e))?;
        sync_dir(parent(path))
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", dir, &e))
}
