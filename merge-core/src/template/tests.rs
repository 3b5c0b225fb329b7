//! Holes, their errors, and the recipes that they are filled to.

use std::path::Path;

use super::*;
use crate::{
    method::METHODS,
    model::layers::Layers,
    recipe::{Setting, lookup},
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
    SearchFile::parse(&text, Path::new("s.yaml")).map(|file| file.template)
}

fn layers(count: usize) -> Layers {
    let embeddings = vec!["model.embed_tokens.weight".to_string()];
    Layers {
        count,
        prefix: "model.layers.".to_string(),
        embeddings,
        inside: ["self_attn.q_proj.weight", "mlp.weight", "input_layernorm.weight"].map(str::to_owned).into(),
        behind: 0,
        others: std::collections::BTreeMap::default(),
        stated_count: None,
        rivals: Vec::new(),
    }
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
    check("{search: [0, x]}", &format!("28: {key}.search[1]: expected a number, or true or false, found the text `x`"));
    check("{search: [0, 1], init: 2}", &format!("38: {key}.init: 2 is not between 0 and 1"));
    check("{search: [0, 1], groups: 0}", &format!("40: {key}.groups: there must be at least 1 group"));
    check(
        "{search: [0, 1], groups: 2, per: layer}",
        &format!("40: {key}.groups: `per` and `groups` exclude each other"),
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
        "s.yaml:7:40: models[1].weight.groups: only 4 layers for 5 groups"
    );
}

/// Checks a hole's value at each tensor, and the labels of its dimensions.
fn spread(hole: &str, n_layers: usize, genome: &[f64], labels: &[&str], values: &[f64]) {
    let (template, layers) = (template(hole).expect(hole), layers(n_layers));
    let space = template.space_over(std::slice::from_ref(&layers)).expect(hole);
    let names: Vec<&str> = space.dimensions.iter().map(|d| d.label.as_str()).collect();
    assert_eq!(names, labels.iter().map(|label| format!("models[1].weight{label}")).collect::<Vec<_>>());
    let recipe = template.fill(&space, genome);
    // The filled recipe is written as an ordinary one, and reads back the same.
    let recipe = Recipe::parse(&recipe.to_yaml(), Path::new("best.yaml")).expect("an ordinary recipe");
    let mut tensors = vec!["model.embed_tokens.weight".to_string()];
    tensors.extend((0..n_layers).map(|layer| format!("model.layers.{layer}.mlp.weight")));
    tensors.extend(["model.norm.weight".to_string(), "lm_head.weight".to_string()]);
    let weight = METHODS[0].params()[0];
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
fn components_and_filters_have_numbers_of_their_own() {
    let genome = [0.1, 0.2, 0.3, 0.4, 0.5];
    let labels = ["[embedding]", "[attention]", "[mlp]", "[norms]", "[head]"];
    // The layers' tensors in `spread` are MLP tensors.
    spread("{search: [0, 1], per: component}", 2, &genome, &labels, &[0.1, 0.3, 0.3, 0.5, 0.5]);
    let both = ["[embedding]", "[layer 0, attention]", "[layer 0, mlp]", "[layer 0, norms]", "[layer 1, attention]"];
    let both = [&both[..], &["[layer 1, mlp]", "[layer 1, norms]", "[head]"]].concat();
    let genome = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
    spread("{search: [0, 1], per: [layer, component]}", 2, &genome, &both, &[0.1, 0.3, 0.6, 0.8, 0.8]);
    let filters = ["[mlp]", "[the rest]"];
    spread("{search: [0, 1], filters: [mlp]}", 2, &[0.2, 0.7], &filters, &[0.7, 0.2, 0.2, 0.7, 0.7]);
    let grouped = ["[layers 0-0, mlp]", "[layers 0-0, the rest]", "[layers 1-1, mlp]", "[layers 1-1, the rest]"];
    let genome = [0.2, 0.4, 0.6, 0.8];
    spread("{search: [0, 1], filters: [mlp], groups: 2}", 2, &genome, &grouped, &[0.4, 0.2, 0.6, 0.8, 0.8]);
}

#[test]
fn knots_are_joined_by_lines() {
    let hole = "{search: [0, 1], knots: 3}";
    let template = template(hole).expect(hole);
    let layers = layers(5);
    let space = template.space_over(std::slice::from_ref(&layers)).expect(hole);
    let labels: Vec<&str> = space.dimensions.iter().map(|d| d.label.as_str()).collect();
    assert_eq!(labels, ["models[1].weight[knot 1]", "models[1].weight[knot 2]", "models[1].weight[knot 3]"]);
    let recipe = template.fill(&space, &[0.2, 0.4, 0.8]);
    let weight = METHODS[0].params()[0];
    let at = |tensor: &str| lookup([&recipe.models[1].parameters], &weight, tensor, layers.depth(tensor));
    let layer = |layer: usize| format!("model.layers.{layer}.mlp.weight");
    let around = ["model.embed_tokens.weight".to_owned(), "lm_head.weight".to_owned()];
    let names: Vec<String> = (0..5).map(layer).chain(around).collect();
    for (name, expected) in names.iter().zip([0.2, 0.3, 0.4, 0.6, 0.8, 0.2, 0.8]) {
        let Some(Value::Number(found)) = at(name) else { panic!("{name} has a number") };
        assert!((found - expected).abs() < 1e-12, "{name}: {found} is not {expected}");
    }
}

#[test]
fn searches_orders_of_magnitude_and_whole_numbers() {
    let filled = |hole: &str, x: f64| {
        let template = template(hole).expect(hole);
        let space = template.space_over(&[layers(2)]).expect(hole);
        template.fill(&space, &[x]).models[1].parameters.get("weight").expect("filled").value.clone()
    };
    assert_eq!(filled("{search: [0.01, 1], scale: log}", 0.5), Setting::number(0.1));
    assert_eq!(filled("{search: [2, 6], integer: true}", 3.0), Setting::number(5.0));
    let whole = template("{search: [2, 6], integer: true, init: 3}").expect("a good hole");
    let space = whole.space_over(&[layers(2)]).expect("a space");
    assert_eq!(space.coordinates(), [Coordinate::Integer { levels: 5, start: 1 }]);
    let key = "models[1].parameters.weight";
    check("{search: [0, 1], scale: log}", &format!("24: {key}.search: 0 has no logarithm"));
    check("{search: [0.5, 2], integer: true}", &format!("24: {key}.search: [0.5, 2] are not whole numbers"));
    check(
        "{search: [1, 2], integer: true, scale: log}",
        &format!("54: {key}.scale: whole numbers are searched one by one, not by their logarithm"),
    );
    check("{search: [false, true]}", &format!("24: {key}.search: true and false are no numbers"));
    check("{search: [0, 1], knots: 1}", &format!("39: {key}.knots: there must be at least 2 knots"));
    check(
        "{search: [0, 1], knots: 2, groups: 2}",
        &format!("39: {key}.knots: `groups` and `knots` exclude each other"),
    );
    check(
        "{search: [0, 1], per: component, filters: [mlp]}",
        &format!("57: {key}.filters: `per` and `filters` exclude each other"),
    );
}

const CHOICES: &str = "merge_method: {choose: [linear, ties]}
base_model: base
fixes: [listed_only]
models:
  - model: {choose: [math, maths]}
    parameters:
      weight: {search: [0, 2]}
      density: {search: [0.1, 1]}
  - model: chat
    parameters: {weight: {search: [0, 1]}, density: 0.5}
search: {budget: 9, objective: [{task: x}]}
";

fn chosen(text: &str) -> Result<Template> {
    SearchFile::parse(text, Path::new("s.yaml")).map(|file| file.template)
}

/// A method leaves out parameters that only the others have, and equal holes are one dimension.
#[test]
fn each_combination_of_choices_is_a_recipe() {
    let template = chosen(CHOICES).expect("good choices");
    let all = vec![layers(2); 4];
    let space = template.space_over(&all).expect("a space");
    let labels: Vec<&str> = space.dimensions.iter().map(|d| d.label.as_str()).collect();
    let expected = ["merge_method", "models[0].model", "models[0].weight", "models[1].weight", "models[0].density"];
    assert_eq!(labels, expected);
    for (genome, method, model, density) in [
        ([0.0, 0.0, 0.5, 0.25, 0.5], "linear", "math", None),
        ([1.0, 1.0, 0.5, 0.25, 0.5], "ties", "maths", Some(Setting::number(0.55))),
    ] {
        let recipe = template.fill(&space, &genome);
        assert_eq!((recipe.merge_method.as_str(), recipe.models[0].model.as_str()), (method, model));
        assert_eq!(recipe.models[0].parameters.get("density").map(|at| at.value.clone()), density);
        assert_eq!(recipe.models[1].parameters.get("weight").expect("set").value, Setting::number(0.25));
    }
}

#[test]
fn refuses_bad_choices() {
    let refused = |from: &str, to: &str| {
        assert!(CHOICES.contains(from));
        chosen(&CHOICES.replacen(from, to, 1)).expect_err(to).to_string()
    };
    let linear = "{choose: [linear, ties]}";
    assert_eq!(
        refused(linear, "{choose: [linear]}"),
        "s.yaml:1:24: merge_method.choose: there is nothing to choose between"
    );
    assert_eq!(
        refused(linear, "{choose: 3}"),
        "s.yaml:1:24: merge_method.choose: expected a list of what to choose from"
    );
    assert_eq!(
        refused(linear, "{choose: [tise, ties]}"),
        "s.yaml:1:25: there is no method `tise`, with `merge_method: tise` and `models[0].model: math`"
    );
    assert_eq!(
        refused(linear, "{choose: [linear, ties], init: 1}"),
        "s.yaml:1:40: merge_method: a block with `choose` must not have other keys"
    );
    let nested = refused("{choose: [math, maths]}", "{choose: [math, {choose: [a, b]}]}");
    assert_eq!(nested, "s.yaml:5:28: models[0].model: a choice cannot contain another choice");
}

/// One dimension for each layer of a hop; an unused layer has no scale.
#[test]
fn a_path_has_a_choice_and_a_scale_for_each_layer() {
    let text = "merge_method: passthrough
path:
  - {model: a, layer_range: [0, 1]}
  - repeats: 2
    hops: [{model: b, layer_range: [1, 3], use: {search: [false, true], init: 0.9}, scale: {search: [0.5, 1.5]}}]
search: {budget: 9, objective: [{task: x}]}
";
    let template = SearchFile::parse(text, Path::new("s.yaml")).expect("a good search").template;
    let space = template.space_over(&[layers(3)]).expect("a space");
    let labels: Vec<&str> = space.dimensions.iter().map(|d| d.label.as_str()).collect();
    let of_hop = |hop: usize| {
        ["use[layer 1]", "use[layer 2]", "scale[layer 1]", "scale[layer 2]"].map(|what| format!("path[{hop}].{what}"))
    };
    assert_eq!(labels, [of_hop(1), of_hop(2)].concat());
    assert_eq!(space.coordinates()[0], Coordinate::Choice { start: vec![1.0 - 0.9, 0.9] });
    let filled = template.fill(&space, &[1.0, 0.0, 0.25, 0.75, 0.0, 0.0, 0.3, 0.3]);
    let expected = "merge_method: passthrough
path:
  - {model: a, layer_range: [0, 1]}
  - {model: b, layer_range: [1, 3], use: [true, false], scale: [0.75, 1]}
  - {model: b, layer_range: [1, 3], use: [false, false], scale: [1, 1]}
";
    let expected = Recipe::parse(expected, Path::new("s.yaml")).expect("a good recipe");
    assert_eq!(filled, expected);
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
    // Expected values are from pycma's BoxConstraintsLinQuadTransformation with al = au = 0.05.
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
