//! A data set of the hub in a directory: selects one part of it and finds the files of each split.

use super::files::{BySplit, by_split, check_single_format, named};
use merge_core::{
    error::{Error, Result},
    file,
    yaml::known_names,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The YAML between the first two lines of `---` in `README.md`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Card {
    configs: Vec<ClonePart>,
}

/// A part of a data set, which the hub calls a configuration.
#[derive(Debug, Deserialize)]
struct ClonePart {
    config_name: String,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    data_files: Option<CloneFiles>,
    #[serde(default)]
    data_dir: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CloneFiles {
    Splits(Vec<SplitFiles>),
    Train(Patterns),
}

#[derive(Debug, Deserialize)]
struct SplitFiles {
    split: String,
    path: Patterns,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Patterns {
    One(String),
    Several(Vec<String>),
}

/// Keys of a part that do not change how documents are read.
const KEYS_WITHOUT_EFFECT: [&str; 4] = ["version", "description", "features", "license"];

/// The files of a data set, or of one part of it, by split.
pub(super) fn splits(dir: &Path, name: Option<&str>) -> Result<BySplit> {
    let readme = dir.join("README.md");
    let card = if readme.is_file() { card(&readme)? } else { Card::default() };
    let Some(part) = part(&card, name).map_err(|e| e.at(dir.display()))? else { return by_split(dir, None) };
    if let Some(key) = part.rest.keys().find(|key| !KEYS_WITHOUT_EFFECT.contains(&key.as_str())) {
        return Err(Error::user(format!("{}: configs: `{key}` is not supported", readme.display()))
            .hint("name the files in the task: `dataset_path: json`, `csv` or `parquet` with `data_files`"));
    }
    let within = part.data_dir.as_ref().map_or_else(|| dir.to_owned(), |inner| dir.join(inner));
    let files = |patterns: &Patterns| -> Result<Vec<_>> {
        let patterns = match patterns {
            Patterns::One(pattern) => std::slice::from_ref(pattern),
            Patterns::Several(patterns) => patterns,
        };
        let found = patterns.iter().map(|pattern| named(&readme, Some(&within), pattern));
        Ok(found.collect::<Result<Vec<_>>>().map_err(|e| e.at(readme.display()))?.concat())
    };
    match &part.data_files {
        None => by_split(&within, None),
        Some(CloneFiles::Train(patterns)) => {
            let splits = vec![("train".to_owned(), files(patterns)?)];
            check_single_format(&within, &splits).map(|()| splits)
        }
        Some(CloneFiles::Splits(splits)) => {
            let splits = splits.iter().map(|SplitFiles { split, path }| Ok((split.clone(), files(path)?)));
            let splits = splits.collect::<Result<BySplit>>()?;
            check_single_format(&within, &splits).map(|()| splits)
        }
    }
}

/// The part with this name; without a name, the only part or the default one.
fn part<'a>(card: &'a Card, name: Option<&str>) -> Result<Option<&'a ClonePart>> {
    let names = card.configs.iter().map(|part| part.config_name.as_str());
    let Some(name) = name else {
        let is_default = |part: &&ClonePart| part.config_name == "default" || part.default;
        return match &card.configs[..] {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            several => several.iter().find(is_default).map(Some).ok_or_else(|| {
                let names = names.collect::<Vec<_>>().join("`, `");
                Error::user("the data set has several parts").hint(format!("`dataset_name` names one of `{names}`"))
            }),
        };
    };
    match card.configs.iter().find(|part| part.config_name == name) {
        None if card.configs.is_empty() && name == "default" => Ok(None),
        None => {
            let hint = if card.configs.is_empty() {
                "it has no parts: remove `dataset_name`".to_owned()
            } else {
                known_names(name, "it has", names)
            };
            Err(Error::user(format!("the data set has no part `{name}`")).hint(hint))
        }
        found => Ok(found),
    }
}

fn card(readme: &Path) -> Result<Card> {
    let text = file::read_text(readme).map_err(|e| Error::io("read", readme, &e))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let block = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"));
    let Some((yaml, _)) = block.and_then(|block| block.split_once("\n---")) else { return Ok(Card::default()) };
    serde_saphyr::from_str(yaml).map_err(|e| {
        let what = e.to_string();
        let what = what.lines().next().unwrap_or_default();
        Error::user(format!("{}: the YAML at its top cannot be read: {what}", readme.display()))
            .hint("name the files in the task: `dataset_path: json`, `csv` or `parquet` with `data_files`")
    })
}
