//! `evomerge methods`: the table of methods, as the engine has it.

use crate::{args::Methods, screen};
use merge_core::method::{Base, Domain, METHODS, Param, Scope, Value};
use serde_json::json;

pub(crate) fn run(args: &Methods) {
    if args.json {
        let methods: Vec<_> = METHODS
            .iter()
            .map(|method| {
                let params: Vec<_> = method
                    .params()
                    .iter()
                    .map(|p| json!({ "name": p.name, "per_model": p.scope == Scope::Model, "values": domain(p), "default": default(p), "help": p.help }))
                    .collect();
                let base = method.base() == Base::Required;
                json!({ "name": method.name(), "summary": method.summary(), "needs_base_model": base, "parameters": params })
            })
            .collect();
        screen::data(&serde_json::to_string_pretty(&methods).expect("plain data"));
        return;
    }
    for (number, method) in METHODS.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        let base = if method.base() == Base::Required { " (needs base_model)" } else { "" };
        screen::data(&format!("{gap}{}{base}\n  {}", method.name(), method.summary()));
        for p in method.params() {
            let scope = if p.scope == Scope::Model { "per model" } else { "merge" };
            let default = default(p).map_or_else(|| "required".to_owned(), |value| format!("default {value}"));
            screen::data(&format!("    {:<10} {scope:<9}  {:<13}  {default:<14}  {}", p.name, domain(p), p.help));
        }
    }
}

fn domain(param: &Param) -> String {
    match param.domain {
        Domain::Flag => "true or false".to_owned(),
        Domain::REAL => "number".to_owned(),
        Domain::Number { min, max } => format!("{min} to {max}"),
    }
}

fn default(param: &Param) -> Option<String> {
    param.default.map(|value| match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    })
}
