//! Reads a decoder's shape from `config.json`, and refuses early what cannot be computed.

mod attention;

pub(crate) use self::attention::{Attention, Heads};

use super::{
    activation::Activation,
    architecture::{Architecture, Cap, Flag, Intermediate, Parallel, Positions, Rotary},
    architectures::ARCHITECTURES,
    rope::Rope,
};
use merge_core::{
    error::{Error, Result},
    model::Config,
};
use serde_json::Value;
use std::borrow::Cow;

/// The shape of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    /// Architecture of its blocks.
    pub architecture: &'static Architecture,
    /// Length of the hidden state.
    pub hidden: usize,
    /// Length of the MLP's inner state.
    pub intermediate: usize,
    /// Division of the attention into heads.
    pub heads: Heads,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Number added under the norms' square roots.
    pub eps: f64,
    /// Activation between the MLP's projections.
    pub activation: Activation,
    /// True if queries and keys have norms.
    pub qk_norm: bool,
    /// Set if attention and MLP read the same state.
    pub parallel: Option<Parallel>,
    /// Experts of the layers that have some.
    pub experts: Option<Experts>,
    /// Rotary embeddings that layers choose from.
    pub ropes: Vec<Rope>,
    /// Settings that differ between layers, in order of layers.
    pub blocks: Vec<LayerBlueprint>,
    /// Soft cap of logits: most that their absolute value comes near to.
    pub logit_cap: Option<f32>,
    /// True if the output head is the embedding.
    pub tied: bool,
    /// True for the projections with biases: queries, keys and values; the attention's output; the MLP.
    pub biases: [bool; 3],
}

/// Settings of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LayerBlueprint {
    /// Attention between its tokens.
    pub attention: Attention,
    /// Number of its rotary embedding.
    pub rope: Option<usize>,
    /// True if its MLP is made of experts.
    pub sparse: bool,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experts {
    /// Number of experts.
    pub count: usize,
    /// Number of experts that each token goes to.
    pub chosen: usize,
    /// Length of their inner state.
    pub intermediate: usize,
    /// Length of the inner state of the expert for every token, if there is one.
    pub shared: Option<usize>,
    /// True if the weights of the chosen experts are scaled to add up to 1.
    pub normalised: bool,
}

impl Blueprint {
    /// Reads a `config.json`.
    ///
    /// Fails, naming the key, for an architecture or a variant of it that the decoder does not compute exactly.
    pub(crate) fn read(config: &Config) -> Result<Self> {
        let architecture = architecture(config)?;
        refuse_quantised(config)?;
        let config = &*nested(config, architecture)?;
        refuse_variations(config, architecture)?;
        let keys = architecture.keys;
        let hidden = required(config, keys.hidden)?;
        let layers = required(config, keys.layers)?;
        let context = config.count(keys.context)?.unwrap_or(architecture.context);
        let heads = Heads::read(config, architecture, hidden)?;
        let ropes = Rope::read(config, architecture, heads.size, context)?;
        let experts = experts(config, architecture)?;
        let sparse = sparse(config, architecture, layers)?;
        let attentions = Attention::read(config, architecture, heads, layers)?;
        // If there are two rotary embeddings, layers with a window use the second.
        let rope = |attention: &Attention| match ropes.len() {
            0 => None,
            len => Some(if attention.window.is_some() { len - 1 } else { 0 }),
        };
        let block = |(attention, sparse)| LayerBlueprint { attention, rope: rope(&attention), sparse };
        let blueprint = Self {
            architecture,
            hidden,
            intermediate: match architecture.intermediate {
                Intermediate::Key(key) => required(config, key)?,
                Intermediate::KeyOrFourTimesHidden(key) => bounded(config, key)?.unwrap_or(4 * hidden),
                Intermediate::HiddenTimesKey(key) => hidden * bounded(config, key)?.unwrap_or(4),
            },
            heads,
            vocab: match (bounded(config, "vocab_size")?, architecture.sizes) {
                (None, Some(sizes)) => sizes.vocab,
                _ => required(config, "vocab_size")?,
            },
            context,
            eps: config.number(keys.eps)?.unwrap_or(architecture.eps),
            activation: activation(config, architecture)?,
            qk_norm: attention::has_qk_norm(config, architecture)?,
            parallel: match architecture.parallel {
                Some(parallel) if config.flag("use_parallel_residual")?.unwrap_or(parallel.default) => Some(parallel),
                _ => None,
            },
            experts,
            blocks: attentions.into_iter().zip(sparse).map(block).collect(),
            ropes,
            logit_cap: cap(config, "final_logit_softcapping", architecture.logit_cap)?,
            tied: config.flag("tie_word_embeddings")?.unwrap_or(architecture.tied),
            biases: [
                flag(config, architecture.bias.qkv)?,
                flag(config, architecture.bias.out)?,
                flag(config, architecture.bias.mlp)?,
            ],
        };
        for (key, count) in [
            (keys.hidden, hidden),
            ("intermediate_size", blueprint.intermediate),
            (keys.layers, layers),
            ("vocab_size", blueprint.vocab),
            (keys.context, context),
        ] {
            if count == 0 {
                return Err(Error::user(format!("config.json: {key} is 0")));
            }
        }
        Ok(blueprint)
    }
}

fn required(config: &Config, key: &str) -> Result<usize> {
    bounded(config, key)?.ok_or_else(|| Error::user(format!("config.json: {key} is missing")))
}

/// A count so small that products of a few counts do not overflow.
fn bounded(config: &Config, key: &str) -> Result<Option<usize>> {
    match config.count(key)? {
        Some(count) if count > 1 << 24 => Err(Error::user(format!("config.json: {key}: {count} is too large"))),
        count => Ok(count),
    }
}

fn flag(config: &Config, flag: Flag) -> Result<bool> {
    match flag {
        Flag::Never => Ok(false),
        Flag::Always => Ok(true),
        Flag::Key(key, default) => Ok(config.flag(key)?.unwrap_or(default)),
    }
}

/// A soft cap: null means none, an absent key the architecture's default.
fn cap(config: &Config, key: &str, default: Cap) -> Result<Option<f32>> {
    let cap = match default {
        Cap::Never => return Ok(None),
        Cap::Off | Cap::At(_) if config.0.contains_key(key) => config.number(key)?,
        Cap::Off => None,
        Cap::At(default) => Some(default),
    };
    match cap {
        Some(cap) if cap.is_nan() || cap <= 0.0 => {
            Err(Error::user(format!("config.json: {key}: {cap} is not above 0")))
        }
        cap => Ok(cap.map(|cap| cap as f32)),
    }
}

fn architecture(config: &Config) -> Result<&'static Architecture> {
    let class = config.0.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    let model_type = config.text("model_type")?;
    let (name, known) = match (class, &model_type) {
        (Some(class), _) => (class, ARCHITECTURES.iter().find(|known| known.class == class)),
        (None, Some(name)) => (&**name, ARCHITECTURES.iter().find(|known| known.model_type == name)),
        (None, None) => return Err(Error::user("config.json: architectures is missing")),
    };
    known.ok_or_else(|| {
        let known: Vec<String> = ARCHITECTURES.iter().map(|known| format!("`{}`", known.class)).collect();
        Error::user(format!("config.json: architectures: there is no forward pass for `{name}`"))
            .hint(format!("models of these architectures can be evaluated: {}", known.join(", ")))
    })
}

/// Part of `config.json` that is about text.
fn nested<'a>(config: &'a Config, architecture: &Architecture) -> Result<Cow<'a, Config>> {
    let Some(key) = architecture.nested else { return Ok(Cow::Borrowed(config)) };
    match config.0.get(key) {
        Some(Value::Object(values)) => Ok(Cow::Owned(Config(values.clone()))),
        _ => Err(Error::user(format!("config.json: {key} is missing"))),
    }
}

fn activation(config: &Config, architecture: &Architecture) -> Result<Activation> {
    let key = architecture.keys.activation;
    let Some(name) = config.text(key)? else { return Ok(architecture.activation) };
    if name == "gelu" {
        return Ok(architecture.gelu);
    }
    Activation::of(&name).ok_or_else(|| {
        Error::user(format!("config.json: {key}: there is no activation `{name}`"))
            .hint("there are `silu`, `gelu`, `gelu_new` (also called `gelu_pytorch_tanh`) and `relu`")
    })
}

fn experts(config: &Config, architecture: &Architecture) -> Result<Option<Experts>> {
    let Some(described) = architecture.experts else { return Ok(None) };
    // Both spellings are in use for each architecture.
    let count = match config.count("num_experts")? {
        Some(count) => count,
        None => required(config, "num_local_experts")?,
    };
    let experts = Experts {
        count,
        chosen: required(config, "num_experts_per_tok")?,
        intermediate: required(config, described.intermediate)?,
        shared: described.shared.map(|key| required(config, key)).transpose()?,
        normalised: flag(config, described.normalised)?,
    };
    if experts.chosen == 0 || experts.chosen > count {
        let chosen = experts.chosen;
        return Err(Error::user(format!(
            "config.json: num_experts_per_tok: a token cannot go to {chosen} of {count} experts"
        )));
    }
    Ok(Some(experts))
}

/// True for each layer with experts.
fn sparse(config: &Config, architecture: &Architecture, layers: usize) -> Result<Vec<bool>> {
    let Some(experts) = architecture.experts else { return Ok(vec![false; layers]) };
    if !experts.sparse {
        return Ok(vec![true; layers]);
    }
    let step = config.count("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err(Error::user("config.json: decoder_sparse_step is 0"));
    }
    let dense: Vec<usize> = match config.0.get("mlp_only_layers") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|e| Error::user(format!("config.json: mlp_only_layers: {e}")))?,
    };
    Ok((0..layers).map(|layer| (layer + 1) % step == 0 && !dense.contains(&layer)).collect())
}

fn refuse_quantised(config: &Config) -> Result<()> {
    if config.0.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err(Error::user("config.json: quantization_config: quantised weights cannot be evaluated"));
    }
    Ok(())
}

fn refuse_variations(config: &Config, architecture: &Architecture) -> Result<()> {
    for key in ["use_bidirectional_attention", "add_cross_attention"] {
        if config.flag(key)?.unwrap_or(false) {
            return Err(Error::user(format!("config.json: {key}: only causal self-attention is supported")));
        }
    }
    let turned_whole = !matches!(architecture.positions, Positions::Rotary(Rotary { part: Some(_), .. }));
    if turned_whole && config.number("partial_rotary_factor")?.is_some_and(|factor| (factor - 1.0).abs() > 0.0) {
        return Err(Error::user(format!(
            "config.json: partial_rotary_factor: only 1 is computed for {}",
            architecture.class
        )));
    }
    Ok(())
}
