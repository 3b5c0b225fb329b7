//! A model in the hub's cache: `refs/REVISION` holds a commit, `snapshots/COMMIT/NAME` links to a blob.

use super::listing::{self, is_commit};
use hf_hub::{Cache, Repo};
use merge_core::{
    error::{Error, Result},
    file,
};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A model's directory in the cache.
pub(super) struct CachePlace {
    cache: Cache,
    repo: Repo,
    root: PathBuf,
}

impl CachePlace {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let repo = Repo::model(repo.to_owned());
        Self { root: cache.join(repo.folder_name()), cache: Cache::new(cache.to_owned()), repo }
    }

    /// Commit of a revision when it was last looked up.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = file::read_text(&self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Directory of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.repo(self.repo.clone()).pointer_path(commit)
    }

    /// Path of a file's content, `blobs/ETAG`.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the directories for the download of a commit.
    pub(super) fn prepare(&self, commit: &str) -> Result<()> {
        for dir in [self.root.join("blobs"), self.snapshot(commit)] {
            create_dir(&dir)?;
        }
        Ok(())
    }

    /// Records the commit of a revision.
    pub(super) fn record_revision(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.root.join("refs").join(revision);
        create_dir(path.parent().unwrap_or(&self.root))?;
        // Written under another name and renamed: a crash leaves no partial file.
        let beside = self.temporary_path("ref");
        fs::write(&beside, commit).and_then(|()| fs::rename(&beside, &path)).map_err(|e| Error::io("write", &path, &e))
    }

    /// Links a file of a commit to its content.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        let beside = self.temporary_path("link");
        let _ = fs::remove_file(&beside);
        symlink(Path::new("../../blobs").join(etag), &beside)
            .and_then(|()| fs::rename(&beside, &path))
            // Without symbolic links, the file itself is moved, as in the hub's own library.
            .or_else(|_| fs::rename(self.blob(etag), &path))
            .map_err(|e| Error::io("write", &path, &e))
    }

    /// Locks a file's download until the result is dropped; waits while another process has it.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<File> {
        let dir = self.cache.path().join(".locks").join(self.repo.folder_name());
        create_dir(&dir)?;
        let path = dir.join(format!("{etag}.lock"));
        let lock = || -> io::Result<File> {
            let file = File::options().create(true).append(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock()?;
                }
                Err(TryLockError::Error(e)) => return Err(e),
            }
            Ok(file)
        };
        lock().map_err(|e| Error::io("lock", &path, &e))
    }

    /// A temporary path that no other process uses and that other tools ignore.
    fn temporary_path(&self, what: &str) -> PathBuf {
        self.root.join(format!(".{what}.{}", std::process::id()))
    }
}

fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)
        .map_err(|e| Error::io("create", dir, &e).or_hint("HF_HOME or HF_HUB_CACHE sets another directory"))
}

/// Name of the first missing weight file of a snapshot.
pub(super) fn missing(dir: &Path) -> Result<Option<String>> {
    let has = |name: &str| dir.join(name).exists();
    let heads = listing::heads(&has);
    for head in heads.iter().filter(|name| listing::is_index(name)) {
        if let Some(shard) = listing::shards(&dir.join(head))?.into_iter().find(|shard| !has(shard)) {
            return Ok(Some(shard));
        }
    }
    let wanted = if has("adapter_config.json") { "adapter_model.safetensors" } else { "model.safetensors" };
    Ok(heads.is_empty().then(|| wanted.to_owned()))
}

/// True if a snapshot has its weights and the files that nearly every model has. Other tools
/// download single files; if one of these is missing, the hub is asked whether it exists.
pub(super) fn has_usual_files(dir: &Path) -> Result<bool> {
    let has = |name: &str| dir.join(name).exists();
    let adapter = has("adapter_config.json");
    let tokenizer = ["tokenizer.json", "tokenizer.model", "vocab.json"].into_iter().any(has);
    let usual = has("README.md") && (adapter || (has("config.json") && tokenizer));
    Ok(usual && missing(dir)?.is_none())
}
