//! Jinja templates as lm-evaluation-harness renders them: undefined names are errors, values look as in Python.

use super::{Doc, regex::Pattern};
use crate::{jinja, python};
use merge_core::{
    error::{Error, Result},
    words::did_you_mean,
    yaml::Mistake,
};
use minijinja::{
    AutoEscape, Environment, ErrorKind, State, UndefinedBehavior, Value as Jinja,
    syntax::SyntaxConfig,
    value::{Enumerator, Kwargs, Object, ValueKind},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The templates of a task, each named by its own text.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    pub(super) fn new() -> Self {
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        let mut env = jinja::environment(syntax.expect("the usual delimiters differ"));
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
            _ => out.write_str(&text(state, value)?).map_err(minijinja::Error::from),
        });
        env.add_filter("string", |state: &State<'_, '_>, value: &Jinja| text(state, value));
        env.add_filter("regex_replace", regex_replace);
        Self(env)
    }

    /// Adds a template, unless it was added before. Fails if it is not valid.
    pub(super) fn add(&mut self, template: &str) -> std::result::Result<(), Mistake> {
        jinja::add(&mut self.0, template, template).map_err(|error| {
            let line = error.line().filter(|_| template.contains('\n')).map(|line| format!(" in line {line} of it"));
            Mistake::new(format!("this is no Jinja template: {}{}", jinja::message(&error), line.unwrap_or_default()))
        })
    }

    /// True if a template has the same text for every document.
    pub(super) fn is_constant(&self, template: &str) -> bool {
        jinja::names(&self.0, template).is_empty()
    }

    /// Renders a template that was added, for a document.
    pub(super) fn render(&self, template: &str, doc: &Doc) -> Result<String> {
        jinja::fill(&self.0, template, Jinja::from_object(Fields(doc.clone()))).map_err(|error| {
            let names = jinja::names(&self.0, template);
            let mut missing: Vec<&String> = names.iter().filter(|name| !doc.contains_key(*name)).collect();
            missing.sort();
            match missing.first() {
                Some(name) if error.kind() == ErrorKind::UndefinedError => no_field(doc, name),
                _ => {
                    let fields = doc.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
                    Error::user(format!("the template cannot be rendered: {}", jinja::message(&error)))
                        .hint(format!("the item's fields are `{fields}`"))
                }
            }
        })
    }
}

/// The value of a document's field; an error if there is none.
pub(super) fn field<'a>(doc: &'a Doc, name: &str) -> Result<&'a Value> {
    doc.get(name).ok_or_else(|| no_field(doc, name))
}

fn no_field(doc: &Doc, name: &str) -> Error {
    let known = doc.keys().map(String::as_str);
    let list = known.clone().collect::<Vec<_>>().join("`, `");
    let error = Error::user(format!("the item has no field `{name}`"));
    match did_you_mean(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`? its fields are `{list}`")),
        None => error.hint(format!("its fields are `{list}`")),
    }
}

/// Converts a JSON value to a Jinja value.
fn jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(flag) => Jinja::from(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => Jinja::from(whole),
            (_, Some(whole), _) => Jinja::from(whole),
            (_, _, x) => Jinja::from(x.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => Jinja::from(items.iter().map(jinja).collect::<Vec<_>>()),
        Value::Object(fields) => Jinja::from_object(Fields(fields.clone())),
    }
}

/// A JSON object, which keeps the order of its keys.
#[derive(Debug)]
struct Fields(Map<String, Value>);

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.0.get(key.as_str()?).map(jinja)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| Jinja::from(key.as_str())).collect())
    }
}

/// Python's `str(value)`.
fn text(state: &State<'_, '_>, value: &Jinja) -> jinja::Fallible<String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(python::str(&json(state, value)?)),
    }
}

/// Converts a value to JSON and pays for it: a value that a template holds twice is copied twice.
fn json(state: &State<'_, '_>, value: &Jinja) -> jinja::Fallible<Value> {
    jinja::pay(state, size_of::<Value>() + value.as_str().map_or(0, str::len))?;
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number if value.is_integer() => value.as_i64().map_or_else(|| value.to_string().into(), Value::from),
        ValueKind::Number => f64::try_from(value.clone()).map_or(Value::Null, Value::from),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.map(|item| json(state, &item)).collect::<jinja::Fallible<_>>()?
        }
        ValueKind::Map => {
            let entry = |key: Jinja| Ok((text(state, &key)?, json(state, &value.get_item(&key)?)?));
            Value::Object(value.try_iter()?.map(entry).collect::<jinja::Fallible<_>>()?)
        }
        _ => Value::from(value.to_string()),
    })
}

/// Python's `re.sub(pattern, repl, string, count)`.
#[expect(clippy::needless_pass_by_value, reason = "filters are called with values")]
fn regex_replace(
    state: &State<'_, '_>,
    string: &str,
    pattern: &str,
    repl: &str,
    kwargs: Kwargs,
) -> jinja::Fallible<String> {
    let count: Option<usize> = kwargs.get("count")?;
    kwargs.assert_all_used()?;
    let count = count.filter(|count| *count > 0).unwrap_or(usize::MAX);
    let pattern = Pattern::new(pattern).map_err(jinja::invalid)?;
    pattern.replace(string, repl, count, jinja::affordable(state)).map_err(jinja::invalid)
}
