//! Holes in, errors and filled recipes out.

use std::path::Path;

use super::*;
use crate::{
    names::Layers,
    recipe::{lookup, tests::METHODS},
    search::SearchFile,
};

fn template(hole: &str) -> Result<Template> {
    let text = format!(
        "merge_method: linear
models:
  - model: math
    parameters: {{weight: 0.25}}
  - model: chat
    parameters:
      weight: {hole}
search: {{budget: 9, objective: [{{task: x}}]}}
"
    );
    SearchFile::parse_by(&text, Path::new("s.yaml"), METHODS).map(|file| file.template)
}

fn layers(count: usize) -> Layers {
    let embeddings = vec!["model.embed_tokens.weight".to_string()];
    Layers { count, prefix: "model.layers.".to_string(), embeddings, inside: ["self_attn.q_proj.weight", "mlp.weight", "input_layernorm.weight"].map(str::to_owned).into(), others: std::collections::BTreeMap::default() }
}

fn check(hole: &str, expected: &str) {
    let error = template(hole).expect_err(hole);
    assert_eq!(error.to_string(), format!("s.yaml:7:{expected}"));
}

#[test]
fn refuses_bad_holes() {
    let key = "models[1].parameters.weight";
    check("{search: [1, 0]}", &format!("24: {key}.search: 1 is not less than 0"));
    check("{search: [1]}", &format!("24: {key}.search: expected a list of 2, found 1 entry"));
    check("{search: [0, 1, 2]}", &format!("24: {key}.search: expected a list of 2, found 3 entries"));
    check("{search: 1}", &format!("24: {key}.search: expected a list of 2, found 1"));
    check("{search: [0, x]}", &format!("28: {key}.search[1]: expected a number, found the text `x`"));
    check("{search: [0, 1], init: 2}", &format!("38: {key}.init: 2 is not between 0 and 1"));
    check("{search: [0, 1], groups: 0}", &format!("40: {key}.groups: there must be at least 1 group"));
    check(
        "{search: [0, 1], groups: 2, per: layer}",
        &format!("40: {key}.groups: `groups` and `per` exclude each other"),
    );
    check("{search: [0, 1], per: block}", &format!("37: {key}.per: `block` is not known here"));
    check("{search: [0, 1], ini: 0}", &format!("32: {key}: there is no key `ini`"));
    check("{init: 0}", &format!("15: {key}: `search` is missing"));
    check("{search: [0, 1], value: 0}", &format!("15: {key}: this is half a hole and half a condition"));
    check("{search: [-1e308, 1e308]}", &format!("24: {key}.search: the range is too wide to compute with"));
    check("[{search: [0, 1]}]", &format!("17: {key}[0]: there is no key `search`"));
    let few = template("{search: [0, 1], groups: 5}").expect("a good template").space_over(&[layers(4)]);
    assert_eq!(
        few.expect_err("too many").to_string(),
        "s.yaml:7:40: models[1].weight.groups: there are only 4 layers for 5 groups"
    );
}

/// What a hole becomes at each tensor, and what its dimensions are called.
fn spread(hole: &str, n_layers: usize, genome: &[f64], labels: &[&str], values: &[f64]) {
    let (template, layers) = (template(hole).expect(hole), layers(n_layers));
    let space = template.space_over(std::slice::from_ref(&layers)).expect(hole);
    let names: Vec<&str> = space.dimensions.iter().map(|d| d.label.as_str()).collect();
    assert_eq!(names, labels.iter().map(|label| format!("models[1].weight{label}")).collect::<Vec<_>>());
    let recipe = template.fill(&space, genome);
    // What is written is an ordinary recipe, and reads as what was filled.
    let recipe = Recipe::parse_by(&recipe.to_yaml(), Path::new("best.yaml"), METHODS).expect("an ordinary recipe");
    let mut tensors = vec!["model.embed_tokens.weight".to_string()];
    tensors.extend((0..n_layers).map(|layer| format!("model.layers.{layer}.mlp.weight")));
    tensors.extend(["model.norm.weight".to_string(), "lm_head.weight".to_string()]);
    let weight = METHODS[0].params[0];
    let found: Vec<_> = tensors
        .iter()
        .map(|name| lookup([&recipe.models[1].parameters, &recipe.parameters], &weight, name, 0.0))
        .collect();
    assert_eq!(found, values.iter().map(|value| Some(Value::Number(*value))).collect::<Vec<_>>());
}

#[test]
fn fills_each_tensor_from_its_coordinate() {
    spread("{search: [0, 2]}", 2, &[0.25], &[""], &[0.5; 5]);
    spread(
        "{search: [0, 1], per: layer}",
        11,
        &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.15, 0.25, 0.35, 0.45, 0.9],
        &[
            "[embedding]",
            "[layer 0]",
            "[layer 1]",
            "[layer 2]",
            "[layer 3]",
            "[layer 4]",
            "[layer 5]",
            "[layer 6]",
            "[layer 7]",
            "[layer 8]",
            "[layer 9]",
            "[layer 10]",
            "[head]",
        ],
        &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.15, 0.25, 0.35, 0.45, 0.9, 0.9],
    );
    spread(
        "{search: [0, 1], groups: 2}",
        5,
        &[0.2, 0.8],
        &["[layers 0-1]", "[layers 2-4]"],
        &[0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8, 0.8],
    );
    spread("{search: [0, 1], groups: 1}", 2, &[0.2], &["[layers 0-1]"], &[0.2; 5]);
    spread("{search: [0, 3]}", 1, &[1.0 / 3.1], &[""], &[0.967_742; 4]);
}

#[test]
fn begins_where_it_was_told() {
    for (hole, init) in [
        ("{search: [0, 2]}", 1.0),
        ("{search: [-1, 2], init: -1}", -1.0),
        ("{search: [0, 1.5], init: 1.5}", 1.5),
        ("{search: [0, 1], init: 0.01}", 0.01),
        ("{search: [0, 1], init: 0.97}", 0.97),
    ] {
        let template = template(hole).expect(hole);
        let space = template.space_over(&[layers(2)]).expect(hole);
        let recipe = template.fill(&space, &space.init());
        assert_eq!(recipe.models[1].parameters.get("weight").expect("filled").value, Setting::number(init));
    }
}

#[test]
fn folds_any_number_smoothly_into_the_unit_interval() {
    // Expected values from pycma's BoxConstraintsLinQuadTransformation with al = au = 0.05.
    for (x, expected) in
        [(0.3, 0.3), (0.0, 0.0125), (-0.05, 0.0), (-0.1, 0.0125), (1.0, 0.9875), (1.05, 1.0), (1.2, 0.9)]
    {
        assert!((fold(x) - expected).abs() < 1e-12, "{x}: {} is not {expected}", fold(x));
    }
    let mut last = fold(-8.0);
    for step in 0..160_000 {
        let next = fold(f64::from(step) * 1e-4 - 8.0);
        assert!((0.0..=1.0).contains(&next) && (next - last).abs() < 1.001e-4);
        last = next;
    }
    for x in [f64::NAN, f64::INFINITY, 1e300, -1e300, f64::MIN_POSITIVE] {
        assert!((0.0..=1.0).contains(&fold(x)));
    }
}
