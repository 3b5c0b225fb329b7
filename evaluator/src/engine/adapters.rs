//! The model and the `LoRA` adapters that a llama.cpp server holds, and which of a search's models they are.

#[cfg(test)]
mod tests;

use super::{
    gguf::GgufFile,
    llama_cpp::{self, HeldAdapter},
};
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    model::{
        MixedAdapter, Mixture,
        hash::{hex, sha256_of},
    },
    words::counted,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

/// What a server holds.
pub(super) struct HeldFiles {
    model: String,
    /// True if its file can be read here.
    is_read: bool,
    /// Length and time of the files that can be read.
    stamps: Vec<(String, Option<FileStamp>)>,
    /// The adapters, each with its `lora_alpha` if its file can be read here.
    adapters: Vec<(HeldAdapter, Option<f64>)>,
    known: Mutex<Known>,
}

/// Length and time of the last change of a file.
type FileStamp = (u64, Option<SystemTime>);

/// What is known by now, so that no file is read twice.
#[derive(Default)]
struct Known {
    bases: BTreeSet<PathBuf>,
    /// Number of an adapter, and the factor of its scale.
    adapters: BTreeMap<PathBuf, (usize, f64)>,
}

impl HeldFiles {
    /// Finds out which files can be read: those with absolute paths of a server that is here.
    pub(super) fn open(model: &str, adapters: &[HeldAdapter], is_here: bool) -> Self {
        let open = |path: &str| GgufFile::open(Some(Path::new(path)).filter(|path| is_here && path.is_absolute())?);
        let read: Vec<_> =
            adapters.iter().map(|one| (one.clone(), open(&one.path).and_then(|file| file.alpha()))).collect();
        let is_read = open(model).is_some();
        let paths = read.iter().filter(|(_, alpha)| alpha.is_some()).map(|(one, _)| one.path.as_str());
        let stamps = paths.chain(is_read.then_some(model)).map(|path| (path.to_owned(), stamp(path))).collect();
        Self { model: model.to_owned(), is_read, adapters: read, stamps, known: Mutex::default() }
    }

    /// The start of a hash of all files that can be read, for the engine's identity.
    pub(super) fn named(&self) -> String {
        // Their order on the command line changes no answer.
        let paths: BTreeSet<&String> = self.stamps.iter().map(|(path, _)| path).collect();
        let mut all = Sha256::new();
        for path in &paths {
            all.update(sha256_of(Path::new(path)).unwrap_or_default());
        }
        if paths.is_empty() { String::new() } else { format!(", files {}", &hex(&all.finalize())[..12]) }
    }

    /// A file that is not as it was.
    pub(super) fn changed(&self) -> Option<&str> {
        self.stamps.iter().find(|(path, before)| stamp(path) != *before).map(|(path, _)| path.as_str())
    }

    /// Scales by which a server without an adapter's part answers.
    pub(super) fn none(&self) -> String {
        llama_cpp::version(self.adapters.iter().map(|(one, _)| (one.id, 0.0)))
    }

    /// The scales of all adapters for a mixture, as requests have them.
    ///
    /// Fails if the server holds another base, or lacks an adapter. Errors begin with `name`, the server's.
    pub(super) fn scales(&self, mixture: &Mixture, name: &str) -> Result<String> {
        self.numbers(mixture, name).map(llama_cpp::version)
    }

    fn numbers(&self, mixture: &Mixture, name: &str) -> Result<BTreeMap<usize, f32>> {
        let mut scales: BTreeMap<usize, f32> = self.adapters.iter().map(|(one, _)| (one.id, 0.0)).collect();
        let known = &mut *self.known.lock().expect("no panic while held");
        if !known.bases.contains(&mixture.base) {
            self.check_base(&mixture.base, name)?;
            known.bases.insert(mixture.base.clone());
        }
        for adapter in &mixture.adapters {
            if !known.adapters.contains_key(&adapter.dir) {
                let found = self.find(adapter, name)?;
                if let Some((other, _)) = known.adapters.iter().find(|(_, (id, _))| *id == found.0) {
                    let (one, other) = (adapter.dir.display(), other.display());
                    return Err(Error::user(format!("{name}: {one} and {other} cannot be told apart by its files"))
                        .hint("give the files the names of the adapters' directories, or start llama-server with absolute paths"));
                }
                known.adapters.insert(adapter.dir.clone(), found);
            }
            let (id, factor) = known.adapters[&adapter.dir];
            scales.insert(id, (adapter.scale * factor) as f32);
        }
        Ok(scales)
    }

    /// The option of llama-server that makes it answer as a mixture.
    pub(super) fn option(&self, mixture: &Mixture, name: &str) -> Result<String> {
        let scales = self.numbers(mixture, name)?;
        let used =
            self.adapters.iter().filter_map(|(held, _)| Some((held, scales[&held.id])).filter(|one| one.1 != 0.0));
        let all: Vec<String> = used.map(|(held, scale)| format!("{}:{scale}", held.path)).collect();
        Ok(format!("--lora-scaled {}", all.join(",")))
    }

    fn check_base(&self, path: &Path, name: &str) -> Result<()> {
        let Some(mut file) = GgufFile::open(Path::new(&self.model)).filter(|_| self.is_read) else { return Ok(()) };
        if file.is_model(&Checkpoint::open(path)?)? {
            return Ok(());
        }
        let (model, path) = (&self.model, path.display());
        Err(Error::user(format!("{name}: its model {model} was not made from {path}: their numbers differ"))
            .hint("start llama-server with the base of the search, converted by convert_hf_to_gguf.py"))
    }

    /// The number of an adapter, and what its scale is multiplied by for this server.
    fn find(&self, wanted: &MixedAdapter, name: &str) -> Result<(usize, f64)> {
        let mut found = Vec::new();
        for (held, stored) in &self.adapters {
            let file = stored.and_then(|_| GgufFile::open(Path::new(&held.path)));
            let is_it = match file {
                Some(mut file) => file.is_adapter(&wanted.dir)?,
                None => is_named(&held.path, &wanted.dir),
            };
            if is_it {
                found.push((held, stored.unwrap_or(wanted.stated)));
            }
        }
        match found[..] {
            [(held, 0.0)] => {
                return Err(Error::user(format!("{name}: {} has no alpha", held.path))
                    .hint("convert it again by convert_lora_to_gguf.py"));
            }
            [(held, alpha)] => return Ok((held.id, wanted.alpha / alpha)),
            [] => {}
            [(one, _), (other, _), ..] => {
                let (dir, one, other) = (wanted.dir.display(), &one.path, &other.path);
                return Err(Error::user(format!("{name}: both {one} and {other} may be {dir}"))
                    .hint("give the files the names of the adapters' directories: DIRECTORY.gguf"));
            }
        }
        let paths: Vec<&str> = self.adapters.iter().map(|(held, _)| held.path.as_str()).collect();
        let what = format!("{name}: none of its adapters is {}: it holds {}", wanted.dir.display(), paths.join(", "));
        Err(Error::user(what).hint(
            "convert it by convert_lora_to_gguf.py and start llama-server with it: `--lora a.gguf,b.gguf`; an adapter is known \
             by its numbers if its file can be read here, else by its name: DIRECTORY.gguf",
        ))
    }

    /// What cannot be proved, for the user. Each begins with `name`, the server's.
    pub(super) fn notes(&self, name: &str) -> Vec<String> {
        let model = (!self.is_read).then(|| format!("its model {}", self.model));
        let unread = self.adapters.iter().filter(|(_, stored)| stored.is_none()).count();
        let adapters = (unread > 0).then(|| counted(unread, "adapter"));
        let all: Vec<String> = model.into_iter().chain(adapters).collect();
        let note = format!(
            "{name}: {} cannot be read here, so names tell what is what, and files are not compared with the search's; start \
             llama-server with absolute paths on this machine to have them compared",
            all.join(" and ")
        );
        if all.is_empty() { Vec::new() } else { vec![note] }
    }
}

/// Length and time of a file; `None` if it cannot be looked at.
fn stamp(path: &str) -> Option<FileStamp> {
    fs::metadata(path).ok().map(|file| (file.len(), file.modified().ok()))
}

/// True if a file has the name of an adapter's directory, or is in a directory of that name.
fn is_named(path: &str, dir: &Path) -> bool {
    let path = Path::new(path);
    let names = [path.file_stem(), path.parent().and_then(Path::file_name)];
    dir.file_name().is_some_and(|name| names.contains(&Some(name)))
}
