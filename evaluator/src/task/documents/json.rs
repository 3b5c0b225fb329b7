//! Documents in JSON: one object on each line, a list of objects, or such a list under a key.

use super::{DocumentRow, row, unpack};
use merge_core::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Appends the documents of a file to `rows`; `field` is the key of the list, if it is under one.
pub(super) fn read(path: &Path, field: Option<&str>, rows: &mut Vec<DocumentRow>) -> Result<()> {
    let text = unpack::text(path)?;
    let file = path.display();
    if field.is_some() || text.trim_start().starts_with('[') {
        let mut all: Value = serde_json::from_str(&text).map_err(|e| no_json(&e.to_string()).at(&file))?;
        if let Some(field) = field {
            all = all.get_mut(field).map(Value::take).ok_or_else(|| {
                Error::user(format!("{file}: no key `{field}`")).hint("`field` is the key of the list of documents")
            })?;
        }
        let Value::Array(items) = all else {
            return Err(Error::user(format!("{file}: no list of items")).hint("put one JSON object on each line"));
        };
        for (i, item) in items.into_iter().enumerate() {
            rows.push(row(item, format!("{file} [{i}]"))?);
        }
        return Ok(());
    }
    for (i, line) in text.split('\n').enumerate() {
        if !line.trim().is_empty() {
            let place = format!("{file}:{}", i + 1);
            let value: Value = serde_json::from_str(line).map_err(|e| {
                // serde was given a single line, so only its column is useful.
                let text = e.to_string();
                no_json(text.split(" at line ").next().unwrap_or(&text)).at(format!("{place}:{}", e.column()))
            })?;
            rows.push(row(value, place)?);
        }
    }
    Ok(())
}

fn no_json(what: &str) -> Error {
    Error::user(format!("not JSON: {what}")).hint("an item is one JSON object on one line")
}
