//! Filters, functions and tests in place of minijinja's, which pay for the values that they combine or look through.

use super::{Fallible, invalid, pay, weigh, weigh_all, weigh_indented};
use minijinja::{
    Environment, State, Value, filters,
    functions::dict,
    tests,
    value::{Kwargs, Rest},
};

/// Most spaces for each level of indented JSON.
pub(crate) const WIDEST: usize = 64;
/// Spaces for each level of `pprint`.
const INDENT: usize = 4;

/// Replaces the filters, functions and tests that come with minijinja.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    // `debug` prints everything.
    environment.remove_global("debug");
    environment.add_function("dict", |state: &State<'_, '_>, value: Option<Value>, more: Kwargs| {
        made(state, dict(value, more))
    });
    environment.add_filter("zip", |state: &State<'_, '_>, value: Value, others: Rest<Value>| {
        made(state, filters::zip(state, value, others))
    });
    environment.add_filter("chain", |state: &State<'_, '_>, value: Value, others: Rest<Value>| {
        made(state, filters::chain(state, value, others))
    });
    environment.add_filter("batch", |state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>| {
        made(state, filters::batch(state, value, count, fill))
    });
    environment.add_filter("slice", |state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>| {
        made(state, filters::slice(state, value, count, fill))
    });
    environment.add_filter(
        "groupby",
        |state: &State<'_, '_>, value: Value, attribute: Option<String>, kwargs: Kwargs| {
            weigh(state, &value)?;
            made(state, filters::groupby(value, attribute.as_deref(), kwargs))
        },
    );
    for (name, filter) in [
        ("sort", filters::sort as fn(&State<'_, '_>, Value, Kwargs) -> Fallible<Value>),
        ("unique", filters::unique),
        ("min", filters::min),
        ("max", filters::max),
        ("dictsort", |_, value, kwargs| filters::dictsort(&value, kwargs)),
    ] {
        environment.add_filter(name, move |state: &State<'_, '_>, value: Value, kwargs: Kwargs| {
            weigh(state, &value)?;
            filter(state, value, kwargs)
        });
    }
    environment.add_filter("tojson", to_json);
    environment.add_filter("pprint", |state: &State<'_, '_>, value: &Value| {
        weigh_indented(state, value, INDENT, 0)?;
        Ok::<_, minijinja::Error>(filters::pprint(value))
    });
    for (names, test) in [
        (&["eq", "equalto", "=="][..], tests::is_eq as fn(&Value, &Value) -> bool),
        (&["ne", "!="], tests::is_ne),
        (&["lt", "lessthan", "<"], tests::is_lt),
        (&["le", "<="], tests::is_le),
        (&["gt", "greaterthan", ">"], tests::is_gt),
        (&["ge", ">="], tests::is_ge),
    ] {
        for name in names {
            environment.add_test(*name, move |state: &State<'_, '_>, value: &Value, other: &Value| {
                weigh_all(state, [value])?;
                Ok::<_, minijinja::Error>(test(value, other))
            });
        }
    }
    environment.add_test("in", |state: &State<'_, '_>, value: &Value, other: &Value| {
        weigh_all(state, [value])?;
        tests::is_in(state, value, other)
    });
}

fn made(state: &State<'_, '_>, value: Fallible<Value>) -> Fallible<Value> {
    let value = value?;
    weigh(state, &value)?;
    Ok(value)
}

fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<Value>, options: Kwargs) -> Fallible<Value> {
    let indent = indent.map_or_else(|| options.get("indent"), |indent| Ok(Some(indent)))?;
    // An indent of `true` means 2.
    let width = indent.as_ref().and_then(Value::as_usize).unwrap_or(2);
    if width > WIDEST {
        return Err(invalid(format!("an indent may have at most {WIDEST} spaces")));
    }
    weigh_indented(state, value, if indent.is_some() { width } else { 0 }, 0)?;
    let text = filters::tojson(value, indent, options)?;
    pay(state, text.as_str().map_or(0, str::len))?;
    Ok(text)
}
