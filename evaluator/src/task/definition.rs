//! A task's definition file: YAML, strict, every mistake with its line and column.

use std::{fmt, path::Path};

use merge_core::error::{Error, Result, did_you_mean};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use unicode_normalization::UnicodeNormalization;

use super::{
    Split,
    prompt::Prompt,
    rules::{Asking, Language, Rules},
};

/// A task as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Task")]
pub(super) struct Definition {
    /// The task's name.
    #[schemars(with = "String")]
    task: Spanned<String>,
    /// How it is asked.
    #[schemars(with = "Kind")]
    kind: Spanned<Kind>,
    /// What is asked; `{field}` is a field of the item, `{{` and `}}` are braces.
    #[schemars(with = "String")]
    prompt: Spanned<String>,
    /// `generate`: texts that end an answer, and are not part of it.
    #[schemars(with = "Option<Vec<String>>")]
    stop: Option<Spanned<Vec<Spanned<String>>>>,
    /// `generate`: most tokens of an answer.
    #[schemars(with = "Option<usize>")]
    max_tokens: Option<Spanned<usize>>,
    /// Where the right answer is.
    answer: GoldField,
    /// `multiple_choice`: where the choices are.
    #[schemars(with = "Option<ChoicesField>")]
    choices: Option<Spanned<ChoicesField>>,
    /// `generate`: answers in another language are wrong.
    #[schemars(with = "Option<Language>")]
    language: Option<Spanned<Language>>,
    /// The JSONL files with the items.
    items: Files,
    /// The licence of the items.
    license: Option<String>,
}

/// How a task is asked.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The model writes an answer; its number has to be the right one.
    Generate,
    /// The model's likeliest choice has to be the right one.
    MultipleChoice,
    /// How probable the reference answer is: what a model that samples would be right by, without the steps of a score
    /// that is right or wrong. A search learns more from an item by it; a result is better reported by its metric.
    Likelihood,
}

/// Where the right answer is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GoldField {
    /// The item's field: a number for `generate`, the index of the right choice, from 0, for `multiple_choice`,
    /// the text of the reference answer for `likelihood`.
    field: String,
    /// `generate`: a regular expression whose first capture, where it first matches the normalised answer (full-width
    /// forms made ASCII, one space for any white space), holds the number. Without it, the answer's last number counts.
    #[schemars(with = "Option<String>")]
    pattern: Option<Spanned<String>>,
}

/// Where the choices are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChoicesField {
    /// The item's field: a list of texts.
    field: String,
}

/// The item files, relative to the definition.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Files {
    /// One file, divided by the items' hashes.
    One(String),
    /// A file for each split.
    Splits(#[schemars(with = "SplitFiles")] Vec<(Split, String)>),
}

/// A file for each split the task has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SplitFiles {
    /// A search ranks candidates by these items.
    search: Option<String>,
    /// The winner is chosen by these items.
    select: Option<String>,
    /// The end result is scored on these items.
    report: Option<String>,
}

/// A definition that was found sound.
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) license: Option<String>,
    pub(super) rules: Rules,
    pub(super) files: Files,
}

/// Reads a definition; `path` is for messages.
pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed> {
    // Without `no_schema` a number is taken for text where text is expected.
    let options = serde_saphyr::options! { no_schema: true, with_snippet: false };
    let definition: Definition =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| yaml_error(path, e.without_snippet()))?;
    if definition.task.value.is_empty() {
        return Err(Error::user("the task has no name").at(place(path, definition.task.referenced)));
    }
    let prompt =
        Prompt::parse(&definition.prompt.value).map_err(|e| e.at(place(path, definition.prompt.referenced)))?;
    let asking = asking(&definition).map_err(|(location, error)| error.at(place(path, location)))?;
    Ok(Parsed {
        name: definition.task.value,
        license: definition.license,
        rules: Rules { prompt, answer: definition.answer.field, asking },
        files: definition.items,
    })
}

/// What the kind needs and allows; a mistake comes with where it is.
fn asking(definition: &Definition) -> std::result::Result<Asking, (Location, Error)> {
    let Definition { kind, stop, max_tokens, answer, choices, language, .. } = definition;
    let needs = |key: &str, example: &str| {
        let error = Error::user(format!("the task needs `{key}`")).hint(format!("add `{example}`"));
        (kind.referenced, error)
    };
    let foreign = |key: &str, location: Option<Location>, other: &str| match location {
        Some(location) => {
            let error = Error::user(format!("`{key}` is for `kind: {other}`"));
            Err((location, error.hint(format!("remove it, or make the task `{other}`"))))
        }
        None => Ok(()),
    };
    match kind.value {
        Kind::Generate => {
            foreign("choices", choices.as_ref().map(|key| key.referenced), "multiple_choice")?;
            let max_tokens = max_tokens.as_ref().ok_or_else(|| needs("max_tokens", "max_tokens: 256"))?;
            if max_tokens.value == 0 {
                return Err((max_tokens.referenced, Error::user("an answer of 0 tokens is never right")));
            }
            let stop: &[Spanned<String>] = stop.as_ref().map_or(&[], |stop| &stop.value);
            if let Some(empty) = stop.iter().find(|text| text.value.is_empty()) {
                return Err((empty.referenced, Error::user("an empty stop text would end every answer at once")));
            }
            let pattern = answer.pattern.as_ref();
            Ok(Asking::Generate {
                stop: stop.iter().map(|text| text.value.clone()).collect(),
                max_tokens: max_tokens.value,
                pattern: pattern.map(|text| compile(&text.value).map_err(|e| (text.referenced, e))).transpose()?,
                language: language.as_ref().map(|key| key.value),
            })
        }
        Kind::MultipleChoice => {
            foreign("stop", stop.as_ref().map(|key| key.referenced), "generate")?;
            foreign("max_tokens", max_tokens.as_ref().map(|key| key.referenced), "generate")?;
            foreign("answer.pattern", answer.pattern.as_ref().map(|key| key.referenced), "generate")?;
            foreign("language", language.as_ref().map(|key| key.referenced), "generate")?;
            let choices = choices.as_ref().ok_or_else(|| needs("choices", "choices: {field: choices}"))?;
            Ok(Asking::MultipleChoice { choices: choices.value.field.clone() })
        }
        Kind::Likelihood => {
            foreign("choices", choices.as_ref().map(|key| key.referenced), "multiple_choice")?;
            foreign("stop", stop.as_ref().map(|key| key.referenced), "generate")?;
            foreign("max_tokens", max_tokens.as_ref().map(|key| key.referenced), "generate")?;
            foreign("answer.pattern", answer.pattern.as_ref().map(|key| key.referenced), "generate")?;
            foreign("language", language.as_ref().map(|key| key.referenced), "generate")?;
            Ok(Asking::Likelihood)
        }
    }
}

/// An answer pattern, refused where it could never match a normalised answer.
fn compile(pattern: &str) -> Result<Regex> {
    let regex = Regex::new(pattern).map_err(|e| {
        let text = e.to_string();
        let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::user(format!("the pattern `{pattern}` is not a regular expression: {what}"))
    })?;
    if regex.captures_len() < 2 {
        return Err(Error::user(format!("the pattern `{pattern}` captures nothing"))
            .hint("put the number in parentheses, such as `答えは(-?\\d+)です`"));
    }
    for c in pattern.chars() {
        let normal: String = std::iter::once(c).nfkc().collect();
        if normal != c.to_string() {
            return Err(Error::user(format!(
                "the pattern can never match, for `{c}` is `{normal}` in normalised text"
            ))
            .hint(format!("write `{}`", regex::escape(&normal))));
        }
    }
    Ok(regex)
}

fn place(path: &Path, location: Location) -> String {
    format!("{}:{}:{}", path.display(), location.line(), location.column())
}

/// The same mistake in our words.
fn yaml_error(path: &Path, error: &serde_saphyr::Error) -> Error {
    use serde_saphyr::Error as E;
    let ours = match error {
        E::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        E::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        E::SerdeMissingField { field, .. } => Error::user(format!("the key `{field}` is missing")),
        E::DuplicateMappingKey { key: Some(key), .. } => Error::user(format!("the key `{key}` is there twice")),
        E::SerdeInvalidType { unexpected, expected, .. } => {
            Error::user(format!("expected {expected}, found {unexpected}"))
        }
        E::QuotingRequired { value, .. } => {
            Error::user(format!("expected text, found {value}")).hint(format!("if text is meant, write \"{value}\""))
        }
        E::InvalidScalar { ty: "u64", .. } => Error::user("expected a whole number"),
        E::Unexpected { expected: "mapping start", .. } => Error::user("expected `key: value` pairs"),
        other => Error::user(UserMessageFormatter.format_message(other)),
    };
    match error.location().filter(|location| location.line() > 0) {
        Some(location) => ours.at(place(path, location)),
        None => ours.at(path.display()),
    }
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> Error {
    let list = known.join("`, `");
    let error = Error::user(format!("there is no {what} `{word}` here"));
    match did_you_mean(word, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`? known are `{list}`")),
        None => error.hint(format!("known are `{list}`")),
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(FilesVisitor)
    }
}

/// An untagged enum by hand: serde's own would lose the place of a mistake.
struct FilesVisitor;

impl<'de> de::Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file name, or a file name for each of `search`, `select` and `report`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<Files, E> {
        Ok(Files::One(name.to_string()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> std::result::Result<Files, A::Error> {
        let names = SplitFiles::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let names = Split::ALL.into_iter().zip([names.search, names.select, names.report]);
        let names: Vec<_> = names.filter_map(|(split, name)| Some((split, name?))).collect();
        if names.is_empty() {
            return Err(de::Error::custom("`items` names no file for `search`, `select` or `report`"));
        }
        Ok(Files::Splits(names))
    }
}
