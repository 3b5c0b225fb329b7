//! Files that go with a merged model: its code, and a card that names its sources without their
//! paths.

use crate::kit::Dir;
use crate::merges::{json, linear, merge};
use serde_json::json;
use std::fs;

#[test]
fn the_code_that_a_model_is_loaded_with_goes_with_it() {
    let dir = Dir::new();
    for (name, value) in [("a", 0.25), ("b", 0.5)] {
        dir.tiny(name, value);
        let mut config = json(&dir.path(name).join("config.json"));
        config["auto_map"] = json!({
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.Own",
            "AutoModel": "org/code--modeling_far.Far",
        });
        dir.write(&format!("{name}/config.json"), config.to_string());
        dir.write(&format!("{name}/configuration_own.py"), format!("# {name}\n"));
        dir.write(&format!("{name}/modeling_own.py"), "from .layers import x\nfrom .gone import y\n");
        dir.write(&format!("{name}/layers.py"), "");
        dir.write(&format!("{name}/unasked.py"), "");
        dir.write(&format!("{name}/video_preprocessor_config.json"), "{}");
        dir.write(&format!("{name}/vocab.txt"), "[PAD]\n");
    }
    let said = merge(&dir, "out", &linear(&["a", "b"]));
    let notes: Vec<&str> = said.err.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(
        notes,
        [
            "note: a: there is no gone.py, but modeling_own.py imports it: a program needs it to load the result",
            "note: a: auto_map names code of `org/code`; the result takes it from there too",
        ]
    );
    let mut files: Vec<String> =
        fs::read_dir(dir.path("out")).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(
        files,
        "README.md config.json configuration_own.py evomerge.json layers.py model.safetensors modeling_own.py \
         video_preprocessor_config.json vocab.txt"
            .split(' ')
            .collect::<Vec<_>>()
    );
    assert_eq!(fs::read_to_string(dir.path("out/configuration_own.py")).unwrap(), "# a\n");
    let proof = json(&dir.path("out/evomerge.json"));
    assert!(proof["outputs"]["modeling_own.py"].is_string() && proof["outputs"]["layers.py"].is_string());
    assert_eq!(dir.run(&["verify", "out"]).code, Some(0));
    dir.write("out/layers.py", "changed");
    let said = dir.run(&["verify", "out"]);
    assert!(said.error().starts_with("out/layers.py: its SHA-256 is "), "{}", said.err);
}

#[test]
fn a_tokenizers_code_comes_from_the_model_whose_tokenizer_it_is() {
    let dir = Dir::new();
    for (name, value) in [("a", 0.25), ("b", 0.5)] {
        dir.tiny(name, value);
        let vocab: serde_json::Map<_, _> = (0..32).map(|id| (format!("t{id}"), json!(id))).collect();
        dir.write(
            &format!("{name}/tokenizer.json"),
            json!({"model": {"type": "BPE", "vocab": vocab, "merges": []}}).to_string(),
        );
        let own = format!(r#"{{"auto_map": {{"AutoTokenizer": ["tokenization_{name}.Own", null]}}}}"#);
        dir.write(&format!("{name}/tokenizer_config.json"), own);
        dir.write(&format!("{name}/tokenization_{name}.py"), "");
    }
    merge(&dir, "out", &(linear(&["a", "b"]) + "tokenizer: {source: b}\n"));
    assert!(dir.path("out/tokenization_b.py").exists() && !dir.path("out/tokenization_a.py").exists());
}

#[test]
fn a_card_names_no_place_of_this_machine() {
    let dir = Dir::new();
    let [one, two] = ["in/user name/日本語モデル", "in/b"];
    dir.tiny(one, 0.25);
    dir.tiny(two, 0.5);
    let root = dir.path("").display().to_string();
    let models = format!("- model: \"{root}{one}\"\n- model: ./in/b\n");
    let said = merge(&dir, "out/m", &format!("merge_method: linear\nparameters: {{weight: 1}}\nmodels:\n{models}"));
    let card = fs::read_to_string(dir.path("out/m/README.md")).unwrap();
    let front = card.split("---\n").nth(1).unwrap();
    assert_eq!(front, "license: unknown\nlibrary_name: transformers\ntags:\n- merge\n- evomerge\n");
    for hidden in [root.as_str(), "in/", "user name", "..", "/home"] {
        assert!(!card.contains(hidden), "{hidden} in {card}");
    }
    for shown in [
        "# linear of 日本語モデル, b\n",
        "## Models\n\n- 日本語モデル\n- b\n",
        "model: 日本語モデル\n",
        "| b | model.safetensors |",
    ] {
        assert!(card.contains(shown), "{shown} in {card}");
    }
    let proof = fs::read_to_string(dir.path("out/m/evomerge.json")).unwrap();
    assert!(!proof.contains(&root), "{proof}");
    assert!(said.err.contains("licence: unknown (日本語モデル, b)"), "{}", said.err);
    assert_eq!(dir.run(&["verify", "out/m"]).code, Some(0));
}
