//! Routes of SGLang 0.5: weights from a path with a version, which every answer names; generation from tokens.

use super::{Computed, Facts, Trouble, Wanted, What};
use crate::{
    request::Likelihood,
    server::{ServerWire, wire::Refusal},
};
use merge_core::error::{Error, Result};
use serde_json::{Value, json};

/// Facts about the engine at an address. Fails if it keeps weights in a form that cannot be merged.
pub(super) fn facts(wire: &ServerWire) -> Result<Facts> {
    let info = wire.get("get_server_info").map_err(|refusal| super::is_it(refusal, "SGLang"))?;
    let model = wire.get("get_model_info")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let Some(root) = text(&model["model_path"]) else {
        return Err(wire.unclear("get_model_info", "it names no `model_path`: is this SGLang?"));
    };
    if model.get("weight_version").is_none() {
        return Err(Error::user("this SGLang does not tell which weights it holds").hint("take SGLang 0.5.4 or newer"));
    }
    if let Some(form) = info["quantization"].as_str() {
        return Err(Error::user(format!("SGLang keeps its weights quantised ({form})"))
            .hint("start it without `--quantization`, with a model that is not quantised: merged weights would be changed again"));
    }
    let said = |name: &str| info[name].as_str().unwrap_or("auto").to_owned();
    let mut identity = vec![format!("SGLang {}, {}", said("version"), said("dtype"))];
    for (name, what) in [("tp_size", "tensor"), ("pp_size", "pipeline"), ("dp_size", "data")] {
        if let Some(n) = info[name].as_u64().filter(|n| *n > 1) {
            identity.push(format!("{what} parallel {n}"));
        }
    }
    if said("kv_cache_dtype") != "auto" {
        identity.push(format!("{} cache", said("kv_cache_dtype")));
    }
    if info["enable_deterministic_inference"] == true {
        identity.push("deterministic".to_owned());
    }
    // Without a context length of its own it has the model's.
    let context = info["context_length"].as_u64().or_else(|| info["max_req_input_len"].as_u64());
    Ok(Facts {
        identity: identity.join(", "),
        model: text(&info["served_model_name"]).unwrap_or_else(|| root.clone()),
        root,
        context: context.map_or(usize::MAX, |context| context as usize),
        dtype: None,
        slots: None,
        adapters: Vec::new(),
    })
}

/// Loads the checkpoint at a path in place of the weights, and forgets all prefixes.
pub(super) fn load(wire: &ServerWire, path: &str, version: &str) -> std::result::Result<(), Trouble> {
    let body =
        json!({ "model_path": path, "weight_version": version, "flush_cache": true, "abort_all_requests": false });
    let failed = |error: Error| Trouble::Engine { error: error.as_machine(), answered: true };
    let answer = wire.post("update_weights_from_disk", &body).map_err(|refusal| match refusal {
        Refusal::Unreachable(error) => Trouble::engine(error),
        other => failed(other.into()),
    })?;
    if answer["success"] == true {
        return Ok(());
    }
    let why = answer["message"].as_str().unwrap_or("it does not say why");
    Err(failed(Error::machine(format!("{}: {why}", wire.address("update_weights_from_disk")))))
}

/// Version of the weights.
pub(super) fn version(wire: &ServerWire) -> std::result::Result<String, Trouble> {
    let answer = wire.get("get_model_info")?;
    Ok(answer["weight_version"].as_str().unwrap_or_default().to_owned())
}

/// Tokens of a text.
pub(super) fn tokens(wire: &ServerWire, text: &str) -> Result<Vec<u32>> {
    let answer = wire.post("tokenize", &json!({ "prompt": text, "add_special_tokens": false }))?;
    super::ids(&answer["tokens"]).ok_or_else(|| wire.unclear("tokenize", "it has no tokens"))
}

/// Computes sequences of one kind in one request. Also returns the version of the weights that computed each.
pub(super) fn compute(
    wire: &ServerWire,
    wanted: &[Wanted<'_>],
    ends: &[u32],
) -> std::result::Result<(Vec<Computed>, Vec<String>), Trouble> {
    let Some(first) = wanted.first() else { return Ok(Default::default()) };
    let prompts: Vec<&[u32]> = wanted.iter().map(|one| one.tokens).collect();
    // All settings of sampling: some models' `generation_config.json` has others.
    let mut sampling = json!({
        "temperature": 0, "top_p": 1, "top_k": 1, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0,
        "frequency_penalty": 0, "min_new_tokens": 0, "n": 1, "ignore_eos": true, "stop_token_ids": ends,
    });
    let mut body = json!({ "input_ids": prompts });
    match first.what {
        What::Score(_) => {
            sampling["max_new_tokens"] = json!(1);
            let starts: Vec<usize> = wanted.iter().map(|one| one.start().saturating_sub(1)).collect();
            body["return_logprob"] = json!(true);
            body["logprob_start_len"] = json!(starts);
            body["top_logprobs_num"] = json!(1);
        }
        What::Generate(limit, stop) => {
            sampling["max_new_tokens"] = json!(limit);
            sampling["stop"] = stop.iter().filter(|stop| !stop.is_empty()).map(String::as_str).collect();
        }
    }
    body["sampling_params"] = sampling;
    let answer = wire.post("generate", &body)?;
    let unclear = |what: &str| Trouble::engine(wire.unclear("generate", what).as_machine());
    let answers = answer.as_array().filter(|answers| answers.len() == wanted.len());
    let answers = answers.ok_or_else(|| unclear("it is no list with an answer for each prompt"))?;
    let mut all = (Vec::new(), Vec::new());
    for (one, wanted) in answers.iter().zip(wanted) {
        let meta = &one["meta_info"];
        all.1.push(meta["weight_version"].as_str().unwrap_or_default().to_owned());
        all.0.push(match wanted.what {
            What::Score(from) => {
                score(meta, &wanted.tokens[from..]).ok_or_else(|| unclear("log-likelihoods of a prompt are missing"))?
            }
            What::Generate(..) => {
                let tokens = super::ids(&one["output_ids"]).ok_or_else(|| unclear("it has no token ids"))?;
                match meta["finish_reason"]["type"].as_str() {
                    Some("stop") => Computed::Generated(tokens, false),
                    Some("length") => Computed::Generated(tokens, true),
                    other => return Err(unclear(&format!("an answer ended by {}", other.unwrap_or("nothing")))),
                }
            }
        });
    }
    Ok(all)
}

/// Likelihood of the last tokens of a prompt; `None` if the answer does not have it.
fn score(meta: &Value, targets: &[u32]) -> Option<Computed> {
    let list = |name: &str| {
        let list = meta[name].as_array()?;
        list.get(list.len().checked_sub(targets.len())?..)
    };
    let (logs, tops) = (list("input_token_logprobs")?, list("input_top_logprobs")?);
    let mut sum = Likelihood { log: 0.0, tokens: targets.len(), greedy: true };
    let mut broken = false;
    for ((entry, top), target) in logs.iter().zip(tops).zip(targets) {
        if entry[1].as_u64() != Some(u64::from(*target)) {
            return None;
        }
        let log = entry[0].as_f64();
        broken |= log.is_none();
        sum.log += log.unwrap_or(f64::NEG_INFINITY);
        sum.greedy &= top[0][1].as_u64() == Some(u64::from(*target));
    }
    Some(Computed::Scored(sum, broken))
}
