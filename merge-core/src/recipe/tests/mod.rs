//! Recipes, their errors word for word, and their meaning.

mod documents;
mod path;
mod references;
mod slices;
mod values;

use std::path::Path;

use super::*;

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
    Recipe::parse(text, Path::new("recipes/ja.yaml"))
}

/// Replaces a piece of a good recipe; checks the error and its hint.
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
        "did you mean `weight`? its parameters: `weight`, `density`, `normalize`, `rescale`, `lambda`",
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
        "recipes/ja.yaml:9:12: models[2]: `ties` needs `weight`: factor of the model's task vector; the sum over models may exceed 1",
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
    assert_eq!(error.to_string(), "recipes/ja.yaml:1:15: `slerp` needs `t`: how far to go: 0 is the base, 1 the model");
    let error = parse("merge_method: linear\nmodels: []").expect_err("no models");
    assert_eq!(error.to_string(), "recipes/ja.yaml:2:9: models: a merge needs a model");
}

/// Checks the error and the hint for a whole recipe.
fn refuse(text: &str, message: &str, hint: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!((error.to_string().as_str(), error.advice().unwrap_or_default()), (message, hint), "{text}");
}

#[test]
fn refuses_too_many_and_too_few_models() {
    let explains = "`evomerge methods` explains each method";
    check(
        "- model: chat",
        "- model: math",
        "recipes/ja.yaml:9:12: models[2].model: `math` is listed twice",
        "give it once, with the sum of both weights",
    );
    refuse(
        "merge_method: ties\nbase_model: a\nmodels: [{model: a}]",
        "recipes/ja.yaml:3:18: models: there is no model beside the base",
        "list at least one other model",
    );
    refuse(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}, {model: c}]\nparameters: {t: 0.5}",
        "recipes/ja.yaml:3:18: models: `slerp` merges exactly one model beside the base, not 2",
        explains,
    );
    refuse(
        "merge_method: model_stock\nbase_model: a\nmodels: [{model: b}]",
        "recipes/ja.yaml:3:18: models: `model_stock` merges at least 2 models beside the base, not 1",
        explains,
    );
    refuse(
        "merge_method: nuslerp\nmodels: [{model: b}]\nparameters: {weight: 1}",
        "recipes/ja.yaml:2:18: models: `nuslerp` merges exactly 2 models, not 1",
        explains,
    );
    // mergekit merges a base that is not listed as one more model.
    let unlisted = "a base that is not listed counts as one more, as in mergekit: remove `base_model`, or write \
                    `fixes: [listed_only]`";
    let passthrough = "merge_method: passthrough\nbase_model: a\nmodels: [{model: b}]\n";
    let message = "recipes/ja.yaml:3:18: models: `passthrough` merges exactly one model, not 2";
    refuse(passthrough, message, unlisted);
    parse(&format!("{passthrough}fixes: [listed_only]")).expect("only what is listed");
    let linear = "merge_method: linear\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n";
    refuse(
        linear,
        "recipes/ja.yaml:2:13: base_model: `linear` needs `weight`: share of the model in the mean",
        "a base that is not listed is merged as one more model, as in mergekit: list it with a value of its own, or \
         write `fixes: [listed_only]`",
    );
    parse(&format!("{linear}parameters: {{weight: 1}}")).expect("a weight for the base");
    parse(&format!("{linear}fixes: [listed_only]")).expect("only what is listed");
}

#[test]
fn refuses_what_it_does_not_know() {
    let known = "known keys here: `name`, `merge_method`, `base_model`, `models`, `slices`, `modules`, `path`, `path_form`, `parameters`, \
                 `dtype`, `out_dtype`, `random`, `tokenizer_source`, `tokenizer`, `chat_template`, \
                 `tie_word_embeddings`, `fixes`";
    check(
        "\nparameters",
        "\nparamters",
        "recipes/ja.yaml:10:1: there is no key `paramters`",
        &format!("did you mean `parameters`? {known}"),
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
        "known here: `counter`, `mergekit`",
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
        "to merge, write a value; to search, add a `search` block, and give the file to `evomerge search`",
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
        "keep one of them",
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
        "only `merge`, `plan` and `verify` read several: remove the `---`",
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
fn a_file_that_is_no_text_is_refused_where_it_goes_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recipe.yaml");
    std::fs::write(&file, b"merge_method: ties\nx: \xff").expect("writable");
    let error = Recipe::read(&file).expect_err("not text");
    assert_eq!(error.to_string(), format!("{}:2:4: this is not UTF-8 text", file.display()));
    let error = Recipe::read(&dir.path().join("none.yaml")).expect_err("missing");
    assert!(error.to_string().starts_with("cannot read "), "{error}");
}
