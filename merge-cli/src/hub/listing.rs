//! The files of a repository on the hub, and those that a merge needs.

use merge_core::{
    error::{Error, Result},
    file,
    model::belongings,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// A repository's files at a commit.
pub(super) struct Listing {
    /// Commit hash: 40 hexadecimal digits.
    pub(super) commit: String,
    /// The needed files of the top directory, by name; files in folders are never needed.
    pub(super) files: BTreeMap<String, HubPromise>,
}

/// Size and hash of a file, as the hub promises them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubPromise {
    pub(super) size: u64,
    pub(super) hash: Hash,
}

/// The hash of a file, which is its name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// SHA-256 of the content, for large files.
    Sha256(String),
    /// Git's SHA-1 of length and content, for all other files.
    Git(String),
}

impl Hash {
    pub(super) fn etag(&self) -> &str {
        let (Self::Sha256(etag) | Self::Git(etag)) = self;
        etag
    }
}

#[derive(Deserialize)]
struct TreeAnswer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Sibling {
    /// Size and hash; `None` if they are missing or malformed: the hash names a file in the cache.
    fn promise(&self) -> Option<HubPromise> {
        let hash = |text: &str, digits| Some(text.to_owned()).filter(|text| is_hex(text, digits));
        match &self.lfs {
            Some(lfs) => Some(HubPromise { size: lfs.size, hash: Hash::Sha256(hash(&lfs.sha256, 64)?) }),
            None => Some(HubPromise { size: self.size?, hash: Hash::Git(hash(self.blob_id.as_ref()?, 40)?) }),
        }
    }
}

impl Listing {
    /// Parses the hub's answer.
    pub(super) fn read(text: &str) -> Result<Self> {
        let wrong = |what: &str| Error::user(what).hint("is HF_ENDPOINT the address of a hub?");
        let answer: TreeAnswer =
            serde_json::from_str(text).map_err(|e| wrong(&format!("the answer is no listing of a repository: {e}")))?;
        if !is_commit(&answer.sha) {
            return Err(wrong("the answer does not say which commit it is of"));
        }
        let mut files = BTreeMap::new();
        for file in answer.siblings.iter().filter(|file| is_wanted(&file.rfilename)) {
            let promise = file.promise();
            let promise = promise
                .ok_or_else(|| wrong(&format!("the size and the hash of {:?} are not given", file.rfilename)))?;
            files.insert(file.rfilename.clone(), promise);
        }
        Ok(Self { commit: answer.sha, files })
    }

    /// Names of the weight files, or of the index that lists them.
    pub(super) fn heads(&self, repo: &str) -> Result<Vec<String>> {
        let heads = heads(&|name| self.files.contains_key(name));
        if heads.is_empty() {
            return Err(Error::user(format!("{repo} has no weights as safetensors or PyTorch files"))
                .hint("if it has them as GGUF or ONNX, name the repository that those were made from"));
        }
        Ok(heads)
    }
}

/// Weight files of a model and of an adapter, the preferred one first.
const MODEL: [&str; 4] =
    ["model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"];
const ADAPTER: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Names of the weight files, or of the index that lists them.
pub(super) fn heads(has: &dyn Fn(&str) -> bool) -> Vec<String> {
    let first = |names: &[&'static str]| names.iter().find(|name| has(name)).map(|name| (*name).to_owned());
    first(&MODEL).into_iter().chain(first(&ADAPTER)).collect()
}

/// Names of the files that an index of shards lists.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = file::read_text(index).map_err(|e| Error::io("read", index, &e))?;
    let found: Index = serde_json::from_str(&text)
        .map_err(|e| Error::user(format!("{}: not an index of shards: {e}", index.display())))?;
    let shards: BTreeSet<String> = found.weight_map.into_values().collect();
    match shards.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(Error::user(format!("{}: {name:?} is not the name of a file beside it", index.display()))),
        None => Ok(shards),
    }
}

/// True for a small file that a merge needs: configuration, tokenizer and the like, card, licence.
pub(super) fn is_small(name: &str) -> bool {
    const NAMES: [&str; 3] = ["README.md", "adapter_config.json", "config.json"];
    let template = name.rsplit_once('.').is_some_and(|(_, kind)| kind == "jinja");
    let by_name = NAMES.contains(&name) || name.starts_with("tokenizer") || name.starts_with("LICENSE");
    by_name || template || belongings::belongs(name)
}

/// True for a small file that a merge needs, and for a file that may hold weights.
fn is_wanted(name: &str) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    let weights = matches!(kind, "safetensors" | "bin") || is_index(name);
    is_plain(name) && (is_small(name) || weights)
}

/// True for an index, which maps tensors to shards.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

/// True if a name is a plain file name, without a directory and not hidden.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name() == Some(name.as_ref()) && !name.contains(['/', '\\', '\0']) && !name.starts_with('.')
}

/// True if a revision is a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    is_hex(revision, 40)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_model_is_wanted_and_nothing_else_is() {
        for name in [
            "config.json",
            "LICENSE.txt",
            "modeling_own.py",
            "preprocessor_config.json",
            "spiece.model",
            "tekken.json",
            "tokenizer.model.v3",
            "vocab.txt",
            "model-00001-of-00002.safetensors",
        ] {
            assert!(is_wanted(name), "{name}");
        }
        for name in ["model.onnx", "train.sh", "runs/own.py", "..py", ".own.py", "a b.py", "optimizer.pt", "logs.txt"] {
            assert!(!is_wanted(name), "{name}");
        }
    }
}
