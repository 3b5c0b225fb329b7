//! Table of the defaults of model classes for keys that a configuration does not give.
//!
//! Compiled from the classes of [`ALIKE`] in transformers 4.57 and 5.24. A default that differs
//! between the two is in no row (Cohere's rotary base).

#[cfg(test)]
mod tests;

use super::{by_number::KEYS, effect::ALIKE};
use serde_json::Value;

/// A default.
#[derive(Clone, Copy)]
enum DefaultValue {
    Flag(bool),
    Number(f64),
    Text(&'static str),
}

use DefaultValue::{Flag, Number, Text};

/// A key, with the defaults of classes.
type Row = (&'static str, &'static [(DefaultValue, &'static [&'static str])]);

/// The default of a class for a key of the language model; `None` if it has none or it is not known.
pub(super) fn of_class(class: Option<&str>, key: &str) -> Option<Value> {
    if ALWAYS_FALSE.contains(&key) {
        return Some(false.into());
    }
    let class = class?;
    let row = DEFAULTS.iter().find(|(known, _)| *known == key);
    let taken = row.and_then(|(_, values)| values.iter().find(|(_, classes)| classes.contains(&class)));
    let by_number = || {
        let known = KEYS.iter().find(|known| known.key == key && key != "model_type")?;
        known.kinds.iter().find(|(kind, _)| *kind == class).map(|(_, number)| Value::from(*number))
    };
    taken.map(|(taken, _)| Value::from(*taken)).or_else(by_number)
}

/// True if all defaults of a class are known: a key in no row is then off (false, none, times one).
pub(super) fn is_known(class: &str) -> bool {
    ALIKE.iter().any(|kinds| kinds.contains(&class)) && !CUSTOM_CODE.contains(&class)
}

/// True if null means "none" for this key, and not the default.
pub(super) fn is_none_if_null(key: &str) -> bool {
    NONE_IF_NULL.contains(&key)
}

impl From<DefaultValue> for Value {
    fn from(taken: DefaultValue) -> Self {
        match taken {
            Flag(is) => is.into(),
            Number(number) => number.into(),
            Text(text) => text.into(),
        }
    }
}

/// Kinds of [`ALIKE`] whose classes come with the models' own code.
const CUSTOM_CODE: &[&str] = &["kimi_k2", "minicpm", "phi3_v", "phi4mm"];

/// Keys that are false by default in every class: a configuration that differs stores the key.
const ALWAYS_FALSE: &[&str] = &["add_cross_attention", "is_decoder", "is_encoder_decoder", "tie_encoder_decoder"];

const NONE_IF_NULL: &[&str] =
    &["attn_logit_softcapping", "final_logit_softcapping", "max_window_layers", "sliding_window"];

/// Keys, with the defaults of classes. A key without a row for a class is off in it; but a key
/// whose other value is fatal has a row even if it is off.
const DEFAULTS: &[Row] = &[
    ("activation_function", &[(Text("gelu_new"), &["gpt2", "gptj"]), (Text("relu"), &["opt"])]),
    ("attention_bias", &[(Flag(true), &["glm", "glm4", "gpt_neox"])]),
    ("attn_logit_softcapping", &[(Number(50.0), &["gemma2"])]),
    ("do_layer_norm_before", &[(Flag(true), &["opt"])]),
    ("enable_bias", &[(Flag(true), &["opt"])]),
    ("final_logit_softcapping", &[(Number(30.0), &["gemma2"])]),
    (
        "hidden_act",
        &[
            (Text("silu"), &["granite", "llama", "ministral", "mistral", "qwen2", "qwen2_5_omni_text"]),
            (Text("silu"), QWEN_VL),
            (Text("silu"), &["cohere", "cohere2", "deepseek_v2", "deepseek_v3", "glm", "glm4", "mixtral"]),
            (Text("silu"), &["olmo", "olmo2", "phi3", "qwen2_moe", "smollm3", "stablelm"]),
            (Text("silu"), &["qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl_moe_text", "qwen3_vl_text"]),
            (Text("gelu"), BERTS),
            (Text("gelu"), &["gpt_neox"]),
            (Text("gelu_new"), &["phi"]),
            (Text("gelu_pytorch_tanh"), &["gemma", "starcoder2"]),
            (Text("relu2"), &["nemotron"]),
        ],
    ),
    ("hidden_activation", &[(Text("gelu_pytorch_tanh"), &["gemma", "gemma2", "gemma3", "gemma3_text"])]),
    ("layer_norm_elementwise_affine", &[(Flag(true), &["opt"])]),
    (
        "layer_norm_eps",
        &[(Number(1e-12), BERTS), (Number(1e-5), &["cohere", "cohere2", "gpt_neox", "phi", "stablelm"])],
    ),
    ("layer_norm_epsilon", &[(Number(1e-5), &["gpt2", "gptj"])]),
    ("logit_scale", &[(Number(0.0625), &["cohere", "cohere2"])]),
    (
        "max_window_layers",
        &[(Number(28.0), &["qwen2", "qwen2_5_omni_text", "qwen2_moe", "qwen3"]), (Number(80.0), QWEN_VL)],
    ),
    ("n_group", &[(Number(8.0), &["deepseek_v3"])]),
    ("norm_eps", &[(Number(1e-5), &["nemotron"])]),
    ("norm_epsilon", &[(Number(1e-5), &["starcoder2"])]),
    ("norm_topk_prob", &[(Flag(true), &["deepseek_v3", "qwen3_next", "qwen3_vl_moe_text"])]),
    (
        "num_attention_heads",
        &[
            (Number(8.0), &["gemma2", "gemma3", "gemma3_text"]),
            (Number(12.0), BERTS),
            (Number(12.0), &["opt"]),
            (Number(16.0), &["gemma", "qwen2_moe", "qwen3_next", "qwen3_vl_moe_text", "smollm3"]),
            (Number(24.0), &["starcoder2"]),
            (Number(28.0), &["qwen2_5_omni_text"]),
            (Number(32.0), &["deepseek_v2", "glm", "glm4", "granite", "llama", "ministral", "mistral", "mixtral"]),
            (Number(32.0), &["olmo", "olmo2", "phi", "phi3", "qwen2", "qwen3", "qwen3_moe", "qwen3_vl_text"]),
            (Number(32.0), &["stablelm"]),
            (Number(48.0), &["nemotron"]),
            (Number(64.0), &["cohere", "cohere2", "gpt_neox"]),
            (Number(64.0), QWEN_VL),
            (Number(128.0), &["deepseek_v3"]),
        ],
    ),
    (
        "num_experts_per_tok",
        &[
            (Number(2.0), &["mixtral"]),
            (Number(4.0), &["qwen2_moe", "qwen3_vl_moe_text"]),
            (Number(8.0), &["deepseek_v3", "qwen3_moe"]),
            (Number(10.0), &["qwen3_next"]),
        ],
    ),
    ("original_max_position_embeddings", &[(Number(4096.0), &["phi3"])]),
    (
        "partial_rotary_factor",
        &[(Number(0.25), &["gpt_neox", "qwen3_next", "stablelm"]), (Number(0.5), &["glm", "glm4", "nemotron", "phi"])],
    ),
    ("position_embedding_type", &[(Text("absolute"), BERTS)]),
    ("qkv_bias", &[(Flag(true), &["qwen2_moe"])]),
    ("query_pre_attn_scalar", &[(Number(256.0), &["gemma2", "gemma3", "gemma3_text"])]),
    (
        "rms_norm_eps",
        &[
            (Number(1e-6), &["deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3", "gemma3_text", "granite"]),
            (Number(1e-6), &["llama", "ministral", "mistral", "qwen2", "qwen2_5_omni_text", "qwen2_moe", "smollm3"]),
            (Number(1e-6), &["qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl_moe_text", "qwen3_vl_text"]),
            (Number(1e-5), QWEN_VL),
            (Number(1e-5), &["mixtral", "olmo2", "phi3"]),
            (Number(0.000_000_156_25), &["glm", "glm4"]),
        ],
    ),
    ("rope_interleave", &[(Flag(true), &["deepseek_v3"])]),
    ("rope_local_base_freq", &[(Number(1e4), &["gemma3", "gemma3_text"])]),
    (
        "rope_theta",
        &[
            (Number(1e4), &["cohere2", "deepseek_v2", "deepseek_v3", "gemma", "gemma2", "glm", "glm4", "gpt_neox"]),
            (Number(1e4), &["granite", "llama", "ministral", "mistral", "nemotron", "olmo", "olmo2", "phi", "phi3"]),
            (Number(1e4), &["qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "stablelm", "starcoder2"]),
            (Number(1e6), QWEN_VL),
            (Number(1e6), &["gemma3", "gemma3_text", "mixtral", "qwen2_5_omni_text"]),
            (Number(2e6), &["smollm3"]),
        ],
    ),
    ("rotary_dim", &[(Number(64.0), &["gptj"])]),
    ("routed_scaling_factor", &[(Number(2.5), &["deepseek_v3"])]),
    ("scale_attn_weights", &[(Flag(true), &["gpt2"])]),
    ("scoring_func", &[(Text("softmax"), &["deepseek_v2"]), (Text("sigmoid"), &["deepseek_v3"])]),
    (
        "sliding_window",
        &[
            (Number(4096.0), &["cohere2", "gemma2", "gemma3", "gemma3_text", "ministral", "mistral"]),
            // Classes that have a switch, while it is on.
            (Number(4096.0), &["qwen2", "qwen2_5_omni_text", "qwen2_moe", "qwen3", "qwen3_moe"]),
            (Number(4096.0), QWEN_VL),
        ],
    ),
    ("topk_group", &[(Number(4.0), &["deepseek_v3"])]),
    ("topk_method", &[(Text("greedy"), &["deepseek_v2"]), (Text("noaux_tc"), &["deepseek_v3"])]),
    ("use_bias", &[(Flag(true), &["starcoder2"])]),
    ("use_parallel_residual", &[(Flag(true), &["gpt_neox"]), (Flag(false), &["stablelm"])]),
    (
        "use_sliding_window",
        &[
            (Flag(false), &["qwen2", "qwen2_5_omni_text", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"]),
            (Flag(false), QWEN_VL),
        ],
    ),
];

const BERTS: &[&str] = &["bert", "camembert", "roberta", "xlm-roberta"];

const QWEN_VL: &[&str] = &["qwen2_5_vl", "qwen2_5_vl_text", "qwen2_vl", "qwen2_vl_text"];
