//! `evomerge methods`: lists the merge methods, or shows the details of one.

use crate::{args::Methods, draw::screen};
use merge_core::{
    error::{Error, Result},
    method::{Base, Domain, METHODS, Method, Param, Scope, Value, method},
    words::did_you_mean,
};
use serde_json::json;
use std::fmt::Write as _;

const STRING: &str = "a String takes all that is written";

pub(crate) fn run(args: &Methods) -> Result<()> {
    let one = args.method.as_deref().map(|name| {
        method(name).ok_or_else(|| {
            let known = did_you_mean(name, METHODS.iter().map(|method| method.name()));
            let meant = known.map_or_else(String::new, |known| format!("did you mean `{known}`? "));
            Error::user(format!("there is no method `{name}`")).hint(meant + "`evomerge methods` lists them all")
        })
    });
    match (one.transpose()?, args.json) {
        (Some(method), true) => screen::data(&screen::json(&as_json(method))),
        (Some(method), false) => screen::data(&all_of(method)),
        (None, true) => screen::data(&screen::json(&METHODS.iter().copied().map(as_json).collect::<Vec<_>>())),
        (None, false) => {
            let texts: Vec<String> = METHODS.iter().copied().map(text).collect();
            screen::data(&texts.join("\n\n"));
            screen::say("\n`evomerge methods NAME` shows one with a recipe and where it is from");
        }
    }
    Ok(())
}

fn as_json(method: &dyn Method) -> serde_json::Value {
    let params: Vec<_> = method
        .params()
        .iter()
        .map(|p| json!({ "name": p.name, "per_model": p.scope == Scope::Model, "values": p.domain.to_string(), "default": default(p), "help": p.help }))
        .collect();
    json!({
        "name": method.name(), "summary": method.facts().summary, "needs_base_model": method.base() == Base::Required,
        "parameters": params, "reference": method.facts().reference, "recipe": recipe(method),
    })
}

/// Name, summary and parameters of a method.
fn text(method: &dyn Method) -> String {
    let base = if method.base() == Base::Required { " (needs base_model)" } else { "" };
    let mut text = format!("{}{base}\n  {}", method.name(), method.facts().summary);
    let rows = method.params().iter().map(|p| {
        let scope = if p.scope == Scope::Model { "per model" } else { "merge" };
        let default = default(p).map_or_else(|| "required".to_owned(), |value| format!("default {value}"));
        [p.name.to_owned(), scope.to_owned(), p.domain.to_string(), default, p.help.to_owned()]
    });
    let rows: Vec<[String; 5]> = rows.collect();
    let widest = |column: usize| rows.iter().map(|row| screen::width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(widest).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| screen::padded(cell, *width)).collect();
        write!(text, "\n    {}", cells.join("  ").trim_end()).expect(STRING);
    }
    text
}

/// All details of a method: its use of a base, number of models, a recipe and its reference.
fn all_of(method: &dyn Method) -> String {
    let base = match method.base() {
        Base::Required => "base_model is required: what is merged are the differences from it",
        Base::Merged => "base_model, if there is one, is one more model to merge",
        Base::Optional => "with base_model the differences from it are merged, without it whole models",
    };
    let models = match method.models().into_inner() {
        (1, usize::MAX) => "any number of models".to_owned(),
        (least, usize::MAX) => format!("{least} models or more"),
        (1, 1) => "one model".to_owned(),
        (least, most) if least == most => format!("{least} models"),
        (least, most) => format!("{least} to {most} models"),
    };
    let beside = if method.base() == Base::Required { ", beside the base" } else { "" };
    format!(
        "{}\n\n  {base}\n  {models}{beside}\n\nrecipe:\n\n{}\nfrom: {}",
        text(method),
        recipe(method).lines().fold(String::new(), |text, line| text + "  " + line + "\n"),
        method.facts().reference
    )
}

/// A small example recipe: required parameters, and the densities of models.
fn recipe(method: &dyn Method) -> String {
    let said = |scope: Scope| {
        let params = method.params().iter().filter(move |p| p.scope == scope && !p.unused);
        let shown = params.filter(|p| p.default.is_none() || (scope == Scope::Model && p.name == "density"));
        shown.map(|p| format!("{}: {}", p.name, usual(p))).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("merge_method: {}\n", method.name());
    if method.base() == Base::Required {
        text += "base_model: path/to/base\n";
    }
    text += "models:\n";
    let (least, most) = method.models().into_inner();
    let own = match said(Scope::Model) {
        own if own.is_empty() => own,
        own => format!("\n    parameters: {{{own}}}"),
    };
    for name in ["a", "b"].iter().take(least.max(2).min(most)) {
        writeln!(text, "  - model: path/to/{name}{own}").expect(STRING);
    }
    let merge = said(Scope::Merge);
    if !merge.is_empty() {
        writeln!(text, "parameters: {{{merge}}}").expect(STRING);
    }
    text + "dtype: bfloat16\n"
}

/// An example value of a parameter.
fn usual(param: &Param) -> String {
    match param.domain {
        Domain::Flag => default(param).unwrap_or_else(|| "true".to_owned()),
        Domain::Number { min: 0.0, max: f64::MAX } => "0.001".to_owned(),
        Domain::Number { .. } => "0.5".to_owned(),
    }
}

fn default(param: &Param) -> Option<String> {
    param.default.map(|value| match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    })
}
