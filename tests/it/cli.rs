//! What can be typed, and what comes back.

use crate::kit::Dir;
use serde_json::Value;

#[test]
fn help_tells_every_command_and_the_exit_codes() {
    let said = Dir::new().run(&["--help"]);
    assert_eq!(said.code, Some(0));
    for word in ["search", "merge", "eval", "methods", "schema", "completions", "Exit codes: 0 done, 1"] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    for args in [&["mrege"][..], &[], &["merge", "recipe.yaml"], &["search", "x.yaml", "-o", "o", "--workers", "0"]] {
        let said = Dir::new().run(args);
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(said.out.is_empty());
    }
}

#[test]
fn methods_come_as_text_and_as_json() {
    let dir = Dir::new();
    let text = dir.run(&["methods"]).out;
    let json: Value = serde_json::from_str(&dir.run(&["methods", "--json"]).out).unwrap();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
    let wanted = "linear slerp nuslerp multislerp karcher passthrough task_arithmetic ties dare_linear dare_ties della \
                  della_linear breadcrumbs breadcrumbs_ties sce ram ramplus_tl model_stock nearswap arcee_fusion";
    assert_eq!(names.join(" "), wanted);
    for name in names {
        assert!(text.contains(&format!("\n{name}")) || text.starts_with(name));
    }
    let dare_ties = json.as_array().unwrap().iter().find(|method| method["name"] == "dare_ties").unwrap();
    assert_eq!(dare_ties["parameters"][1]["name"], "density");
    assert_eq!(dare_ties["parameters"][1]["values"], "0 to 1");
}

#[test]
fn schemas_are_json_schemas_of_what_is_read() {
    let dir = Dir::new();
    let search: Value = serde_json::from_str(&dir.run(&["schema"]).out).unwrap();
    assert!(search["$schema"].as_str().unwrap().contains("json-schema.org"));
    for key in ["merge_method", "models", "base_model", "search"] {
        assert!(search["properties"][key].is_object(), "{key}");
    }
    let task: Value = serde_json::from_str(&dir.run(&["schema", "task"]).out).unwrap();
    for key in ["task", "doc_to_text", "metric_list", "metadata"] {
        assert!(task["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn completions_are_made_for_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let said = Dir::new().run(&["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(said.out.contains("evomerge"), "{shell}");
    }
}
