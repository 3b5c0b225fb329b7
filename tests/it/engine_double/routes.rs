//! Routes of the double: what vLLM and SGLang answer.

use super::{DoubleState, EngineForm, hash_of};
use serde_json::{Value, json};

impl DoubleState {
    pub(super) fn answer_vllm(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let ok = |value: Value| Some((200, value));
        let context = if self.form == EngineForm::Short { 16 } else { 512 };
        let root = self.root.display().to_string();
        if self.form == EngineForm::VllmForUsers && !path.starts_with("/v1/") && path != "/version" {
            return Some((404, json!({ "detail": "Not Found" })));
        }
        match path {
            "/v1/models" => ok(json!({ "data": [{ "id": "served", "root": root, "max_model_len": context }] })),
            "/version" => ok(json!({ "version": if self.form == EngineForm::Newer { "0.33.0" } else { "0.32.0" } })),
            "/server_info" => {
                let quantization = if self.form == EngineForm::Quantised { json!("fp8") } else { Value::Null };
                ok(json!({ "vllm_config": {
                    "model_config": { "dtype": "torch.bfloat16", "quantization": quantization },
                    "parallel_config": { "tensor_parallel_size": 1, "worker_cls": "vllm.v1.worker.cpu_worker.CPUWorker" },
                    "cache_config": { "cache_dtype": "auto" },
                }, "vllm_env": { "VLLM_BATCH_INVARIANT": false } }))
            }
            "/weight_info" => ok(json!({ "weight_version": self.version })),
            "/pause" => {
                self.paused = true;
                ok(json!({ "status": "paused" }))
            }
            "/resume" => {
                self.paused = false;
                ok(json!({ "status": "resumed" }))
            }
            "/reset_prefix_cache" => ok(json!({ "success": self.paused })),
            "/update_weight_version" => {
                body["new_version"].as_str().unwrap().clone_into(&mut self.version);
                ok(json!({ "success": true }))
            }
            "/weight_checker" if body["action"] == "reset" => {
                self.kept = self.hashes.clone();
                let visible = |(name, hash): (&String, &mut String)| {
                    if *hash != hash_of(b"") {
                        hash.clone_from(&self.zeros[name]);
                    }
                };
                self.hashes.iter_mut().for_each(visible);
                ok(json!({ "status": "reset" }))
            }
            "/weight_checker" => ok(json!({ "checksums": self.hashes })),
            "/collective_rpc" => {
                assert_eq!((&body["method"], self.paused), (&json!("reload_weights"), true));
                if !self.reload(body["kwargs"]["weights_path"].as_str().unwrap())? {
                    return Some((500, json!({ "error": "out of memory" })));
                }
                ok(json!({ "results": [null] }))
            }
            "/tokenize" => ok(json!({ "tokens": self.tokens(body) })),
            "/v1/completions" => {
                assert_eq!(body["model"], "served");
                let (prompts, ends) = (token_lists(&body["prompt"]), tokens(&body["stop_token_ids"]));
                let (prompts, aborts) = match self.completion(prompts, body["prompt_logprobs"].is_null()) {
                    Ok(completion) => completion,
                    Err(status) => return Some((status, json!({ "error": { "message": "the engine has an error" } }))),
                };
                assert!(!self.paused && body["temperature"] == 0 && body["repetition_penalty"] == 1);
                let limit = body["max_tokens"].as_u64().unwrap() as usize;
                let scores = body["prompt_logprobs"] == 0;
                let choice = |(index, prompt): (usize, &Vec<u32>)| {
                    if scores {
                        let logs = self.likelihoods(prompt).into_iter().zip(prompt).map(|(log, token)| match log {
                            Some((log, rank)) => json!({ token.to_string(): { "logprob": log, "rank": rank } }),
                            None => Value::Null,
                        });
                        return json!({ "index": index, "token_ids": [0], "prompt_logprobs": logs.collect::<Vec<_>>() });
                    }
                    let (tokens, why) = self.generate(prompt, limit, &texts(&body["stop"]), &ends);
                    json!({ "index": index, "token_ids": tokens, "finish_reason": if aborts { "abort" } else { why } })
                };
                let mut choices: Vec<Value> = prompts.iter().enumerate().map(choice).collect();
                // Their order is no promise.
                choices.reverse();
                ok(json!({ "choices": choices }))
            }
            _ => Some((404, json!({ "detail": "Not Found" }))),
        }
    }

    pub(super) fn answer_sglang(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let ok = |value: Value| Some((200, value));
        match path {
            "/get_server_info" => {
                ok(json!({ "version": "0.5.23", "dtype": "bfloat16", "context_length": 512, "quantization": null }))
            }
            "/get_model_info" => {
                ok(json!({ "model_path": self.at.display().to_string(), "weight_version": self.version }))
            }
            "/update_weights_from_disk" => {
                assert_eq!((&body["flush_cache"], &body["abort_all_requests"]), (&json!(true), &json!(false)));
                if !self.reload(body["model_path"].as_str().unwrap())? {
                    return Some((400, json!({ "success": false, "message": "it does not fit" })));
                }
                body["weight_version"].as_str().unwrap().clone_into(&mut self.version);
                ok(json!({ "success": true, "message": "Succeeded" }))
            }
            "/tokenize" => ok(json!({ "tokens": self.tokens(body) })),
            "/generate" => {
                let (sampling, prompts) = (&body["sampling_params"], token_lists(&body["input_ids"]));
                let (prompts, aborts) = match self.completion(prompts, body["return_logprob"] != true) {
                    Ok(completion) => completion,
                    Err(status) => return Some((status, json!({ "error": { "message": "the engine has an error" } }))),
                };
                let limit = sampling["max_new_tokens"].as_u64().unwrap() as usize;
                let version = self.version.clone();
                let answer = |(number, prompt): (usize, &Vec<u32>)| {
                    if body["return_logprob"] == true {
                        let start = body["logprob_start_len"][number].as_u64().unwrap() as usize;
                        let all = self.likelihoods(prompt);
                        let entry =
                            |at: usize| json!([all[at].filter(|_| at > start).map(|(log, _)| log), prompt[at], null]);
                        let top = |at: usize| match all[at] {
                            Some((log, 1)) => json!([[log, prompt[at], null]]),
                            _ => json!([[0.0, u32::MAX, null]]),
                        };
                        let logs: Vec<Value> = (start..prompt.len()).map(entry).collect();
                        let tops: Vec<Value> = (start..prompt.len()).map(top).collect();
                        return json!({ "output_ids": [0], "meta_info": {
                            "weight_version": version, "input_token_logprobs": logs, "input_top_logprobs": tops,
                            "finish_reason": { "type": "length" },
                        } });
                    }
                    let ends = tokens(&sampling["stop_token_ids"]);
                    let (tokens, why) = self.generate(prompt, limit, &texts(&sampling["stop"]), &ends);
                    let why = if aborts { "abort" } else { why };
                    json!({ "output_ids": tokens, "meta_info": { "weight_version": version, "finish_reason": { "type": why } } })
                };
                ok(prompts.iter().enumerate().map(answer).collect())
            }
            _ => Some((404, json!({ "detail": "Not Found" }))),
        }
    }
}

pub(super) fn tokens(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
}

pub(super) fn token_lists(lists: &Value) -> Vec<Vec<u32>> {
    lists.as_array().unwrap().iter().map(tokens).collect()
}

pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().map(|all| all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}
