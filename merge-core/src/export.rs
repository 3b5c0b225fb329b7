//! Writes a model as a checkpoint: places first, then every tensor at its place, then the whole under its name.
//!
//! Everything goes into a directory beside the destination, which is renamed when all of it is on the device. So at any
//! instant the destination is either not there or complete.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    weights::{Index, Weights},
};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Most bytes of tensors in one shard, as other tools have it.
pub const SHARD_LEN: usize = 5_000_000_000;

/// The files that belong to a model beside its weights and configuration.
const SIDECARS: &[&str] = &[
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// Refuses a destination that exists or is one of the inputs, before any work is done for it.
pub fn check_destination<'a>(dir: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if inputs.into_iter().any(|input| canonical(input) == canonical(dir)) {
        return Err(Error::user(format!("{}: is one of the models to be merged", dir.display()))
            .hint("choose another directory for the result"));
    }
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

/// Writes a model, its tokenizer files and a model card to a directory that does not exist yet, or is empty.
///
/// Fails, leaving nothing behind, if a tensor cannot be made, is not finite, or the disk is full.
pub fn export(weights: &dyn Weights, dir: &Path, card: &str) -> Result<()> {
    let (beside, _lock) = beside(dir)?;
    let written = write_all(weights, &beside, card, SHARD_LEN).and_then(|()| publish(&beside, dir));
    if written.is_err() {
        // The first error is the one to tell; what cannot be removed now is removed by the next export.
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

/// Writes a model where an earlier one of ours may be, which is there until the new one is complete.
///
/// A crash between the two renames leaves the earlier one beside, as `.NAME.old`.
pub fn replace(weights: &dyn Weights, dir: &Path, card: &str) -> Result<()> {
    if !dir.exists() {
        return export(weights, dir, card);
    }
    let old = hidden(dir, "old")?;
    let new = hidden(dir, "new")?;
    let remove = |dir: &Path| match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir, &e)),
        _ => Ok(()),
    };
    remove(&new)?;
    export(weights, &new, card)?;
    remove(&old)?;
    fs::rename(dir, &old).map_err(|e| Error::io("rename", dir, &e))?;
    publish(&new, dir)?;
    remove(&old)
}

/// The directory that is written before it gets its name: empty, and ours as long as the lock on it is held.
fn beside(dir: &Path) -> Result<(PathBuf, File)> {
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
            // A file system without locks is no reason not to write.
            _ => Ok(held),
        }
    };
    if beside.exists() {
        let _left_by_a_crash = lock()?;
        fs::remove_dir_all(&beside).map_err(|e| Error::io("remove", &beside, &e))?;
    }
    fs::create_dir(&beside).map_err(|e| Error::io("create", &beside, &e))?;
    let lock = lock()?;
    Ok((beside, lock))
}

/// A name beside a directory's that says what is there for the time being.
fn hidden(dir: &Path, what: &str) -> Result<PathBuf> {
    let name =
        dir.file_name().ok_or_else(|| Error::user(format!("{}: is not a name for a directory", dir.display())))?;
    Ok(parent(dir).join(format!(".{}.{what}", name.to_string_lossy())))
}

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_all(weights: &dyn Weights, dir: &Path, card: &str, shard_len: usize) -> Result<()> {
    let config = serde_json::to_string_pretty(&weights.config().0).expect("a config is JSON");
    write_file(&dir.join("config.json"), config.as_bytes())?;
    write_file(&dir.join("README.md"), card.as_bytes())?;
    for name in SIDECARS {
        let from = weights.sidecars().join(name);
        if from.exists() {
            let bytes = fs::read(&from).map_err(|e| Error::io("read", &from, &e))?;
            write_file(&dir.join(name), &bytes)?;
        }
    }
    let shards = shards(weights.index(), shard_len);
    for shard in &shards {
        write_shard(weights, &dir.join(&shard.file), &shard.tensors)?;
    }
    if shards.len() > 1 {
        let map: BTreeMap<&str, &str> = shards
            .iter()
            .flat_map(|shard| shard.tensors.iter().map(|name| (name.as_str(), shard.file.as_str())))
            .collect();
        let total: usize = weights.index().values().map(crate::weights::Meta::byte_len).sum();
        let listing = json!({ "metadata": { "total_size": total }, "weight_map": map });
        let text = serde_json::to_string_pretty(&listing).expect("an index is JSON");
        write_file(&dir.join("model.safetensors.index.json"), text.as_bytes())?;
    }
    Ok(())
}

struct Shard {
    file: String,
    tensors: Vec<String>,
}

/// Fills shards in order of name; a tensor larger than a shard has one of its own.
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

/// Writes a shard: its header from lengths alone, then every tensor at its offset, in any order.
fn write_shard(weights: &dyn Weights, path: &Path, tensors: &[String]) -> Result<()> {
    let index = weights.index();
    let (mut header, mut end) = (Map::new(), 0);
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offsets = Vec::with_capacity(tensors.len());
    for name in tensors {
        let meta = &index[name];
        let start = end;
        end += meta.byte_len();
        offsets.push(start as u64);
        let dtype = format!("{:?}", meta.dtype);
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": meta.shape, "data_offsets": [start, end] }));
    }
    let mut header = serde_json::to_vec(&Value::Object(header)).expect("a header is JSON");
    // The data begins at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = File::create(path).map_err(|e| Error::io("create", path, &e))?;
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let data = (size_of::<u64>() + header.len()) as u64;
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).map_err(failed)?;
    file.write_all_at(&header, size_of::<u64>() as u64).map_err(failed)?;
    tensors.par_iter().zip(offsets).try_for_each(|(name, offset)| {
        let bytes = weights.bytes(name)?;
        assert_eq!(bytes.len(), index[name].byte_len(), "`{name}` has the length its index says");
        if !index[name].dtype.all_finite(&bytes) {
            return Err(Error::user(format!("`{name}`: a merged value is too large for {}", index[name].dtype.name()))
                .hint("set `out_dtype: bfloat16` or `float32`, or smaller weights"));
        }
        file.write_all_at(&bytes, data + offset).map_err(failed)
    })?;
    file.sync_all().map_err(failed)
}

/// Writes a small file and brings it to the device.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("write", path, &e))
}

/// Replaces a small file in one step: readers see the old text or the new, after a crash too.
///
/// # Panics
/// If the path has no file name.
pub fn replace_file(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().expect("a file has a name").to_string_lossy();
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

fn publish(beside: &Path, dir: &Path) -> Result<()> {
    sync_dir(beside)?;
    fs::rename(beside, dir).map_err(|e| Error::io("rename to", dir, &e))?;
    sync_dir(parent(dir))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", dir, &e))
}
