//! A checkpoint on disk: shards are mapped, headers are checked once, tensors are lent without a copy.
//!
//! A checkpoint is one of these:
//!
//! - a directory in the Hugging Face layout: `config.json`, and `model.safetensors` (or
//!   `diffusion_pytorch_model.safetensors`) or shards with an index; without a safetensors file,
//!   `pytorch_model.bin` or its shards (a pickle, of which nothing is run). Without `config.json`,
//!   it has tensors by name and no configuration;
//! - a file: `.safetensors`, or a pickle (`.bin`, `.pt`, `.pth`, `.ckpt`). It has tensors and nothing else.
//!
//! Two things are not shown as stored. 8-bit floats with scales beside them appear as the numbers they stand for, in
//! `bfloat16`, without the scales and `quantization_config`. ([`Checkpoint::open`] refuses any other quantisation; a
//! model that only claims to be quantised is read, with a note.) And a head that `tie_word_embeddings` says is the
//! embedding is left out. Loaders leave it out if the two are equal and disagree if not, so a model where they differ
//! is refused.

mod diagnosis;
mod files;
mod layout;
mod pickle;
mod scales;
mod stamp;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use stamp::Stamp;

use crate::{
    error::{Error, Result},
    file,
    model::{Config, Elements, Index, Meta, Mixture, Weights, hash::hex, head::head_of},
};
pub use diagnosis::holds_tensors;
use files::{MappedFile, MappedTensor};
use layout::Layout;
use rayon::prelude::*;
use scales::{ScaleGrid, ScaledTensor};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Files without tensors that decide what a model answers.
const HASHED: [&str; 3] = ["config.json", "generation_config.json", "tokenizer.json"];

/// A model on disk: a directory, or a file with tensors.
pub struct Checkpoint {
    path: PathBuf,
    dir: PathBuf,
    config: Config,
    index: Index,
    files: Vec<MappedFile>,
    places: BTreeMap<String, TensorPlace>,
    notes: Vec<String>,
}

/// Position of a tensor, and of its scales.
struct TensorPlace {
    file: usize,
    found: MappedTensor,
    scales: Option<(usize, MappedTensor, ScaleGrid)>,
}

impl Checkpoint {
    /// Maps a checkpoint and checks its headers: afterwards no tensor's position needs a check.
    ///
    /// Fails, and names the file and the tensor, if a file is missing, truncated or contradicts itself, if a tensor
    /// is in two shards or not where the index says, or if it is stored in a way that is not known here.
    pub fn open(path: &Path) -> Result<Self> {
        let Layout { dir, config, names, routes, notes } = Layout::of(path)?;
        let mut opened = Self {
            path: path.to_owned(),
            dir,
            config,
            index: Index::new(),
            files: Vec::with_capacity(names.len()),
            places: BTreeMap::new(),
            notes,
        };
        for name in names {
            opened.add(name)?;
        }
        if let Some((listing, routes)) = routes {
            opened.check_against_index(&listing, &routes)?;
        }
        if opened.places.is_empty() {
            return Err(Error::user(format!("{}: no tensor in it", path.display())));
        }
        let note = scales::resolve(&mut opened.places, &mut opened.config.0).map_err(|e| e.at(path.display()))?;
        opened.notes.extend(note.map(|note| format!("{}: {note}", path.display())));
        opened.leave_out_tied_head()?;
        opened.index = opened.places.iter().map(|(name, place)| (name.clone(), place.meta())).collect();
        Ok(opened)
    }

    /// Path that was opened: a directory or a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes for the user on how the checkpoint was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Directory of the checkpoint's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The SHA-256, in hexadecimal and by file name, of every file with tensors as it is on disk,
    /// and of the other files that decide what the model answers. Reads every byte.
    pub fn sha256(&self) -> Result<BTreeMap<String, String>> {
        let hash = |file: &MappedFile| Ok((file.name.clone(), hex(&Sha256::digest(file.bytes()?))));
        let mut hashes: BTreeMap<String, String> = self.files.par_iter().map(hash).collect::<Result<_>>()?;
        for name in HASHED {
            if let Some(bytes) = self.sidecar(name)? {
                hashes.insert(name.to_owned(), hex(&Sha256::digest(bytes)));
            }
        }
        Ok(hashes)
    }

    /// Paths of the files that [`Checkpoint::sha256`] hashes.
    pub(crate) fn hashed_files(&self) -> impl Iterator<Item = PathBuf> {
        let shards = self.files.iter().map(|file| self.dir.join(&file.name));
        let others = HASHED.iter().filter(|_| self.path == self.dir).map(|name| self.dir.join(name));
        shards.chain(others.filter(|path| path.exists()))
    }

    /// Maps one more file and adds its tensors.
    fn add(&mut self, name: String) -> Result<()> {
        let path = self.dir.join(&name);
        let map = MappedFile::open(&path, name)?;
        for (tensor, found) in map.tensors(&path)? {
            if let Some(other) = self.places.get(&tensor) {
                let other = self.files.get(other.file).map_or(&map.name, |file| &file.name);
                return Err(Error::user(format!("{}: `{tensor}` is in `{other}` too", path.display()))
                    .hint("delete the shards of the other export, or download the checkpoint again"));
            }
            self.places.insert(tensor, TensorPlace { file: self.files.len(), found, scales: None });
        }
        self.files.push(map);
        Ok(())
    }

    /// Checks the shards against the index that lists them.
    fn check_against_index(&self, listing: &Path, routes: &BTreeMap<String, String>) -> Result<()> {
        let again = "download the checkpoint again: its index and its shards are of different exports";
        for (tensor, shard) in routes {
            if self.places.get(tensor).is_none_or(|place| self.files[place.file].name != *shard) {
                let message = format!("{}: `{tensor}` is not in `{shard}`", listing.display());
                return Err(Error::user(message).hint(again));
            }
        }
        match self.places.iter().find(|(tensor, _)| !routes.contains_key(*tensor)) {
            None => Ok(()),
            Some((tensor, place)) => {
                let shard = &self.files[place.file].name;
                Err(Error::user(format!("{}: `{tensor}` of `{shard}` is not listed", listing.display())).hint(again))
            }
        }
    }

    /// Leaves out a head that is stored although the configuration ties it to the embedding.
    ///
    /// Fails if the two differ, since some loaders use the head and others do not. If the settings
    /// of the model and of the language model in it contradict each other, both tensors are kept.
    fn leave_out_tied_head(&mut self) -> Result<()> {
        let said = self.config.ties().map_err(|e| e.at(self.path.display()))?;
        if !said.contains(&true) {
            return Ok(());
        }
        let embeddings = ["embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight"];
        let is_embedding = |name: &&String| embeddings.iter().any(|end| name.ends_with(end));
        // Other tensors are called `output` too, and have another size.
        let shape = |name: &String| &self.places[name].found.meta.shape;
        let is_of_that_size = |name: &&String| {
            name.ends_with("lm_head.weight")
                || self.places.keys().filter(is_embedding).any(|one| shape(one) == shape(name))
        };
        let head = head_of(self.places.keys().filter(is_of_that_size)).map(str::to_owned);
        let Some(head) = head else { return Ok(()) };
        // Of several embeddings, the one in the same part of the model.
        let shared = |name: &&String| name.bytes().zip(head.bytes()).take_while(|(x, y)| x == y).count();
        let Some(name) = self.places.keys().rev().filter(is_embedding).max_by_key(shared) else { return Ok(()) };
        let [own, embedding] = [&head, name].map(|name| &self.places[name]);
        let is_same = own.found.meta == embedding.found.meta && self.stored(own)? == self.stored(embedding)?;
        if is_same {
            self.places.remove(&head);
            self.config.tie(true);
        } else if !said.contains(&false) {
            let message = format!(
                "{}: config.json ties the output head to the embedding, but `{head}` differs from `{name}`",
                self.path.display()
            );
            return Err(Error::user(message).hint(
                "loaders disagree on what that means: set `tie_word_embeddings` to false in its config.json to keep the head",
            ));
        }
        Ok(())
    }

    /// A tensor's bytes, row by row.
    fn stored(&self, place: &TensorPlace) -> Result<Cow<'_, [u8]>> {
        let bytes = self.bytes_of(place.file, &place.found)?;
        Ok(if place.found.strides.is_none() { Cow::Borrowed(bytes) } else { place.found.gathered(bytes).into() })
    }

    fn bytes_of(&self, file: usize, found: &MappedTensor) -> Result<&[u8]> {
        Ok(&self.files[file].bytes()?[found.bytes.clone()])
    }
}

impl TensorPlace {
    fn meta(&self) -> Meta {
        let stored = &self.found.meta;
        let dtype = if self.scales.is_some() { ScaledTensor::DTYPE } else { stored.dtype };
        Meta { dtype, shape: stored.shape.clone() }
    }
}

impl Weights for Checkpoint {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let place = self
            .places
            .get(name)
            .ok_or_else(|| Error::user(format!("{}: there is no tensor `{name}`", self.path.display())))?;
        let stored = place.found.elements(self.bytes_of(place.file, &place.found)?);
        let Some((file, scales, grid)) = &place.scales else { return Ok(stored) };
        let mut factors = vec![0.0; scales.meta.len()];
        scales.elements(self.bytes_of(*file, scales)?).read(0, &mut factors)?;
        Ok(Box::new(ScaledTensor::new(stored, factors, *grid)))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        // Files beside a single file need not belong to it.
        if self.path != self.dir {
            return Ok(None);
        }
        read_if_there(&self.dir.join(name))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn mixture(&self) -> Result<Mixture> {
        Ok(Mixture::base(&self.path))
    }
}

/// A file's bytes, or `None` if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match file::read_small(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => Err(dangling(path, &target)),
            Err(_) => Ok(None),
        },
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

/// The error for a broken link, as in a partial copy of a hub's cache: its file is missing, not left out.
pub(crate) fn dangling(path: &Path, target: &Path) -> Error {
    Error::user(format!("{}: a link to {}, which is not there", path.display(), target.display()))
        .hint("download it again, or copy what its links lead to; if it is not wanted, remove the link")
}
