//! Models from the Hugging Face hub, in the cache that all Hugging Face tools share.

mod cache;
mod download;
mod elsewhere;
mod listing;
mod wire;
#[cfg(test)]
mod tests;

use crate::draw::screen;
use cache::CachePlace;
use listing::Listing;
use merge_core::{
    environment::expanded,
    error::{Error, Result},
    file,
    merge::sources::Library,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::Agent;
use wire::{HubFailure, HubWire};

/// HTTP client for a model's server, which may take minutes before it answers.
pub(crate) fn agent(address: &str) -> Result<Agent> {
    if address.starts_with("https:") && !wire::processor_can_encrypt() {
        return Err(Error::machine(format!("{address}: this processor lacks the instructions that encryption needs"))
            .hint("ask by way of something that encrypts, at an address that begins with http://"));
    }
    let certificates = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    wire::agent(certificates.as_deref(), Duration::from_secs(600))
}

/// The hub, configured by `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
pub(crate) struct Hub {
    endpoint: String,
    /// Directory of the cache; `None` if not even a home directory is known.
    cache: Option<PathBuf>,
    /// Access token. It is never shown, so this struct is not `Debug`.
    token: Option<String>,
    /// Certificates to trust instead of Mozilla's.
    certificates: Option<PathBuf>,
    offline: bool,
    /// Pause before the first retry of a broken download; it doubles with each retry.
    pause: Duration,
}

impl Library for Hub {
    fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf> {
        Self::fetch(self, repo, revision)
    }
}

impl Hub {
    pub(crate) fn from_env() -> Self {
        Self::new(&|name| std::env::var(name).ok())
    }

    /// The hub without network access: only its cache.
    pub(crate) fn offline() -> Self {
        Self { offline: true, ..Self::from_env() }
    }

    /// Reads the environment variables in the order of the hub's own library.
    fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let path = |name: &str| set(name).map(|text| PathBuf::from(expanded(&text, variable)));
        let true_ = |name: &str| {
            set(name).is_some_and(|text| ["1", "ON", "YES", "TRUE"].contains(&text.to_uppercase().as_str()))
        };
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            let text = file::read_text(&token_file?).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        });
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| Some(home?.join("hub"))),
            token,
            // TLS libraries do not expand these paths.
            certificates: set("SSL_CERT_FILE").or_else(|| set("REQUESTS_CA_BUNDLE")).map(PathBuf::from),
            offline: true_("HF_HUB_OFFLINE") || true_("TRANSFORMERS_OFFLINE"),
            pause: Duration::from_secs(1),
        }
    }

    /// Directory of a model's files at a branch, a tag or a commit (default: branch `main`). Missing
    /// files are downloaded and checked against the hashes in the hub's listing.
    ///
    /// A complete copy of a commit is used without asking the hub. A branch or a tag is looked up; if
    /// the network fails, the last known copy is used, and a message says so.
    pub(crate) fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf> {
        let revision = revision.unwrap_or("main");
        check_names(repo, revision)?;
        let cache = self.cache.as_ref().ok_or_else(|| {
            Error::user("no directory for the models of the hub is known").hint("set HF_HOME or HF_HUB_CACHE to one")
        })?;
        let place = CachePlace::new(cache, repo);
        let cached = place.commit(revision).map(|commit| place.snapshot(&commit)).filter(|dir| dir.is_dir());
        if self.offline {
            return offline(cached, repo, revision, cache);
        }
        if let Some(dir) = &cached
            && listing::is_commit(revision)
            && cache::has_usual_files(dir)?
        {
            return Ok(dir.clone());
        }
        let wire = HubWire::new(&self.endpoint, self.token.as_deref(), self.certificates.as_deref())?;
        let listing = match wire.listing(repo, revision) {
            Ok(listing) => listing,
            Err(HubFailure::Passing(error)) => match cached {
                Some(dir) if cache::missing(&dir)?.is_none() => {
                    screen::say(&format!("{repo}: {error}; using the copy in the cache, {}", short(&dir)));
                    return Ok(dir);
                }
                _ => return Err(error),
            },
            Err(HubFailure::Lasting(error)) => return Err(error),
        };
        let dir = self.complete(&wire, &place, repo, &listing)?;
        if revision != listing.commit {
            place.record_revision(revision, &listing.commit)?;
        }
        Ok(dir)
    }

    /// Downloads the missing files. The weights come last: a copy with weights is complete.
    fn complete(&self, wire: &HubWire, place: &CachePlace, repo: &str, listing: &Listing) -> Result<PathBuf> {
        let heads = listing.heads(repo)?;
        let (indices, mut weights): (Vec<_>, Vec<_>) = heads.into_iter().partition(|name| listing::is_index(name));
        let small = listing.files.keys().filter(|name| listing::is_small(name)).cloned();
        let download = download::Download { wire, place, repo, listing, pause: self.pause };
        download.all(&small.chain(indices.iter().cloned()).collect::<Vec<_>>())?;
        let dir = place.snapshot(&listing.commit);
        for index in indices {
            let shards = listing::shards(&dir.join(&index))?;
            if let Some(missing) = shards.iter().find(|name| !listing.files.contains_key(*name)) {
                return Err(Error::user(format!(
                    "{repo}: {index} names {missing}, which the repository does not have"
                ))
                .hint("its upload was not finished, or another revision has it"));
            }
            weights.extend(shards);
        }
        download.all(&weights)?;
        Ok(dir)
    }
}

/// The cached copy, if it is complete; used without network access.
fn offline(cached: Option<PathBuf>, repo: &str, revision: &str, cache: &Path) -> Result<PathBuf> {
    let hint = "unset HF_HUB_OFFLINE to download what is missing, or set HF_HOME to where it is";
    let dir = cached.ok_or_else(|| {
        let message = format!("{repo} at {revision} is not in {}, and HF_HUB_OFFLINE is set", cache.display());
        Error::user(message).hint(hint)
    })?;
    match cache::missing(&dir)? {
        None => Ok(dir),
        Some(name) => {
            let message =
                format!("{repo} at {revision}: {name} is not in {}, and HF_HUB_OFFLINE is set", dir.display());
            Err(Error::user(message).hint(hint))
        }
    }
}

/// Refuses invalid names: both become parts of paths and addresses.
fn check_names(repo: &str, revision: &str) -> Result<()> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let part = |text: &str| !text.is_empty() && plain(text) && !text.starts_with(['.', '-']);
    if repo.split('/').count() > 2 || !repo.split('/').all(part) || repo.contains("..") || repo.contains("--") {
        return Err(Error::user(format!("`{repo}` is not the name of a model on the hub"))
            .hint("such a name is `org/name`: letters, digits, `.`, `_` and single `-`"));
    }
    // Git's rules for references, as far as they matter in a path.
    let bad = |part: &str| part.is_empty() || part.starts_with('.') || part.contains("..");
    if revision.split('/').any(bad) || revision.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c)) {
        return Err(Error::user(format!("{repo}: `{revision}` is not the name of a revision"))
            .hint("a revision is a branch, a tag or a commit"));
    }
    Ok(())
}

/// First 12 digits of a snapshot's commit.
fn short(snapshot: &Path) -> String {
    snapshot.file_name().map_or_else(String::new, |name| name.to_string_lossy().chars().take(12).collect())
}
