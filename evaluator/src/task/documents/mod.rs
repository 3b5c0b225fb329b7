//! Sources of documents: JSON, CSV and Parquet files, data sets in directories, and data sets that a caller provides.

mod clone;
mod csv;
mod files;
mod json;
mod parquet;
#[cfg(test)]
mod tests;
mod unpack;

use self::{csv::CsvForm, files::BySplit};
use super::{
    Doc,
    definition::{DatasetKwargs, DefinitionFile},
};
use merge_core::{
    error::{Error, Result},
    item::ItemId,
    yaml::{At, Mistake, Place, known_names},
};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The splits of a data set by name; each is a list of JSON objects.
pub type Splits = Vec<(String, Vec<Value>)>;

/// Data sets by name, provided by the caller that reads a task.
pub trait Datasets: Sync {
    /// The splits of a data set; `None` if there is no such data set. `path` is a task's
    /// `dataset_path` and `name` its `dataset_name`.
    fn open(&self, path: &str, name: Option<&str>) -> Result<Option<Splits>>;

    /// The names of all splits of a data set, including those that are not here; empty for an unknown data set.
    fn splits(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }

    /// Path of a tool that some measures need beside the documents, by its data set's name; `None` if it is not here.
    fn tool(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// Provides no data sets, so that tasks can only name files.
pub struct LocalFiles;

impl Datasets for LocalFiles {
    fn open(&self, _: &str, _: Option<&str>) -> Result<Option<Splits>> {
        Ok(None)
    }
}

/// A document as it was read.
#[derive(Clone, Debug)]
pub(super) struct DocumentRow {
    /// Hash of the document as it was read, before `process_docs`.
    pub(super) id: ItemId,
    pub(super) doc: Doc,
    /// File and line, for messages.
    pub(super) place: String,
}

/// Loads the splits that a task needs, in the order of `wanted`.
pub(super) fn load(
    written: &DefinitionFile,
    wanted: &[(&'static str, At<String>)],
    datasets: &dyn Datasets,
) -> Result<Vec<Vec<DocumentRow>>> {
    let (name, source) = DocumentSource::of(written, datasets)?;
    let known: Vec<String> = match &source {
        DocumentSource::Kept(splits) => {
            let here = splits.iter().map(|(split, _)| split.clone());
            datasets.splits(name).into_iter().chain(here).collect()
        }
        DocumentSource::Files(_, splits) => splits.iter().map(|(split, _)| split.clone()).collect(),
    };
    let no_split = |key: &str, named: &At<String>| {
        let known = known_names(named, "the data has", known.iter().map(String::as_str));
        written.error(key, named.place, Mistake::new(format!("there is no split `{}`", named.value)).hint(known))
    };
    // Splits that are not needed now are checked too: a typo should show at once.
    for (key, named) in written.definition.splits() {
        if !known.contains(&named.value) {
            return Err(no_split(key, named));
        }
    }
    let split = |(key, wanted): &(&'static str, At<String>)| {
        let rows = match &source {
            DocumentSource::Kept(splits) => {
                let found = splits.iter().find(|(split, _)| *split == wanted.value);
                let (split, values) = found.ok_or_else(|| no_split(key, wanted))?;
                let row = |(i, value): (usize, &Value)| row(value.clone(), format!("{name} {split} {i}"));
                values.iter().enumerate().map(row).collect::<Result<_>>()?
            }
            DocumentSource::Files(format, splits) => {
                let found = splits.iter().find(|(split, _)| *split == wanted.value);
                let (_, files) = found.ok_or_else(|| no_split(key, wanted))?;
                let mut rows = Vec::new();
                files.iter().try_for_each(|file| read(file, format.as_ref(), &mut rows))?;
                rows
            }
        };
        Ok(uniform(rows))
    };
    wanted.iter().map(split).collect()
}

/// The source of a task's documents.
enum DocumentSource {
    /// A data set of [`Datasets`].
    Kept(Splits),
    /// Files by split; without a format, each is read as the end of its name says.
    Files(Option<Format>, BySplit),
}

/// A format of data files, with its settings.
#[derive(Clone, Debug)]
enum Format {
    Json { field: Option<String> },
    Csv(CsvForm),
    Parquet { columns: Option<Vec<String>> },
}

impl DocumentSource {
    /// Finds the source of a task's documents; also returns the `dataset_path`.
    fn of<'a>(written: &'a DefinitionFile, datasets: &dyn Datasets) -> Result<(&'a str, Self)> {
        let definition = &written.definition;
        let Some(path) = &definition.dataset_path else {
            return Err(Error::user("the task has no documents")
                .at(written.path.display())
                .hint("add `dataset_path: json` and `dataset_kwargs: {data_files: {test: items.jsonl}}`"));
        };
        let nothing = DatasetKwargs::default();
        let kwargs = definition.dataset_kwargs.as_ref().map_or(&nothing, |kwargs| &kwargs.value);
        let format = Format::of(path, kwargs);
        let format = format.map_err(|(place, mistake)| written.error("dataset_kwargs", place, mistake))?;
        let part = definition.dataset_name.as_ref();
        let source = match (format, part) {
            (Some(_), Some(part)) => {
                let mistake = Mistake::new(format!("files of `{}` have no parts", path.value)).hint("remove it");
                return Err(written.error("dataset_name", part.place, mistake));
            }
            (Some(format), None) => Self::Files(Some(format.clone()), named(written, path, kwargs, &format)?),
            (None, part) => {
                let part = part.map(|part| part.as_str());
                let found = kept(written, path, part, datasets);
                let found = found.map_err(|e| e.at(written.place("dataset_path", path.place)))?;
                match &kwargs.columns {
                    None => found,
                    Some(columns) => found
                        .with_columns(columns)
                        .map_err(|mistake| written.error("dataset_kwargs", columns.place, mistake))?,
                }
            }
        };
        Ok((path, source))
    }
}

impl DocumentSource {
    /// The same source with only these columns, which Parquet files alone allow.
    fn with_columns(self, columns: &[String]) -> std::result::Result<Self, Mistake> {
        let parquet = Format::Parquet { columns: Some(columns.to_vec()) };
        let is_parquet = |path: &PathBuf| parquet.is_of(&path.to_string_lossy());
        match self {
            Self::Files(None, splits) if splits.iter().flat_map(|(_, files)| files).all(is_parquet) => {
                Ok(Self::Files(Some(parquet), splits))
            }
            _ => {
                Err(Mistake::new("`columns` is for Parquet files, and these documents are in others").hint("remove it"))
            }
        }
    }
}

/// The files that a task names, by split.
fn named(written: &DefinitionFile, path: &At<String>, kwargs: &DatasetKwargs, format: &Format) -> Result<BySplit> {
    let at = |place: Place| move |e: Error| e.at(written.place("dataset_kwargs", place));
    let directory = |name: &At<String>| {
        let found = files::find(&written.path, name).filter(|path| path.is_dir());
        found.ok_or_else(|| at(name.place)(Error::user(format!("there is no directory `{}`", name.value))))
    };
    let dir = kwargs.data_dir.as_ref().map(directory).transpose()?;
    match (&kwargs.data_files, &dir) {
        (Some(data), dir) => {
            let found = |name: &String| files::named(&written.path, dir.as_deref(), name).map_err(at(data.place));
            let of_split = |(split, names): &(String, Vec<String>)| {
                Ok((split.clone(), names.iter().map(found).collect::<Result<Vec<_>>>()?.concat()))
            };
            data.0.iter().map(of_split).collect()
        }
        (None, Some(dir)) => files::by_split(dir, Some(format)),
        (None, None) => {
            let missing = Mistake::new(format!("`{}` needs files", path.value))
                .hint("add `dataset_kwargs: {data_files: {test: items.jsonl}}`");
            Err(written.error("dataset_path", path.place, missing))
        }
    }
}

/// A data set of `datasets`, or else the one in the directory of this name.
fn kept(written: &DefinitionFile, path: &str, part: Option<&str>, datasets: &dyn Datasets) -> Result<DocumentSource> {
    if let Some(splits) = datasets.open(path, part)? {
        return Ok(DocumentSource::Kept(splits));
    }
    match files::find(&written.path, path) {
        Some(dir) if dir.is_dir() => clone::splits(&dir, part).map(|splits| DocumentSource::Files(None, splits)),
        Some(_) => Err(Error::user(format!("`{path}` is a file, and a directory is expected here"))
            .hint("files are named by `data_files`, with `dataset_path: json`, `csv` or `parquet`")),
        None => Err(Error::user(format!("there is no data set `{path}` here")).hint(
            "`dataset_path: json`, `csv` or `parquet` reads files, and the path of a directory the data set in it; \
             `evomerge tasks` lists the data sets there are",
        )),
    }
}

impl Format {
    /// The format that a `dataset_path` names; `None` for a data set. Refuses settings of other formats.
    fn of(path: &str, kwargs: &DatasetKwargs) -> std::result::Result<Option<Self>, (Place, Mistake)> {
        let settings = [
            ("data_files", kwargs.data_files.as_ref().map(|set| set.place), &["json", "csv", "parquet"][..]),
            ("data_dir", kwargs.data_dir.as_ref().map(|set| set.place), &["json", "csv", "parquet"]),
            ("field", kwargs.field.as_ref().map(|set| set.place), &["json"]),
            ("sep", kwargs.sep.as_ref().map(|set| set.place), &["csv"]),
            ("delimiter", kwargs.delimiter.as_ref().map(|set| set.place), &["csv"]),
            ("column_names", kwargs.column_names.as_ref().map(|set| set.place), &["csv"]),
            ("columns", kwargs.columns.as_ref().map(|set| set.place), &["parquet"]),
        ];
        for (key, place, paths) in settings {
            // A directory may hold files of any format.
            let is_theirs = key == "columns" && !matches!(path, "json" | "csv");
            if let Some(place) = place.filter(|_| !is_theirs && !paths.contains(&path)) {
                let paths = paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ");
                return Err((
                    place,
                    Mistake::new(format!("`{key}` is for `dataset_path:` {paths}")).hint("remove one of the two"),
                ));
            }
        }
        Ok(Some(match path {
            "json" => Self::Json { field: kwargs.field.as_ref().map(|field| field.value.clone()) },
            "parquet" => Self::Parquet { columns: kwargs.columns.as_ref().map(|columns| columns.value.clone()) },
            "csv" => {
                let names = kwargs.column_names.as_ref().map(|names| names.value.clone());
                let delimiter = match (&kwargs.sep, &kwargs.delimiter) {
                    (Some(_), Some(second)) => {
                        let twice = Mistake::new("`sep` and `delimiter` say the same").hint("remove one of them");
                        return Err((second.place, twice));
                    }
                    (separator, other) => separator.as_ref().or(other.as_ref()),
                };
                let delimiter = match delimiter.map(|separator| (separator.place, separator.as_bytes())) {
                    None => b',',
                    Some((_, [byte])) => *byte,
                    Some((place, _)) => {
                        return Err((place, Mistake::new("columns are separated by one ASCII character")));
                    }
                };
                Self::Csv(CsvForm { delimiter, names })
            }
            _ => return Ok(None),
        }))
    }

    /// Divides a file name before the extension of its format, as in `("a", ".json.gz")`.
    fn end(name: &str) -> (&str, &str) {
        let plain = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name.split_at(plain.rfind('.').unwrap_or(plain.len()))
    }

    /// The format of a file by the end of its name, packed or not.
    fn by_name(name: &str) -> Option<Self> {
        let (_, end) = Self::end(name);
        let end = PACKED.iter().find_map(|packed| end.strip_suffix(packed)).unwrap_or(end);
        Some(match end.strip_prefix('.')?.to_ascii_lowercase().as_str() {
            "json" | "jsonl" | "ndjson" => Self::Json { field: None },
            "csv" => Self::Csv(CsvForm { delimiter: b',', names: None }),
            "tsv" => Self::Csv(CsvForm { delimiter: b'\t', names: None }),
            "parquet" => Self::Parquet { columns: None },
            _ => return None,
        })
    }

    /// True if the formats are the same, whatever their settings; CSV files must also have one delimiter.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Csv(one), Self::Csv(other)) => one.delimiter == other.delimiter,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// True if a file's name says that it is of this format.
    fn is_of(&self, name: &str) -> bool {
        Self::by_name(name).is_some_and(|other| std::mem::discriminant(self) == std::mem::discriminant(&other))
    }
}

/// Extensions of packed files.
const PACKED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

/// Appends the documents of a file to `rows`.
fn read(path: &Path, format: Option<&Format>, rows: &mut Vec<DocumentRow>) -> Result<()> {
    let by_name = || Format::by_name(&path.to_string_lossy());
    let format = format.cloned().or_else(by_name).ok_or_else(|| {
        Error::user(format!("{}: this kind of file is unknown", path.display()))
            .hint("documents are in .json, .jsonl, .csv, .tsv or .parquet files")
    })?;
    // Reading a pipe could block forever.
    if !fs::metadata(path).map_err(|e| Error::io("read", path, &e))?.is_file() {
        return Err(Error::user(format!("{}: not a file of documents", path.display())).hint("name a regular file"));
    }
    let before = rows.len();
    match &format {
        Format::Json { field } => json::read(path, field.as_deref(), rows),
        Format::Csv(form) => csv::read(path, form, rows),
        Format::Parquet { columns } => parquet::read(path, columns.as_deref(), rows),
    }?;
    if rows.len() > before {
        return Ok(());
    }
    let error = Error::user(format!("{}: no item in it", path.display()));
    Err(match format {
        Format::Json { .. } => error.hint("put one JSON object on each line"),
        Format::Csv(_) => error.hint("put one document on each line"),
        Format::Parquet { .. } => error,
    })
}

/// Line and column of the character that follows these bytes.
fn place_after(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let column = text.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{}:{column}", text.matches('\n').count() + 1)
}

fn row(value: Value, place: String) -> Result<DocumentRow> {
    let Value::Object(doc) = value else {
        return Err(Error::user(format!("{place}: not a JSON object"))
            .hint("an item is one line such as {\"question\": \"…\", \"answer_number\": 18}"));
    };
    Ok(DocumentRow { id: id(doc.clone().into()), doc, place })
}

/// Turns whole numbers into floats in a field that has a float somewhere, as a columnar store does.
fn uniform(mut rows: Vec<DocumentRow>) -> Vec<DocumentRow> {
    let mut kinds: Map<String, Value> = Map::new();
    for (name, value) in rows.iter().flat_map(|row| &row.doc) {
        if value.is_f64() {
            kinds.insert(name.clone(), Value::Null);
        }
    }
    for (name, value) in rows.iter_mut().flat_map(|row| &mut row.doc) {
        if let Some(x) = value.as_i64().filter(|_| kinds.contains_key(name)) {
            *value = Number::from_f64(x as f64).map_or(Value::Null, Value::Number);
        }
    }
    rows
}

/// Id of an item with this content.
pub(crate) fn id(mut item: Value) -> ItemId {
    item.sort_all_objects();
    let hash = Sha256::digest(item.to_string());
    ItemId(*hash.first_chunk().expect("a SHA-256 has 32 bytes"))
}
