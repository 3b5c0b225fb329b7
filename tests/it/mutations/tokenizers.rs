//! Files of tokenizers.

use super::{Kind, MERGE, asked, check};
use crate::kit::family;

#[test]
fn tokenizers() {
    check(&Kind {
        name: "tokenizers",
        files: &["ja/tokenizer.json", "ja/tokenizer.json", "ja/tokenizer_config.json", "ja/special_tokens_map.json"],
        make: |dir| {
            asked(dir);
            let base = family().join("base").display().to_string();
            dir.write("r.yaml", format!("merge_method: linear\nmodels:\n- {{model: ja, parameters: {{weight: 1}}}}\n- {{model: {base}, parameters: {{weight: 1}}}}\ntokenizer: {{source: union}}\nchat_template: auto\n"));
        },
        commands: &[MERGE, &["eval", "ja", "--tasks", "sums.yaml", "--limit", "2", "--no-memory", "--chat"]],
        may_compute: true,
    });
}

/// Vocabulary files older than `tokenizer.json`, compared token by token.
#[test]
fn older_tokenizers() {
    check(&Kind {
        name: "older tokenizers",
        files: &[
            "a/vocab.json",
            "a/merges.txt",
            "a/added_tokens.json",
            "a/tokenizer_config.json",
            "b/tokenizer.model",
            "c/vocab.txt",
            "d/spiece.model",
        ],
        make: |dir| {
            let models = ["a", "b", "c", "d"];
            let texts: Vec<String> = ('あ'..).take(32).map(String::from).collect();
            let piece = |text: &String| [&[10, 10, 10, 3], text.as_bytes(), &[21, 0, 0, 128, 191]].concat();
            let pieces: Vec<u8> = texts.iter().flat_map(piece).collect();
            let ids: Vec<String> = (0..).zip(&texts[..31]).map(|(id, text)| format!("\"{text}\": {id}")).collect();
            for (name, value) in models.iter().zip([0.25, 0.5, 0.75, 1.0]) {
                dir.tiny(name, value);
            }
            dir.write("a/vocab.json", format!("{{{}}}", ids.join(", ")));
            dir.write("a/merges.txt", "#version: 0.2\nあ い\n");
            dir.write("a/added_tokens.json", format!("{{\"{}\": 31}}", texts[31]));
            dir.write(
                "a/tokenizer_config.json",
                format!(
                    "{{\"model_max_length\": Infinity, \"added_tokens_decoder\": {{\"31\": {{\"content\": \"{}\"}}}}}}",
                    texts[31]
                ),
            );
            dir.write("b/tokenizer.model", &pieces);
            dir.write("c/vocab.txt", texts.join("\n"));
            dir.write("d/spiece.model", &pieces);
            let lines = models.map(|name| format!("- {{model: {name}, parameters: {{weight: 1}}}}\n"));
            dir.write("r.yaml", format!("merge_method: linear\nmodels:\n{}", lines.concat()));
            let said = dir.run(&["plan", "r.yaml"]);
            assert!(said.code == Some(0) && !said.err.contains("not read here"), "{}", said.err);
        },
        commands: &[MERGE],
        may_compute: false,
    });
}
