//! `inspect`, which describes one model, and `diff`, which compares two.

use crate::kit::{Dir, Said, family, root, tiny_tensors};
use serde_json::Value;
use std::fs;

fn json(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-9, "{found} and {expected}");
}

fn models() -> [String; 4] {
    ["base", "ja", "math-a", "math-b"].map(|name| family().join(name).display().to_string())
}

const LINEAR: &str = "merge_method: linear\ndtype: float32\nmodels:\n";

fn recipe(dir: &Dir, name: &str, models: &[(&str, f64)]) {
    let line = |(model, weight): &(&str, f64)| format!("  - {{model: {model}, parameters: {{weight: {weight}}}}}\n");
    dir.write(name, LINEAR.to_owned() + &models.iter().map(line).collect::<String>());
}

#[test]
fn tells_what_a_model_is() {
    let [base, ..] = models();
    let dir = Dir::new();
    let found = json(&dir.run(&["inspect", &base, "--json"]));
    let config: Value = serde_json::from_slice(&fs::read(family().join("base/config.json")).unwrap()).unwrap();
    assert_eq!(found["architecture"], config["architectures"][0]);
    for (ours, theirs) in [
        ("layers", "num_hidden_layers"),
        ("hidden_size", "hidden_size"),
        ("attention_heads", "num_attention_heads"),
        ("key_value_heads", "num_key_value_heads"),
        ("intermediate_size", "intermediate_size"),
        ("context", "max_position_embeddings"),
    ] {
        assert_eq!(found[ours], config[theirs], "{ours}");
    }
    assert_eq!(found["vocabulary"]["rows"], config["vocab_size"]);
    assert_eq!(found["vocabulary"]["tokens"], config["vocab_size"]);
    assert_eq!((found["head"].as_str(), found["files"].as_u64()), (Some("own"), Some(1)));
    // A file is an 8-byte length, a header of that length, and the tensors.
    let file = fs::read(family().join("base/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(found["bytes"].as_u64().unwrap(), file.len() as u64 - 8 - header);
    assert_eq!(found["parameters"].as_u64().unwrap(), found["bytes"].as_u64().unwrap() / 2);
    let sum: u64 = found["components"].as_array().unwrap().iter().map(|c| c["parameters"].as_u64().unwrap()).sum();
    assert_eq!(found["parameters"].as_u64().unwrap(), sum);
    let text = dir.run(&["inspect", &base]).out;
    for line in ["parameters        1,369,728 (1.37 M)", "type              bfloat16", "output head       its own"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    assert!(text.contains("\nmodel.layers.{0..5}.mlp.up_proj.weight "), "{text}");
}

#[test]
fn a_recipe_is_inspected_and_hashed_as_the_model_it_makes() {
    let dir = Dir::new();
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.5);
    dir.write("b/README.md", "---\nlicense: apache-2.0\n---\n");
    recipe(&dir, "half.yaml", &[("./a", 0.5), ("./b", 0.5)]);
    assert_eq!(dir.run(&["merge", "half.yaml", "-o", "half"]).code, Some(0));
    let hashes = |model: &str| json(&dir.run(&["inspect", model, "--hash", "--json"]))["hashes"].clone();
    let [recipe, merged, other] = ["half.yaml", "half", "a"].map(hashes);
    assert_eq!(recipe["tensors"], merged["tensors"]);
    assert_ne!(recipe["tensors"], other["tensors"]);
    assert_eq!(recipe["files"].as_object().unwrap().keys().collect::<Vec<_>>(), ["./a", "./b"]);
    assert!(merged["files"]["half"]["model.safetensors"].as_str().unwrap().len() == 64);
    let found = json(&dir.run(&["inspect", "half.yaml", "--json"]));
    assert_eq!(found["files"], Value::Null);
    let licence = found["licence"].as_str().unwrap();
    assert!(licence.contains("unknown (./a)") && licence.contains("apache-2.0 (./b)"), "{licence}");
}

#[test]
fn a_head_that_is_not_there_is_tied_and_shards_are_counted() {
    let dir = Dir::new();
    let mut tensors = tiny_tensors(0.5);
    tensors.remove("lm_head.weight");
    let tied = dir.checkpoint("tied", &tensors);
    let config = fs::read_to_string(tied.join("config.json")).unwrap();
    dir.write("tied/config.json", config.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
    assert_eq!(json(&dir.run(&["inspect", "tied", "--json"]))["head"], "tied");
    let sharded = root().join("tests/data/models/llama-a-sharded");
    let found = json(&dir.run(&["inspect", &sharded.display().to_string(), "--json", "--hash"]));
    let shards = fs::read_dir(&sharded).unwrap().map(|entry| entry.unwrap().path());
    let shards = shards.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).count();
    assert_eq!(found["files"].as_u64().unwrap(), shards as u64);
    // The same tensors in one file have the same hash.
    let whole = sharded.with_file_name("llama-a").display().to_string();
    assert_eq!(
        json(&dir.run(&["inspect", &whole, "--json", "--hash"]))["hashes"]["tensors"],
        found["hashes"]["tensors"]
    );
}

/// A recipe is compared without being merged: its task vector is a quarter of a's.
#[test]
fn tells_how_far_models_are_apart_and_whether_they_went_the_same_way() {
    let dir = Dir::new();
    dir.tiny("base", 1.0);
    dir.tiny("a", 2.0);
    recipe(&dir, "quarter.yaml", &[("./base", 0.75), ("./a", 0.25)]);
    let found = json(&dir.run(&["diff", "a", "quarter.yaml", "--base", "base", "--json"]));
    // Elements of the base are 1 + (i mod 7)/64, and those of a are one more.
    let norms = |len: usize| {
        let sum = |of: &dyn Fn(f64) -> f64| (0..len).map(|i| of((i % 7) as f64 / 64.0)).sum::<f64>().sqrt();
        [sum(&|x| (1.0 + x).powi(2)), sum(&|x| (2.0 + x).powi(2)), (len as f64).sqrt()]
    };
    for (component, place, len) in [("embedding", "in", 256), ("mlp up", "0", 128), ("head", "out", 256)] {
        let row = found["components"].as_array().unwrap().iter().find(|row| row["component"] == component).unwrap();
        let [base, a, step] = norms(len);
        let cell = &row["places"][place];
        assert_eq!(cell["elements"], len);
        near(&cell["relative_difference"], 0.75 * step / a);
        near(&cell["relative_task_vector_a"], step / base);
        near(&cell["relative_task_vector_b"], 0.25 * step / base);
        near(&cell["task_vector_cosine"], 1.0);
        near(&cell["sign_agreement"], 1.0);
    }
    assert_eq!(found["total"]["identical"], false);
}

#[test]
fn a_diff_is_a_table_with_heat_maps_and_a_picture() {
    let [base, ja, math, _] = models();
    let dir = Dir::new();
    let said = dir.run(&["diff", &ja, &math, "--base", &base, "--svg", "diff.svg"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.out.contains('\x1b'), "no colours without a terminal");
    for line in ["embedding ", "attn q ", "mlp down ", "head ", "all ", "57 tensors compared, 0 of them identical"] {
        assert!(said.out.lines().any(|one| one.starts_with(line)), "{line}: {}", said.out);
    }
    let svg = fs::read_to_string(dir.path("diff.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns='http://www.w3.org/2000/svg'") && svg.ends_with("</svg>\n"));
    // 7 components in 6 layers and 3 others, in each of five maps, each with a tooltip.
    assert_eq!(svg.matches("</title></rect>").count(), 5 * 45 + 5 * 6);
    assert!(!svg.contains("href") && !svg.contains("url("), "nothing to load");
}

#[test]
fn models_that_differ_in_shape_are_compared_as_far_as_they_agree() {
    let dir = Dir::new();
    dir.tiny("a", 0.5);
    let mut tensors = tiny_tensors(0.5);
    for name in ["lm_head.weight", "model.embed_tokens.weight"] {
        tensors.insert(name.to_owned(), (vec![40, 8], vec![0.0; 320]));
    }
    dir.checkpoint("wider", &tensors);
    let said = dir.run(&["diff", "a", "wider"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("10 tensors compared, 10 of them identical\n2 tensors are left out:\n"), "{}", said.out);
    assert!(said.out.contains("\n  lm_head.weight: [32, 8] in A, [40, 8] in B\n"), "{}", said.out);
    tensors.retain(|name, _| name == "lm_head.weight");
    dir.checkpoint("head", &tensors);
    let said = dir.run(&["diff", "a", "head"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().starts_with("a, head: no tensor in common"), "{}", said.err);
    assert!(said.hint().is_some());
}

#[test]
fn what_cannot_be_opened_or_drawn_is_refused_at_once() {
    let dir = Dir::new();
    dir.tiny("a", 0.5);
    for (args, error) in [
        (&["inspect", "nothing"][..], "nothing: there is no such model or recipe"),
        (&["diff", "a", "nothing"], "nothing: there is no such model or recipe"),
        (&["diff", "a", "a", "--svg", "no/x.svg"], "no/x.svg: its directory does not exist"),
        (&["diff", "a", "a", "--svg", "a"], "a: is a directory"),
    ] {
        let said = dir.run(args);
        assert_eq!((said.code, said.error()), (Some(1), error), "{args:?}");
    }
    dir.write("recipe.yaml", "merge_method: linear\n");
    dir.tiny("models/japanese", 0.5);
    dir.write(
        "of-models.yaml",
        "merge_method: linear\nmodels: [{model: ./models/japanesse, parameters: {weight: 1}}]\n",
    );
    fs::create_dir(dir.path("study")).unwrap();
    for (args, meant) in [
        (&["inspect", "rezipe.yaml"][..], "recipe.yaml"),
        (&["merge", "recipe.yml", "-o", "merged"], "recipe.yaml"),
        (&["submit", "merge", "recipes.yaml"], "recipe.yaml"),
        (&["report", "studi"], "study"),
        (&["merge", "of-models.yaml", "-o", "merged"], "models/japanese"),
    ] {
        let said = dir.run(args);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.hint().is_some_and(|hint| hint.ends_with(&format!("{meant}`?"))), "{args:?}: {}", said.err);
    }
}
