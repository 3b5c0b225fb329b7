//! Recipes in, errors word for word out; and what recipes mean.

use std::path::Path;

use super::*;
use crate::method::{Base, Domain};

const UNIT: Domain = Domain::Number { min: 0.0, max: 1.0 };
const ANY: Domain = Domain::Number { min: f64::NEG_INFINITY, max: f64::INFINITY };

const fn param(name: &'static str, scope: Scope, domain: Domain, default: Option<Value>) -> Param {
    Param { name, scope, domain, default, help: "some help", unused: false }
}

const WEIGHT: Param = param("weight", Scope::Model, ANY, None);
const DENSITY: Param = param("density", Scope::Model, UNIT, Some(Value::Number(1.0)));
const NORMALIZE: Param = param("normalize", Scope::Merge, Domain::Flag, Some(Value::Flag(true)));

/// Enough methods to read recipes by.
pub(crate) const METHODS: &[MethodInfo] = &[
    MethodInfo { name: "linear", params: &[WEIGHT, NORMALIZE], base: Base::Merged },
    MethodInfo { name: "slerp", params: &[param("t", Scope::Merge, UNIT, None)], base: Base::Required },
    MethodInfo { name: "ties", params: &[WEIGHT, DENSITY, NORMALIZE], base: Base::Required },
    MethodInfo { name: "passthrough", params: &[], base: Base::Merged },
];

const TIES: &str = "merge_method: ties
base_model: base
models:
  - model: base
  - model: math
    parameters:
      density: 0.3
      weight: 1
  - model: chat
parameters:
  weight: 0.5
";

fn parse(text: &str) -> Result<Recipe> {
    Recipe::parse_by(text, Path::new("recipes/ja.yaml"), METHODS)
}

/// Replaces a piece of a good recipe; the answer is the error and its hint.
fn check(good: &str, bad: &str, message: &str, hint: &str) {
    assert!(TIES.contains(good), "{good} is in the recipe");
    let error = parse(&TIES.replacen(good, bad, 1)).expect_err(bad);
    assert_eq!((error.to_string().as_str(), error.advice().unwrap_or_default()), (message, hint), "{bad}");
}

#[test]
fn refuses_what_the_method_cannot_do() {
    check(
        "density: 0.3",
        "density: 1.3",
        "recipes/ja.yaml:7:16: models[1].parameters.density: 1.3 is not between 0 and 1",
        "`evomerge methods` lists what each parameter may be",
    );
    check(
        "ties",
        "tises",
        "recipes/ja.yaml:1:15: there is no method `tises`",
        "did you mean `ties`? `evomerge methods` lists them all",
    );
    check(
        "      weight",
        "      wieght",
        "recipes/ja.yaml:8:7: models[1].parameters: `ties` has no parameter `wieght`",
        "did you mean `weight`? its parameters: `weight`, `density`, `normalize`",
    );
    check(
        "      weight: 1",
        "      normalize: true",
        "recipes/ja.yaml:8:7: models[1].parameters.normalize: this parameter is the merge's, not a model's",
        "move it to the recipe's own `parameters`",
    );
    check(
        "  weight: 0.5",
        "  normalize: 0.5",
        "recipes/ja.yaml:11:14: parameters.normalize: 0.5 is not true or false",
        "",
    );
    check("weight: 0.5", "weight: true", "recipes/ja.yaml:11:11: parameters.weight: true is not a number", "");
    check(
        "  weight: 0.5",
        "  density: 0.5",
        "recipes/ja.yaml:9:12: models[2]: `ties` needs `weight`: some help",
        "set it under this model's `parameters`, or for all models under the recipe's own",
    );
    check(
        "base_model: base\n",
        "",
        "recipes/ja.yaml:1:15: `ties` needs a `base_model`",
        "name the model that the others were trained from",
    );
}

#[test]
fn refuses_a_merge_without_what_its_method_needs() {
    let text = "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]";
    let error = parse(text).expect_err("no t");
    assert_eq!(error.to_string(), "recipes/ja.yaml:1:15: `slerp` needs `t`: some help");
    let error = parse("merge_method: linear\nmodels: []").expect_err("no models");
    assert_eq!(error.to_string(), "recipes/ja.yaml:2:9: models: a merge needs a model");
}

#[test]
fn refuses_what_it_does_not_know() {
    let known = "known keys here: `merge_method`, `base_model`, `models`, `parameters`, `dtype`, `out_dtype`, `random`";
    check(
        "\nparameters",
        "\nparamters",
        "recipes/ja.yaml:10:1: there is no key `paramters`",
        &format!("did you mean `parameters`? {known}"),
    );
    check(
        "base_model: base",
        "slices: []",
        "recipes/ja.yaml:2:1: `slices` is not supported yet",
        "list whole models under `models`",
    );
    check(
        "- model: math",
        "- modle: math",
        "recipes/ja.yaml:5:5: models[1]: there is no key `modle`",
        "did you mean `model`? known keys here: `model`, `parameters`",
    );
    check(
        "base_model: base",
        "base_model: base\ndtype: bfloat",
        "recipes/ja.yaml:3:8: dtype: `bfloat` is not known here",
        "did you mean `bfloat16`? known here: `bfloat16`, `float16`, `float32`, `float64`",
    );
    check(
        "base_model: base",
        "base_model: base\nrandom: {generator: philox, seed: 1}",
        "recipes/ja.yaml:3:21: random.generator: `philox` is not known here",
        "known here: `counter`",
    );
    check(
        "base_model: base",
        "base_model: base\nrandom: {seed: -1}",
        "recipes/ja.yaml:3:16: random.seed: expected a whole number from 0 up, found -1",
        "",
    );
}

#[test]
fn refuses_wrong_types_in_plain_words() {
    let forms = "a number, true or false, a list of numbers, or a list of `{filter, value}`";
    check(
        "density: 0.3",
        "density: lots",
        &format!("recipes/ja.yaml:7:16: models[1].parameters.density: expected {forms}, found the text `lots`"),
        "",
    );
    check(
        "density: 0.3",
        "density:",
        &format!("recipes/ja.yaml:7:14: models[1].parameters.density: expected {forms}, found nothing"),
        "",
    );
    check(
        "density: 0.3",
        "density: .inf",
        "recipes/ja.yaml:7:16: models[1].parameters.density: expected a finite number, found inf",
        "",
    );
    check(
        "density: 0.3",
        "density: []",
        "recipes/ja.yaml:7:16: models[1].parameters.density: an empty list gives no value",
        "write a value, or remove the key",
    );
    check(
        "density: 0.3",
        "density: [0.1, {value: 3}]",
        "recipes/ja.yaml:7:16: models[1].parameters.density: this list mixes values and conditions",
        "write the last value as `- value: …`, which matches every tensor",
    );
    check(
        "density: 0.3",
        "density: [{filter: 3, value: 0.1}]",
        "recipes/ja.yaml:7:26: models[1].parameters.density[0].filter: expected text, found 3",
        "",
    );
    check(
        "density: 0.3",
        "density: {search: [0, 1]}",
        "recipes/ja.yaml:7:16: models[1].parameters.density: this is a hole, and only a search fills holes",
        "`evomerge search` runs this file; to merge, write a value",
    );
    check(
        "- model: chat",
        "- chat",
        "recipes/ja.yaml:9:5: models[2]: expected a block of keys, found the text `chat`",
        "",
    );
    check("model: chat", "model: 7", "recipes/ja.yaml:9:12: models[2].model: expected text, found 7", "");
    check("merge_method: ties\n", "", "recipes/ja.yaml:1:1: `merge_method` is missing", "");
}

#[test]
fn refuses_what_is_not_yaml() {
    let look = "look for a wrong indentation, a missing `:` or an unclosed quote or bracket, here or just above";
    check(
        "\nmodels",
        "\nmerge_method",
        "recipes/ja.yaml:3:1: the key `merge_method` appears twice",
        "keep one of them: neither would be the obvious winner",
    );
    check(
        "base_model: base",
        "base_model: [base",
        "recipes/ja.yaml:3:7: this is not valid YAML: illegal placement of ':' indicator",
        look,
    );
    check(
        "parameters:\n  weight",
        "---\nparameters:\n  weight",
        "recipes/ja.yaml:11:1: a second YAML document begins here",
        "keep one document a file: remove the `---`",
    );
    check(
        "density: 0.3",
        "density: *x",
        "recipes/ja.yaml:7:16: this YAML alias names no anchor",
        "a text that begins with `*` needs quotes",
    );
    check(
        "density: 0.3",
        "density: !x 3",
        "recipes/ja.yaml:7:19: the YAML tag `!x` means nothing here",
        "remove the tag, or quote the text",
    );
    check("model: math", "1: math", "recipes/ja.yaml:5:5: models[1]: a key must be text", "put it in quotes");
    check(TIES, "", "recipes/ja.yaml:1:1: expected a block of keys, found nothing", "");
}

#[test]
fn reads_settings_as_mergekit_does() {
    let value = |setting: &str, name: &str, t: f64| {
        let recipe = parse(&TIES.replace("density: 0.3", &format!("density: {setting}"))).expect(setting);
        recipe.value(&DENSITY, Some(1), name, t)
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

    let flag = |setting: &str, t: f64| {
        let recipe = parse(&format!("{TIES}  normalize: {setting}\n")).expect(setting);
        recipe.value(&NORMALIZE, None, "", t)
    };
    assert_eq!(flag("false", 0.0), Some(Value::Flag(false)));
    assert_eq!(flag("1.0", 0.0), Some(Value::Flag(true)));
    assert_eq!(flag("[true, false]", 0.99), Some(Value::Flag(true)));
    assert_eq!(flag("[true, false]", 1.0), Some(Value::Flag(false)));
}

#[test]
fn a_models_parameters_have_the_last_word() {
    let text = TIES.replace("weight: 1", "weight: {filter: mlp, value: 2}");
    let recipe = parse(&text).expect("a good recipe");
    assert_eq!(recipe.value(&WEIGHT, Some(1), "mlp", 0.0), Some(Value::Number(2.0)));
    assert_eq!(recipe.value(&WEIGHT, Some(1), "attn", 0.0), Some(Value::Number(0.5)));
    assert_eq!(recipe.value(&WEIGHT, Some(2), "mlp", 0.0), Some(Value::Number(0.5)));
    assert_eq!(recipe.value(&DENSITY, Some(2), "mlp", 0.0), Some(Value::Number(1.0)));
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
    for text in [rich, TIES] {
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
    let elsewhere = Recipe::parse_by(TIES, Path::new("other.yaml"), METHODS).expect("a good recipe");
    assert_eq!(print(TIES), elsewhere.fingerprint());
    assert_ne!(print(TIES), print(&TIES.replace("0.3", "0.30000000000000004")));
    assert_ne!(print(TIES), print(&TIES.replace("- model: chat", "- model: chatty")));
}

#[test]
fn paths_lead_beside_the_file_or_from_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recipe.yaml");
    std::fs::create_dir(dir.path().join("math")).expect("a directory");
    let at = |path: &str| At { value: path.to_string(), place: Place { line: 4, column: 12 } };
    assert_eq!(resolve(&file, &at("math")).expect("found"), dir.path().join("math"));
    assert_eq!(resolve(&file, &at("Cargo.toml")).expect("found"), Path::new("Cargo.toml"));
    let error = resolve(&file, &at("maths")).expect_err("missing");
    let (file, beside) = (file.display(), dir.path().join("maths"));
    assert_eq!(error.to_string(), format!("{file}:4:12: neither {} nor maths exists", beside.display()));
}

#[test]
fn a_file_that_is_no_text_is_refused_where_it_goes_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recipe.yaml");
    std::fs::write(&file, b"merge_method: ties\nx: \xff").expect("writable");
    let error = Recipe::read(&file).expect_err("not text");
    assert_eq!(error.to_string(), format!("{}:2:4: this is not UTF-8 text", file.display()));
    let error = Recipe::read(&dir.path().join("none.yaml")).expect_err("missing");
    assert!(error.to_string().starts_with("cannot read "), "{error}");
}
