//! Table of the architectures that have a forward pass.
//!
//! Everything is as in transformers 5, defaults of absent keys included. The comment of a row says
//! how the architecture differs from the one that its row is built from.

#[cfg(test)]
mod tests;

use super::{
    activation::Activation,
    architecture::{
        Architecture, Biases, Cap, ConfigKeys, ExpertsKeys, Flag, Intermediate, MlpKind, NormKind, Parallel, Positions,
        QkNorm, Qkv, Rotary, ScoreScale, Sizes, TensorNames, Window, WindowLayers,
    },
};

/// All architectures.
pub(crate) const ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    MISTRAL,
    EVO_MISTRAL,
    QWEN2,
    QWEN3,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GEMMA3_WITH_IMAGES,
    PHI3,
    STABLELM,
    GPT_NEOX,
    GPT_NEOX_JAPANESE,
    GPT2,
    MIXTRAL,
    QWEN2_MOE,
    QWEN3_MOE,
];

const LLAMA: Architecture = Architecture {
    class: "LlamaForCausalLM",
    model_type: "llama",
    nested: None,
    keys: ConfigKeys {
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        context: "max_position_embeddings",
        eps: "rms_norm_eps",
        activation: "hidden_act",
    },
    sizes: None,
    intermediate: Intermediate::Key("intermediate_size"),
    head_size: None,
    context: 2048,
    tied: false,
    norm: NormKind::Rms,
    eps: 1e-6,
    parallel: None,
    scaled_embedding: false,
    positions: Positions::Rotary(ROTARY),
    window: NO_WINDOW,
    scale: ScoreScale::HeadSize,
    qk_norm: QkNorm::None,
    score_cap: Cap::Never,
    logit_cap: Cap::Never,
    activation: Activation::Silu,
    gelu: Activation::Gelu,
    experts: None,
    transposed: false,
    bias: Biases {
        qkv: Flag::Key("attention_bias", false),
        out: Flag::Key("attention_bias", false),
        mlp: Flag::Key("mlp_bias", false),
        last_out: None,
    },
    names: TensorNames {
        prefixes: &["model."],
        embedding: "embed_tokens",
        layers: "layers",
        norm: "norm",
        heads: &["lm_head"],
        attention_norm: "input_layernorm",
        qkv: Qkv::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        out: "self_attn.o_proj",
        attention_post: None,
        mlp_norm: "post_attention_layernorm",
        mlp: MlpKind::Gated { gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
        mlp_post: None,
    },
};

const ROTARY: Rotary = Rotary { theta: "rope_theta", default_theta: 1e4, part: None, local: None, original: None };

const NO_WINDOW: Window = Window { default: None, switched: false, layers: WindowLayers::None };

const NO_BIAS: Biases = Biases { qkv: Flag::Never, out: Flag::Never, mlp: Flag::Never, last_out: None };

const ATTENTION_BIAS: Biases =
    Biases { qkv: Flag::Key("attention_bias", false), out: Flag::Key("attention_bias", false), ..NO_BIAS };

/// Llama with a window in all layers (arXiv 2310.06825).
const MISTRAL: Architecture = Architecture {
    class: "MistralForCausalLM",
    model_type: "mistral",
    context: 131_072,
    window: Window { default: Some(4096), switched: false, layers: WindowLayers::All },
    bias: NO_BIAS,
    ..LLAMA
};

/// Mistral with a path through its layers, each any number of times (arXiv 2403.13187, SakanaAI/EvoLLM-JP-v1-10B).
const EVO_MISTRAL: Architecture = Architecture { class: "EvoMistralForCausalLM", model_type: "evomistral", ..MISTRAL };

/// Llama with biases of queries, keys and values (arXiv 2407.10671).
const QWEN2: Architecture = Architecture {
    class: "Qwen2ForCausalLM",
    model_type: "qwen2",
    context: 32_768,
    window: Window { default: Some(4096), switched: true, layers: WindowLayers::FromMax },
    bias: Biases { qkv: Flag::Always, ..NO_BIAS },
    ..LLAMA
};

/// Qwen2 with norms of queries and keys instead of biases (arXiv 2505.09388).
const QWEN3: Architecture = Architecture {
    class: "Qwen3ForCausalLM",
    model_type: "qwen3",
    head_size: Some(128),
    qk_norm: QkNorm::OfHeads { query: "self_attn.q_norm", key: "self_attn.k_norm" },
    bias: ATTENTION_BIAS,
    ..QWEN2
};

/// Llama with scaled embeddings, and norms that add 1 to their weights (arXiv 2403.08295).
const GEMMA: Architecture = Architecture {
    class: "GemmaForCausalLM",
    model_type: "gemma",
    head_size: Some(256),
    context: 8192,
    tied: true,
    norm: NormKind::RmsFromOne,
    scaled_embedding: true,
    activation: Activation::GeluTanh,
    gelu: Activation::GeluTanh,
    bias: ATTENTION_BIAS,
    ..LLAMA
};

/// Gemma with norms after the blocks too, soft caps, and a window in every other layer (arXiv 2408.00118).
const GEMMA2: Architecture = Architecture {
    class: "Gemma2ForCausalLM",
    model_type: "gemma2",
    keys: ConfigKeys { activation: "hidden_activation", ..GEMMA.keys },
    window: Window { default: Some(4096), switched: false, layers: WindowLayers::AllBut(2) },
    scale: ScoreScale::Scalar,
    score_cap: Cap::At(50.0),
    logit_cap: Cap::At(30.0),
    gelu: Activation::Gelu,
    names: TensorNames {
        attention_post: Some("post_attention_layernorm"),
        mlp_norm: "pre_feedforward_layernorm",
        mlp_post: Some("post_feedforward_layernorm"),
        ..GEMMA.names
    },
    ..GEMMA
};

/// Gemma 2 with query and key norms, no soft caps, and another rotary base in layers with a window (arXiv 2503.19786).
const GEMMA3: Architecture = Architecture {
    class: "Gemma3ForCausalLM",
    model_type: "gemma3_text",
    sizes: Some(Sizes { heads: 8, kv: 4, vocab: 262_208 }),
    context: 131_072,
    positions: Positions::Rotary(Rotary { default_theta: 1e6, local: Some(("rope_local_base_freq", 1e4)), ..ROTARY }),
    window: Window { default: Some(4096), switched: false, layers: WindowLayers::AllBut(6) },
    qk_norm: QkNorm::OfHeads { query: "self_attn.q_norm", key: "self_attn.k_norm" },
    score_cap: Cap::Never,
    logit_cap: Cap::Off,
    ..GEMMA2
};

/// Gemma 3 inside a model that also sees images; it is never given any here.
const GEMMA3_WITH_IMAGES: Architecture = Architecture {
    class: "Gemma3ForConditionalGeneration",
    model_type: "gemma3",
    nested: Some("text_config"),
    names: TensorNames {
        prefixes: &["language_model.model.", "model.language_model."],
        heads: &["language_model.lm_head", "lm_head"],
        ..GEMMA3.names
    },
    ..GEMMA3
};

/// Llama with fused projections (arXiv 2404.14219).
const PHI3: Architecture = Architecture {
    class: "Phi3ForCausalLM",
    model_type: "phi3",
    context: 4096,
    eps: 1e-5,
    positions: Positions::Rotary(Rotary { part: Some(("partial_rotary_factor", 1.0)), original: Some(4096), ..ROTARY }),
    window: Window { default: None, switched: false, layers: WindowLayers::All },
    bias: NO_BIAS,
    names: TensorNames {
        qkv: Qkv::Fused("self_attn.qkv_proj"),
        mlp: MlpKind::FusedGated { gate_up: "mlp.gate_up_proj", down: "mlp.down_proj" },
        ..LLAMA.names
    },
    ..LLAMA
};

/// Llama with layer norms, and only a part of each head turned (arXiv 2402.17834).
const STABLELM: Architecture = Architecture {
    class: "StableLmForCausalLM",
    model_type: "stablelm",
    keys: ConfigKeys { eps: "layer_norm_eps", ..LLAMA.keys },
    context: 4096,
    norm: NormKind::Layer,
    eps: 1e-5,
    parallel: Some(Parallel { default: false, own_norm: false }),
    positions: Positions::Rotary(Rotary { part: Some(("partial_rotary_factor", 0.25)), ..ROTARY }),
    qk_norm: QkNorm::OfEachHead { query: "self_attn.q_layernorm.norms", key: "self_attn.k_layernorm.norms" },
    bias: Biases { qkv: Flag::Key("use_qkv_bias", false), ..NO_BIAS },
    ..LLAMA
};

/// `StableLM` with attention and MLP side by side, and each head's query, key and value together (arXiv 2204.06745).
const GPT_NEOX: Architecture = Architecture {
    class: "GPTNeoXForCausalLM",
    model_type: "gpt_neox",
    context: 2048,
    parallel: Some(Parallel { default: true, own_norm: true }),
    positions: Positions::Rotary(Rotary { theta: "rotary_emb_base", part: Some(("rotary_pct", 0.25)), ..ROTARY }),
    qk_norm: QkNorm::None,
    activation: Activation::Gelu,
    bias: Biases {
        qkv: Flag::Key("attention_bias", true),
        out: Flag::Key("attention_bias", true),
        mlp: Flag::Always,
        last_out: None,
    },
    names: TensorNames {
        prefixes: &["gpt_neox."],
        embedding: "embed_in",
        norm: "final_layer_norm",
        heads: &["embed_out", "lm_head"],
        qkv: Qkv::Interleaved("attention.query_key_value"),
        out: "attention.dense",
        mlp: MlpKind::Plain { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" },
        ..LLAMA.names
    },
    ..STABLELM
};

/// GPT-NeoX with attention and MLP one after the other, and one bias, in the last layer (abeja/gpt-neox-japanese-2.7b).
const GPT_NEOX_JAPANESE: Architecture = Architecture {
    class: "GPTNeoXJapaneseForCausalLM",
    model_type: "gpt_neox_japanese",
    intermediate: Intermediate::HiddenTimesKey("intermediate_multiple_size"),
    tied: true,
    parallel: None,
    positions: Positions::Rotary(Rotary { theta: "rotary_emb_base", part: Some(("rotary_pct", 1.0)), ..ROTARY }),
    bias: Biases { last_out: Some("attention.dense_bias"), ..NO_BIAS },
    names: TensorNames { prefixes: &["gpt_neox_japanese."], ..GPT_NEOX.names },
    ..GPT_NEOX
};

/// GPT-NeoX with attention and MLP one after the other, learned positions, and projections stored `(in, out)`.
const GPT2: Architecture = Architecture {
    class: "GPT2LMHeadModel",
    model_type: "gpt2",
    keys: ConfigKeys {
        hidden: "n_embd",
        layers: "n_layer",
        heads: "n_head",
        context: "n_positions",
        eps: "layer_norm_epsilon",
        activation: "activation_function",
    },
    intermediate: Intermediate::KeyOrFourTimesHidden("n_inner"),
    context: 1024,
    tied: true,
    parallel: None,
    positions: Positions::Learned("wpe"),
    scale: ScoreScale::Gpt2,
    activation: Activation::GeluTanh,
    transposed: true,
    bias: Biases { qkv: Flag::Always, out: Flag::Always, mlp: Flag::Always, last_out: None },
    names: TensorNames {
        // The oldest checkpoints have no prefix.
        prefixes: &["transformer.", ""],
        embedding: "wte",
        layers: "h",
        norm: "ln_f",
        heads: &["lm_head"],
        attention_norm: "ln_1",
        qkv: Qkv::Fused("attn.c_attn"),
        out: "attn.c_proj",
        attention_post: None,
        mlp_norm: "ln_2",
        mlp: MlpKind::Plain { up: "mlp.c_fc", down: "mlp.c_proj" },
        mlp_post: None,
    },
    ..GPT_NEOX
};

/// Mistral with experts in all layers (arXiv 2401.04088).
const MIXTRAL: Architecture = Architecture {
    class: "MixtralForCausalLM",
    model_type: "mixtral",
    eps: 1e-5,
    positions: Positions::Rotary(Rotary { default_theta: 1e6, ..ROTARY }),
    window: Window { default: None, switched: false, layers: WindowLayers::All },
    experts: Some(ExpertsKeys {
        intermediate: "intermediate_size",
        normalised: Flag::Always,
        sparse: false,
        router: "block_sparse_moe.gate",
        gate: "block_sparse_moe.experts.{}.w1",
        up: "block_sparse_moe.experts.{}.w3",
        down: "block_sparse_moe.experts.{}.w2",
        shared: None,
    }),
    ..MISTRAL
};

/// Qwen2 with many small experts, and one for every token (arXiv 2407.10671).
const QWEN2_MOE: Architecture = Architecture {
    class: "Qwen2MoeForCausalLM",
    model_type: "qwen2_moe",
    window: Window { default: Some(4096), switched: true, layers: WindowLayers::AlternatingBelowMax },
    experts: Some(ExpertsKeys {
        intermediate: "moe_intermediate_size",
        normalised: Flag::Key("norm_topk_prob", false),
        sparse: true,
        router: "mlp.gate",
        gate: "mlp.experts.{}.gate_proj",
        up: "mlp.experts.{}.up_proj",
        down: "mlp.experts.{}.down_proj",
        shared: Some("shared_expert_intermediate_size"),
    }),
    bias: Biases { qkv: Flag::Key("qkv_bias", true), ..NO_BIAS },
    ..QWEN2
};

/// Qwen3 with the experts of Qwen2-MoE, except the one for every token (arXiv 2505.09388).
const QWEN3_MOE: Architecture = Architecture {
    class: "Qwen3MoeForCausalLM",
    model_type: "qwen3_moe",
    head_size: None,
    window: Window { default: Some(4096), switched: true, layers: WindowLayers::All },
    experts: match QWEN2_MOE.experts {
        Some(experts) => Some(ExpertsKeys { shared: None, ..experts }),
        None => None,
    },
    ..QWEN3
};
