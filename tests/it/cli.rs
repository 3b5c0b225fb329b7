//! The command line: arguments and output.

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
fn a_number_out_of_its_range_is_told_the_range() {
    let check = |option: &str, number: &str, range: &str| {
        let said = Dir::new().run(&["search", "x.yaml", "-o", "o", option, number]);
        let name = if option == "--threads" { "THREADS" } else { "N" };
        let error = format!("invalid value '{number}' for '{option} <{name}>': write a whole number{range}");
        assert_eq!((said.code, said.error()), (Some(2), error.as_str()));
    };
    check("--seed", "-1", ", 0 or more and less than 2^64");
    check("--seed", "x", ", 0 or more and less than 2^64");
    for number in ["-5", "0", "18446744073709551615", "1.5"] {
        check("--budget", number, " from 1 to 1000000000000");
    }
    for number in ["-1", "0", "1025"] {
        check("--workers", number, " from 1 to 1024");
    }
    check("--seeds", "1", " from 2 to 1000");
}

#[test]
fn holes_without_a_search_block_are_told_what_is_missing() {
    let dir = Dir::new();
    let recipe = "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: {search: [0, 1]}}}\n- {model: b, parameters: {weight: 1}}\n";
    dir.write("r.yaml", recipe);
    let said = dir.run(&["search", "r.yaml", "-o", "out"]);
    assert_eq!((said.code, said.error()), (Some(1), "r.yaml:1:1: this file has no `search` block"));
    assert!(said.err.contains("\nhint: add one, such as\n\n  search:\n    budget: 6000\n"), "{}", said.err);
    // The hint shows a valid block.
    let shown: Vec<&str> = said.err.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    dir.tiny("a", 0.1);
    dir.tiny("b", 0.2);
    dir.write("s.yaml", format!("{recipe}{}\n", shown.join("\n")));
    let said = dir.run(&["search", "s.yaml", "-o", "out"]);
    assert!(said.error().contains("jcommonsenseqa"), "it is read, and its task is looked for: {}", said.err);
    let said = dir.run(&["merge", "r.yaml", "-o", "out"]);
    let hint = "to merge, write a value; to search, add a `search` block, and give the file to `evomerge search`";
    assert_eq!(said.hint(), Some(hint));
    dir.write("plain.yaml", recipe.replace("{search: [0, 1]}", "1"));
    let said = dir.run(&["search", "plain.yaml", "-o", "out"]);
    let error = "plain.yaml:1:1: this file has no `search` block";
    assert_eq!((said.error(), said.hint()), (error, Some("if it is a recipe, `evomerge merge plain.yaml` runs it")));
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
