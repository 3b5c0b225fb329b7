//! Licences of models, read from their cards, and that of a merge. The strictest one governs.

mod known;
#[cfg(test)]
mod tests;

use known::Class;
use merge_core::{
    error::{Error, Result},
    file,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Licences of several models, with the models' names.
pub(crate) struct Licences(Vec<(String, Licence)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Licence {
    /// Identifier on the hub; `other` for a licence without one, `unknown` if none is stated.
    id: &'static str,
    /// Name of a licence without an identifier.
    name: Option<String>,
    link: Option<String>,
    class: Class,
}

impl Licences {
    /// Reads the licences of models, given by name and path of a directory or a file in it.
    ///
    /// Fails if a card or licence file cannot be read. One that makes no sense counts as unknown.
    pub(crate) fn of(models: impl Iterator<Item = (String, PathBuf)>) -> Result<Self> {
        let read = |(model, path): (String, PathBuf)| {
            let dir = if path.is_file() { path.parent().unwrap_or(&path) } else { &path };
            Ok((model, Licence::of(dir)?))
        };
        models.map(read).collect::<Result<_>>().map(Self)
    }

    /// All in one line: `licences: apache-2.0 (a, b); cc-by-nc-4.0 (c): non-commercial use only`.
    pub(crate) fn line(&self) -> String {
        let word = if self.groups().len() == 1 { "licence" } else { "licences" };
        format!("{word}: {}", self.list())
    }

    /// The text of [`Self::line`] without the first word.
    pub(crate) fn list(&self) -> String {
        let say = |(licence, models): &(&Licence, Vec<&str>)| {
            let note = licence.note().map_or_else(String::new, |note| format!(": {note}"));
            format!("{} ({}){note}", licence.label(), models.join(", "))
        };
        self.groups().iter().map(say).collect::<Vec<_>>().join("; ")
    }

    /// YAML lines of a merge's card that state its licence: the models' licence if all have the same,
    /// and never a more permissive one.
    pub(crate) fn front_matter(&self) -> Vec<String> {
        let mut licences: Vec<&Licence> = self.groups().into_iter().map(|(licence, _)| licence).collect();
        licences.sort_by_key(|licence| std::cmp::Reverse(licence.class));
        let quoted = |text: &str| Value::from(text).to_string();
        match licences[..] {
            [] => vec!["license: unknown".to_owned()],
            [one] => {
                let name = one.name.as_ref().map(|name| format!("license_name: {}", quoted(&slug(name))));
                let link = one.link.as_ref().map(|link| format!("license_link: {}", quoted(link)));
                [Some(format!("license: {}", one.id)), name, link].into_iter().flatten().collect()
            }
            _ => {
                let labels: Vec<String> = licences.iter().map(|licence| slug(licence.label())).collect();
                vec!["license: other".to_owned(), format!("license_name: {}", quoted(&labels.join("-and-")))]
            }
        }
    }

    /// The restrictions and duties of a merge of these models, the strictest first.
    pub(crate) fn restriction(&self) -> Option<String> {
        let mut groups = self.groups();
        groups.sort_by_key(|(licence, _)| std::cmp::Reverse(licence.class));
        let say = |(licence, models): (&Licence, Vec<&str>)| {
            Some(format!("{} ({}, of {})", licence.note()?, licence.label(), models.join(", ")))
        };
        let said: Vec<String> = groups.into_iter().filter_map(say).collect();
        (!said.is_empty()).then(|| format!("Restricted: {}.", said.join("; ")))
    }

    /// Each distinct licence, with the models that have it.
    fn groups(&self) -> Vec<(&Licence, Vec<&str>)> {
        let mut groups: Vec<(&Licence, Vec<&str>)> = Vec::new();
        for (model, licence) in &self.0 {
            match groups.iter_mut().find(|(known, _)| *known == licence) {
                Some((_, models)) => models.push(model),
                None => groups.push((licence, vec![model])),
            }
        }
        groups
    }
}

impl Licence {
    const UNKNOWN: Self = Self { id: "unknown", name: None, link: None, class: Class::Unknown };

    /// Licence of a directory: the card's, or a licence file's if the card says none or `other`.
    fn of(dir: &Path) -> Result<Self> {
        let card = read(&dir.join("README.md"))?;
        match card.as_deref().and_then(Self::of_card) {
            Some(licence) if licence.id != "other" || licence.name.is_some() => Ok(licence),
            // A file that is more permissive than the card's `other` is not the whole truth.
            Some(other) => Ok(Self::of_files(dir)?.filter(|found| found.class >= other.class).unwrap_or(other)),
            None => Ok(Self::of_files(dir)?.unwrap_or(Self::UNKNOWN)),
        }
    }

    /// Licence in a model card's front matter.
    fn of_card(card: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Front {
            license: Option<Value>,
            license_name: Option<Value>,
            license_link: Option<Value>,
        }
        let front: Front = serde_saphyr::from_str(front_matter(card)?).ok()?;
        let text = |value: &Value| value.as_str().map(tidy).filter(|text| !text.is_empty());
        let ids: BTreeSet<String> = match front.license? {
            Value::Array(ids) => ids.iter().filter_map(text).collect(),
            one => text(&one).into_iter().collect(),
        };
        let name = front.license_name.as_ref().and_then(text);
        let link = front.license_link.as_ref().and_then(text).filter(|link| link.starts_with("https://"));
        let licence = match (Vec::from_iter(ids).as_slice(), name) {
            ([], _) => return None,
            ([id], Some(name)) if id.eq_ignore_ascii_case("other") => Self::named(&name),
            ([id], _) => Self::identified(id),
            // All of the listed licences may apply.
            (ids, _) => {
                let strictest = ids.iter().map(|id| Self::identified(id).class).max().unwrap_or(Class::Unknown);
                Self { id: "other", name: Some(ids.join("-and-")), link: None, class: strictest }
            }
        };
        Some(Self { link, ..licence })
    }

    /// The strictest licence among a directory's licence files.
    fn of_files(dir: &Path) -> Result<Option<Self>> {
        let Ok(entries) = fs::read_dir(dir) else { return Ok(None) };
        let is_licence = |path: &Path| {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_uppercase());
            (name.starts_with("LICENSE") || name.starts_with("LICENCE")) && path.is_file()
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_licence(path)).collect();
        paths.sort();
        let found = paths.iter().map(|path| Ok(read(path)?.map(|text| Self::of_text(&text))));
        Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().max_by_key(|licence| licence.class))
    }

    /// Licence of a licence file's text.
    fn of_text(text: &str) -> Self {
        match known::of_text(text) {
            Some(id) => Self::identified(id),
            None => Self { id: "other", name: None, link: None, class: known::class_of_terms(text) },
        }
    }

    /// Licence with an identifier of the hub.
    fn identified(id: &str) -> Self {
        match known::find(&id.to_lowercase()) {
            Some((id, class)) => Self { id, name: None, link: None, class },
            None => Self::named(id),
        }
    }

    /// Licence with a name of its owner's. It is never permissive: those have identifiers.
    fn named(name: &str) -> Self {
        match known::find(&name.to_lowercase()) {
            Some((id, class)) if class > Class::Permissive && id != "other" => {
                Self { id, name: None, link: None, class }
            }
            _ => Self { id: "other", name: Some(name.to_owned()), link: None, class: known::class_of_name(name) },
        }
    }

    /// Display name.
    fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.id)
    }

    /// Restriction or duty in words.
    fn note(&self) -> Option<&'static str> {
        known::note(self.class, self.label())
    }
}

/// Text of a file, if it exists. Invalid UTF-8 is replaced: the rest of the text still helps.
fn read(path: &Path) -> Result<Option<String>> {
    match file::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

/// The YAML at the top of a card, between two lines `---`.
fn front_matter(card: &str) -> Option<&str> {
    let card = card.trim_start_matches('\u{feff}').trim_start();
    let body = card.strip_prefix("---")?.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n')?;
    let mut end = 0;
    for line in body.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(&body[..end]);
        }
        end += line.len();
    }
    None
}

/// Cleans a text for one line of a terminal, at most 120 characters.
fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(120).collect()
}

/// A name in the hub's form: lower-case letters, digits, `-`, `.`.
fn slug(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(letter).collect();
    text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
