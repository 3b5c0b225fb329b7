//! What `config.json` says about a Llama, read once and refused early.

use merge_core::{
    error::{Error, Result},
    weights::Config,
};
use serde_json::Value;

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blueprint {
    /// Length of the hidden state.
    pub hidden: usize,
    /// Length of the MLP's inner state.
    pub intermediate: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// How the attention is divided.
    pub heads: Heads,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Added to the mean square before its root is taken.
    pub eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the attention's projections have biases.
    pub attention_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// Whether the output head is the embedding.
    pub tied: bool,
}

/// How the attention is divided: query heads come in groups that share one key and value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub kv: usize,
    /// Length of one head.
    pub size: usize,
}

impl Heads {
    /// Length of all query heads.
    pub(super) fn query_len(self) -> usize {
        self.query * self.size
    }

    /// Length of all key heads, which is that of all value heads.
    pub(super) fn kv_len(self) -> usize {
        self.kv * self.size
    }

    /// Length of a row of the fused projection: query, key, value.
    pub(super) fn fused_len(self) -> usize {
        self.query_len() + 2 * self.kv_len()
    }
}

impl Blueprint {
    /// Reads a `config.json`.
    ///
    /// Fails, naming the key, for an architecture or a variation of it that the decoder does not compute exactly.
    pub(super) fn read(config: &Config) -> Result<Self> {
        refuse_other_architectures(config)?;
        refuse_variations(config)?;
        let hidden = required(config, "hidden_size")?;
        let query = required(config, "num_attention_heads")?;
        let kv = config.count("num_key_value_heads")?.unwrap_or(query);
        if query == 0 || kv == 0 || query % kv != 0 {
            return Err(Error::user(format!(
                "config.json: num_attention_heads: {query} heads cannot share {kv} key and value heads"
            )));
        }
        let size = config.count("head_dim")?.unwrap_or(hidden / query);
        if size == 0 || size % 2 != 0 {
            return Err(Error::user(format!(
                "config.json: head_dim: rotary positions need an even length, not {size}"
            )));
        }
        let blueprint = Self {
            hidden,
            intermediate: required(config, "intermediate_size")?,
            layers: required(config, "num_hidden_layers")?,
            heads: Heads { query, kv, size },
            vocab: required(config, "vocab_size")?,
            context: config.count("max_position_embeddings")?.unwrap_or(2048),
            eps: config.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta: rope_theta(config)?,
            attention_bias: config.flag("attention_bias")?.unwrap_or(false),
            mlp_bias: config.flag("mlp_bias")?.unwrap_or(false),
            tied: config.tied()?,
        };
        for (key, count) in [
            ("hidden_size", hidden),
            ("intermediate_size", blueprint.intermediate),
            ("num_hidden_layers", blueprint.layers),
            ("vocab_size", blueprint.vocab),
            ("max_position_embeddings", blueprint.context),
        ] {
            if count == 0 {
                return Err(Error::user(format!("config.json: {key} is 0")));
            }
        }
        Ok(blueprint)
    }
}

fn required(config: &Config, key: &str) -> Result<usize> {
    config.count(key)?.ok_or_else(|| Error::user(format!("config.json: {key} is missing")))
}

fn refuse_other_architectures(config: &Config) -> Result<()> {
    let name = match config.0.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => match config.text("model_type")?.as_deref() {
            Some("llama") => "LlamaForCausalLM".to_owned(),
            Some(other) => other.to_owned(),
            None => return Err(Error::user("config.json: architectures is missing")),
        },
    };
    if name == "LlamaForCausalLM" {
        return Ok(());
    }
    Err(Error::user(format!("config.json: architectures: there is no forward pass for `{name}`"))
        .hint("models of architecture `LlamaForCausalLM` can be evaluated"))
}

fn refuse_variations(config: &Config) -> Result<()> {
    if let Some(act) = config.text("hidden_act")?
        && act != "silu"
    {
        return Err(Error::user(format!("config.json: hidden_act: there is no `{act}`; a Llama's is `silu`")));
    }
    if config.number("partial_rotary_factor")?.is_some_and(|factor| (factor - 1.0).abs() > 0.0) {
        return Err(Error::user("config.json: partial_rotary_factor: only 1 is computed"));
    }
    if config.0.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err(Error::user("config.json: quantization_config: quantised weights cannot be evaluated"));
    }
    Ok(())
}

/// `rope_theta` as transformers 4 writes it, or `rope_parameters.rope_theta` as transformers 5 does.
fn rope_theta(config: &Config) -> Result<f64> {
    let mut theta = config.number("rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let parameters = match config.0.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(parameters)) => Config(parameters.clone()),
            Some(other) => return Err(Error::user(format!("config.json: {key}: {other} is not an object"))),
        };
        for kind in ["rope_type", "type"] {
            if let Some(kind) = parameters.text(kind).map_err(|e| e.at(key))?
                && kind != "default"
            {
                return Err(Error::user(format!("config.json: {key}: there is no rotary embedding of type `{kind}`"))
                    .hint("models with the `default` type can be evaluated"));
            }
        }
        theta = parameters.number("rope_theta").map_err(|e| e.at(key))?.or(theta);
    }
    let theta = theta.unwrap_or(10_000.0);
    if theta > 0.0 && theta.is_finite() {
        Ok(theta)
    } else {
        Err(Error::user(format!("config.json: rope_theta: {theta} is not above 0")))
    }
}
