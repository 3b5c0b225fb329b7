//! Table of the effects of keys that differ between two configurations.
//!
//! An unknown key may change the forward pass. Keys that do not are listed, and so are keys that tensors' shapes
//! decide and keys that are compared elsewhere (vocabulary, head, number of layers).

use super::{by_number::is_of_all_layers, language::counts};
use serde_json::Value;

/// Effect of a key that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The same tensors are divided or used differently: no merge of them is right.
    Fatal,
    /// A layer computes differently. Averaging such layers may be intended (a fine-tune with
    /// another rotary base), but they cannot be stacked, since one configuration describes all.
    Layer,
    /// Something around the layers differs, or the effect is not known here.
    Around,
}

/// Meaning of a key in a configuration.
#[derive(Clone, Debug)]
pub(super) enum KeyMeaning {
    Said(Value),
    /// Not given; the class has this default.
    Default(Value),
    /// Null: there is none.
    Null,
    /// Not given; another key says it.
    Elsewhere,
    /// Not given; off, as the class's defaults are all known.
    Off,
    /// Not given; the default of the class is not known.
    Unknown,
}

/// Effect of a key with these meanings; `None` if it has no effect or is compared elsewhere.
pub(super) fn effect(key: &str, meanings: &[KeyMeaning; 2]) -> Option<Effect> {
    use KeyMeaning::{Default, Null, Off, Said, Unknown};
    let name = last(key);
    if is_without_effect(key) || ELSEWHERE.contains(&name) || counts(name) {
        return None;
    }
    let effect = effect_of_values(key, name);
    let one_sided = || Some(effect.max(Effect::Layer));
    match meanings {
        [Said(x), Said(y) | Default(y)] | [Default(x), Said(y)] => match (x, y) {
            _ if same(x, y) => None,
            (Value::String(x), Value::String(y)) if x.contains("gelu") && y.contains("gelu") => one_sided(),
            _ => Some(effect),
        },
        [Default(_), Null] | [Null, Default(_)] => one_sided(),
        // If a size is not given, the tensors have that of the model's class.
        [Said(_), _] | [_, Said(_)] if SIZES.contains(&name) => None,
        [Said(said), Null | Off] | [Null | Off, Said(said)] => (!is_off(said)).then(one_sided)?,
        [Said(said), Unknown] | [Unknown, Said(said)] => (!is_empty(said)).then(one_sided)?,
        // Neither configuration gives a value.
        _ => None,
    }
}

/// Effect of a key that has two values.
fn effect_of_values(key: &str, name: &str) -> Effect {
    if [SIZES, STRUCTURE, ACTIVATIONS].iter().any(|fatal| fatal.contains(&name)) {
        Effect::Fatal
    } else if !OF_THE_HEAD.contains(&name) && OF_LAYERS.iter().any(|part| key.contains(part)) || is_of_all_layers(key) {
        Effect::Layer
    } else {
        Effect::Around
    }
}

/// The last part of a key with dots.
pub(super) fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn is_without_effect(key: &str) -> bool {
    let within = |block: &&'static str| key.split('.').any(|part| part == *block);
    let name = last(key);
    WITHOUT_EFFECT.iter().any(within)
        || WITHOUT_EFFECT_PARTS.iter().any(|part| name.contains(part))
        || name.starts_with('_')
}

/// True if two values are equal; 1 and 1.0 are.
fn same(x: &Value, y: &Value) -> bool {
    match (x, y) {
        (Value::Number(x), Value::Number(y)) => x.as_f64().map(f64::to_bits) == y.as_f64().map(f64::to_bits),
        _ => x == y,
    }
}

/// True if a value turns its key off: false, 0, times 1.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(is) => !is,
        Value::Number(number) => {
            number.as_f64().is_some_and(|number| [0.0, 1.0].map(f64::to_bits).contains(&number.to_bits()))
        }
        Value::Array(list) => list.iter().all(|entry| entry == "full_attention" || is_off(entry)),
        Value::Object(map) => map.values().all(is_off),
        value => is_empty(value),
    }
}

/// True if a value is empty, or names a way of computing that gives the same result.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "eager" || text == "sdpa",
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Keys of sizes within tensors: a difference is fatal. Keys that are in no list are around the layers.
const SIZES: &[&str] = &[
    "attention_hidden_size",
    "conv_kernel",
    "d_kv",
    "head_dim",
    "kv_channels",
    "kv_lora_rank",
    "mamba_d_conv",
    "mamba_d_head",
    "mamba_d_state",
    "mamba_n_groups",
    "mamba_n_heads",
    "multi_query",
    "multi_query_attention",
    "multi_query_group_num",
    "n_head",
    "n_heads",
    "n_kv_heads",
    "num_attention_heads",
    "num_heads",
    "num_key_value_heads",
    "num_kv_heads",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "ssm_state_size",
    "v_head_dim",
];

/// Keys of the structure of layers, which tensors do not show: a difference is fatal.
const STRUCTURE: &[&str] = &[
    "alibi",
    "is_decoder",
    "new_decoder_architecture",
    "norm_type",
    "parallel_attn",
    "position_embedding_type",
    "use_parallel_residual",
];

/// Groups of kinds of models whose layers compute alike, apart from other keys, if their tensors are alike. A kind in
/// no group is not known; a user who names the kind of a fine-tune differently knows what it is.
pub(super) const ALIKE: &[&[&str]] = &[
    &[
        "granite",
        "llama",
        "ministral",
        "mistral",
        "qwen2",
        "qwen2_5_omni_text",
        "qwen2_5_vl",
        "qwen2_5_vl_text",
        "qwen2_vl",
        "qwen2_vl_text",
    ],
    &["bert", "camembert", "roberta", "xlm-roberta"],
    &["cohere"],
    &["cohere2"],
    &["deepseek_v2"],
    &["deepseek_v3", "kimi_k2"],
    &["gemma"],
    &["gemma2"],
    &["gemma3", "gemma3_text"],
    &["glm"],
    &["glm4"],
    &["gpt2"],
    &["gpt_neox"],
    &["gptj"],
    &["minicpm"],
    &["mixtral"],
    &["nemotron"],
    &["olmo"],
    &["olmo2"],
    &["opt"],
    &["phi"],
    &["phi3", "phi3_v", "phi4mm"],
    &["qwen2_moe"],
    &["qwen3", "qwen3_vl_text"],
    &["qwen3_moe", "qwen3_vl_moe_text"],
    &["qwen3_next"],
    &["smollm3"],
    &["stablelm"],
    &["starcoder2"],
];

/// Kinds whose norms multiply by their weights plus one: the same numbers mean something else.
const NORMS_FROM_ONE: &[&str] = &["gemma", "gemma2", "gemma3", "gemma3_text", "nemotron", "qwen3_next"];

/// Effect of two different kinds of language models.
pub(super) fn effect_of_kinds(values: &[Option<&Value>; 2]) -> Effect {
    let group = |kind: &Value| ALIKE.iter().position(|kinds| kinds.iter().any(|known| kind == known));
    let from_one = |kind: &Value| NORMS_FROM_ONE.iter().any(|known| kind == known);
    let [Some(x), Some(y)] = values else { return Effect::Around };
    match (group(x), group(y)) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            if from_one(x) == from_one(y) {
                Effect::Layer
            } else {
                Effect::Fatal
            }
        }
        _ => Effect::Around,
    }
}

/// Spellings of the activation: a difference is fatal, except between variants of `gelu` (fourth decimal).
const ACTIVATIONS: &[&str] = &[
    "activation",
    "activation_function",
    "dense_act_fn",
    "feed_forward_proj",
    "hidden_act",
    "hidden_activation",
    "mlp_hidden_act",
    "hidden_activation_function",
];

/// Parts of keys that decide how a layer computes.
const OF_LAYERS: &[&str] = &[
    "alpha",
    "attention_bias",
    "attention_chunk",
    "attention_multiplier",
    "attn_config",
    "attn_scale",
    "beta_f",
    "clip_qkv",
    "_eps",
    "epsilon",
    "ffn_config",
    "floor_scale",
    "is_causal",
    "k_eq_v",
    "layer_types",
    "limit",
    "linear_attn_config",
    "logit_soft",
    "moe",
    "n_group",
    "norm_topk",
    "num_experts_per_tok",
    "partial_rotary_factor",
    "qk_",
    "query_pre_attn",
    "residual",
    "rope",
    "rotary",
    "route",
    "scale_attn",
    "scale_depth",
    "scoring_func",
    "sliding_window",
    "topk",
    "top_k",
    "use_bidirectional",
    "window",
];

/// Exceptions to [`OF_LAYERS`]: keys of the head, after the layers.
const OF_THE_HEAD: &[&str] = &["final_logit_softcapping"];

/// Keys that do not change the forward pass: names, versions, tokens and sampling, types, training, caches.
const WITHOUT_EFFECT: &[&str] = &[
    "add_bos_token",
    "add_eos_token",
    "architectures",
    "auto_map",
    "aux_loss_alpha",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bf16",
    "cache_implementation",
    "chat_template",
    "chunk_size_feed_forward",
    "compression_config",
    "cross_attention_hidden_size",
    "custom_pipelines",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "ep_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_decoder_ids",
    "fp16",
    "fp32",
    "gradient_checkpointing",
    "id2label",
    "ignore_index",
    "init_device",
    "init_std",
    "initializer_cutoff_factor",
    "initializer_factor",
    "initializer_range",
    "keys_to_ignore_at_inference",
    "label2id",
    "language",
    "length_penalty",
    "license",
    "max_length",
    "min_length",
    "model_max_length",
    "model_name",
    "model_revision",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_logits_to_keep",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "quantization_config",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "seq_aux",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_cache",
    "use_mamba_kernels",
];

/// Parts of keys without effect.
const WITHOUT_EFFECT_PARTS: &[&str] = &[
    "_loss",
    "_lr",
    "_plan",
    "_token_id",
    "_token_ids",
    "_token_index",
    "attn_implementation",
    "bos_token",
    "commit_hash",
    "dropout",
    "eos_token",
    "flash_att",
    "freeze",
    "gradient_",
    "layerdrop",
    "name_or_path",
    "pad_token",
    "pdrop",
    "summary_",
    "tokenizer_",
    "unsloth",
    "use_bfloat16",
];

/// Keys that shapes decide, or that are compared elsewhere.
const ELSEWHERE: &[&str] = &[
    "d_ff",
    "d_inner",
    "d_model",
    "embedding_size",
    "ffn_dim",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "n_embd",
    "n_inner",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts",
    "num_hops",
    "num_local_experts",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "padded_vocab_size",
    "shared_expert_intermediate_size",
    "tie_word_embeddings",
    "vocab_size",
    "word_embed_proj_dim",
];
