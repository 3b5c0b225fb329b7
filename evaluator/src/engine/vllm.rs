//! Routes of vLLM 0.32 and newer: loading weights in place, their hashes and their version, completions of tokens.

use super::{Computed, Facts, Trouble, Wanted, What, proof::Hashes};
use crate::{
    request::Likelihood,
    server::{ServerWire, wire::Refusal},
};
use merge_core::{
    error::{Error, Result},
    model::dtype::Dtype,
};
use serde_json::{Value, json};
use std::{thread, time::Duration};

/// Pause before the cache of prefixes is reset again, and most times that it is reset: blocks of a request that has just
/// ended may still be held.
const RESET: (Duration, usize) = (Duration::from_millis(50), 100);

/// Facts about the engine at an address.
///
/// Fails, saying what to change, if it cannot be given weights or keeps them in a form that cannot be merged.
pub(super) fn facts(wire: &ServerWire) -> Result<Facts> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let models = wire.get("v1/models").map_err(|refusal| super::is_it(refusal, "vLLM"))?;
    let own = &models["data"][0];
    let (Some(model), Some(context)) = (text(&own["id"]), own["max_model_len"].as_u64()) else {
        return Err(wire.unclear("v1/models", "it names no model with its `max_model_len`: is this vLLM?"));
    };
    let version = text(&wire.get("version")?["version"]).unwrap_or_default();
    let developing = |refusal: Refusal| {
        match refusal {
        Refusal::Permanent(error) => {
            Error::user(format!("vLLM {version} takes no weights: {error}")).hint(
                "start vLLM 0.32 or newer with VLLM_SERVER_DEV_MODE=1 in its environment: VLLM_SERVER_DEV_MODE=1 vllm serve MODEL",
            )
        }
        other => other.into(),
    }
    };
    let info = wire.get("server_info?config_format=json").map_err(developing)?;
    wire.get("weight_info").map_err(developing)?;
    let config = |place: &str| &info["vllm_config"][place];
    let (of_model, parallel) = (config("model_config"), config("parallel_config"));
    if let Some(form) = of_model["quantization"].as_str() {
        return Err(Error::user(format!("vLLM keeps its weights quantised ({form})"))
            .hint("start it without `--quantization`, with a model that is not quantised: merged weights would be changed again"));
    }
    let dtype = of_model["dtype"].as_str().unwrap_or_default().trim_start_matches("torch.").to_owned();
    let size = |name: &str| parallel[name].as_u64().unwrap_or(1);
    let device = if parallel["worker_cls"].as_str().is_some_and(|class| class.contains("cpu")) { "CPU" } else { "GPU" };
    let cache = config("cache_config")["cache_dtype"].as_str().unwrap_or("auto");
    let (tp, pp, dp) = (size("tensor_parallel_size"), size("pipeline_parallel_size"), size("data_parallel_size"));
    let mut identity = vec![format!("vLLM {version}, {dtype}, {device}")];
    for (what, n) in [("tensor", tp), ("pipeline", pp), ("data", dp)] {
        if n > 1 {
            identity.push(format!("{what} parallel {n}"));
        }
    }
    if cache != "auto" {
        identity.push(format!("{cache} cache"));
    }
    if info["vllm_env"]["VLLM_BATCH_INVARIANT"] == true {
        identity.push("batch invariant".to_owned());
    }
    Ok(Facts {
        identity: identity.join(", "),
        root: text(&own["root"]).unwrap_or_else(|| model.clone()),
        model,
        context: context as usize,
        dtype: [Dtype::BF16, Dtype::F16, Dtype::F32].into_iter().find(|one| one.name() == dtype),
        slots: None,
        adapters: Vec::new(),
    })
}

/// Loads the checkpoint at a path in place of the weights, over zeros if `clean`.
///
/// What is still asked is dropped: nobody of ours waits for it. A load that fails leaves no paused engine.
pub(super) fn load(wire: &ServerWire, path: &str, version: &str, clean: bool) -> std::result::Result<(), Trouble> {
    let loaded = load_paused(wire, path, version, clean);
    let resumed = wire.post("resume", &json!({})).map(drop).map_err(failed);
    loaded.and(resumed)
}

fn load_paused(wire: &ServerWire, path: &str, version: &str, clean: bool) -> std::result::Result<(), Trouble> {
    let act = |path: &str, body: Value| wire.post(path, &body).map_err(failed);
    act("pause?mode=abort", json!({}))?;
    if clean {
        zero(wire)?;
    }
    act("collective_rpc", json!({ "method": "reload_weights", "kwargs": { "weights_path": path } }))?;
    let (pause, most) = RESET;
    let mut tries = 0;
    // Older versions answer nothing when it is done.
    while act("reset_prefix_cache", json!({}))?["success"] == false {
        tries += 1;
        if tries == most {
            let why = format!("{}: its cache of prefixes is still held", wire.address("reset_prefix_cache"));
            return Err(Trouble::engine(Error::machine(why).hint("let nothing else ask this engine")));
        }
        thread::sleep(pause);
    }
    act("update_weight_version", json!({ "new_version": version })).map(drop)
}

/// A load that fails is the engine's failure, whatever it answers.
fn failed(refusal: Refusal) -> Trouble {
    Trouble::Engine {
        answered: matches!(refusal, Refusal::Failed(..) | Refusal::Permanent(_)),
        error: Error::from(refusal).as_machine(),
    }
}

/// Sets all parameters to zero.
pub(super) fn zero(wire: &ServerWire) -> std::result::Result<(), Trouble> {
    wire.post("weight_checker", &json!({ "action": "reset" })).map(drop).map_err(failed)
}

/// Hash of each parameter.
pub(super) fn checksums(wire: &ServerWire) -> std::result::Result<Hashes, Trouble> {
    let answer = wire.post("weight_checker", &json!({ "action": "checksum" })).map_err(failed)?;
    let hash = |(name, hash): (&String, &Value)| Some((name.clone(), hash.as_str()?.to_owned()));
    let all: Option<Hashes> = answer["checksums"].as_object().map(|all| all.iter().filter_map(hash).collect());
    all.filter(|all| !all.is_empty())
        .ok_or_else(|| Trouble::engine(wire.unclear("weight_checker", "it has no checksums").as_machine()))
}

/// Version of the weights.
pub(super) fn version(wire: &ServerWire) -> std::result::Result<String, Trouble> {
    let answer = wire.get("weight_info")?;
    Ok(answer["weight_version"].as_str().unwrap_or_default().to_owned())
}

/// Tokens of a text.
pub(super) fn tokens(wire: &ServerWire, model: &str, text: &str) -> Result<Vec<u32>> {
    let body = json!({ "model": model, "prompt": text, "add_special_tokens": false });
    let answer = wire.post("tokenize", &body)?;
    super::ids(&answer["tokens"]).ok_or_else(|| wire.unclear("tokenize", "it has no tokens"))
}

/// Computes sequences of one kind in one request.
pub(super) fn compute(
    wire: &ServerWire,
    model: &str,
    wanted: &[Wanted<'_>],
    ends: &[u32],
) -> std::result::Result<Vec<Computed>, Trouble> {
    let Some(first) = wanted.first() else { return Ok(Vec::new()) };
    let prompts: Vec<&[u32]> = wanted.iter().map(|one| one.tokens).collect();
    // All settings of sampling: some models' `generation_config.json` has others.
    let mut body = json!({
        "model": model, "prompt": prompts, "temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0, "n": 1, "seed": 0,
        "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "min_tokens": 0, "echo": false,
        "add_special_tokens": false, "return_token_ids": true, "ignore_eos": true, "stop_token_ids": ends,
    });
    match first.what {
        What::Score(_) => {
            body["max_tokens"] = json!(1);
            body["prompt_logprobs"] = json!(0);
        }
        What::Generate(limit, stop) => {
            body["max_tokens"] = json!(limit);
            body["stop"] = stop.iter().filter(|stop| !stop.is_empty()).map(String::as_str).collect();
        }
    }
    let answer = wire.post("v1/completions", &body)?;
    let unclear = |what: &str| Trouble::engine(wire.unclear("v1/completions", what).as_machine());
    let choices = answer["choices"].as_array().ok_or_else(|| unclear("it has no choices"))?;
    let mut computed: Vec<Option<Computed>> = wanted.iter().map(|_| None).collect();
    for choice in choices {
        let number = choice["index"].as_u64().map(|index| index as usize).filter(|index| *index < wanted.len());
        let Some(number) = number else { return Err(unclear("a choice has no place")) };
        let one = match wanted[number].what {
            What::Score(from) => score(&choice["prompt_logprobs"], wanted[number].tokens, from)
                .ok_or_else(|| unclear("the log-likelihoods of a prompt are missing"))?,
            What::Generate(..) => {
                let tokens = super::ids(&choice["token_ids"]).ok_or_else(|| unclear("it has no token ids"))?;
                match choice["finish_reason"].as_str() {
                    Some("stop") => Computed::Generated(tokens, false),
                    Some("length") => Computed::Generated(tokens, true),
                    other => return Err(unclear(&format!("an answer ended by {}", other.unwrap_or("nothing")))),
                }
            }
        };
        computed[number] = Some(one);
    }
    computed.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| unclear("an answer is missing"))
}

/// Likelihood of the tokens from a position on; `None` if the answer does not have it.
fn score(logs: &Value, tokens: &[u32], from: usize) -> Option<Computed> {
    let logs = logs.as_array().filter(|logs| logs.len() == tokens.len())?;
    let mut sum = Likelihood { log: 0.0, tokens: tokens.len() - from, greedy: true };
    let mut broken = false;
    for (entry, token) in logs.iter().zip(tokens).skip(from) {
        let entry = entry.get(token.to_string())?;
        // A number that is not finite is null in JSON.
        let log = entry.get("logprob")?.as_f64().filter(|log| *log > LOWEST);
        broken |= log.is_none();
        sum.log += log.unwrap_or(f64::NEG_INFINITY);
        sum.greedy &= entry["rank"] == 1;
    }
    Some(Computed::Scored(sum, broken))
}

/// vLLM writes this for log-likelihoods that JSON cannot have.
const LOWEST: f64 = -9999.0;
