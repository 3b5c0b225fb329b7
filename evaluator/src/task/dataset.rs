//! Where documents come from: JSON and CSV files, or data sets that someone else keeps.

use super::{
    Doc,
    definition::{DataFiles, Written},
};
use merge_core::{
    error::{Error, Result},
    item::ItemId,
    recipe::{At, Mistake, known_names},
};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The splits of a data set by name, each a list of JSON objects.
pub type Splits = Vec<(String, Vec<Value>)>;

/// Data sets by name: whoever reads a task says which there are.
pub trait Datasets {
    /// The splits of a data set, each a list of JSON objects; `None` if there is no such data set. `path` is a task's
    /// `dataset_path` and `name` its `dataset_name`.
    fn open(&self, path: &str, name: Option<&str>) -> Result<Option<Splits>>;

    /// What some measures need beside the documents, by the name of a data set; `None` if it is not here.
    fn tool(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// No data sets: tasks name files.
pub struct FilesOnly;

impl Datasets for FilesOnly {
    fn open(&self, _: &str, _: Option<&str>) -> Result<Option<Splits>> {
        Ok(None)
    }
}

/// A document as it came.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Of the document alone, before anything is done with it.
    pub(super) id: ItemId,
    /// Its fields.
    pub(super) doc: Doc,
    /// File and line, for messages.
    pub(super) place: String,
}

/// The splits a task asks for, in the order asked.
pub(super) fn load(
    written: &Written,
    wanted: &[(&'static str, At<String>)],
    datasets: &dyn Datasets,
) -> Result<Vec<Vec<Row>>> {
    let definition = &written.definition;
    let Some(path) = &definition.dataset_path else {
        return Err(Error::user("the task has no documents")
            .at(written.path.display())
            .hint("add `dataset_path: json` and `dataset_kwargs: {data_files: {test: items.jsonl}}`"));
    };
    let files = definition.dataset_kwargs.as_ref().and_then(|kwargs| kwargs.data_files.as_ref());
    match (path.as_str(), files) {
        ("json" | "csv", Some(files)) => {
            let known: Vec<&str> = files.0.iter().map(|(split, _)| split.as_str()).collect();
            let split = |(key, name): &(&'static str, At<String>)| {
                let found = files.0.iter().find(|(split, _)| *split == name.value);
                let (_, names) = found.ok_or_else(|| no_split(written, key, name, &known))?;
                read_files(written, files, names, path.value == "csv")
            };
            wanted.iter().map(split).collect()
        }
        ("json" | "csv", None) => {
            let missing = Mistake::new(format!("`{}` needs files", path.value))
                .hint("add `dataset_kwargs: {data_files: {test: items.jsonl}}`");
            Err(written.error("dataset_path", path.place, missing))
        }
        (_, Some(files)) => {
            let foreign = Mistake::new("files are for `dataset_path: json` or `csv`").hint("remove one of the two");
            Err(written.error("dataset_kwargs", files.place, foreign))
        }
        (name, None) => {
            let part = definition.dataset_name.as_ref().map(|part| part.as_str());
            let place = || written.place("dataset_path", path.place);
            let known = datasets.open(name, part).map_err(|e| e.at(place()))?.ok_or_else(|| {
                Error::user(format!("there is no data set `{name}` here"))
                    .at(place())
                    .hint("`dataset_path: json` reads files; `evomerge tasks` lists the data sets there are")
            })?;
            let names: Vec<&str> = known.iter().map(|(split, _)| split.as_str()).collect();
            let split = |(key, wanted): &(&'static str, At<String>)| {
                let found = known.iter().find(|(split, _)| *split == wanted.value);
                let (split, values) = found.ok_or_else(|| no_split(written, key, wanted, &names))?;
                let place = |i: usize| format!("{name} {split} {i}");
                Ok(uniform(values.iter().enumerate().map(|(i, value)| row(value, place(i))).collect::<Result<_>>()?))
            };
            wanted.iter().map(split).collect()
        }
    }
}

fn no_split(written: &Written, key: &str, name: &At<String>, known: &[&str]) -> Error {
    let mistake = Mistake::new(format!("there is no split `{}`", name.value)).hint(known_names(
        name,
        "the data has",
        known.iter().copied(),
    ));
    written.error(key, name.place, mistake)
}

fn read_files(written: &Written, files: &At<DataFiles>, names: &[String], csv: bool) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in names {
        let path = find(&written.path, name).map_err(|e| e.at(written.place("dataset_kwargs", files.place)))?;
        let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
        let before = rows.len();
        if csv { read_csv(written, &path, &bytes, &mut rows) } else { read_json(written, &path, &bytes, &mut rows) }?;
        if rows.len() == before {
            let hint = if csv { "put one document on each line" } else { "put one JSON object on each line" };
            return Err(Error::user(format!("{}: no item in it", path.display())).hint(hint));
        }
    }
    Ok(uniform(rows))
}

/// The file of that name beside the definition or, if there is none, in the current directory.
fn find(definition: &Path, name: &str) -> Result<PathBuf> {
    let beside = definition.with_file_name("").join(name);
    [&beside, Path::new(name)].into_iter().find(|path| path.exists()).map(Path::to_path_buf).ok_or_else(|| {
        Error::user(format!("there is no item file {}", beside.display()))
            .hint("item files are looked for beside the task file, then in the current directory")
    })
}

/// One object on each line, or one list of them, or a list under a key.
fn read_json(written: &Written, path: &Path, bytes: &[u8], rows: &mut Vec<Row>) -> Result<()> {
    let field = written.definition.dataset_kwargs.as_ref().and_then(|kwargs| kwargs.field.as_deref());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if field.is_some() || bytes.trim_ascii_start().starts_with(b"[") {
        let file = path.display();
        let mut all: Value =
            serde_json::from_slice(bytes).map_err(|e| Error::user(format!("{file}: not JSON: {e}")))?;
        if let Some(field) = field {
            all =
                all.get_mut(field).map(Value::take).ok_or_else(|| Error::user(format!("{file}: no key `{field}`")))?;
        }
        let Value::Array(items) = all else { return Err(Error::user(format!("{file}: no list of items"))) };
        for (i, item) in items.iter().enumerate() {
            rows.push(row(item, format!("{file} [{i}]"))?);
        }
        return Ok(());
    }
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            let place = format!("{}:{}", path.display(), i + 1);
            let value: Value = serde_json::from_slice(line).map_err(|e| not_json(&place, &e))?;
            rows.push(row(&value, place)?);
        }
    }
    Ok(())
}

/// A header and rows; what looks like a number is one if it does in the whole column, and nothing is `null`.
fn read_csv(written: &Written, path: &Path, bytes: &[u8], rows: &mut Vec<Row>) -> Result<()> {
    let kwargs = written.definition.dataset_kwargs.as_ref();
    let given = kwargs.and_then(|kwargs| kwargs.column_names.clone());
    let separator = kwargs.and_then(|kwargs| kwargs.sep.as_ref().or(kwargs.delimiter.as_ref()));
    let delimiter = match separator.map(|separator| (separator, separator.as_bytes())) {
        None => b',',
        Some((_, [byte])) => *byte,
        Some((separator, _)) => {
            let mistake = Mistake::new("columns are separated by one ASCII character");
            return Err(written.error("dataset_kwargs", separator.place, mistake));
        }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).has_headers(given.is_none()).flexible(false).from_reader(bytes);
    let refuse = |e: csv::Error| {
        let line = e.position().map_or_else(String::new, |position| format!(":{}", position.line()));
        Error::user(format!("{}{line}: not CSV: {e}", path.display()))
    };
    let names: Vec<String> = match given {
        Some(names) => names,
        None => reader.headers().map_err(refuse)?.iter().map(str::to_owned).collect(),
    };
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(refuse)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            let message = format!("{}:{line}: {} columns, not {}", path.display(), record.len(), names.len());
            return Err(Error::user(message).hint("each line has a value for each column"));
        }
        records.push((line, record));
    }
    let all = |column: usize, is: fn(&str) -> bool| {
        records.iter().all(|(_, record)| record[column].is_empty() || is(&record[column]))
    };
    let kinds: Vec<_> = (0..names.len())
        .map(|column| {
            (all(column, |text| text.parse::<i64>().is_ok()), all(column, |text| text.parse::<f64>().is_ok()))
        })
        .collect();
    for (line, record) in &records {
        let fields = names.iter().zip(record).zip(&kinds).map(|((name, text), (whole, number))| {
            let value = match text.parse::<f64>() {
                _ if text.is_empty() => Value::Null,
                Ok(_) if *whole => text.parse::<i64>().map_or(Value::Null, Value::from),
                Ok(x) if *number => Value::from(x),
                _ => Value::from(text),
            };
            (name.clone(), value)
        });
        rows.push(row(&Value::Object(fields.collect()), format!("{}:{line}", path.display()))?);
    }
    Ok(())
}

fn row(value: &Value, place: String) -> Result<Row> {
    let Value::Object(doc) = value else {
        return Err(Error::user(format!("{place}: not a JSON object"))
            .hint("an item is one line such as {\"question\": \"…\", \"answer_number\": 18}"));
    };
    Ok(Row { id: id(value.clone()), doc: doc.clone(), place })
}

/// A field that is a fraction somewhere is one everywhere, as where documents are kept in columns.
fn uniform(mut rows: Vec<Row>) -> Vec<Row> {
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

fn id(mut item: Value) -> ItemId {
    item.sort_all_objects();
    let hash = Sha256::digest(item.to_string());
    ItemId(*hash.first_chunk().expect("a SHA-256 has 32 bytes"))
}

/// serde counts lines within the one it was given, so only its column is of use.
fn not_json(place: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    Error::user(format!("{place}:{}: not JSON: {what}", error.column())).hint("an item is one JSON object on one line")
}
