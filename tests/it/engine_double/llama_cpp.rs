//! Routes of the double: what llama.cpp's server answers.

use super::{
    DoubleState, EngineFault,
    routes::{texts, token_lists},
};
use evaluator::{answer::Transformer, model::device};
use merge_core::{
    merge::{
        Merge,
        sources::{FilesOnly, Sources},
    },
    recipe::Recipe,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Tokens of a slot.
const CONTEXT: usize = 512;

impl DoubleState {
    pub(super) fn answer_llama_cpp(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let ok = |value: Value| Some((200, value));
        match path {
            "/props" => ok(json!({
                "model_path": self.file(), "model_alias": "base", "model_ftype": "F16", "build_info": "b11434",
                "default_generation_settings": { "n_ctx": CONTEXT }, "total_slots": 4,
            })),
            "/lora-adapters" => {
                let adapters = self.adapters.iter().enumerate();
                ok(adapters.map(|(id, (_, file))| json!({ "id": id, "path": file, "scale": 1.0 })).collect())
            }
            "/tokenize" => {
                assert_eq!((&body["add_special"], &body["parse_special"]), (&json!(false), &json!(false)));
                let text = body["content"].as_str().unwrap();
                ok(json!({ "tokens": self.model.tokenizer().encode_continuation(text).unwrap() }))
            }
            "/completion" => Some(self.complete(body)),
            _ => Some((404, json!({ "error": { "message": "File Not Found" } }))),
        }
    }

    /// Path of the model's file: beside the first adapter's.
    fn file(&self) -> String {
        let beside = self.adapters.first().and_then(|(_, file)| file.parent()).unwrap_or(Path::new(""));
        beside.join("base.gguf").display().to_string()
    }

    fn complete(&mut self, body: &Value) -> (u16, Value) {
        // A prompt in the server's cache may have been read with other scales.
        assert!(body["cache_prompt"] == false && body["temperature"] == 0 && body["top_k"] == 1);
        let lora = body["lora"].as_array().unwrap();
        // Without scales for all, those of the command line would count.
        assert_eq!(lora.len(), self.adapters.len());
        let is_own = lora.iter().all(|one| one["scale"] == 0.0);
        self.version = if is_own { "own".to_owned() } else { json!(lora).to_string() };
        if self.takes(EngineFault::StartsAgain, !is_own) {
            self.adapters.reverse();
        }
        let scales: Vec<(usize, f64)> =
            lora.iter().map(|one| (one["id"].as_u64().unwrap() as usize, one["scale"].as_f64().unwrap())).collect();
        self.mix(&scales);
        let prompts = token_lists(&body["prompt"]);
        let (prompts, aborts) = match self.completion(prompts, true) {
            Ok(completion) => completion,
            Err(status) => return (status, json!({ "error": { "message": "the engine has an error" } })),
        };
        let limit = body["n_predict"].as_u64().unwrap() as usize;
        // `eos_token_id` of the family.
        let end = 2;
        let answer = |(index, prompt): (usize, &Vec<u32>)| {
            let (tokens, why) = self.generate(prompt, limit, &texts(&body["stop"]), &[end]);
            let why = match why {
                _ if aborts => "none",
                "length" => "limit",
                _ if tokens.last() == Some(&end) => "eos",
                _ => "word",
            };
            // At the end of the context an answer is called cut, whatever its limit.
            let truncated = why == "limit" && prompt.len() + tokens.len() >= CONTEXT;
            json!({ "index": index, "tokens": tokens, "stop_type": why, "truncated": truncated })
        };
        let mut answers: Vec<Value> = prompts.iter().enumerate().map(answer).collect();
        // One prompt has an answer, several have a list.
        (200, if answers.len() == 1 { answers.remove(0) } else { answers.into() })
    }

    /// Becomes the base with scaled adapters, as llama.cpp scales them: by alpha divided by the rank.
    fn mix(&mut self, scales: &[(usize, f64)]) {
        // Tests in other directories have the same adapters.
        let names: Vec<_> = self.adapters.iter().map(|(dir, _)| dir.file_name()).collect();
        let key = format!("{scales:?} of {names:?}");
        if self.hashes.keys().eq([&key]) {
            return;
        }
        self.has_loaded();
        let model = |(id, scale): &(usize, f64)| {
            let dir = &self.adapters[*id].0;
            let config: Value = serde_json::from_slice(&fs::read(dir.join("adapter_config.json")).unwrap()).unwrap();
            // PEFT divides by the root of the rank then.
            let root = if config["use_rslora"] == true { config["r"].as_f64().unwrap().sqrt() } else { 1.0 };
            let weight = (scale / root * 1e5).round() / 1e5;
            format!("- {{model: {}+{}, parameters: {{weight: {weight}}}}}\n", self.root.display(), dir.display())
        };
        let models: String = scales.iter().map(model).collect();
        let base = self.root.display();
        let text = format!("merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n{models}dtype: bfloat16\n");
        let recipe = Recipe::parse(&text, Path::new("double.yaml")).unwrap();
        let sources = Sources::open(&recipe, &[], &FilesOnly).unwrap();
        let merge = Merge::plan(&recipe, &sources).unwrap();
        self.model = Transformer::load(&merge, &device("cpu").unwrap()).unwrap();
        self.hashes = [(key.clone(), key)].into();
    }
}
