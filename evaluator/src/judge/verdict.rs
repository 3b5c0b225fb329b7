//! Reads what a judge tells: a JSON line for each item, or one JSON text with a list of `scores`.

use super::items::{AskedRow, name_of};
use merge_core::item::{ItemId, ItemScore};
use serde_json::Value;
use std::collections::HashMap;

/// Scores of the items asked, in their order; or what is wrong, in words. `worst` stands for a score that is `null`.
pub(super) fn scores(text: &str, asked: &[AskedRow<'_>], worst: f64) -> Result<Vec<(ItemId, ItemScore)>, String> {
    let rows = rows(text)?;
    if let [AskedRow { item, name: None, .. }] = asked {
        return match &rows[..] {
            [row] => Ok(vec![(*item, score(row, worst)?)]),
            [] => Err("it told no score".to_owned()),
            rows => Err(format!("it told {} scores, but is asked for one number for a model", rows.len())),
        };
    }
    let places: HashMap<&str, usize> =
        asked.iter().enumerate().filter_map(|(place, one)| Some((one.name?, place))).collect();
    let mut found: Vec<Option<ItemScore>> = vec![None; asked.len()];
    for row in &rows {
        let Some(name) = row.get("id").and_then(name_of) else {
            return Err(format!("a score has no `id`: {}", short(&row.to_string())));
        };
        let Some(place) = places.get(name.as_str()) else {
            return Err(format!("it scored the item `{}`, which it was not asked", short(&name)));
        };
        if found[*place].is_some() {
            return Err(format!("it scored the item `{}` twice", short(&name)));
        }
        found[*place] = Some(score(row, worst).map_err(|what| format!("item `{}`: {what}", short(&name)))?);
    }
    let missing: Vec<&str> =
        asked.iter().zip(&found).filter(|(_, score)| score.is_none()).filter_map(|(one, _)| one.name).collect();
    match &missing[..] {
        [] => Ok(asked.iter().zip(found).filter_map(|(one, score)| Some((one.item, score?))).collect()),
        [name] => Err(format!("it told no score for the item `{}`", short(name))),
        [name, ..] => Err(format!(
            "it told no score for {} of {} items, `{}` among them",
            missing.len(),
            asked.len(),
            short(name)
        )),
    }
}

/// The objects of a text: of its lines, or in `scores` of the only one.
fn rows(text: &str) -> Result<Vec<Value>, String> {
    let whole: Option<Value> = serde_json::from_str(text).ok();
    if let Some(Value::Object(mut one)) = whole {
        return match one.remove("scores") {
            Some(Value::Array(rows)) => Ok(rows),
            Some(_) => Err("its `scores` are not a list".to_owned()),
            None => Ok(vec![Value::Object(one)]),
        };
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).map_err(|_| {
                // Python writes them, JSON does not have them.
                let number = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| line.contains(word));
                match number.filter(|_| line.trim_start().starts_with('{')) {
                    Some(word) => format!("a score is {word}, which is no number: {}", short(line)),
                    None => format!("a line of its output is not JSON: {}", short(line)),
                }
            })
        })
        .collect()
}

/// The score of a row: a number, or true or false; `null` if the item could not be scored.
fn score(row: &Value, worst: f64) -> Result<ItemScore, String> {
    let value = match row.get("score") {
        Some(Value::Null) => worst,
        Some(Value::Bool(is_right)) => f64::from(u8::from(*is_right)),
        Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
        Some(other) => return Err(format!("its score is {}, not a number", short(&other.to_string()))),
        None => return Err(format!("there is no `score` in {}", short(&row.to_string()))),
    };
    if !value.is_finite() {
        return Err("its score is not a finite number".to_owned());
    }
    let tokens = row.get("tokens").and_then(Value::as_u64).unwrap_or(0);
    Ok(ItemScore { value, tokens: tokens.try_into().unwrap_or(u32::MAX), truncated: false })
}

/// First 100 characters, without control characters.
pub(super) fn short(text: &str) -> String {
    let mut letters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let start: String = letters.by_ref().take(100).collect();
    if letters.next().is_some() { start + "…" } else { start }
}
