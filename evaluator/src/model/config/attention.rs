//! Reads attention from `config.json`: its division into heads, its scale and its windows.

use super::super::architecture::{Architecture, QkNorm, ScoreScale, WindowLayers};
use super::{bounded, cap, required};
use merge_core::{
    error::{Error, Result},
    model::Config,
};
use serde_json::Value;

/// Division of the attention: query heads come in groups that share one key and value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Number of query heads.
    pub query: usize,
    /// Number of key and value heads.
    pub kv: usize,
    /// Length of one head.
    pub size: usize,
}

/// Attention between the tokens of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attention {
    /// Division into heads.
    pub heads: Heads,
    /// Factor of the product of query and key.
    pub scale: f32,
    /// Soft cap of scores, most that their absolute value comes near to: `cap · tanh(score / cap)`.
    pub cap: Option<f32>,
    /// Number of tokens that a token sees, itself included; `None` for no limit.
    pub window: Option<usize>,
}

impl Heads {
    /// Reads the numbers of heads and their length.
    pub(crate) fn read(config: &Config, architecture: &Architecture, hidden: usize) -> Result<Self> {
        let query = match (bounded(config, architecture.keys.heads)?, architecture.sizes) {
            (None, Some(sizes)) => sizes.heads,
            _ => required(config, architecture.keys.heads)?,
        };
        let kv = bounded(config, "num_key_value_heads")?.or(architecture.sizes.map(|sizes| sizes.kv)).unwrap_or(query);
        if query == 0 || kv == 0 || query % kv != 0 {
            return Err(Error::user(format!(
                "config.json: {}: {query} heads cannot share {kv} key and value heads",
                architecture.keys.heads
            )));
        }
        let size = bounded(config, "head_dim")?.or(architecture.head_size).unwrap_or(hidden / query);
        if size == 0 {
            return Err(Error::user("config.json: head_dim is 0"));
        }
        Ok(Self { query, kv, size })
    }

    /// Length of all query heads.
    pub(crate) fn query_len(self) -> usize {
        self.query * self.size
    }

    /// Length of all key heads, and of all value heads.
    pub(crate) fn kv_len(self) -> usize {
        self.kv * self.size
    }

    /// Length of a row of the fused projection: query, key, value.
    pub(crate) fn fused_len(self) -> usize {
        self.query_len() + 2 * self.kv_len()
    }
}

impl Attention {
    /// Reads the attention of each layer.
    pub(crate) fn read(config: &Config, architecture: &Architecture, heads: Heads, layers: usize) -> Result<Vec<Self>> {
        let cap = cap(config, "attn_logit_softcapping", architecture.score_cap)?;
        let windows = windows(config, architecture, layers)?;
        let layers = windows.into_iter().enumerate();
        layers
            .map(|(layer, window)| {
                Ok(Self { heads, scale: scale(config, architecture, heads, layer)? as f32, cap, window })
            })
            .collect()
    }
}

/// True if queries and keys have norms.
pub(crate) fn has_qk_norm(config: &Config, architecture: &Architecture) -> Result<bool> {
    match architecture.qk_norm {
        QkNorm::None => Ok(false),
        QkNorm::OfHeads { .. } => Ok(true),
        QkNorm::OfEachHead { .. } => Ok(config.flag("qk_layernorm")?.unwrap_or(false)),
    }
}

fn scale(config: &Config, architecture: &Architecture, heads: Heads, layer: usize) -> Result<f64> {
    let of_head = (heads.size as f64).powf(-0.5);
    match architecture.scale {
        ScoreScale::HeadSize => Ok(of_head),
        ScoreScale::Scalar => {
            let scalar = config.number("query_pre_attn_scalar")?.unwrap_or(256.0);
            if scalar > 0.0 {
                return Ok(scalar.powf(-0.5));
            }
            Err(Error::user(format!("config.json: query_pre_attn_scalar: {scalar} is not above 0")))
        }
        ScoreScale::Gpt2 => {
            let scale = if config.flag("scale_attn_weights")?.unwrap_or(true) { of_head } else { 1.0 };
            let by_layer = config.flag("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);
            Ok(if by_layer { scale / (layer + 1) as f64 } else { scale })
        }
    }
}

/// Window of each layer.
fn windows(config: &Config, architecture: &Architecture, layers: usize) -> Result<Vec<Option<usize>>> {
    let described = architecture.window;
    let off = described.switched && !config.flag("use_sliding_window")?.unwrap_or(false);
    if off || matches!(described.layers, WindowLayers::None) {
        return Ok(vec![None; layers]);
    }
    // Null means none, an absent key the architecture's default.
    let said = config.0.contains_key("sliding_window");
    let window = if said { config.count("sliding_window")? } else { described.default };
    if window == Some(0) {
        return Err(Error::user("config.json: sliding_window is 0"));
    }
    let max = config.count("max_window_layers")?.unwrap_or(28);
    let all = matches!(described.layers, WindowLayers::All);
    let listed = if all { None } else { layer_types(config, layers)? };
    let has_window: Vec<bool> = match (listed, described.layers) {
        (Some(listed), _) => listed,
        (None, WindowLayers::FromMax) => (0..layers).map(|layer| layer >= max).collect(),
        (None, WindowLayers::AlternatingBelowMax) => (0..layers).map(|layer| layer % 2 == 0 && layer < max).collect(),
        (None, WindowLayers::AllBut(every)) => {
            let every = config.count("sliding_window_pattern")?.unwrap_or(every);
            if every == 0 {
                return Err(Error::user("config.json: sliding_window_pattern is 0"));
            }
            (0..layers).map(|layer| (layer + 1) % every != 0).collect()
        }
        (None, WindowLayers::All | WindowLayers::None) => vec![all; layers],
    };
    Ok(has_window.into_iter().map(|has| window.filter(|_| has)).collect())
}

/// Reads `layer_types`: true for each layer with a window.
fn layer_types(config: &Config, layers: usize) -> Result<Option<Vec<bool>>> {
    let types = match config.0.get("layer_types") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(types)) => types,
        Some(other) => return Err(Error::user(format!("config.json: layer_types: {other} is not a list"))),
    };
    if types.len() != layers {
        return Err(Error::user(format!("config.json: layer_types: {} types for {layers} layers", types.len())));
    }
    let has_window = types.iter().map(|name| match name.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(Error::user(format!("config.json: layer_types: there is no layer of type {name}"))
            .hint("there are `full_attention` and `sliding_attention`")),
    });
    has_window.collect::<Result<_>>().map(Some)
}
