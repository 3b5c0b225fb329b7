//! Decides where a path's scales can be folded into weights, so that a plain checkpoint computes the same.
//!
//! A root mean square norm gives the same for a hidden state and for any multiple of it. So if layers read the state
//! only through such norms, `h[k+1] = layer(h[k] · s[k])` needs no multiplications: with `c[k] = s[0]·…·s[k]`, all
//! that layer `k` adds is divided by `c[k]`, so that the state is `h[k] / c[k-1]`, and the last norm removes the
//! rest. This is exact except for the term that norms add under their root, which matters where the state is small:
//! in the first layers. So `s[0]` is folded into the embedding instead, and all else is relative to it.

use crate::model::Config;

/// Architectures whose layers read the hidden state through root mean square norms, and add only what [`adds`] names.
const FOLD: [&str; 10] =
    ["llama", "mistral", "evomistral", "qwen2", "qwen3", "phi3", "gemma", "mixtral", "qwen2_moe", "qwen3_moe"];

/// Architectures that people may ask for and that are refused, with the reason.
const REFUSED: [(&str, &str); 12] = [
    ("gpt2", LAYER_NORMS),
    ("gpt_neox", SIDE_BY_SIDE),
    ("gpt_neox_japanese", LAYER_NORMS),
    ("gptj", SIDE_BY_SIDE),
    ("phi", SIDE_BY_SIDE),
    ("cohere", SIDE_BY_SIDE),
    ("stablelm", LAYER_NORMS),
    ("starcoder2", LAYER_NORMS),
    ("gemma2", NORMS_AFTER),
    ("gemma3", NORMS_AFTER),
    ("gemma3_text", NORMS_AFTER),
    ("olmo2", NORMS_AFTER),
];
const LAYER_NORMS: &str = "its norms are layer norms";
const SIDE_BY_SIDE: &str = "its attention and MLP stand side by side, behind layer norms";
const NORMS_AFTER: &str = "its norms after attention and MLP undo a division of their weights";

/// Factors of what layers add to the state, in some architectures.
const FACTORS: [&str; 2] = ["residual_multiplier", "scale_depth"];

/// Reason why scales cannot be folded exactly into models of this configuration; `None` if they can.
pub(crate) fn refusal(config: &Config) -> Option<String> {
    let name = config.0.get("model_type").and_then(|name| name.as_str()).unwrap_or_default();
    if let Some(key) = FACTORS.iter().find(|key| config.0.get(**key).is_some_and(|factor| factor.as_f64() != Some(1.0)))
    {
        return Some(format!("`{key}` in config.json scales what its layers add"));
    }
    if let Some((_, why)) = REFUSED.iter().find(|(known, _)| *known == name) {
        return Some(format!("`{name}` reads its hidden state in another way: {why}"));
    }
    (!FOLD.contains(&name)).then(|| format!("it is not known how layers of `{name}` add to their hidden state"))
}

/// True if norms of this configuration multiply by their weights plus one.
pub(crate) fn norms_count_from_one(config: &Config) -> bool {
    config.0.get("model_type").and_then(|name| name.as_str()) == Some("gemma")
}

/// True if a tensor makes what a layer adds to the state; `rest` is its name after the layer's number.
pub(crate) fn adds(rest: &str) -> bool {
    let part = rest.trim_end_matches(".weight").trim_end_matches(".bias").rsplit('.').next();
    // Mixtral's experts call their last projection `w2`.
    part.is_some_and(|part| ["o_proj", "down_proj", "w2"].contains(&part))
}
