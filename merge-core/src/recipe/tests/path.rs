//! Paths: flat in whatever form they are written, and refused if they are wrong.

use super::parse;
use crate::recipe::{PathForm, Recipe};

const PATH: &str = "merge_method: passthrough
base_model: ja
path:
  - {model: ja, layer_range: [0, 1]}
  - repeats: 2
    hops:
      - {model: ja, layer_range: [1, 5], use: [true, false, true, true], scale: [1.0, 1.0, 0.93, 1.1]}
      - {model: math, layer_range: [1, 4], scale: [0.5, 1.0], use: yes}
  - {model: ja, layer_range: [5, 6], scale: 0.97}
path_form: plain
dtype: bfloat16
";

/// The layers that the state passes through, with their scales.
fn steps(recipe: &Recipe) -> Vec<(&str, usize, f64)> {
    let hops = recipe.path.iter();
    hops.flat_map(|hop| hop.steps().map(|(layer, scale)| (hop.model.as_str(), layer, scale))).collect()
}

#[test]
fn a_path_is_flat_and_its_settings_stand_in_its_order() {
    let recipe = parse(PATH).expect("a good recipe");
    assert_eq!(recipe.path_form.map(|form| form.value), Some(PathForm::Plain));
    let labels: Vec<String> = recipe.settings().map(|(label, _)| label).collect();
    let hops = ["path[1].use", "path[1].scale", "path[2].use", "path[2].scale"];
    let again = ["path[3].use", "path[3].scale", "path[4].use", "path[4].scale", "path[5].scale"];
    assert_eq!(labels, [&hops[..], &again[..]].concat());
    let once = [("ja", 1, 1.0), ("ja", 3, 0.93), ("ja", 4, 1.1), ("math", 1, 0.5), ("math", 2, 0.75), ("math", 3, 1.0)];
    assert_eq!(steps(&recipe), [&[("ja", 0, 1.0)], &once[..], &once[..], &[("ja", 5, 0.97)]].concat());
    let names: Vec<&str> = recipe.references().iter().map(|model| model.as_str()).collect();
    assert_eq!(names, ["ja", "math"]);
    let mut seen = Vec::new();
    let copy = recipe.map(|setting| {
        seen.push(setting.clone());
        setting.clone()
    });
    assert_eq!(copy, recipe);
    assert_eq!(seen, recipe.settings().map(|(_, setting)| setting.value.clone()).collect::<Vec<_>>());
}

#[test]
fn each_layer_of_many_has_the_value_that_stands_in_its_place() {
    let flags: Vec<String> = (0..50).map(|layer| (layer % 3 != 0).to_string()).collect();
    let text =
        format!("merge_method: passthrough\npath: [{{model: a, layer_range: [0, 50], use: [{}]}}]", flags.join(", "));
    let recipe = parse(&text).expect("a good recipe");
    let used: Vec<usize> = steps(&recipe).into_iter().map(|(_, layer, _)| layer).collect();
    assert_eq!(used, (0..50).filter(|layer| layer % 3 != 0).collect::<Vec<_>>());
}

#[test]
fn a_path_that_was_written_is_read_as_it_was() {
    let recipe = parse(PATH).expect("a good recipe");
    let yaml = recipe.to_yaml();
    assert_eq!(parse(&yaml).expect(&yaml), recipe, "{yaml}");
    assert_eq!(parse(&yaml).expect(&yaml).fingerprint(), recipe.fingerprint());
}

/// Replaces a piece of a good path; checks the error and its hint.
fn check(good: &str, bad: &str, message: &str, hint: &str) {
    assert!(PATH.contains(good), "{good} is in the recipe");
    let error = parse(&PATH.replacen(good, bad, 1)).expect_err(bad);
    assert_eq!((error.to_string().as_str(), error.advice().unwrap_or_default()), (message, hint), "{bad}");
}

#[test]
fn refuses_a_path_that_leads_nowhere() {
    let all = "`models` or `slices` or `modules` or `path` is missing";
    let good = PATH.split("path:").next().expect("a beginning");
    let error = parse(good).expect_err("no path");
    assert_eq!(error.to_string(), format!("recipes/ja.yaml:1:15: {all}"));
    check(
        "passthrough",
        "linear",
        "recipes/ja.yaml:1:15: merge_method: `linear` does not merge a path, whose layers are taken as they are",
        "write `merge_method: passthrough`; a document of its own can merge what the path goes through",
    );
    check(
        "base_model: ja",
        "models: [{model: ja}]",
        "recipes/ja.yaml:4:3: path: `models` and `path` exclude each other",
        "give one of `models`, `slices`, `modules`, `path`",
    );
    check(
        "[5, 6]",
        "[6, 5]",
        "recipes/ja.yaml:9:30: path[5].layer_range: [6, 5] is reversed",
        "write [first, last + 1]",
    );
    check(
        "[5, 6]",
        "[5, 5]",
        "recipes/ja.yaml:9:30: path[5].layer_range: [5, 5] holds no layer",
        "write [first, last + 1]",
    );
    check("0.97", "0", "recipes/ja.yaml:9:45: path[5].scale: 0 is not above 0", "");
    check("0.97", "true", "recipes/ja.yaml:9:45: path[5].scale: true is not a number", "");
    check("use: yes", "use: 0.5", "recipes/ja.yaml:8:68: path[2].use: 0.5 is not true or false", "");
    check(
        "0.97",
        "[{filter: mlp, value: 2}]",
        "recipes/ja.yaml:9:45: path[5].scale: a setting of a hop cannot depend on a tensor's name",
        "write a value, or one for each layer",
    );
    check(
        "scale: 0.97",
        "scales: 0.97",
        "recipes/ja.yaml:9:38: path[2]: there is no key `scales`",
        "did you mean `scale`? known keys here: `model`, `layer_range`, `use`, `scale`, `repeats`, `hops`",
    );
    check("model: math, ", "", "recipes/ja.yaml:8:9: path[1].hops[1]: `model` is missing", "");
    check(
        "repeats: 2",
        "repeats: 0",
        "recipes/ja.yaml:5:5: path[1]: `repeats` must be at least 1, and `hops` must not be empty",
        "to leave layers out, write `use: false`",
    );
    check(
        "repeats: 2",
        "repeats: 9000",
        "recipes/ja.yaml:5:5: path[1]: these are more than 10000 hops",
        "repeat them fewer times",
    );
    check(
        "    hops:\n",
        "    slices:\n",
        "recipes/ja.yaml:6:5: path[1]: there is no key `slices`",
        "known keys here: `model`, `layer_range`, `use`, `scale`, `repeats`, `hops`",
    );
    check(
        "path_form: plain",
        "parameters: {scale: 2}",
        "recipes/ja.yaml:10:14: parameters.scale: a path takes parameters only in its hops",
        "write `scale` in a hop",
    );
    let stray = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\npath_form: plain";
    let error = parse(stray).expect_err("no path");
    assert_eq!(error.to_string(), "recipes/ja.yaml:3:12: path_form: this applies only to a `path`");
}
