//! Names of models and their locations; and recipes moved to another file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::parse;
use crate::{
    recipe::{Location, Recipe, Reference, locate, resolve},
    yaml::{At, Place},
};

#[test]
fn paths_lead_beside_the_file_or_from_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recipe.yaml");
    std::fs::create_dir(dir.path().join("math")).expect("a directory");
    assert_eq!(resolve(&file, &at("math"), "").expect("found"), dir.path().join("math"));
    assert_eq!(resolve(&file, &at("Cargo.toml"), "").expect("found"), Path::new("Cargo.toml"));
    let error = resolve(&file, &at("maths"), "").expect_err("missing");
    assert_eq!(error.advice(), Some("did you mean `math`?"));
    let far = resolve(&file, &at("nothing-of-the-kind"), "there are others").expect_err("missing");
    assert!(far.advice().is_some_and(|advice| advice.ends_with("current directory; there are others")));
    let (file, beside) = (file.display(), dir.path().join("maths"));
    assert_eq!(error.to_string(), format!("{file}:4:12: neither {} nor maths exists", beside.display()));
}

fn at(text: &str) -> At<String> {
    At { value: text.to_owned(), place: Place { line: 4, column: 12 } }
}

fn hub(repo: &str, revision: Option<&str>) -> Location {
    Location::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned) }
}

#[test]
fn a_reference_is_a_path_if_it_exists_and_else_on_the_hub() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recipe.yaml");
    for name in ["math", "lora", "c++", "org/here", "m@x"] {
        fs::create_dir_all(dir.path().join(name)).expect("a directory");
    }
    fs::write(dir.path().join("one.safetensors"), "").expect("writable");
    let path = |name: &str| Location::Path(dir.path().join(name));
    let check = |text: &str, model: Location, lora: Option<Location>| {
        assert_eq!(locate(&file, &at(text)).expect(text), Reference { model, lora }, "{text}");
    };
    check("math", path("math"), None);
    check("one.safetensors", path("one.safetensors"), None);
    check("c++", path("c++"), None);
    check("m@x", path("m@x"), None);
    check("m@x+lora", path("m@x"), Some(path("lora")));
    check("math+lora", path("math"), Some(path("lora")));
    check("org/here", path("org/here"), None);
    check("hf://org/here", hub("org/here", None), None);
    check("org/name", hub("org/name", None), None);
    check("org/name@v1.0", hub("org/name", Some("v1.0")), None);
    check("hf://org/na-me_2.5@refs/pr/1", hub("org/na-me_2.5", Some("refs/pr/1")), None);
    check("math+org/adapter@main", path("math"), Some(hub("org/adapter", Some("main"))));
    check("org/name@a+org/adapter@b", hub("org/name", Some("a")), Some(hub("org/adapter", Some("b"))));

    let refuse = |text: &str, expected: &str| {
        let error = locate(&file, &at(text)).expect_err(text);
        assert_eq!(error.to_string(), format!("{}:4:12: {expected}", file.display()));
    };
    let neither = |name: &str| format!("neither {} nor {name} exists", dir.path().join(name).display());
    refuse("maths", &neither("maths"));
    refuse("./org/name", &neither("./org/name"));
    refuse("a/b/c", &neither("a/b/c"));
    refuse("org/name@", &neither("org/name@"));
    refuse("math+", "a name is empty");
    refuse("math+lora+lora", "`math+lora+lora` has more than one `+`");
    refuse("org/name@a@b", "`org/name@a@b` has more than one `@`");
    refuse("math@main", "`math` is a local path, which has no revision `main`");
    refuse("hf://name", "`hf://name` does not name a model of the hub");
    refuse("/nowhere", "/nowhere does not exist");
}

#[test]
fn reads_mergekits_blocks_for_models() {
    let model = |block: &str| {
        let text = format!("merge_method: passthrough\nmodels:\n  - model: {block}\n");
        parse(&text).map(|recipe| recipe.models[0].model.value.clone()).map_err(|error| error.to_string())
    };
    let good = |block: &str, text: &str| assert_eq!(model(block), Ok(text.to_owned()), "{block}");
    good("{model: {path: org/a, revision: v1}, lora: {path: b}}", "org/a@v1+b");
    good("{model: {path: a, revision: null}, lora: null, override_architecture: null}", "a");
    good("{model: org/a@v1, lora: {path: org/b, revision: v2}}", "org/a@v1+org/b@v2");
    let bad = |block: &str, error: &str| assert_eq!(model(block), Err(error.to_owned()), "{block}");
    let key = "models[0].model";
    bad(
        "{model: a, override_architecture: LlamaForCausalLM}",
        &format!("recipes/ja.yaml:3:46: {key}.override_architecture: it is not needed, as tensors are matched by name"),
    );
    bad("{lora: b}", &format!("recipes/ja.yaml:3:12: {key}: `model` is missing"));
    bad("{model: a+b, lora: c}", &format!("recipes/ja.yaml:3:12: {key}: `a+b+c` has `+` or `@` twice"));
    bad(
        "{model: {path: a@b, revision: c}}",
        &format!("recipes/ja.yaml:3:20: {key}.model: `a@b@c` has `+` or `@` twice"),
    );
    bad("{model: a, path: b}", &format!("recipes/ja.yaml:3:12: {key}: this block names a model in two ways"));
    bad("\"\"", &format!("recipes/ja.yaml:3:12: {key}: a name is empty"));
}

const MOVING: &str = "name: first
merge_method: slerp
slices:
  - sources:
      - {model: a, layer_range: [0, 1]}
      - {model: org/far, layer_range: [0, 1]}
    base_model: a
  - sources:
      - {model: b+hf://org/lora, layer_range: [0, 1]}
      - {model: a, layer_range: [0, 1]}
base_model: a
parameters: {t: 0.5}
tokenizer: {source: c, tokens: {x: {source: a}, y: {source: {kind: model_token, model: a, token_id: 3}}}}
---
merge_method: linear
models: [{model: first}, {model: c}]
parameters: {weight: 1}
tokenizer_source: c
";

#[test]
fn a_moved_recipe_leads_to_the_same_models() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["from/a", "from/b", "from/c", "to"] {
        fs::create_dir_all(dir.path().join(name)).expect("a directory");
    }
    let (from, to) = (dir.path().join("from/recipe.yaml"), dir.path().join("to/best.yaml"));
    let documents = Recipe::parse_all(MOVING, &from).expect("good recipes");
    let moved: Vec<String> = documents.iter().map(|recipe| recipe.moved_to(&to).expect("movable").to_yaml()).collect();
    let again = Recipe::parse_all(&moved.join("---\n"), &to).expect("good recipes");
    let names = |recipe: &Recipe| -> Vec<String> {
        recipe.references().iter().map(|reference| reference.value.clone()).collect()
    };
    assert_eq!(names(&again[0]), ["../from/a", "org/far", "../from/b+hf://org/lora", "../from/c"]);
    assert_eq!(names(&again[1]), ["first", "../from/c"]);
    let text = again[0].to_yaml();
    assert_eq!(text.matches("../from/a").count(), 6, "{text}");
    let same = |path: PathBuf| path.canonicalize().expect("it exists");
    for (old, new) in documents[0].references().iter().zip(again[0].references()) {
        let [old, new] = [locate(&from, old), locate(&to, new)].map(|found| found.expect("found"));
        match (old.model, new.model) {
            (Location::Path(old), Location::Path(new)) => assert_eq!(same(old), same(new)),
            (old, new) => assert_eq!(old, new),
        }
        assert_eq!(old.lora, new.lora);
    }
    let lost = parse("merge_method: passthrough\nmodels: [{model: lost}]").expect("a good recipe");
    assert!(lost.moved_to(&to).expect_err("lost").to_string().contains("neither recipes/lost nor lost exists"));
}
