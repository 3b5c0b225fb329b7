//! `evomerge.json`: the record of a merge, by which it can be checked and repeated.

use merge_core::{
    error::{Error, Result},
    file,
    merge::sources::{Sources, short},
    recipe::Recipe,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// File name of the record in the directory of a merge.
pub(crate) const FILE: &str = "evomerge.json";

/// Record of a merge: its recipe, inputs and outputs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// Version of evomerge that made the merge.
    pub(crate) evomerge: String,
    /// Recipe; its paths are relative to this file.
    pub(crate) recipe: String,
    /// Seed of random masks.
    pub(crate) seed: Option<u64>,
    /// Device that computed the merge.
    pub(crate) device: String,
    /// Models that were read.
    pub(crate) inputs: Vec<InputModel>,
    /// SHA-256, by file name, of every file that was written, except this one and the card.
    pub(crate) outputs: BTreeMap<String, String>,
}

/// A model that was read for a merge.
#[derive(Serialize, Deserialize)]
pub(crate) struct InputModel {
    /// Name in the recipe; of an absolute path, only the last part.
    pub(crate) model: String,
    /// Path; shortened in the same way, because this file may be published.
    pub(crate) path: String,
    /// SHA-256 of the model's files, by name.
    pub(crate) files: BTreeMap<String, String>,
}

impl Provenance {
    /// Makes the record of a merge in `dir`. It lists only sources that these documents name; `inputs`
    /// and `outputs` hold hashes, or are empty if no hashes are wanted.
    pub(crate) fn new(
        documents: &[Recipe],
        sources: &Sources,
        device: &str,
        dir: &Path,
        inputs: Vec<(String, BTreeMap<String, String>)>,
        outputs: BTreeMap<String, String>,
    ) -> Result<Self> {
        let file = dir.join(FILE);
        let moved: Vec<String> =
            documents.iter().map(|one| Ok(one.moved_to(&file)?.to_yaml())).collect::<Result<_>>()?;
        let mut hashes: BTreeMap<String, BTreeMap<String, String>> = inputs.into_iter().collect();
        // In the documents' order: `verify` opens the sources in this order to compare them.
        let (mut inputs, mut named) = (Vec::new(), BTreeSet::new());
        for reference in documents.iter().flat_map(Recipe::references) {
            let is_of = |name: &str| name.strip_suffix(" (adapter)").unwrap_or(name) == reference.value;
            for (name, path) in sources.files().filter(|(name, _)| is_of(name)) {
                if named.insert(name) {
                    let files = hashes.remove(name).unwrap_or_default();
                    inputs.push(InputModel {
                        model: name.split('+').map(without_directory).collect::<Vec<_>>().join("+"),
                        path: without_directory(&path.to_string_lossy()),
                        files,
                    });
                }
            }
        }
        Ok(Self {
            evomerge: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: moved.join("---\n"),
            seed: documents.iter().rev().find_map(|one| one.random.as_ref()).map(|random| random.seed),
            device: device.to_owned(),
            inputs,
            outputs,
        })
    }

    /// Reads the record in a directory.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = file::read_text(&path).map_err(|e| {
            Error::io("read", &path, &e).or_hint("only what `evomerge merge` has written can be verified")
        })?;
        serde_json::from_str(&text).map_err(|e| Error::user(format!("{}: {e}", path.display())))
    }

    /// Reason why merging unchanged inputs again may give another result.
    pub(crate) fn reason_of_difference(&self) -> String {
        match env!("CARGO_PKG_VERSION") {
            this if this == self.evomerge => format!("the recipe in its {FILE} was changed since: merge again"),
            this => format!("it was merged by evomerge {}, and this is {this}: merge again", self.evomerge),
        }
    }

    /// Names, in order, of entries in a merge's directory that the merge did not write.
    pub(crate) fn unlisted_entries(&self, dir: &Path) -> Result<Vec<String>> {
        let unread = |e| Error::io("read", dir, &e);
        let mut unlisted = Vec::new();
        for entry in fs::read_dir(dir).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Without hashes the written files are unknown, but none of them is a directory.
            let listed = self.outputs.contains_key(&name) || (self.outputs.is_empty() && entry.path().is_file());
            if !listed && ![FILE, "README.md"].contains(&name.as_str()) {
                unlisted.push(name);
            }
        }
        unlisted.sort();
        Ok(unlisted)
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}

/// The last part of an absolute path, which would reveal the machine; any other name unchanged.
fn without_directory(name: &str) -> String {
    if Path::new(name).is_absolute() { short(name) } else { name.to_owned() }
}
