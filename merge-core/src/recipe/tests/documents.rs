//! Several recipes in a file.

use std::path::Path;

use crate::recipe::Recipe;

fn document(name: &str, models: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("name: {name}\n") };
    let models = models.replace(' ', "\n  - model: ");
    format!("{name}merge_method: linear\nmodels:\n  - model: {models}\nparameters: {{weight: 1}}\n")
}

fn read(documents: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let texts: Vec<String> = documents.iter().map(|(name, models)| document(name, models)).collect();
    let recipes = Recipe::parse_all(&texts.join("---\n"), Path::new("r.yaml"));
    let name = |recipe: &Recipe| recipe.name.as_ref().map_or_else(String::new, |name| name.value.clone());
    recipes.map(|recipes| recipes.iter().map(name).collect()).map_err(|error| error.to_string())
}

#[test]
fn each_document_comes_after_those_that_it_merges() {
    let check = |documents: &[(&str, &str)], order: &[&str]| {
        assert_eq!(read(documents), Ok(order.iter().map(ToString::to_string).collect()), "{documents:?}");
    };
    check(&[("", "a b")], &[""]);
    check(&[("itself", "itself b")], &["itself"]);
    check(&[("one", "a b"), ("", "one c")], &["one", ""]);
    check(&[("", "one two"), ("one", "two a"), ("two", "a b")], &["two", "one", ""]);
    check(&[("all", "x y"), ("x", "a b"), ("y", "a b")], &["x", "y", "all"]);
}

#[test]
fn refuses_documents_without_an_order() {
    let check = |documents: &[(&str, &str)], error: &str| assert_eq!(read(documents), Err(error.to_owned()));
    check(&[("one", "a"), ("one", "b")], "r.yaml:7:7: name: two documents are named `one`");
    check(
        &[("one", "a"), ("", "b")],
        "r.yaml:7:15: a file must have exactly one result, but no document refers to `one` or to a document without a name",
    );
    check(&[("one", "two"), ("two", "one")], "r.yaml:1:7: `one`, `two` refer to each other in a circle");
    check(&[("one", "one"), ("", "one")], "r.yaml:1:7: `one` refers to itself");
    check(&[("one", "two"), ("", "one"), ("two", "one")], "r.yaml:1:7: `one`, `two` refer to each other in a circle");
}

#[test]
fn errors_are_placed_in_the_file_and_empty_documents_left_out() {
    let text = format!("---\n{}---\n---\n{}", document("one", "a"), document("", "one").replace("weight", "wieght"));
    let error = Recipe::parse_all(&text, Path::new("r.yaml")).expect_err("a wrong parameter");
    assert_eq!(error.to_string(), "r.yaml:12:14: parameters: `linear` has no parameter `wieght`");
    let only = format!("---\n{}---\n", document("", "a"));
    assert_eq!(Recipe::parse_all(&only, Path::new("r.yaml")).expect("one recipe").len(), 1);
    let error = Recipe::parse_all("", Path::new("r.yaml")).expect_err("nothing");
    assert_eq!(error.to_string(), "r.yaml:1:1: expected a block of keys, found nothing");
    let search = format!("{}---\n{}search: {{}}\n", document("one", "a"), document("", "one"));
    let error = Recipe::parse_all(&search, Path::new("r.yaml")).expect_err("a search");
    assert_eq!(error.to_string(), "r.yaml:11:9: this file is a search, not a recipe");
}
