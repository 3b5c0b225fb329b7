//! Baselines of a template, compared as YAML.

use super::*;
use crate::search::SearchFile;
use std::path::Path;

fn check(head: &str, uniform_expected: &str, dare_ties_expected: Option<&str>) {
    let hole = "parameters: {weight: {search: [0, 1]}}";
    let text = format!(
        "{head}\nmodels: [{{model: base}}, {{model: a, {hole}}}, {{model: b, {hole}}}]\ndtype: bfloat16\n\
         parameters: {{weight: 1}}\nrandom: {{seed: 3}}\nsearch: {{budget: 9, objective: [{{task: x}}]}}\n"
    );
    let template = SearchFile::parse(&text, Path::new("s.yaml")).expect("a good search").template;
    let rest = "dtype: bfloat16\nrandom:\n  generator: counter\n  seed: 3\n";
    let whole = |expected: &str| format!("{expected}{rest}");
    assert_eq!(uniform(&template).map(|recipe| recipe.to_yaml()), Some(whole(uniform_expected)));
    assert_eq!(untuned_dare_ties(&template).map(|recipe| recipe.to_yaml()), dare_ties_expected.map(whole));
}

#[test]
fn baselines_merge_what_the_template_merges() {
    // A method of differences does not merge the base; `linear` merges it like any other model.
    check(
        "merge_method: linear",
        "merge_method: linear\nmodels:\n- model: base\n- model: a\n- model: b\nparameters:\n  weight: 1\n",
        None,
    );
    check(
        "merge_method: task_arithmetic\nbase_model: base",
        "merge_method: linear\nmodels:\n- model: a\n- model: b\nparameters:\n  weight: 1\n",
        Some(
            "merge_method: dare_ties\nbase_model: base\nmodels:\n- model: a\n- model: b\nparameters:\n  weight: 0.5\n  \
             density: 0.5\n",
        ),
    );
}
