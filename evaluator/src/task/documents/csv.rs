//! Documents in CSV: a header and rows. A column that holds only numbers becomes numbers; an empty value is `null`.

use super::{DocumentRow, row, unpack};
use merge_core::error::{Error, Result};
use serde_json::Value;
use std::{collections::HashSet, path::Path};

/// The dialect of a CSV file.
#[derive(Clone, Debug)]
pub(super) struct CsvForm {
    /// Byte between two columns.
    pub(super) delimiter: u8,
    /// Names of the columns; `None` if the first line gives them.
    pub(super) names: Option<Vec<String>>,
}

/// Appends the documents of a file to `rows`.
pub(super) fn read(path: &Path, form: &CsvForm, rows: &mut Vec<DocumentRow>) -> Result<()> {
    let text = unpack::text(path)?;
    let CsvForm { delimiter, names } = form;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(*delimiter)
        .has_headers(names.is_none())
        .flexible(false)
        .from_reader(text.as_bytes());
    let refuse = |e: csv::Error| {
        let line = e.position().map_or_else(String::new, |position| format!(":{}", position.line()));
        Error::user(format!("{}{line}: not CSV: {e}", path.display()))
    };
    let names: Vec<String> = match names {
        Some(names) => names.clone(),
        None => reader.headers().map_err(refuse)?.iter().map(str::to_owned).collect(),
    };
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(Error::user(format!("{}: two columns are called `{twice}`", path.display()))
            .hint("give each column a name of its own"));
    }
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(refuse)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            let message = format!("{}:{line}: columns: {}, not {}", path.display(), record.len(), names.len());
            return Err(Error::user(message).hint("each line has a value for each column"));
        }
        records.push((line, record));
    }
    let all = |column: usize, is: fn(&str) -> bool| {
        records.iter().all(|(_, record)| record[column].is_empty() || is(&record[column]))
    };
    let kinds: Vec<_> = (0..names.len())
        .map(|column| {
            (
                all(column, |text| text.parse::<i64>().is_ok()),
                all(column, |text| text.parse().is_ok_and(f64::is_finite)),
            )
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
        rows.push(row(Value::Object(fields.collect()), format!("{}:{line}", path.display()))?);
    }
    Ok(())
}
