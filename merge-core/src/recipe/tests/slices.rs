//! Slices, modules and vocabularies.

use super::parse;
use crate::recipe::{Fix, Generator, Recipe, TokenName, TokenSource};

pub(super) const STACKED: &str = r#"slices:
  - sources:
      - {model: a, layer_range: [0, 2]}
      - {model: b, layer_range: [1, 3]}
    merge_method: slerp
    base_model: a
    parameters: {t: 0.25}
    residual_weight: 0.5
  - sources:
      - model: b
        layer_range: [2, 4]
        parameters: {weight: [0.6, 0.7]}
      - {model: c, layer_range: [2, 4]}
  - sources: [{model: c, layer_range: [4, 4]}]
merge_method: linear
parameters: {weight: 1.0, normalize: false}
tokenizer:
  source: union
  pad_to_multiple_of: 64
  tokens:
    "東京": {source: b, force: yes}
    "<a>": {source: {kind: zero}}
    "<b>": {source: {kind: model_token, model: a, token: x}}
    "<c>": {source: {kind: model_token, model: {model: {path: c}}, token_id: 7}}
    "<d>": {source: {model: {path: b}}}
    "<e>": {}
chat_template: chatml
random: {generator: mergekit, seed: 3}
tie_word_embeddings: false
fixes: [tail_gradient, listed_only, slice_method]
"#;

pub(super) const PARTS: &str = "merge_method: ties
name: parts
base_model: base
modules:
  vision_tower:
    slices:
      - sources: [{model: a, layer_range: [0, 1]}]
        parameters: {weight: 2}
  text_decoder:
    models: [{model: a}, {model: b, parameters: {density: 0.5}}]
    parameters: {weight: 1}
parameters: {lambda: 0.9}
tokenizer_source: base
";

#[test]
fn reads_slices_and_vocabularies() {
    let recipe = parse(STACKED).expect("a good recipe");
    let labels: Vec<String> = recipe.settings().map(|(label, _)| label).collect();
    assert_eq!(labels, ["slices[0].t", "slices[1].sources[0].weight", "weight", "normalize"]);
    let names: Vec<&str> = recipe.references().iter().map(|model| model.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(recipe.slices[0].sources[1].layer_range.value, [1, 3]);
    assert_eq!(recipe.random.as_ref().map(|random| random.generator), Some(Generator::Mergekit));
    assert_eq!(
        recipe.fixes.iter().map(|fix| fix.value).collect::<Vec<_>>(),
        [Fix::TailGradient, Fix::ListedOnly, Fix::SliceMethod]
    );
    let tokenizer = recipe.tokenizer().expect("a tokenizer");
    let sources: Vec<_> = tokenizer.tokens.iter().map(|(_, token)| token.source.clone().map(|at| at.value)).collect();
    let model = |model: &str| Some(TokenSource::Model(model.to_owned()));
    let token = |model: &str, token| Some(TokenSource::Token { model: model.to_owned(), token });
    assert_eq!(
        sources,
        [
            model("b"),
            Some(TokenSource::Zero),
            token("a", TokenName::Text("x".to_owned())),
            token("c", TokenName::Id(7)),
            model("b"),
            None
        ]
    );
    assert!(tokenizer.tokens[0].1.force && !tokenizer.tokens[1].1.force);
}

#[test]
fn reads_modules() {
    let recipe = parse(PARTS).expect("a good recipe");
    let labels: Vec<String> = recipe.settings().map(|(label, _)| label).collect();
    assert_eq!(
        labels,
        [
            "modules.vision_tower.slices[0].weight",
            "modules.text_decoder.models[1].density",
            "modules.text_decoder.weight",
            "lambda"
        ]
    );
    let names: Vec<&str> = recipe.references().iter().map(|model| model.as_str()).collect();
    assert_eq!(names, ["a", "b", "base"]);
    assert_eq!(recipe.tokenizer().expect("a tokenizer").source.as_str(), "base");
    // `map` replaces the settings in the order of `settings`.
    let mut seen = Vec::new();
    let copy = recipe.map(|setting| {
        seen.push(setting.clone());
        setting.clone()
    });
    assert_eq!(copy, recipe);
    assert_eq!(seen, recipe.settings().map(|(_, setting)| setting.value.clone()).collect::<Vec<_>>());
}

/// Replaces a piece of a good recipe; checks the error and its hint.
fn check(text: &str, good: &str, bad: &str, message: &str, hint: &str) {
    assert!(text.contains(good), "{good} is in the recipe");
    let error = parse(&text.replacen(good, bad, 1)).expect_err(bad);
    assert_eq!((error.to_string().as_str(), error.advice().unwrap_or_default()), (message, hint), "{bad}");
}

#[test]
fn refuses_layers_that_cannot_be_stacked() {
    let stacked = |good: &str, bad: &str, message: &str, hint: &str| check(STACKED, good, bad, message, hint);
    stacked(
        "[0, 2]",
        "[2, 0]",
        "recipes/ja.yaml:3:33: slices[0].sources[0].layer_range: [2, 0] is reversed",
        "write [first, last + 1]",
    );
    stacked(
        "[1, 3]",
        "[1, 4]",
        "recipes/ja.yaml:4:33: slices[0].sources[1].layer_range: 3 layers, where the slice's first source has 2",
        "the sources of a slice are merged layer by layer: give as many of each",
    );
    let empty = "write [first, last + 1]; only the last of several slices may be empty, to choose the output head";
    let layers = "{model: a, layer_range: [0, 2]}\n      - {model: b, layer_range: [1, 3]}";
    let none = "{model: a, layer_range: [2, 2]}\n      - {model: b, layer_range: [1, 1]}";
    let message = "recipes/ja.yaml:3:33: slices[0].sources[0].layer_range: [2, 2] holds no layer";
    stacked(layers, none, message, empty);
    stacked(
        "[0, 2]",
        "[0, -2]",
        "recipes/ja.yaml:3:37: slices[0].sources[0].layer_range[1]: expected a whole number from 0 up, found -2",
        "",
    );
    stacked(
        "[{model: c, layer_range: [4, 4]}]",
        "[]",
        "recipes/ja.yaml:14:14: slices[2].sources: a slice needs a source",
        "",
    );
    stacked(
        "{model: b, layer_range: [1, 3]}",
        "{model: a, layer_range: [1, 3]}",
        "recipes/ja.yaml:4:17: slices[0].sources[1].model: `a` is listed twice",
        "a slice merges different models: give it once",
    );
    stacked(
        "    base_model: a\n",
        "",
        "recipes/ja.yaml:5:19: `slerp` needs a `base_model`",
        "name the model that the others were trained from",
    );
    stacked(
        "merge_method: slerp",
        "merge_method: slurp",
        "recipes/ja.yaml:5:19: slices[0]: there is no method `slurp`",
        "did you mean `slerp`? `evomerge methods` lists them all",
    );
    stacked(
        "    parameters: {t: 0.25}\n",
        "",
        "recipes/ja.yaml:5:19: slices[0]: `slerp` needs `t`: how far to go: 0 is the base, 1 the model",
        "set it under `parameters`",
    );
}

#[test]
fn refuses_parameters_where_no_method_knows_them() {
    let stacked = |good: &str, bad: &str, message: &str, hint: &str| check(STACKED, good, bad, message, hint);
    stacked(
        "{t: 0.25}",
        "{t: 0.25, weight: 1}",
        "recipes/ja.yaml:7:27: slices[0].parameters: `slerp` has no parameter `weight`",
        "it is a parameter of `linear`, `nuslerp`, `multislerp`, `task_arithmetic`, `ties`, `dare_linear`, \
         `dare_ties`, `della`, `della_linear`, `breadcrumbs`, `breadcrumbs_ties`, and mergekit ignores it here: remove it",
    );
    stacked(
        "{weight: [0.6, 0.7]}",
        "{t: 1}",
        "recipes/ja.yaml:12:22: slices[1].sources[0].parameters: `linear` has no parameter `t`",
        "it is a parameter of `slerp`, `nearswap`, and mergekit ignores it here: remove it",
    );
    stacked(
        "{weight: [0.6, 0.7]}",
        "{normalize: false}",
        "recipes/ja.yaml:12:22: slices[1].sources[0].parameters.normalize: this parameter is the merge's, not a model's",
        "move it to the recipe's own `parameters`",
    );
    stacked(
        "{weight: 1.0, normalize",
        "{weight: 1.0, normalise",
        "recipes/ja.yaml:16:27: parameters: none of `slerp`, `linear` has a parameter `normalise`",
        "did you mean `normalize`? their parameters: `t`, `weight`, `normalize`",
    );
    stacked(
        "{weight: 1.0, ",
        "{",
        "recipes/ja.yaml:13:17: slices[1].sources[1]: `linear` needs `weight`: share of the model in the mean",
        "set it under this model's `parameters`, or for all models under the recipe's own",
    );
    check(
        PARTS,
        "    parameters: {weight: 1}\n",
        "",
        "recipes/ja.yaml:10:22: modules.text_decoder.models[0]: `ties` needs `weight`: factor of the model's task vector; the sum over models may exceed 1",
        "set it under this model's `parameters`, or for all models under the recipe's own",
    );
    check(
        PARTS,
        "    parameters: {weight: 1}\n",
        "    parameters: {weight: 1, wait: 1}\n",
        "recipes/ja.yaml:11:29: modules.text_decoder.parameters: `ties` has no parameter `wait`",
        "did you mean `weight`? its parameters: `weight`, `density`, `normalize`, `rescale`, `lambda`",
    );
}

#[test]
fn refuses_all_but_one_of_models_slices_and_modules() {
    let refuse = |text: &str, message: &str, hint: &str| check(text, text, text, message, hint);
    refuse(
        "merge_method: linear\n",
        "recipes/ja.yaml:1:15: `models` or `slices` or `modules` or `path` is missing",
        "`models` lists what is merged",
    );
    let one = "give one of `models`, `slices`, `modules`, `path`";
    check(
        STACKED,
        "merge_method: linear\n",
        "merge_method: linear\nmodels: [{model: a}]\n",
        "recipes/ja.yaml:2:3: slices: `models` and `slices` exclude each other",
        one,
    );
    check(
        PARTS,
        "name: parts",
        "slices: []",
        "recipes/ja.yaml:5:3: modules: `slices` and `modules` exclude each other",
        one,
    );
    parse(&STACKED.replace("merge_method: linear", "merge_method: linear\nmodels: null\nmodules: ~")).expect("nothing");
    refuse("merge_method: ties\nmodules: {}", "recipes/ja.yaml:2:10: modules: a merge needs a module", "");
    check(
        PARTS,
        "    models: [{model: a}, {model: b, parameters: {density: 0.5}}]\n",
        "",
        "recipes/ja.yaml:9:3: modules.text_decoder: `models` or `slices` is missing",
        "`models` lists what is merged",
    );
}

#[test]
fn refuses_vocabularies_that_make_no_sense() {
    let stacked = |good: &str, bad: &str, message: &str, hint: &str| check(STACKED, good, bad, message, hint);
    stacked(
        "pad_to_multiple_of: 64",
        "pad_to_multiple_of: 0",
        "recipes/ja.yaml:19:23: tokenizer.pad_to_multiple_of: it must be at least 1",
        "give a number from 1 to 65536, such as 64",
    );
    stacked(
        "{source: b, force",
        "{source: d, force",
        "recipes/ja.yaml:21:20: tokenizer.tokens.東京.source: `d` is not a model of this merge",
        "its models: `a`, `b`, `c`",
    );
    stacked(
        "model: a, token: x",
        "model: a, token: x, token_id: 1",
        "recipes/ja.yaml:23:21: tokenizer.tokens.<b>.source: give one of `token` and `token_id`",
        "`token` is its text",
    );
    stacked(
        "{kind: zero}",
        "{kind: nil}",
        "recipes/ja.yaml:22:28: tokenizer.tokens.<a>.source.kind: `nil` is not known here",
        "known here: `zero`, `model_token`",
    );
    stacked(
        "{kind: zero}",
        "{kind: zero, model: a}",
        "recipes/ja.yaml:22:21: tokenizer.tokens.<a>.source: these keys do not go together",
        "write `{kind: zero}` or `{kind: model_token, model: …, token: …}`",
    );
    stacked(
        "chat_template: chatml",
        "tokenizer_source: a",
        "recipes/ja.yaml:27:19: tokenizer_source: `tokenizer` and `tokenizer_source` exclude each other",
        "write `tokenizer: {source: …}`",
    );
    stacked(
        "chat_template: chatml",
        "chat_template: chatmi",
        "recipes/ja.yaml:27:16: chat_template: there is no chat template `chatmi`",
        "did you mean `chatml`? known ones: `auto`, `alpaca`, `chatml`, `exaone`, `llama3`, `mistral`; or write a Jinja template",
    );
    let jinja = "chat_template: '{% for m in messages %}{{ m.content }}{% endfor %}'";
    parse(&STACKED.replace("chat_template: chatml", jinja)).expect("a template");
    stacked(
        "[tail_gradient,",
        "[tail_gradients,",
        "recipes/ja.yaml:30:9: fixes[0]: `tail_gradients` is not known here",
        "did you mean `tail_gradient`? known here: `tail_gradient`, `listed_only`, `slice_method`",
    );
}

#[test]
fn a_lender_of_a_tokenizer_is_opened_after_the_models() {
    let text =
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\ntokenizer: {source: z}";
    let recipe = parse(text).expect("a good recipe");
    let names: Vec<&str> = recipe.references().iter().map(|model| model.as_str()).collect();
    assert_eq!(names, ["a", "b", "z"]);
}

/// Holes in slices are ordinary dimensions, but cannot have a value for each layer.
#[test]
fn slices_may_have_holes() {
    use crate::{model::layers::Layers, search::SearchFile};
    let text = STACKED.replace("t: 0.25", "t: {search: [0, 1]}").replace("[0.6, 0.7]", "{search: [0, 2]}");
    let search = format!("{text}search: {{budget: 9, objective: [{{task: x}}]}}\n");
    let parse = |text: &str| SearchFile::parse(text, std::path::Path::new("s.yaml"));
    let template = parse(&search).expect("a good search").template;
    let layers = Layers {
        count: 4,
        prefix: "model.layers.".to_owned(),
        embeddings: Vec::new(),
        inside: std::collections::BTreeSet::default(),
        behind: 0,
        others: std::collections::BTreeMap::default(),
        stated_count: None,
        rivals: Vec::new(),
    };
    let space = template.space_over(std::slice::from_ref(&layers)).expect("a space");
    let labels: Vec<&str> = space.dimensions.iter().map(|dimension| dimension.label.as_str()).collect();
    assert_eq!(labels, ["slices[0].t", "slices[1].sources[0].weight"]);
    let filled: Recipe = template.fill(&space, &[0.25, 0.3]);
    let expected = super::parse(&STACKED.replace("[0.6, 0.7]", "0.6")).expect("a good recipe");
    assert_eq!(filled, Recipe { file: filled.file.clone(), ..expected });

    let error = parse(&search.replace("search: [0, 2]}", "search: [0, 2], groups: 2}")).expect_err("groups in a slice");
    assert_eq!(
        error.to_string(),
        "s.yaml:12:30: slices[1].sources[0].weight: `per`, `groups`, `knots` and `filters` need a recipe with `models`"
    );
    assert_eq!(error.advice(), Some("give each slice its own hole"));
}
