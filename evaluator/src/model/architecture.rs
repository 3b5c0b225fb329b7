//! Architectures as data: structure of blocks, names of tensors, defaults for keys that `config.json` leaves out.

use super::activation::Activation;

/// A row of the table in `architectures`.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// Its name under `architectures` in `config.json`.
    pub class: &'static str,
    /// Its name under `model_type`.
    pub model_type: &'static str,
    /// Key of `config.json` that holds all others, in models that read more than text.
    pub nested: Option<&'static str>,
    /// Keys of `config.json` for the sizes.
    pub keys: ConfigKeys,
    /// Defaults of sizes that may be absent.
    pub sizes: Option<Sizes>,
    /// Length of the MLP's inner state.
    pub intermediate: Intermediate,
    /// Default of `head_dim`; `None` divides the hidden state by the number of heads.
    pub head_size: Option<usize>,
    /// Default of the context length (`max_position_embeddings`).
    pub context: usize,
    /// Default of `tie_word_embeddings`: true if the head is the embedding.
    pub tied: bool,
    /// Kind of all norms except those of queries and keys.
    pub norm: NormKind,
    /// Default of the number added under the norms' square roots.
    pub eps: f64,
    /// Settings if attention and MLP may read the same state.
    pub parallel: Option<Parallel>,
    /// True if the embedding is multiplied by the square root of the hidden state's length.
    pub scaled_embedding: bool,
    /// Encoding of positions.
    pub positions: Positions,
    /// Layers in which a token sees only the last tokens.
    pub window: Window,
    /// Factor of the attention scores.
    pub scale: ScoreScale,
    /// Norms of each head's query and key.
    pub qk_norm: QkNorm,
    /// Soft cap of attention scores: `attn_logit_softcapping`.
    pub score_cap: Cap,
    /// Soft cap of logits: `final_logit_softcapping`.
    pub logit_cap: Cap,
    /// Default of the activation between the MLP's projections.
    pub activation: Activation,
    /// Meaning of `gelu`: its approximation in Gemma's first configurations.
    pub gelu: Activation,
    /// Keys and names of layers with experts.
    pub experts: Option<ExpertsKeys>,
    /// True if projections are stored `(in, out)`.
    pub transposed: bool,
    /// Biases of the projections.
    pub bias: Biases,
    /// Names of the tensors.
    pub names: TensorNames,
}

/// Keys of `config.json`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigKeys {
    pub hidden: &'static str,
    pub layers: &'static str,
    pub heads: &'static str,
    pub context: &'static str,
    pub eps: &'static str,
    pub activation: &'static str,
}

/// Defaults of sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub kv: usize,
    /// `vocab_size`.
    pub vocab: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Intermediate {
    /// Value of this key, which is required.
    Key(&'static str),
    /// Value of this key; default: four times the hidden state.
    KeyOrFourTimesHidden(&'static str),
    /// Hidden state times the value of this key; default: times four.
    HiddenTimesKey(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Root mean square (arXiv 1910.07467).
    Rms,
    /// Like `Rms`, with 1 added to each weight.
    RmsFromOne,
    /// Mean and variance, with a bias (arXiv 1607.06450).
    Layer,
}

/// `use_parallel_residual`: `x + attention(norm(x)) + mlp(norm(x))` instead of one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parallel {
    /// Default of the key.
    pub default: bool,
    /// True if the MLP then has a norm of its own.
    pub own_norm: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Positions {
    /// Learned embeddings, which are added; name of their tensor.
    Learned(&'static str),
    /// Rotary embeddings.
    Rotary(Rotary),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotary {
    /// Key of the base.
    pub theta: &'static str,
    /// Default of the base.
    pub default_theta: f64,
    /// Key and default of the part of a head that is turned; `None` turns all of it.
    pub part: Option<(&'static str, f64)>,
    /// Key and default of the base in layers with a window, if they have their own.
    pub local: Option<(&'static str, f64)>,
    /// Default of the context length of the training, before it was stretched, if the architecture has one.
    pub original: Option<usize>,
}

/// Layers in which a token sees only the last `sliding_window` tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Default of `sliding_window`.
    pub default: Option<usize>,
    /// True if windows need `use_sliding_window: true`.
    pub switched: bool,
    pub layers: WindowLayers,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum WindowLayers {
    /// No layer.
    None,
    /// All layers.
    All,
    /// `sliding_attention` layers of `layer_types`; default: from layer `max_window_layers` on.
    FromMax,
    /// `sliding_attention` layers of `layer_types`; default: each even one below `max_window_layers`.
    AlternatingBelowMax,
    /// `sliding_attention` layers of `layer_types`; default: all but each n-th (`sliding_window_pattern`, or this).
    AllBut(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ScoreScale {
    /// One over the square root of a head's length.
    HeadSize,
    /// One over the square root of `query_pre_attn_scalar` (default: 256).
    Scalar,
    /// As `HeadSize`, or 1 if `scale_attn_weights` is false; divided by the layer's number, from 1,
    /// if `scale_attn_by_inverse_layer_idx` is true.
    Gpt2,
}

/// A soft cap: `cap · tanh(x / cap)`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cap {
    /// No cap; the key is not read.
    Never,
    /// Value of the key; default: none.
    Off,
    /// Value of the key; default: this.
    At(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum QkNorm {
    None,
    /// One weight of a head's length for all queries, and one for all keys.
    OfHeads {
        query: &'static str,
        key: &'static str,
    },
    /// A layer norm without bias for each head, if `qk_layernorm` is true.
    OfEachHead {
        query: &'static str,
        key: &'static str,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertsKeys {
    /// Key of the length of an expert's inner state.
    pub intermediate: &'static str,
    /// True if the weights of the chosen experts are scaled to add up to 1.
    pub normalised: Flag,
    /// True if `decoder_sparse_step` and `mlp_only_layers` leave layers without experts.
    pub sparse: bool,
    /// Names in a layer: the router, and the projections of an expert, with `{}` for its number.
    pub router: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    /// Key of the inner length of the expert for every token, if there is one.
    pub shared: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Biases {
    pub qkv: Flag,
    pub out: Flag,
    pub mlp: Flag,
    /// Name of the attention's output bias, if only the last layer has one.
    pub last_out: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Flag {
    Never,
    Always,
    /// Value of this key, and its default.
    Key(&'static str, bool),
}

/// Names of tensors without `.weight`. Names in a layer follow the layer's number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorNames {
    /// First part of all names; of several, the one that the model uses.
    pub prefixes: &'static [&'static str],
    pub embedding: &'static str,
    pub layers: &'static str,
    pub norm: &'static str,
    /// Name of the output head, without prefix; of several, the one that the model has.
    pub heads: &'static [&'static str],
    pub attention_norm: &'static str,
    pub qkv: Qkv,
    pub out: &'static str,
    /// Norm of the attention's output before it is added.
    pub attention_post: Option<&'static str>,
    pub mlp_norm: &'static str,
    pub mlp: MlpKind,
    /// Norm of the MLP's output before it is added.
    pub mlp_post: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Qkv {
    /// Three projections.
    Separate([&'static str; 3]),
    /// One projection: all queries, all keys, all values.
    Fused(&'static str),
    /// One projection: query, key and value of each head.
    Interleaved(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum MlpKind {
    /// `down(act(gate(x)) · up(x))`, in three projections.
    Gated { gate: &'static str, up: &'static str, down: &'static str },
    /// The same in two projections: all gates, then all ups.
    FusedGated { gate_up: &'static str, down: &'static str },
    /// `down(act(up(x)))`.
    Plain { up: &'static str, down: &'static str },
}
