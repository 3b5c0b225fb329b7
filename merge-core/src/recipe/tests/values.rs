//! The meaning of parameters, types and names; and recipes that lose nothing when they are written.

use std::path::Path;

use super::{
    TIES, parse,
    slices::{PARTS, STACKED},
};
use crate::{
    method::{Param, Value, method},
    recipe::{Recipe, lookup},
};

/// A parameter of `ties`.
fn param(name: &str) -> &'static Param {
    let mut params = method("ties").expect("a method").params().iter();
    params.find(|param| param.name == name).expect("its parameter")
}

#[test]
fn reads_every_recipe_that_mergekit_was_run_on() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/cases");
    let mut n = 0;
    for case in std::fs::read_dir(cases).expect("cases") {
        let path = case.expect("a case").path().join("recipe.yaml");
        let text = std::fs::read_to_string(&path).expect("a recipe");
        let recipe = Recipe::parse(&text, &path).unwrap_or_else(|e| panic!("{e}"));
        let again = Recipe::parse(&recipe.to_yaml(), &path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(again, recipe, "{}", path.display());
        n += 1;
    }
    assert!(n > 0);
}

#[test]
fn reads_settings_as_mergekit_does() {
    let value = |setting: &str, name: &str, t: f64| {
        let recipe = parse(&TIES.replace("density: 0.3", &format!("density: {setting}"))).expect(setting);
        lookup([&recipe.models[1].parameters, &recipe.parameters], param("density"), name, t)
    };
    let number = |value| Some(Value::Number(value));
    assert_eq!(value("1e-5", "", 0.0), number(1e-5));
    assert_eq!(value("'1e-5'", "", 0.0), number(1e-5));
    assert_eq!(value("[0, 0.5, 1]", "", 0.25), number(0.25));
    assert_eq!(value("[0, 1]", "", 1.0), number(1.0));
    assert_eq!(value("[0.7]", "", 0.3), number(0.7));
    let list = "[{filter: mlp, value: 0.1}, {filter: '*', value: [0.2, 0.4]}, {value: 0.9}]";
    assert_eq!(value(list, "x.mlp.up", 1.0), number(0.1));
    assert_eq!(value(list, "x.attn", 1.0), number(0.4));
    assert_eq!(value("{filter: mlp, value: 0.1}", "x.mlp", 0.0), number(0.1));
    assert_eq!(value("{filter: mlp, value: 0.1}", "x.attn", 0.0), number(1.0), "the default");
    assert_eq!(value("[{filter: null, value: 0.1}]", "x", 0.0), number(0.1));
    assert_eq!(value("[]", "", 0.0), number(1.0), "the default");

    let flag = |setting: &str, t: f64| {
        let recipe = parse(&format!("{TIES}  normalize: {setting}\n")).expect(setting);
        lookup([&recipe.parameters], param("normalize"), "", t)
    };
    assert_eq!(flag("false", 0.0), Some(Value::Flag(false)));
    assert_eq!(flag("1.0", 0.0), Some(Value::Flag(true)));
    assert_eq!(flag("off", 0.0), Some(Value::Flag(false)), "a word of YAML 1.1");
    assert_eq!(flag("[true, false]", 0.99), Some(Value::Flag(true)));
    assert_eq!(flag("[true, false]", 1.0), Some(Value::Flag(false)));
}

#[test]
fn a_models_parameters_have_the_last_word() {
    let text = TIES.replace("weight: 1", "weight: {filter: mlp, value: 2}");
    let recipe = parse(&text).expect("a good recipe");
    let value = |param: &Param, model: usize, name: &str| {
        lookup([&recipe.models[model].parameters, &recipe.parameters], param, name, 0.0)
    };
    assert_eq!(value(param("weight"), 1, "mlp"), Some(Value::Number(2.0)));
    assert_eq!(value(param("weight"), 1, "attn"), Some(Value::Number(0.5)));
    assert_eq!(value(param("weight"), 2, "mlp"), Some(Value::Number(0.5)));
    assert_eq!(value(param("density"), 2, "mlp"), Some(Value::Number(1.0)));
}

#[test]
fn reading_what_it_wrote_gives_the_same_recipe() {
    let rich = "merge_method: ties
base_model: 'yes'
models:
  - model: '007'
    parameters:
      weight: [0.1, 0.30000000000000004, 1e-300, -0.0, 123456789012345680]
      density: [{filter: 'model.layers.3.', value: 0.71}, {filter: 'a: #b', value: [0, 1]}, {value: 1}]
  - {model: 'x
      y', parameters: {weight: 1.7976931348623157e308}}
parameters: {normalize: true}
dtype: torch.float16
out_dtype: bfloat16
random: {seed: 18446744073709551615}
";
    for text in [rich, TIES, STACKED, PARTS] {
        let recipe = parse(text).expect(text);
        let yaml = recipe.to_yaml();
        let again = parse(&yaml).expect(&yaml);
        assert_eq!(again, recipe, "{yaml}");
        assert_eq!(again.to_yaml(), yaml);
        assert_eq!(again.fingerprint(), recipe.fingerprint());
    }
    let yaml = parse(rich).expect("a good recipe").to_yaml();
    assert!(yaml.contains("[0, 1]"), "{yaml}");
}

#[test]
fn the_fingerprint_is_the_content() {
    let print = |text: &str| parse(text).expect(text).fingerprint();
    let same = TIES.replace("density: 0.3\n      weight: 1", "weight: 1.0 # one\n      density: 3e-1");
    assert_eq!(print(TIES), print(&same));
    let elsewhere = Recipe::parse(TIES, Path::new("other.yaml")).expect("a good recipe");
    assert_eq!(print(TIES), elsewhere.fingerprint());
    assert_ne!(print(TIES), print(&TIES.replace("0.3", "0.30000000000000004")));
    assert_ne!(print(TIES), print(&TIES.replace("- model: chat", "- model: chatty")));
}
