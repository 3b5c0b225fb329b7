//! Routes of llama.cpp's server: completions of tokens by the model that it was started with, and its `LoRA` adapters, each
//! with a scale that the request gives.
//!
//! Two traps. A request without scales gets those that the server was started with, so each request has one for every
//! adapter. The server's cache of prompts does not know of adapters, and may continue a prompt that was read with other
//! scales, so requests do without it.

use super::{Computed, Facts, Trouble, Wanted, What};
use crate::server::ServerWire;
use merge_core::error::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// An adapter that the server holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldAdapter {
    /// Number in requests.
    pub id: usize,
    /// Path of its file, as the server was given it.
    pub path: String,
}

/// Facts about the server at an address. Fails if it holds no adapter.
pub(super) fn facts(wire: &ServerWire) -> Result<Facts> {
    let props = wire.get("props").map_err(|refusal| super::is_it(refusal, "llama-server"))?;
    let text = |name: &str| props[name].as_str().map(str::to_owned);
    let context = props["default_generation_settings"]["n_ctx"].as_u64();
    let (Some(root), Some(build), Some(context)) = (text("model_path"), text("build_info"), context) else {
        return Err(wire.unclear("props", "it has no `model_path`, `build_info` and `n_ctx`: is this llama-server?"));
    };
    let held = wire.get("lora-adapters")?;
    let adapters = adapters(&held).map_err(|why| wire.unclear("lora-adapters", &why))?;
    if adapters.is_empty() {
        return Err(Error::user("llama.cpp holds no LoRA adapter, and is given no weights, only scales").hint(
            "start it with the adapters of the search: llama-server -m base.gguf --lora a.gguf,b.gguf; full models need vLLM or SGLang",
        ));
    }
    let file = Path::new(&root).file_name().map_or_else(|| root.clone(), |name| name.to_string_lossy().into_owned());
    let kind = text("model_ftype").map_or_else(String::new, |kind| format!(" ({kind})"));
    Ok(Facts {
        identity: format!("llama.cpp {build}, {file}{kind}"),
        model: text("model_alias").unwrap_or_default(),
        root,
        context: context as usize,
        dtype: None,
        slots: props["total_slots"].as_u64().map(|slots| slots as usize),
        adapters,
    })
}

/// The adapters of a list; the reason if it cannot be used.
fn adapters(held: &Value) -> std::result::Result<Vec<HeldAdapter>, String> {
    let adapter = |one: &Value| {
        let id = one["id"].as_u64().and_then(|id| usize::try_from(id).ok());
        let (id, path) = id.zip(one["path"].as_str()).ok_or("it is no list of adapters")?;
        if one["alora_invocation_tokens"].is_null() {
            return Ok(HeldAdapter { id, path: path.to_owned() });
        }
        Err(format!("{path} is switched on by some tokens only (aLoRA), and a merge has it in all: start without it"))
    };
    held.as_array().ok_or("it is no list of adapters")?.iter().map(adapter).collect()
}

/// The scales of a server's adapters, as requests have them: the version of the weights.
pub(super) fn version(scales: impl IntoIterator<Item = (usize, f32)>) -> String {
    let mut scales: Vec<(usize, f32)> = scales.into_iter().collect();
    scales.sort_by_key(|(id, _)| *id);
    let all: Vec<Value> = scales.into_iter().map(|(id, scale)| json!({ "id": id, "scale": scale })).collect();
    Value::from(all).to_string()
}

/// Tokens of a text.
pub(super) fn tokens(wire: &ServerWire, text: &str) -> Result<Vec<u32>> {
    let answer = wire.post("tokenize", &json!({ "content": text, "add_special": false, "parse_special": false }))?;
    super::ids(&answer["tokens"]).ok_or_else(|| wire.unclear("tokenize", "it has no tokens"))
}

/// The error for a log-likelihood.
pub(super) fn no_likelihoods(name: &str) -> Error {
    Error::user(format!("{name}: llama.cpp does not tell log-likelihoods of a prompt, so it can only generate"))
        .hint("use tasks whose answers are generated (`output_type: generate_until`), or another engine")
}

/// A failure by which a server says that the requests that it takes at once have no room together: it fails again.
fn shared(trouble: Trouble) -> Trouble {
    if !trouble.error().to_string().contains("Context size has been exceeded") {
        return trouble;
    }
    Trouble::Fatal(trouble.into_error().as_machine().hint(
        "llama-server's slots share its context, and have no room together: start it with a larger `-c`, or a smaller `-np`",
    ))
}

/// Computes sequences of one kind in one request, with these scales.
pub(super) fn compute(
    wire: &ServerWire,
    name: &str,
    wanted: &[Wanted<'_>],
    ends: &[u32],
    scales: &str,
) -> std::result::Result<Vec<Computed>, Trouble> {
    let Some(first) = wanted.first() else { return Ok(Vec::new()) };
    let What::Generate(limit, stop) = first.what else { return Err(Trouble::Fatal(no_likelihoods(name))) };
    let prompts: Vec<&[u32]> = wanted.iter().map(|one| one.tokens).collect();
    let lora: Value = serde_json::from_str(scales).expect("made by `version`");
    let stop: Vec<&String> = stop.iter().filter(|stop| !stop.is_empty()).collect();
    // All settings of sampling: a server may be started with others.
    let body = json!({
        "prompt": prompts, "n_predict": limit, "stop": stop, "lora": lora, "return_tokens": true, "cache_prompt": false,
        "temperature": 0, "samplers": ["top_k"], "top_k": 1, "repeat_penalty": 1, "presence_penalty": 0,
        "frequency_penalty": 0, "dry_multiplier": 0, "xtc_probability": 0, "mirostat": 0, "seed": 0, "ignore_eos": false,
        "n_probs": 0, "grammar": "", "logit_bias": [], "stream": false,
    });
    let answer = wire.post("completion", &body).map_err(|refusal| shared(Trouble::from(refusal)))?;
    let unclear = |what: &str| Trouble::engine(wire.unclear("completion", what).as_machine());
    // One prompt has an answer, several have a list.
    let answers = answer.as_array().map_or(std::slice::from_ref(&answer), Vec::as_slice);
    let mut computed: Vec<Option<Computed>> = wanted.iter().map(|_| None).collect();
    for one in answers {
        let number = one["index"].as_u64().map(|index| index as usize).filter(|index| *index < wanted.len());
        let Some(number) = number else { return Err(unclear("an answer has no place")) };
        computed[number] = Some(generated(one, limit, ends).map_err(|why| unclear(&why))?);
    }
    computed.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| unclear("an answer is missing"))
}

/// Reads one answer; the reason if it cannot be used.
fn generated(answer: &Value, limit: usize, ends: &[u32]) -> std::result::Result<Computed, String> {
    let mut tokens = super::ids(&answer["tokens"]).ok_or("it has no tokens")?;
    let limited = match answer["stop_type"].as_str() {
        Some("eos" | "word") => false,
        // At the end of the context the server calls an answer cut, even if it is as long as was asked.
        Some("limit") if answer["truncated"] != true || tokens.len() >= limit => true,
        other => return Err(format!("an answer ended by {}", other.unwrap_or("nothing"))),
    };
    // Tokens that end an answer to us need not to llama.cpp, which goes by what the file says of them.
    let end = tokens.iter().position(|token| ends.contains(token)).map(|end| end + 1);
    tokens.truncate(end.unwrap_or(limit));
    Ok(Computed::Generated(tokens, end.is_none() && limited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_our_own_pass_would_have_ended_it() {
        let check = |answer: Value, limit: usize, expected: std::result::Result<(&[u32], bool), &str>| {
            let expected = expected.map(|(tokens, limited)| Computed::Generated(tokens.to_vec(), limited));
            assert_eq!(generated(&answer, limit, &[2, 9]), expected.map_err(str::to_owned), "{answer}");
        };
        // As llama.cpp b11434 answers.
        let ended = json!({ "tokens": [262, 2], "stop_type": "eos", "truncated": false, "content": "。" });
        check(ended, 5, Ok((&[262, 2], false)));
        let limited = json!({ "tokens": [20, 19, 14], "stop_type": "limit", "truncated": false });
        check(limited.clone(), 3, Ok((&[20, 19, 14], true)));
        // The context is full, and the answer whole; or it is cut.
        let full = json!({ "tokens": [20, 19, 14], "stop_type": "limit", "truncated": true });
        check(full.clone(), 3, Ok((&[20, 19, 14], true)));
        check(full, 4, Err("an answer ended by limit"));
        // A token that ends an answer to us alone.
        check(json!({ "tokens": [20, 9, 14], "stop_type": "limit", "truncated": false }), 3, Ok((&[20, 9], false)));
        check(json!({ "tokens": [1], "stop_type": "none" }), 3, Err("an answer ended by none"));
        check(json!({ "stop_type": "eos" }), 3, Err("it has no tokens"));
    }

    #[test]
    fn an_adapter_that_tokens_switch_on_is_refused() {
        let held = json!([{ "id": 0, "path": "a.gguf", "scale": 1.0, "task_name": "", "prompt_prefix": "" }]);
        assert_eq!(adapters(&held), Ok(vec![HeldAdapter { id: 0, path: "a.gguf".to_owned() }]));
        let gated = json!([{ "id": 0, "path": "a.gguf", "scale": 1.0, "alora_invocation_tokens": [5] }]);
        assert!(adapters(&gated).unwrap_err().starts_with("a.gguf is switched on by some tokens only"));
        assert!(adapters(&json!({ "error": 1 })).is_err());
    }
}
