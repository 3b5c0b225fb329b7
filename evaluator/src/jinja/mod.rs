//! Jinja within limits: whatever a template says, filling it ends soon, takes little memory and overflows no stack.
//!
//! Steps and bytes are counted by minijinja itself. What it does not count is counted or limited here: how deep code nests, which
//! is known before it is parsed; how deep values do, which only a `namespace` makes deeper from round to round; and what lists come
//! to that hold another one twice, which hold a third one twice, and so on.

mod code;
#[cfg(test)]
mod tests;

use crate::contained::deep;
use minijinja::{
    Environment, ErrorKind, State, Value,
    syntax::SyntaxConfig,
    value::{ValueKind, ValueOrKwargs},
};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::collections::HashSet;

/// Steps of one filling: 128 MB, and less than a second.
const FUEL: u64 = 2_000_000;
/// What a step pays for, if nothing is done in it but to make or read text.
const BYTES: usize = 64;
/// Operators, brackets and tags of a template: each may be a level that its parser recurses to.
const NESTING: usize = 10_000;
/// Levels of macros, with a cost of four each, and of loops.
const RECURSION: usize = 200;
/// Levels of a value that a `namespace` keeps.
const LEVELS: usize = 64;

pub(crate) type Fallible<T> = Result<T, minijinja::Error>;

/// An environment whose templates keep to the limits. They are added with [`add`] and filled with [`fill`].
pub(crate) fn environment(syntax: SyntaxConfig) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_formatter(|out, state, value| {
        weigh(state, value)?;
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter(code::KEPT, kept);
    environment.add_filter(code::NAMED, |state: &State<'_, '_>, value: Value| weigh(state, &value).map(|()| value));
    environment.add_function("namespace", |state: &State<'_, '_>, defaults: Option<ValueOrKwargs>| {
        let namespace = minijinja::functions::namespace(defaults)?;
        namespace.try_iter()?.try_for_each(|key| check(state, &namespace.get_item(&key)?, LEVELS))?;
        Ok::<_, minijinja::Error>(namespace)
    });
    environment
}

/// Adds a template, or says what is wrong with it.
pub(crate) fn add(environment: &mut Environment<'static>, name: &str, template: &str) -> Fallible<()> {
    let code = code::read(template);
    if code.nesting > NESTING {
        let what = format!("it has more than {NESTING} operators, brackets and tags");
        return Err(minijinja::Error::new(ErrorKind::SyntaxError, what));
    }
    deep(|| environment.add_template_owned(name.to_owned(), code.text))
}

/// The text of a template that was added.
///
/// # Panics
/// If it was not.
pub(crate) fn fill(environment: &Environment<'_>, name: &str, values: Value) -> Fallible<String> {
    deep(|| environment.get_template(name).expect("it was added").render(values))
}

/// The names that a template takes from outside.
///
/// # Panics
/// If it was not added.
pub(crate) fn names(environment: &Environment<'_>, name: &str) -> HashSet<String> {
    deep(|| environment.get_template(name).expect("it was added").undeclared_variables(false))
}

/// What went wrong in a template, without the debugging that minijinja adds.
pub(crate) fn what(error: &minijinja::Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => {
            format!("it takes more than {FUEL} steps, of which each also pays for {BYTES} bytes of text")
        }
        _ => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

/// An error of ours as one of a template.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(crate) fn invalid(error: impl ToString) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string())
}

/// Pays for what a filter of ours is about to make.
pub(crate) fn pay(state: &State<'_, '_>, bytes: usize) -> Fallible<()> {
    state.consume_fuel((bytes / BYTES) as u64 + 1)
}

/// How many bytes can still be paid for.
pub(crate) fn affordable(state: &State<'_, '_>) -> usize {
    let (_, left) = state.fuel_levels().expect("templates have limits");
    (left as usize).saturating_mul(BYTES)
}

/// Pays for all that a value holds, as often as it holds it.
fn weigh(state: &State<'_, '_>, value: &Value) -> Fallible<()> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    value.try_iter()?.try_for_each(|item| {
        pay(state, item.as_str().map_or(0, str::len))?;
        weigh(state, &if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item })
    })
}

/// What a `namespace` is to keep: refused if it is deep, or holds a namespace, which might be the same one.
fn kept(state: &State<'_, '_>, value: Value) -> Fallible<Value> {
    check(state, &value, LEVELS)?;
    Ok(value)
}

fn check(state: &State<'_, '_>, value: &Value, levels: usize) -> Fallible<()> {
    let is_namespace = value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
    if is_namespace {
        return Err(invalid("a namespace in a namespace, which could hold itself"));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    if levels == 0 {
        return Err(invalid(format!("a namespace keeps values of {LEVELS} levels at most")));
    }
    value.try_iter()?.try_for_each(|item| {
        state.consume_fuel(1)?;
        let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
        check(state, &item, levels - 1)
    })
}
