//! Opens the models that recipes name: checkpoints, checkpoints with an adapter, and results of other recipes.

#[cfg(test)]
mod tests;
mod unchanged;

use self::unchanged::FileStates;
use crate::{
    adapter::Adapted,
    checkpoint::Checkpoint,
    error::{Error, Result},
    merge::Merge,
    model::{
        Weights,
        belongings::{self, Belongings},
        hash::sha256_of,
        layers::Layers,
    },
    recipe::{Location, Recipe, locate},
    tokenizer::TokenFiles,
    yaml::At,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Provides models that are named as a hub names them.
pub trait Library: Sync {
    /// The directory with a repository's files at a revision; fetches it if it is not there.
    fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf>;
}

/// A library without repositories: every model is on disk.
pub struct FilesOnly;

impl Library for FilesOnly {
    fn fetch(&self, repo: &str, _revision: Option<&str>) -> Result<PathBuf> {
        Err(Error::user(format!("{repo}: no such file or directory")).hint("download it first"))
    }
}

/// The opened models of a recipe, by their names in it.
pub struct Sources {
    /// In recipe order, each once; the base is last if it is not among the models.
    entries: Vec<SourceEntry>,
    /// Models read from disk, by their names in the recipe.
    files: Vec<(String, Files)>,
    /// State of the files when they were opened.
    seen: FileStates,
    /// Notes for the user on earlier recipes.
    notes: Vec<String>,
}

/// An opened model, and facts that are found out once, however many merges are planned.
#[derive(Clone)]
struct SourceEntry {
    name: String,
    weights: Arc<dyn Weights>,
    tokens: Arc<TokenFiles>,
    beside: Arc<OnceLock<Result<Belongings>>>,
}

impl SourceEntry {
    fn new(name: String, weights: Arc<dyn Weights>) -> Self {
        let tokens = Arc::new(TokenFiles::new(name.clone(), Arc::clone(&weights)));
        Self { name, weights, tokens, beside: Arc::default() }
    }
}

/// The directory or file that a model was read from.
enum Files {
    Checkpoint(Arc<Checkpoint>),
    Adapter(PathBuf),
}

impl Sources {
    /// Opens every model that a recipe or a template names. Names of `earlier` recipes stand for
    /// their results, which are computed only as far as they are read.
    ///
    /// Fails if a model cannot be found or is damaged, or if an earlier recipe cannot be carried out.
    pub fn open<S>(recipe: &Recipe<S>, earlier: &[Recipe], library: &dyn Library) -> Result<Self> {
        Self::open_all(std::slice::from_ref(recipe), earlier, library)
    }

    /// Opens every model that any of several recipes names, as [`Sources::open`] does.
    pub fn open_all<S>(recipes: &[Recipe<S>], earlier: &[Recipe], library: &dyn Library) -> Result<Self> {
        let mut sources =
            Self { entries: Vec::new(), files: Vec::new(), seen: FileStates::default(), notes: Vec::new() };
        for stage in earlier {
            sources.add(stage, library)?;
            let merge = Merge::plan(stage, &sources.of(stage))?;
            sources.notes.extend_from_slice(merge.notes());
            let name = stage.name.as_ref().map_or_else(String::new, |name| name.value.clone());
            sources.entries.push(SourceEntry::new(name, Arc::new(merge)));
        }
        let mut entries: Vec<SourceEntry> = Vec::new();
        for recipe in recipes {
            sources.add(recipe, library)?;
            for entry in sources.of(recipe).entries {
                if entries.iter().all(|known| known.name != entry.name) {
                    entries.push(entry);
                }
            }
        }
        Ok(Self { entries, ..sources })
    }

    /// The models that a recipe names, in its order; models that only earlier recipes name are not among them.
    ///
    /// # Panics
    /// If these sources were not opened for the recipe.
    #[must_use]
    pub fn of<S>(&self, recipe: &Recipe<S>) -> Self {
        let entry = |reference: &At<String>| self.entries[self.position(reference)].clone();
        let entries = recipe.references().into_iter().map(entry).collect();
        Self { entries, files: Vec::new(), seen: FileStates::default(), notes: Vec::new() }
    }

    fn add<S>(&mut self, recipe: &Recipe<S>, library: &dyn Library) -> Result<()> {
        for reference in recipe.references() {
            if self.entries.iter().all(|entry| entry.name != reference.value) {
                let weights = self.load(recipe, reference, library)?;
                self.entries.push(SourceEntry::new(reference.value.clone(), weights));
            }
        }
        Ok(())
    }

    fn load<S>(
        &mut self,
        recipe: &Recipe<S>,
        reference: &At<String>,
        library: &dyn Library,
    ) -> Result<Arc<dyn Weights>> {
        let file = &recipe.file;
        let found = locate(file, reference)?;
        let at = |e: Error| e.at(reference.place.of(file));
        let path = |location: &Location| match location {
            Location::Path(path) => Ok(path.clone()),
            Location::Hub { repo, revision } => library.fetch(repo, revision.as_deref()).map_err(at),
        };
        let name = reference.value.clone();
        let checkpoint = Arc::new(Checkpoint::open(&path(&found.model)?).map_err(at)?);
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let same = |(_, files): &&(String, Files)| match files {
            Files::Checkpoint(known) => canonical(known.path()) == canonical(checkpoint.path()),
            Files::Adapter(_) => false,
        };
        // With an adapter it is another model.
        if let Some((other, _)) =
            self.files.iter().find(same).filter(|(other, _)| !other.contains('+') && found.lora.is_none())
        {
            return Err(at(Error::user(format!("`{name}` and `{other}` are the same model"))
                .hint("call it by one name, so that it is one model")));
        }
        self.seen.add(&name, checkpoint.hashed_files());
        self.files.push((name.clone(), Files::Checkpoint(Arc::clone(&checkpoint))));
        let Some(lora) = found.lora else { return Ok(checkpoint) };
        let adapter = path(&lora)?;
        let adapted = match &recipe.tie_word_embeddings {
            Some(At { value: false, .. }) => Adapted::open_untied(checkpoint, &adapter),
            _ => Adapted::open(checkpoint, &adapter),
        };
        let adapted = adapted.map_err(at)?;
        let called = format!("{name} (adapter)");
        self.seen.add(&called, ADAPTER.iter().map(|file| adapter.join(file)).filter(|path| path.exists()));
        self.files.push((called, Files::Adapter(adapter)));
        Ok(Arc::new(adapted))
    }

    /// The model with this name in the recipe.
    ///
    /// # Panics
    /// If the recipe that the sources were opened for does not name it.
    pub fn get(&self, name: &str) -> &Arc<dyn Weights> {
        &self.entries[self.position(name)].weights
    }

    /// Files that belong to the model at a position of [`Sources::iter`], beside its weights.
    pub(crate) fn beside(&self, position: usize) -> Result<&Belongings> {
        let SourceEntry { weights, beside, .. } = &self.entries[position];
        beside.get_or_init(|| belongings::of(&**weights)).as_ref().map_err(Clone::clone)
    }

    /// Place of the model at a position of [`Sources::iter`], for messages.
    pub(crate) fn place(&self, position: usize) -> String {
        self.entries[position].weights.place()
    }

    /// Tokens of the model at a position of [`Sources::iter`], according to its files.
    pub(crate) fn tokens(&self, position: usize) -> &TokenFiles {
        &self.entries[position].tokens
    }

    /// Position of a model in [`Sources::iter`].
    ///
    /// # Panics
    /// If the recipe that the sources were opened for does not name it.
    pub fn position(&self, name: &str) -> usize {
        let found = self.entries.iter().position(|known| known.name == name);
        found.unwrap_or_else(|| panic!("`{name}` was not opened"))
    }

    /// Names and models, in recipe order; the base is last if it is not among the models.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Weights>)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), &entry.weights))
    }

    /// Layers of the model that gives the result its configuration.
    pub fn layers<S>(&self, recipe: &Recipe<S>) -> Layers {
        Layers::of(&**self.get(donor(recipe)))
    }

    /// Directories and files that were read, by the models' names in the recipe.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().map(|(name, files)| match files {
            Files::Checkpoint(checkpoint) => (name.as_str(), checkpoint.path()),
            Files::Adapter(dir) => (name.as_str(), dir.as_path()),
        })
    }

    /// Notes for the user on how the models were read.
    pub fn notes(&self) -> Vec<String> {
        let notes = |files: &Files| match files {
            Files::Checkpoint(checkpoint) => checkpoint.notes().to_vec(),
            Files::Adapter(_) => Vec::new(),
        };
        self.notes.iter().cloned().chain(self.files.iter().flat_map(|(_, files)| notes(files))).collect()
    }

    /// The SHA-256 of the files that were read, by model and by file name. Reads every byte.
    pub fn sha256(&self) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        let hash = |files: &Files| match files {
            Files::Checkpoint(checkpoint) => checkpoint.sha256(),
            Files::Adapter(dir) => adapter_sha256(dir),
        };
        self.files.iter().map(|(name, files)| Ok((name.clone(), hash(files)?))).collect()
    }

    /// Labels of the models for tables: the last part of a name, or all of it if two would be the same.
    pub fn labels(&self) -> Vec<String> {
        let short: Vec<String> = self.iter().map(|(name, _)| short(name)).collect();
        let unique = |label: &String| short.iter().filter(|other| *other == label).count() == 1;
        self.iter()
            .zip(&short)
            .map(|((name, _), label)| if unique(label) { label.clone() } else { name.to_owned() })
            .collect()
    }
}

/// The last part of a path or a hub name.
pub fn short(reference: &str) -> String {
    Path::new(reference).file_name().map_or_else(|| reference.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The model whose configuration and tokenizer the result has: the base, else the first.
pub(crate) fn donor<S>(recipe: &Recipe<S>) -> &str {
    let first = || recipe.references().first().map(|reference| reference.as_str());
    recipe.base_model.as_ref().map(|base| base.as_str()).or_else(first).expect("a recipe names a model")
}

/// Files of an adapter.
const ADAPTER: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"];

fn adapter_sha256(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for name in ADAPTER {
        let path = dir.join(name);
        if path.exists() {
            hashes.insert(name.to_owned(), sha256_of(&path)?);
        }
    }
    Ok(hashes)
}
