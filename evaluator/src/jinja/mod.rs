//! Jinja within limits: whatever a template says, it is soon rendered, takes little memory and overflows no stack.
//!
//! minijinja itself counts steps and bytes. Three other things are limited here: the nesting of code, which is known
//! before it is parsed; the nesting of values, which only a `namespace` can deepen from round to round; and lists
//! that hold another one twice, which holds a third one twice, and so on. Such lists are paid for in full wherever a
//! list is made of others, and wherever their contents are looked through.

mod code;
#[cfg(test)]
mod tests;
mod weighed;

use crate::contained::on_deep_stack;
use minijinja::{
    Environment, ErrorKind, State, Value,
    syntax::SyntaxConfig,
    value::{ValueKind, ValueOrKwargs},
};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::collections::HashSet;
pub(crate) use weighed::WIDEST;

/// Most steps of one rendering: 128 MB, and less than a second.
const FUEL: u64 = 2_000_000;
/// Bytes of text that a step pays for, if it does nothing but make or read text.
const BYTES: usize = 64;
/// Most operators, brackets and tags of a template: the parser may recurse one level for each.
const NESTING: usize = 10_000;
/// Most levels of macros, which count four each, and of loops.
const RECURSION: usize = 200;
/// Most levels of a value that a `namespace` keeps.
const LEVELS: usize = 64;

pub(crate) type Fallible<T> = Result<T, minijinja::Error>;

/// An environment with limits for its templates. They are added with [`add`] and rendered with [`fill`].
pub(crate) fn environment(syntax: SyntaxConfig) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(|state, value, method, args| {
        weigh_all(state, args.iter().chain([value]))?;
        unknown_method_callback(state, value, method, args)
    });
    environment.set_formatter(|out, state, value| {
        weigh(state, value)?;
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter(code::KEPT, kept);
    environment.add_filter(code::WEIGHED, |state: &State<'_, '_>, value: Value| weigh(state, &value).map(|()| value));
    environment.add_filter(code::REPEATED, repeated);
    weighed::add_to(&mut environment);
    environment.add_function("namespace", |state: &State<'_, '_>, defaults: Option<ValueOrKwargs>| {
        let namespace = minijinja::functions::namespace(defaults)?;
        namespace.try_iter()?.try_for_each(|key| check(state, &namespace.get_item(&key)?, LEVELS))?;
        Ok::<_, minijinja::Error>(namespace)
    });
    environment
}

/// Adds a template; fails if it is not valid.
pub(crate) fn add(environment: &mut Environment<'static>, name: &str, template: &str) -> Fallible<()> {
    let code = code::read(template);
    if code.nesting > NESTING {
        let what = format!("it has more than {NESTING} operators, brackets and tags");
        return Err(minijinja::Error::new(ErrorKind::SyntaxError, what));
    }
    on_deep_stack(|| environment.add_template_owned(name.to_owned(), code.text))
}

/// Renders a template that was added.
///
/// # Panics
/// If it was not added.
pub(crate) fn fill(environment: &Environment<'_>, name: &str, values: Value) -> Fallible<String> {
    on_deep_stack(|| environment.get_template(name).expect("it was added").render(values))
}

/// The names that a template takes from outside.
///
/// # Panics
/// If it was not added.
pub(crate) fn names(environment: &Environment<'_>, name: &str) -> HashSet<String> {
    on_deep_stack(|| environment.get_template(name).expect("it was added").undeclared_variables(false))
}

/// The message of a template's error, without the debugging text of minijinja.
pub(crate) fn message(error: &minijinja::Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => {
            format!("rendering takes more than {FUEL} steps ({BYTES} bytes of text count as one step)")
        }
        _ => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

/// Turns an error of ours into one of a template.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(crate) fn invalid(error: impl ToString) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string())
}

/// Pays for bytes that a filter of ours is about to make.
pub(crate) fn pay(state: &State<'_, '_>, bytes: usize) -> Fallible<()> {
    state.consume_fuel((bytes / BYTES) as u64 + 1)
}

/// Number of bytes that can still be paid for.
pub(crate) fn affordable(state: &State<'_, '_>) -> usize {
    let (_, left) = state.fuel_levels().expect("templates have limits");
    (left as usize).saturating_mul(BYTES)
}

/// Pays for all that a value holds, as often as it holds it.
fn weigh(state: &State<'_, '_>, value: &Value) -> Fallible<()> {
    weigh_indented(state, value, 0, 0)
}

/// Pays as [`weigh`] does, and for the indent of each line, once for each level.
fn weigh_indented(state: &State<'_, '_>, value: &Value, indent: usize, level: usize) -> Fallible<()> {
    if !is_composite(value) {
        return Ok(());
    }
    value.try_iter()?.try_for_each(|item| {
        pay(state, item.as_str().map_or(0, str::len) + indent * (level + 1))?;
        let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
        if value.kind() == ValueKind::Map {
            pay(state, item.as_str().map_or(0, str::len))?;
        }
        weigh_indented(state, &item, indent, level + 1)
    })
}

/// Pays for texts, and for all that values hold.
fn weigh_all<'a>(state: &State<'_, '_>, values: impl IntoIterator<Item = &'a Value>) -> Fallible<()> {
    values.into_iter().try_for_each(|value| {
        pay(state, value.as_str().map_or(0, str::len))?;
        weigh(state, value)
    })
}

fn is_composite(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// Checks a value for `*`: its copies share inner lists, so those would not be paid for.
fn repeated(state: &State<'_, '_>, value: Value) -> Fallible<Value> {
    weigh(state, &value)?;
    if is_composite(&value) && value.try_iter()?.any(|item| is_composite(&item)) {
        return Err(invalid("`*` cannot repeat a list of lists"));
    }
    Ok(value)
}

/// Checks a value for a `namespace`: it may not nest deep, nor hold a namespace, which might be the same one.
fn kept(state: &State<'_, '_>, value: Value) -> Fallible<Value> {
    check(state, &value, LEVELS)?;
    Ok(value)
}

fn check(state: &State<'_, '_>, value: &Value, levels: usize) -> Fallible<()> {
    let is_namespace = value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
    if is_namespace {
        return Err(invalid("a namespace cannot hold a namespace, which could be itself"));
    }
    if !is_composite(value) {
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
