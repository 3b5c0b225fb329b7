//! The model and the `LoRA` adapters that a llama.cpp server holds, and which of a search's models they are.

use super::{
    gguf::GgufFile,
    llama_cpp::{self, HeldAdapter},
};
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    file,
    model::{
        MixedAdapter, Mixture,
        hash::{hex, sha256_of},
    },
    words::counted,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// What a server holds.
pub(super) struct HeldFiles {
    model: String,
    /// True if its file can be read here.
    is_read: bool,
    /// The adapters, each with its `lora_alpha` if its file can be read here.
    adapters: Vec<(HeldAdapter, Option<f64>)>,
    known: Mutex<Known>,
}

/// What is known by now, so that no file is read twice.
#[derive(Default)]
struct Known {
    bases: BTreeSet<PathBuf>,
    /// Number of an adapter, and the factor of its scale.
    adapters: BTreeMap<PathBuf, (usize, f64)>,
}

impl HeldFiles {
    /// Finds out which files can be read here.
    pub(super) fn open(model: &str, adapters: &[HeldAdapter]) -> Self {
        let open = |path: &str| GgufFile::open(Path::new(path));
        let adapters = adapters.iter().map(|one| (one.clone(), open(&one.path).and_then(|file| file.alpha())));
        let (is_read, adapters) = (open(model).is_some(), adapters.collect());
        Self { model: model.to_owned(), is_read, adapters, known: Mutex::default() }
    }

    /// The start of a hash of all files; `None` if one cannot be read here.
    pub(super) fn hash(model: &str, adapters: &[HeldAdapter]) -> Option<String> {
        let mut paths: Vec<&str> = adapters.iter().map(|one| one.path.as_str()).collect();
        // Their order on the command line changes no answer.
        paths.sort_unstable();
        let mut all = Sha256::new();
        for path in std::iter::once(model).chain(paths) {
            all.update(sha256_of(Path::new(path)).ok()?);
        }
        Some(hex(&all.finalize())[..12].to_owned())
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
                known.adapters.insert(adapter.dir.clone(), self.find(adapter, name)?);
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
        let Some(mut file) = GgufFile::open(Path::new(&self.model)) else { return Ok(()) };
        if file.is_model(&Checkpoint::open(path)?)? {
            return Ok(());
        }
        let (model, path) = (&self.model, path.display());
        Err(Error::user(format!("{name}: its model {model} was not made from {path}: their norms differ"))
            .hint("start llama-server with the base of the search, converted by convert_hf_to_gguf.py"))
    }

    /// The number of an adapter, and what its scale is multiplied by for this server.
    fn find(&self, wanted: &MixedAdapter, name: &str) -> Result<(usize, f64)> {
        for (held, stored) in &self.adapters {
            let file = stored.and_then(|_| GgufFile::open(Path::new(&held.path)));
            let is_it = match file {
                Some(mut file) => file.is_adapter(&wanted.dir)?,
                None => is_named(&held.path, &wanted.dir),
            };
            if !is_it {
                continue;
            }
            let alpha = stored.or_else(|| alpha(&wanted.dir)).unwrap_or(wanted.alpha);
            if alpha == 0.0 {
                return Err(Error::user(format!("{name}: {} has no alpha", held.path))
                    .hint("convert it again by convert_lora_to_gguf.py"));
            }
            return Ok((held.id, wanted.alpha / alpha));
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

/// True if a file has the name of an adapter's directory, or is in a directory of that name.
fn is_named(path: &str, dir: &Path) -> bool {
    let path = Path::new(path);
    let names = [path.file_stem(), path.parent().and_then(Path::file_name)];
    dir.file_name().is_some_and(|name| names.contains(&Some(name)))
}

/// The `lora_alpha` that the converter takes over.
fn alpha(dir: &Path) -> Option<f64> {
    let config = file::read_small(&dir.join("adapter_config.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&config).ok()?["lora_alpha"].as_f64()
}
