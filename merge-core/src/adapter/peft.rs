//! PEFT's format of adapters: the settings in `adapter_config.json`, and the names of tensors.

use crate::{
    error::{Error, Result},
    file,
};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Keys of `adapter_config.json`.
#[derive(Debug, Deserialize)]
struct StatedKeys {
    #[serde(default)]
    peft_type: Option<String>,
    #[serde(default)]
    r: Option<usize>,
    #[serde(default)]
    lora_alpha: Option<f64>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    use_dora: Option<bool>,
    #[serde(default)]
    fan_in_fan_out: Option<bool>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    rank_pattern: Option<Map<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<Map<String, Value>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Settings that change the formula, or what it applies to, in ways that are not known here.
const UNKNOWN: [&str; 11] = [
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "use_bdlora",
    "use_qalora",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

/// Initialisations that leave the model as it is. Others (`pissa`, `olora`, …) change it on loading.
const BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// A `LoRA` adapter's settings.
#[derive(Debug)]
pub(super) struct Peft {
    pub(super) dora: bool,
    /// True if square matrices are stored as (inputs, outputs).
    pub(super) fan_in_fan_out: bool,
    rs: bool,
    rank: usize,
    pub(super) alpha: f64,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
}

impl Peft {
    /// Reads `adapter_config.json`; fails for anything but `LoRA` as described in [`crate::adapter`].
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("adapter_config.json");
        let text = file::read_text(&path).map_err(|e| {
            Error::io("read", &path, &e)
                .or_hint("an adapter is a directory with adapter_config.json and adapter_model.safetensors")
        })?;
        Self::parse(&text).map_err(|e| e.at(path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let stated: StatedKeys =
            serde_json::from_str(text).map_err(|e| Error::user(format!("not the settings of an adapter: {e}")))?;
        let refused = |what: String| Error::user(what).hint("merge the adapter with PEFT, then name the merged model");
        match stated.peft_type.as_deref() {
            Some("LORA") => {}
            other => return Err(refused(format!("peft_type: {} is not LORA", other.unwrap_or("null")))),
        }
        let set = |key: &&&str| stated.others.get(**key).is_some_and(|value| !is_unset(value));
        if let Some(key) = UNKNOWN.iter().find(set) {
            return Err(refused(format!("{key}: this cannot be merged here")));
        }
        match &stated.init_lora_weights {
            Value::Null | Value::Bool(_) => {}
            Value::String(way) if BEGINNINGS.contains(&way.as_str()) => {}
            other => return Err(refused(format!("init_lora_weights: {other} changes the model when it is loaded"))),
        }
        let lacks = |key: &str| Error::user(format!("{key} is missing")).hint("save the adapter again with PEFT");
        Ok(Self {
            dora: stated.use_dora.unwrap_or(false),
            fan_in_fan_out: stated.fan_in_fan_out.unwrap_or(false),
            rs: stated.use_rslora.unwrap_or(false),
            rank: stated.r.ok_or_else(|| lacks("r"))?,
            alpha: stated.lora_alpha.ok_or_else(|| lacks("lora_alpha"))?,
            ranks: patterns("rank_pattern", stated.rank_pattern)?,
            alphas: patterns("alpha_pattern", stated.alpha_pattern)?,
        })
    }

    /// Rank and scale of a module's update.
    pub(super) fn rank_and_scale(&self, module: &str) -> Result<(usize, f32)> {
        let first = |patterns: &[(Regex, f64)]| patterns.iter().find(|(key, _)| key.is_match(module)).map(|(_, n)| *n);
        let rank = first(&self.ranks).unwrap_or(self.rank as f64);
        let alpha = first(&self.alphas).unwrap_or(self.alpha);
        let scale = alpha / if self.rs { rank.sqrt() } else { rank };
        if scale.is_finite() {
            return Ok((rank as usize, scale as f32));
        }
        Err(Error::user(format!("adapter_config.json: alpha {alpha} and rank {rank} of `{module}` give no factor")))
    }
}

/// True for null, false and empty values.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A pattern matches a module's whole name, or the end of it after a dot; the first match counts.
fn patterns(key: &str, stated: Option<Map<String, Value>>) -> Result<Vec<(Regex, f64)>> {
    let pattern = |(pattern, value): (String, Value)| {
        let number = value.as_f64().filter(|n| *n > 0.0);
        let number =
            number.ok_or_else(|| Error::user(format!("{key}: {pattern}: {value} is not a number above zero")))?;
        let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).map_err(|_| {
            Error::user(format!("{key}: `{pattern}` is not a pattern that can be matched here"))
                .hint("write it without look-around and back-references")
        })?;
        Ok((regex, number))
    };
    stated.unwrap_or_default().into_iter().map(pattern).collect()
}

/// Role of an adapter's tensor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It replaces the base's tensor.
    Whole,
    A {
        embedding: bool,
    },
    B,
    Magnitude,
}

/// The base's tensor that an adapter's tensor is for, and its role; `None` for copies of the base's
/// own tensors, which PEFT sometimes keeps.
pub(super) fn role(name: &str) -> Result<Option<(String, Role)>> {
    let unknown = |what: &str| {
        let hint =
            "only what PEFT's LoRA writes is known here; merge the adapter with PEFT, then name the merged model";
        Error::user(format!("`{name}` {what}")).hint(hint)
    };
    let tensor =
        name.strip_prefix("base_model.model.").ok_or_else(|| unknown("does not begin with `base_model.model.`"))?;
    let parts = [
        (".lora_A", Role::A { embedding: false }),
        (".lora_B", Role::B),
        (".lora_embedding_A", Role::A { embedding: true }),
        (".lora_embedding_B", Role::B),
        (".lora_magnitude_vector", Role::Magnitude),
    ];
    for (part, role) in parts {
        let Some((module, rest)) = tensor.split_once(part) else { continue };
        // Older versions of PEFT have the adapter's name in the tensor's.
        return match rest {
            "" | ".weight" | ".default" | ".default.weight" => Ok(Some((format!("{module}.weight"), role))),
            ".bias" | ".default.bias" => Err(unknown("is an update's bias (`lora_bias`), which cannot be merged here")),
            _ => Err(unknown("belongs to an adapter that is not named `default`")),
        };
    }
    if tensor.contains(".lora_") || tensor.contains(".token_adapter.") {
        return Err(unknown("is of a kind that is not known"));
    }
    if tensor.contains(".original_module.") {
        return Ok(None);
    }
    let whole = match tensor.split_once(".modules_to_save.") {
        Some((module, rest)) => format!("{module}.{}", rest.strip_prefix("default.").unwrap_or(rest)),
        None => tensor.replacen(".base_layer.", ".", 1),
    };
    Ok(Some((whole, Role::Whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, module: &str, expected: std::result::Result<(usize, f32), &str>) {
        let found = Peft::parse(json).and_then(|peft| peft.rank_and_scale(module));
        assert_eq!(found.map_err(|e| e.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn scales_by_alpha_and_rank() {
        let q = "model.layers.11.self_attn.q_proj";
        check(r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16}"#, q, Ok((8, 2.0)));
        check(r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 8, "use_rslora": true}"#, q, Ok((16, 2.0)));
        let with = |patterns: &str| format!(r#"{{"peft_type": "LORA", "r": 8, "lora_alpha": 16, {patterns}}}"#);
        check(&with(r#""rank_pattern": {"q_proj": 4}"#), q, Ok((4, 4.0)));
        check(&with(r#""rank_pattern": {"proj": 4}"#), q, Ok((8, 2.0)));
        check(&with(r#""rank_pattern": {"1.self_attn.q_proj": 4}"#), q, Ok((8, 2.0)));
        check(&with(r#""alpha_pattern": {"layers.1[01].*q_proj": 8, "q_proj": 1}"#), q, Ok((8, 1.0)));
        check(&with(r#""alpha_pattern": {"k|q_proj": 8}"#), q, Ok((8, 1.0)));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let settings = |more: &str| format!(r#"{{"peft_type": "LORA", "r": 8, "lora_alpha": 16, {more}}}"#);
        check(r#"{"peft_type": "IA3"}"#, "", Err("peft_type: IA3 is not LORA"));
        check(r#"{"r": 8}"#, "", Err("peft_type: null is not LORA"));
        check(r#"{"peft_type": "LORA", "r": 8}"#, "", Err("lora_alpha is missing"));
        check(&settings(r#""lora_bias": true"#), "", Err("lora_bias: this cannot be merged here"));
        check(
            &settings(r#""target_parameters": ["mlp.experts.down_proj"]"#),
            "",
            Err("target_parameters: this cannot be merged here"),
        );
        check(
            &settings(r#""init_lora_weights": "pissa""#),
            "",
            Err("init_lora_weights: \"pissa\" changes the model when it is loaded"),
        );
        check(
            &settings(r#""rank_pattern": {"(?!k)_proj": 4}"#),
            "",
            Err("rank_pattern: `(?!k)_proj` is not a pattern that can be matched here"),
        );
        check(&settings(r#""rank_pattern": {"q": 0}"#), "", Err("rank_pattern: q: 0 is not a number above zero"));
    }

    #[test]
    fn knows_a_tensor_by_its_name() {
        let check = |name: &str, expected: Option<(&str, Role)>| {
            let found = role(&format!("base_model.model.{name}")).expect("a name that PEFT writes");
            assert_eq!(found, expected.map(|(target, role)| (target.to_owned(), role)));
        };
        let a = |embedding| Role::A { embedding };
        check("x.q_proj.lora_A.weight", Some(("x.q_proj.weight", a(false))));
        check("x.q_proj.lora_A.default.weight", Some(("x.q_proj.weight", a(false))));
        check("wte.lora_embedding_A", Some(("wte.weight", a(true))));
        check("wte.lora_embedding_B.default", Some(("wte.weight", Role::B)));
        check("x.q_proj.lora_magnitude_vector", Some(("x.q_proj.weight", Role::Magnitude)));
        check("x.q_proj.base_layer.bias", Some(("x.q_proj.bias", Role::Whole)));
        check("lm_head.modules_to_save.weight", Some(("lm_head.weight", Role::Whole)));
        check("score.modules_to_save.default.dense.weight", Some(("score.dense.weight", Role::Whole)));
        check("lm_head.original_module.weight", None);
        for name in ["x.lora_A.weight", "base_model.model.x.lora_A.other.weight", "base_model.model.x.lora_B.bias"] {
            assert!(role(name).is_err(), "{name}");
        }
    }
}
