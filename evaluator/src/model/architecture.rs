//! What an architecture is, as data: how its blocks are made, what its tensors are called, and what `config.json` leaves out.

use super::activation::Activation;

/// A row of the table in `architectures`.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// Its name in `architectures`.
    pub class: &'static str,
    /// Its name in `model_type`.
    pub model_type: &'static str,
    /// The key of `config.json` that holds all others, in models that do not only read text.
    pub nested: Option<&'static str>,
    /// How `config.json` spells the sizes.
    pub keys: ConfigKeys,
    /// Sizes that may be absent.
    pub sizes: Option<Sizes>,
    /// Length of the MLP's inner state.
    pub intermediate: Intermediate,
    /// Length of a head if `head_dim` is absent; `None` divides the hidden state by the number of heads.
    pub head_size: Option<usize>,
    /// `max_position_embeddings` if absent.
    pub context: usize,
    /// Whether the head is the embedding if `tie_word_embeddings` is absent.
    pub tied: bool,
    /// All norms but those of queries and keys.
    pub norm: NormKind,
    /// Added under the norms' roots if absent.
    pub eps: f64,
    /// Whether attention and MLP may read the same state.
    pub parallel: Option<Parallel>,
    /// Whether the embedding is multiplied by the root of the hidden state's length.
    pub scaled_embedding: bool,
    /// How tokens know their places.
    pub positions: Positions,
    /// Which layers see only the last tokens.
    pub window: Window,
    /// What the scores are multiplied by.
    pub scale: EmbeddingScale,
    /// Norms of each head's query and key.
    pub qk_norm: QkNorm,
    /// `attn_logit_softcapping`.
    pub score_cap: Cap,
    /// `final_logit_softcapping`.
    pub logit_cap: Cap,
    /// Between the MLP's projections if absent.
    pub activation: Activation,
    /// What `gelu` means: its approximation in Gemma's first configurations.
    pub gelu: Activation,
    /// Layers with experts.
    pub experts: Option<ExpertsKeys>,
    /// Whether projections are stored `(in, out)`.
    pub transposed: bool,
    /// Which projections have biases.
    pub bias: Biases,
    /// What the tensors are called.
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

/// Sizes if their keys are absent.
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
    /// This key, which must be there.
    Key(&'static str),
    /// This key, or four times the hidden state.
    KeyOrFourfold(&'static str),
    /// This key times the hidden state, or four times.
    Times(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Root mean square (arXiv 1910.07467).
    Rms,
    /// The same, where a weight of 0 leaves the state as it is.
    RmsFromOne,
    /// Mean and variance, with a bias (arXiv 1607.06450).
    Layer,
}

/// `use_parallel_residual`: `x + attention(norm(x)) + mlp(norm(x))` instead of one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parallel {
    /// If the key is absent.
    pub default: bool,
    /// Whether the MLP then has a norm of its own.
    pub own_norm: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Positions {
    /// Embeddings of positions, which are added.
    Learned(&'static str),
    /// Rotary embeddings.
    Rotary(Rotary),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotary {
    /// Key of the base.
    pub theta: &'static str,
    /// The base if absent.
    pub default_theta: f64,
    /// Key of the part of a head that is turned, and the part if absent; `None` turns all of it.
    pub part: Option<(&'static str, f64)>,
    /// Key and default of the base in layers with a window, if they have their own.
    pub local: Option<(&'static str, f64)>,
    /// Context of the training before it was stretched, if the architecture has a default for it.
    pub original: Option<usize>,
}

/// Which layers see the last `sliding_window` tokens only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// `sliding_window` if absent.
    pub default: Option<usize>,
    /// Whether `use_sliding_window` must be true.
    pub switched: bool,
    pub layers: WindowLayers,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum WindowLayers {
    /// None has a window.
    None,
    /// All.
    All,
    /// As `layer_types` says, or else from layer `max_window_layers` on.
    FromMax,
    /// As `layer_types` says, or else every other one, layer 0 first, below `max_window_layers`.
    AlternatingBelowMax,
    /// As `layer_types` says, or else all but every so many (`sliding_window_pattern`, or this).
    AllBut(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum EmbeddingScale {
    /// One over the root of a head's length.
    HeadSize,
    /// One over the root of `query_pre_attn_scalar`, or of 256.
    Scalar,
    /// As the head's length says, if `scale_attn_weights` is not false; over the layer's number, if
    /// `scale_attn_by_inverse_layer_idx` is true.
    Gpt2,
}

/// A soft cap: `cap · tanh(x / cap)`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cap {
    /// The key is not read.
    Never,
    /// None if the key is absent.
    Off,
    /// This if the key is absent.
    At(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum QkNorm {
    None,
    /// One weight of a head's length for all queries, one for all keys.
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
    /// Whether the weights of the chosen experts are made to add up to 1.
    pub normalised: Flag,
    /// Whether `decoder_sparse_step` and `mlp_only_layers` leave layers without experts.
    pub sparse: bool,
    /// Names in a layer: the router, and the projections of an expert, whose number stands for `{}`.
    pub router: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    /// An expert for every token: its key of the length of the inner state.
    pub shared: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Biases {
    pub qkv: Flag,
    pub out: Flag,
    pub mlp: Flag,
    /// The attention's output bias in the last layer only, which is called this.
    pub last_out: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Flag {
    Never,
    Always,
    /// As this key says, or else its default.
    Key(&'static str, bool),
}

/// Tensors' names without `.weight`: those of layers are behind the layer's number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorNames {
    /// What comes first; where several are given, the one the model uses.
    pub prefixes: &'static [&'static str],
    pub embedding: &'static str,
    pub layers: &'static str,
    pub norm: &'static str,
    /// The output head, without prefix: the one the model has.
    pub heads: &'static [&'static str],
    pub attention_norm: &'static str,
    pub qkv: Qkv,
    pub out: &'static str,
    /// A norm of what the attention adds.
    pub attention_post: Option<&'static str>,
    pub mlp_norm: &'static str,
    pub mlp: MlpKind,
    /// A norm of what the MLP adds.
    pub mlp_post: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Qkv {
    /// Three projections.
    Separate([&'static str; 3]),
    /// One: all queries, all keys, all values.
    Fused(&'static str),
    /// One: query, key and value of each head.
    Interleaved(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum MlpKind {
    /// `down(act(gate(x)) · up(x))`, in three projections.
    Gated { gate: &'static str, up: &'static str, down: &'static str },
    /// The same in two: all gates, then all ups.
    FusedGated { gate_up: &'static str, down: &'static str },
    /// `down(act(up(x)))`.
    Plain { up: &'static str, down: &'static str },
}
