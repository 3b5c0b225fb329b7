//! Rows and tokens: models are merged row by row only if each id is the same token in all of them.

use crate::kit::{Dir, Said};
use crate::merges::{json, linear, merge, refusal};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};

/// Hint for tokens that differ.
const HINT: &str = "their vocabularies differ: `tokenizer: {source: union}` merges them by token, and `{source: base}` keeps the base's";

/// A tokenizer of `plain` letters, followed by added tokens.
fn tokenizer(plain: usize, added: &[&str]) -> Value {
    let vocab: serde_json::Map<String, Value> = (0..plain).map(|id| (letter(id), json!(id))).collect();
    let define = |(number, text): (usize, &&str)| json!({"id": plain + number, "content": text, "special": true});
    let added: Vec<Value> = added.iter().enumerate().map(define).collect();
    json!({"version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}})
}

fn letter(id: usize) -> String {
    char::from_u32(0x3042 + id as u32).unwrap().to_string()
}

/// Two models with 32 rows and these tokenizers.
fn pair(a: &Value, b: &Value) -> Dir {
    let dir = Dir::new();
    for (name, value, tokenizer) in [("a", 0.25, a), ("b", 0.5, b)] {
        dir.tiny(name, value);
        if !tokenizer.is_null() {
            dir.write(&format!("{name}/tokenizer.json"), tokenizer.to_string());
        }
    }
    dir
}

/// Notes of a merge of two such models.
fn notes(a: &Value, b: &Value) -> Vec<String> {
    let said = merge(&pair(a, b), "out", &linear(&["a", "b"]));
    said.err.lines().filter_map(|line| line.strip_prefix("note: ")).map(str::to_owned).collect()
}

#[test]
fn different_tokens_at_one_id_are_refused() {
    let of = |a: &Value, b: &Value| refusal(&pair(a, b), &linear(&["a", "b"]));
    let chatml = tokenizer(30, &["<|im_end|>", "<|im_start|>"]);
    let turns = tokenizer(30, &["<|end_of_turn|>", "<|\u{1b}\"pad|>"]);
    let said = "refused.yaml:5:10: a and b: their tokens differ: 30 is `<|im_end|>` and `<|end_of_turn|>`, \
                31 is `<|im_start|>` and `<|\\u{1b}\"pad|>`";
    assert_eq!(of(&chatml, &turns), (said.to_owned(), HINT.to_owned()));
    let mut turned = tokenizer(32, &[]);
    for id in 0..32 {
        turned["model"]["vocab"][letter(id)] = json!((id + 1) % 32);
    }
    let [zero, one, two, last] = [0, 1, 2, 31].map(letter);
    let said = format!(
        "refused.yaml:5:10: a and b: their tokens differ: 0 is `{zero}` and `{last}`, 1 is `{one}` and `{zero}`, 2 is `{two}` \
         and `{one}`, and 29 more"
    );
    assert_eq!(of(&tokenizer(32, &[]), &turned), (said, HINT.to_owned()));
}

#[test]
fn what_the_hint_says_merges_them() {
    let dir = pair(&tokenizer(30, &["<x>", "<y>"]), &tokenizer(30, &["<z>", "<y>"]));
    merge(&dir, "union", &(linear(&["a", "b"]) + "tokenizer: {source: union}\n"));
    assert_eq!(json(&dir.path("union/config.json"))["vocab_size"], 33);
    merge(&dir, "base", &(linear(&["a", "b"]) + "tokenizer: {source: base}\n"));
    assert_eq!(json(&dir.path("base/tokenizer.json")), json(&dir.path("a/tokenizer.json")));
}

#[test]
fn files_of_old_are_compared_too() {
    let dir = pair(&Value::Null, &tokenizer(32, &[]));
    let vocab: serde_json::Map<String, Value> = (0..31).map(|id| (letter(id), json!(id))).collect();
    dir.write("a/vocab.json", Value::Object(vocab).to_string());
    dir.write("a/added_tokens.json", r#"{"<x>": 31}"#);
    let said = format!("refused.yaml:5:10: a and b: their tokens differ: 31 is `<x>` and `{}`", letter(31));
    assert_eq!(refusal(&dir, &linear(&["a", "b"])).0, said);
    dir.write("a/added_tokens.json", json!({letter(31): 31}).to_string());
    assert!(!merge(&dir, "out", &linear(&["a", "b"])).err.contains("note:"));
}

#[test]
fn models_of_sentencepiece_are_compared_by_piece() {
    let dir = pair(&Value::Null, &Value::Null);
    let write = |name: &str, pieces: &[&str]| {
        let piece = |text: &&str| [&[0x0a, text.len() as u8 + 2, 0x0a, text.len() as u8], text.as_bytes()].concat();
        dir.write(name, pieces.iter().flat_map(piece).collect::<Vec<u8>>());
    };
    write("a/sentencepiece.bpe.model", &["<unk>", "あ", "い"]);
    write("b/sentencepiece.bpe.model", &["<unk>", "い", "あ"]);
    let said = "refused.yaml:5:10: a and b: their tokens differ: piece 1 is `あ` and `い`, piece 2 is `い` and `あ`";
    assert_eq!(refusal(&dir, &linear(&["a", "b"])), (said.to_owned(), HINT.to_owned()));
    fs::rename(dir.path("b/sentencepiece.bpe.model"), dir.path("b/spiece.model")).unwrap();
    let said = merge(&dir, "out", &linear(&["a", "b"])).err;
    assert!(
        said.contains("note: a and b: their tokenizers are files of two kinds, so tokens are not compared"),
        "{said}"
    );
}

#[test]
fn a_tokenizer_whose_link_leads_nowhere_is_missed() {
    let dir = pair(&tokenizer(32, &[]), &tokenizer(32, &[]));
    fs::remove_file(dir.path("b/tokenizer.json")).unwrap();
    symlink("../../blobs/0a", dir.path("b/tokenizer.json")).unwrap();
    let (error, hint) = refusal(&dir, &linear(&["a", "b"]));
    assert!(error.ends_with("b/tokenizer.json: a link to ../../blobs/0a, which is not there"), "{error}");
    assert!(hint.starts_with("download it again"), "{hint}");
}

#[test]
fn what_only_one_model_says_is_told() {
    let of = tokenizer;
    assert_eq!(notes(&of(30, &["<x>"]), &of(30, &["<x>"])), [""; 0]);
    assert_eq!(notes(&Value::Null, &Value::Null), [""; 0]);
    assert_eq!(
        notes(&of(30, &[]), &of(30, &["<x>", "<y>"])),
        [
            "a, whose tokenizer the result has, has no token 30, which is `<x>` in b, and 1 more: the result cannot say it; \
          `tokenizer: {source: union}` keeps it"
        ],
    );
    assert_eq!(
        notes(&of(30, &["<x>"]), &of(30, &[])),
        ["b has no token 30, which is `<x>` in a: its rows there are merged like all others; \
          `tokenizer: {source: union}` takes them from models that have the token"],
    );
    assert_eq!(
        notes(&of(30, &["<x>"]), &Value::Null),
        ["b has no tokenizer: it is not known whether its tokens are those of a"],
    );
    let mut other = of(30, &["<x>"]);
    other["normalizer"] = json!({"type": "NFKC"});
    assert_eq!(
        notes(&of(30, &["<x>"]), &other),
        [
            "b has the tokens of a, but splits texts differently (tokenizer.json: normalizer): the result splits them as a does"
        ],
    );
    // A token beyond the embedding has no row.
    assert_eq!(notes(&of(32, &["<x>"]), &of(32, &["<y>"])), [""; 0]);
}

#[test]
fn only_rows_that_meet_are_compared() {
    let dir = pair(&tokenizer(32, &[]), &tokenizer(31, &["<x>"]));
    let slice = |model: &str| format!("- sources: [{{model: {model}, layer_range: [0, 1]}}]\n");
    let stack = |models: &[&str]| {
        format!("merge_method: passthrough\nslices:\n{}", models.iter().map(|model| slice(model)).collect::<String>())
    };
    merge(&dir, "between", &stack(&["a", "b", "a"]));
    let (error, _) = refusal(&dir, &stack(&["a", "b"]));
    assert!(error.starts_with("refused.yaml:4:21: a and b: their tokens differ: 31 is "), "{error}");
    let path =
        "merge_method: passthrough\npath:\n- {model: a, layer_range: [0, 1]}\n- {model: b, layer_range: [0, 1]}\n";
    merge(&dir, "path", path);
    let inner = format!("name: x\n{}---\n", linear(&["a", "a2"]));
    dir.tiny("a2", 0.75);
    fs::copy(dir.path("a/tokenizer.json"), dir.path("a2/tokenizer.json")).unwrap();
    merge(&dir, "whole", &(inner.clone() + &linear(&["x", "a"])));
    let (error, _) = refusal(&dir, &(inner + &linear(&["x", "b"])));
    assert!(error.starts_with("refused.yaml:12:10: a and b: their tokens differ: 31 is "), "{error}");
}

#[test]
fn a_model_to_be_asked_and_a_search_are_refused_alike() {
    let dir = pair(&tokenizer(32, &[]), &tokenizer(31, &["<x>"]));
    dir.write("r.yaml", linear(&["a", "b"]));
    let holes = "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: {search: [0, 1]}}}\n- {model: b, parameters: {weight: 1}}\n\
                 search: {budget: 10000, objective: [{task: t.yaml, items: 4}]}\n";
    dir.write("s.yaml", holes);
    let items: Vec<String> = (0..40).map(|n| format!("{{\"question\": \"{n}\", \"answer\": \"{n}\"}}\n")).collect();
    let items = items.concat();
    dir.write("t.jsonl", items);
    dir.write(
        "t.yaml",
        "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: t.jsonl}}\ntest_split: test\n\
         output_type: generate_until\ndoc_to_text: \"{{question}}\"\ndoc_to_target: \"{{answer}}\"\n\
         generation_kwargs: {until: [\"\\n\"], max_gen_toks: 2}\nmetric_list: [{metric: exact_match}]\nmetadata: {evomerge: {divide: test}}\n",
    );
    let refused = |said: Said, place: &str| {
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.error().starts_with(&format!("{place}: a and b: their tokens differ: 31 is ")), "{}", said.err);
        assert_eq!(said.hint(), Some(HINT));
    };
    refused(dir.run(&["plan", "r.yaml"]), "r.yaml:5:10");
    refused(dir.run(&["eval", "r.yaml", "--tasks", "t.yaml"]), "r.yaml:5:10");
    refused(dir.run(&["search", "s.yaml", "-o", "out"]), "s.yaml:4:11");
}

#[test]
fn a_chat_template_is_chosen_among_the_models_as_they_are() {
    let dir = Dir::new();
    for (name, template) in
        [("base", None), ("based", Some("the base's")), ("a", Some("T")), ("b", Some("T")), ("c", Some("T"))]
    {
        dir.tiny(name, 0.25);
        dir.write(&format!("{name}/tokenizer.json"), tokenizer(30, &["<x>"]).to_string());
        dir.write(&format!("{name}/tokenizer_config.json"), json!({"chat_template": template}).to_string());
    }
    for (base, asked) in [
        ("base", ""),
        ("base", "tokenizer_source: base\n"),
        ("base", "tokenizer: {source: union}\n"),
        ("based", "tokenizer: {source: union}\n"),
        ("base", "tokenizer: {source: base, pad_to_multiple_of: 8}\n"),
    ] {
        let out = format!("out-{base}-{}", asked.len());
        let recipe = format!(
            "{}base_model: {base}\nfixes: [listed_only]\nchat_template: auto\n{asked}",
            linear(&["a", "b", "c"])
        );
        let said = merge(&dir, &out, &recipe);
        assert!(!said.err.contains("no model has a chat template"), "{asked}{}", said.err);
        assert_eq!(json(&dir.path(&out).join("tokenizer_config.json"))["chat_template"], "T", "{asked}");
        assert_eq!(fs::read_to_string(dir.path(&out).join("chat_template.jinja")).unwrap(), "T", "{asked}");
    }
    let alone = "merge_method: passthrough\nmodels: [{model: base}]\nchat_template: auto\ntokenizer_source: base\n";
    let said = merge(&dir, "none", alone);
    assert!(said.err.contains("note: chat_template: auto: no model has a chat template, and neither has the result"));
}
