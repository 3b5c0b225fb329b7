//! A checkpoint on disk: shards mapped, headers proved once, tensors lent without a copy.

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    weights::{Config, Elements, Index, Meta, Stored, Weights},
};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// One file, or the name of the file that lists the shards.
const SINGLE: &str = "model.safetensors";
const SHARD_INDEX: &str = "model.safetensors.index.json";

/// A directory in the Hugging Face layout: `config.json`, and `model.safetensors` or shards with an index.
pub struct Checkpoint {
    dir: PathBuf,
    config: Config,
    index: Index,
    shards: Vec<Shard>,
    /// Where each tensor lies: which shard, and which of its bytes.
    places: BTreeMap<String, (usize, Range<usize>)>,
}

struct Shard {
    name: String,
    map: Mmap,
}

impl Checkpoint {
    /// Maps a checkpoint and proves its headers: afterwards no tensor's place needs to be checked again.
    ///
    /// Fails, naming the file and the tensor, if a file is missing, truncated or contradicts itself, if a tensor is in
    /// two shards or not where the index says, or if it is stored in a type we don't merge.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = read_config(dir)?;
        let (names, routes) = shard_names(dir)?;
        let mut checkpoint =
            Self { dir: dir.to_owned(), config, index: Index::new(), shards: Vec::new(), places: BTreeMap::new() };
        for name in names {
            checkpoint.add(name)?;
        }
        match routes {
            Some(routes) => checkpoint.agree(&routes)?,
            None if checkpoint.index.is_empty() => {
                return Err(Error::user(format!("{}: no tensor in it", dir.join(SINGLE).display())));
            }
            None => {}
        }
        Ok(checkpoint)
    }

    /// The directory it was opened from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The SHA-256 of every shard and of the other files that decide what the model answers, in hexadecimal, by file
    /// name. Reads every byte.
    pub fn sha256(&self) -> Result<BTreeMap<String, String>> {
        let mut hashes: BTreeMap<String, String> =
            self.shards.par_iter().map(|shard| (shard.name.clone(), hex(&Sha256::digest(&shard.map)))).collect();
        for name in ["config.json", "generation_config.json", "tokenizer.json"] {
            let path = self.dir.join(name);
            if path.exists() {
                let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
                hashes.insert(name.to_owned(), hex(&Sha256::digest(bytes)));
            }
        }
        Ok(hashes)
    }

    /// Maps one more shard and takes its tensors in.
    fn add(&mut self, name: String) -> Result<()> {
        let path = self.dir.join(&name);
        let map = map(&path)?;
        let (header_len, header) = SafeTensors::read_metadata(&map).map_err(|e| damaged(&path, map.len(), &e))?;
        let data = size_of::<u64>() + header_len;
        for (tensor, info) in header.tensors() {
            let dtype = Dtype::from_safetensors(&info.dtype.to_string()).ok_or_else(|| {
                Error::user(format!("{}: `{tensor}` is stored as {}", path.display(), info.dtype))
                    .hint("this type is not known here; convert the checkpoint to bfloat16 first")
            })?;
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            if let Some((other, _)) = self.places.insert(tensor.clone(), (self.shards.len(), range)) {
                let other = &self.shards[other].name;
                return Err(Error::user(format!("{}: `{tensor}` is in `{other}` too", path.display()))
                    .hint("delete the shards of the other export, or download the checkpoint again"));
            }
            self.index.insert(tensor, Meta { dtype, shape: info.shape.clone() });
        }
        self.shards.push(Shard { name, map });
        Ok(())
    }

    /// Holds the shards against the index that lists them.
    fn agree(&self, routes: &Routes) -> Result<()> {
        let listing = self.dir.join(SHARD_INDEX);
        let again = "download the checkpoint again: its index and its shards are of different exports";
        for (tensor, shard) in routes {
            match self.places.get(tensor) {
                Some((at, _)) if &self.shards[*at].name == shard => {}
                _ => {
                    let message = format!("{}: `{tensor}` is not in `{shard}`", listing.display());
                    return Err(Error::user(message).hint(again));
                }
            }
        }
        match self.places.iter().find(|(tensor, _)| !routes.contains_key(*tensor)) {
            None => Ok(()),
            Some((tensor, (at, _))) => {
                let shard = &self.shards[*at].name;
                Err(Error::user(format!("{}: `{tensor}` of `{shard}` is not listed", listing.display())).hint(again))
            }
        }
    }
}

impl Weights for Checkpoint {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let (shard, range) = self
            .places
            .get(name)
            .ok_or_else(|| Error::user(format!("{}: there is no tensor `{name}`", self.dir.display())))?;
        let bytes = Cow::Borrowed(&self.shards[*shard].map[range.clone()]);
        Ok(Box::new(Stored::new(self.index[name].dtype, bytes)))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, &e)),
        }
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
        text
    })
}

fn read_config(dir: &Path) -> Result<Config> {
    let path = dir.join("config.json");
    let text = fs::read_to_string(&path).map_err(|e| {
        let error = Error::io("read", &path, &e);
        if dir.is_dir() {
            error.hint("a checkpoint is a directory with config.json and model.safetensors")
        } else {
            error
        }
    })?;
    let json =
        serde_json::from_str(&text).map_err(|e| Error::user(format!("{}: not a JSON object: {e}", path.display())))?;
    Ok(Config(json))
}

/// Which shard an index says each tensor is in.
type Routes = BTreeMap<String, String>;

/// The shards of a checkpoint, and what its index says of them, if it has one.
fn shard_names(dir: &Path) -> Result<(Vec<String>, Option<Routes>)> {
    #[derive(Deserialize)]
    struct Listing {
        weight_map: Routes,
    }

    let listing = dir.join(SHARD_INDEX);
    match (dir.join(SINGLE).exists(), listing.exists()) {
        (true, true) => Err(Error::user(format!("{}: holds both {SINGLE} and {SHARD_INDEX}", dir.display()))
            .hint("one of them is left from an earlier export: delete it, or its shards and the index")),
        (true, false) => Ok((vec![SINGLE.to_owned()], None)),
        (false, false) => Err(Error::user(format!("{}: neither {SINGLE} nor {SHARD_INDEX} in it", dir.display()))
            .hint("weights are read from safetensors files; convert other formats first")),
        (false, true) => {
            let text = fs::read_to_string(&listing).map_err(|e| Error::io("read", &listing, &e))?;
            let routes = serde_json::from_str::<Listing>(&text)
                .map_err(|e| Error::user(format!("{}: not an index of shards: {e}", listing.display())))?
                .weight_map;
            let mut names: Vec<String> = routes.values().cloned().collect();
            names.sort();
            names.dedup();
            if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
                return Err(Error::user(format!(
                    "{}: `{name}` is not the name of a file beside it",
                    listing.display()
                )));
            }
            Ok((names, Some(routes)))
        }
    }
}

#[expect(unsafe_code, reason = "a file can be mapped in no other way")]
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    // SAFETY: the map is only read, and this program never changes or truncates a file in place: it writes beside and
    // renames. Another program that truncates a checkpoint while it is mapped would end us with SIGBUS; nothing short of
    // reading the whole file could prevent that.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, &e))
}

fn damaged(path: &Path, len: usize, error: &SafeTensorError) -> Error {
    let (what, truncated) = match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            ("its header describes more or fewer bytes than it has".to_owned(), true)
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall | SafeTensorError::HeaderTooLarge => {
            ("its header would reach beyond the file".to_owned(), true)
        }
        SafeTensorError::InvalidOffset(tensor) => {
            (format!("the bytes of `{tensor}` overlap another tensor's or leave a gap"), false)
        }
        SafeTensorError::TensorInvalidInfo => ("a tensor's shape and its length disagree".to_owned(), false),
        other => (other.to_string(), false),
    };
    let message = format!("{}: damaged: {what} (the file has {len} bytes)", path.display());
    Error::user(message).hint(if truncated {
        "the file is truncated or not safetensors; download or copy it again"
    } else {
        "the file was written wrongly; download it again, or tell whoever made it"
    })
}
