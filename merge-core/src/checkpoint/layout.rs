//! Finds the files that make up a checkpoint.

use super::{dangling, diagnosis};
use crate::{
    error::{Error, Result},
    file,
    model::Config,
    python_json,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// Names of a model's only file, in order of preference. An index of shards has `.index.json` after this name.
pub(super) const SINGLE: [&str; 3] = ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"];

/// The shard of each tensor, according to an index.
type Routes = BTreeMap<String, String>;

/// Files of a checkpoint.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) config: Config,
    /// Names of the files with tensors.
    pub(super) names: Vec<String>,
    /// Path and content of the index, if one is used.
    pub(super) routes: Option<(PathBuf, Routes)>,
    /// Notes on things that were wrong, but could be read all the same.
    pub(super) notes: Vec<String>,
}

/// Names of files with tensors, the index to check them against, and a note.
type MappedParts = (Vec<String>, Option<(PathBuf, Routes)>, Option<String>);

impl Layout {
    /// Finds the files of the model that is at `path`.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let kind = fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
        if !kind.is_dir() {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let dir = path.parent().unwrap_or(Path::new("")).to_owned();
            return Ok(Self { dir, config: Config::default(), names: vec![name], routes: None, notes: Vec::new() });
        }
        let config = read_config(path)?;
        let there = |name: &str| path.join(name).exists();
        let found = SINGLE.into_iter().find(|name| there(name) || there(&listing_of(name)));
        // A preferred file that is a broken link is missing: no other file may take its place.
        let before = SINGLE.into_iter().take_while(|name| found.is_some_and(|found| found != *name));
        for file in before.map(|name| path.join(name)) {
            if let (false, Ok(target)) = (file.exists(), fs::read_link(&file)) {
                return Err(dangling(&file, &target));
            }
        }
        let (names, routes, note) = match found {
            Some(single) if there(&listing_of(single)) => indexed(path, single)?,
            Some(single) => (vec![single.to_owned()], None, None),
            None => {
                match SINGLE.into_iter().map(|single| unlisted(path, single)).find(|found| !matches!(found, Ok(None))) {
                    Some(shards) => shards?.expect("it was looked for"),
                    None => return Err(diagnosis::of_directory(path)),
                }
            }
        };
        let notes = note.map(|note| format!("{}: {note}", path.display())).into_iter().collect();
        Ok(Self { dir: path.to_owned(), config, names, routes, notes })
    }
}

pub(super) fn listing_of(single: &str) -> String {
    format!("{single}.index.json")
}

fn read_config(dir: &Path) -> Result<Config> {
    let path = dir.join("config.json");
    match file::read(&path) {
        Ok(bytes) => python_json::parse(&bytes)
            .map(Config)
            .map_err(|e| Error::user(format!("{}: not a JSON object: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(&path) {
            // A cache of the hub that was copied only in part.
            Ok(target) => {
                let message = format!("{}: leads to {}, which is not there", path.display(), target.display());
                Err(Error::user(message).hint("download the checkpoint again, and it goes on with what is missing"))
            }
            Err(_) => Ok(Config::default()),
        },
        Err(e) => Err(Error::io("read", &path, &e)),
    }
}

/// The files of a model that has an index: those that the index names, if they exist.
///
/// Beside a single file, the index may be of that file alone, or left over from shards that are
/// gone. If some of its shards exist, it is not known which of the two exports is meant.
fn indexed(dir: &Path, single: &str) -> Result<MappedParts> {
    let listing = dir.join(listing_of(single));
    let routes = read_listing(&listing)?;
    let names: BTreeSet<String> = routes.values().cloned().collect();
    let (there, gone): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| dir.join(name).exists());
    if dir.join(single).exists() && !names.contains(single) {
        if there.is_empty() {
            let note = format!("{} is ignored: no file that it names is there, and {single} is", listing_of(single));
            return Ok((vec![single.to_owned()], None, Some(note)));
        }
        let message = format!("{}: holds both {single} and shards that {} lists", dir.display(), listing_of(single));
        return Err(Error::user(message).hint(format!(
            "they may be of different exports: move {single}, or the index and its shards, to another directory"
        )));
    }
    let Some(first) = gone.first() else {
        return Ok((names.into_iter().collect(), Some((listing, routes)), None));
    };
    let which = match gone.len() - 1 {
        0 => ", which is not there".to_owned(),
        more => format!(" and {more} more, which are not there"),
    };
    let others = diagnosis::listed(&shards(dir, single).keys().map(String::as_str).collect::<Vec<_>>());
    Err(Error::user(format!("{}: names `{first}`{which}", listing.display())).hint(if others.is_empty() {
        "the download was not finished: start it again, and it continues with what is missing".to_owned()
    } else {
        format!("the download was not finished, or the index is of another export: {} has {others}", dir.display())
    }))
}

/// Shards without an index: their names say how many there are, and all of them are needed.
fn unlisted(dir: &Path, single: &str) -> Result<Option<MappedParts>> {
    let shards = shards(dir, single);
    let counts: BTreeSet<u32> = shards.values().map(|(_, of)| *of).collect();
    let (Some(n), None) = (counts.first(), counts.iter().nth(1)) else {
        if counts.is_empty() {
            return Ok(None);
        }
        let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
        let message =
            format!("{}: holds shards of several exports, in {} files", dir.display(), counts.join(" and in "));
        return Err(Error::user(message)
            .hint(format!("move those of one export to another directory, or download {}", listing_of(single))));
    };
    let is_there = |number: &u32| shards.values().any(|(shard, _)| shard == number);
    if let Some(missing) = (1..=*n).find(|number| !is_there(number)) {
        let message = format!(
            "{}: {} of {n} shards are there, and no {}: shard {missing} is missing",
            dir.display(),
            shards.len(),
            listing_of(single)
        );
        return Err(Error::user(message)
            .hint("the download was not finished: start it again, and it continues with what is missing"));
    }
    let note = format!("{} is missing; the names of the shards say that all {n} are there", listing_of(single));
    Ok(Some((shards.into_keys().collect(), None, Some(note))))
}

/// Files named like shards (`model-00001-of-00002.safetensors`), each with its number and the number of all.
fn shards(dir: &Path, single: &str) -> BTreeMap<String, (u32, u32)> {
    let (stem, end) = single.rsplit_once('.').expect("a file of weights has an extension");
    let number = |name: &str| {
        let middle = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(end)?.strip_suffix('.')?;
        let (number, of) = middle.split_once("-of-")?;
        Some((number.parse().ok()?, of.parse().ok()?))
    };
    diagnosis::names(dir).into_iter().filter_map(|name| Some((name.clone(), number(&name)?))).collect()
}

fn read_listing(listing: &Path) -> Result<Routes> {
    #[derive(Deserialize)]
    struct Listing {
        weight_map: Routes,
    }

    let again = "download the index again, or delete it: a complete set of shards is then found by its file names";
    let text = file::read_text(listing).map_err(|e| Error::io("read", listing, &e))?;
    let routes = serde_json::from_str::<Listing>(&text)
        .map_err(|e| Error::user(format!("{}: not an index of shards: {e}", listing.display())).hint(again))?
        .weight_map;
    match routes.values().find(|name| Path::new(name).file_name() != Some(name.as_ref()) || name.contains('\0')) {
        None => Ok(routes),
        Some(name) => {
            let message =
                format!("{}: `{}` is not the name of a file beside it", listing.display(), name.escape_debug());
            Err(Error::user(message).hint("download the index again"))
        }
    }
}
