//! Tests of keys that one configuration gives and the other leaves to its class.

use super::{super::tests::compare, ALIKE, CUSTOM_CODE, DEFAULTS};
use crate::merge::config::effect::Effect;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Compares a model of this class without a key with one that has it.
fn beside_silence(class: &str, key: &str, said: &Value, expected: &[(Effect, &str)]) {
    let mut says = json!({"model_type": class});
    says[key] = said.clone();
    compare(json!({"model_type": class}), says, expected);
}

#[test]
fn what_is_not_said_is_what_its_class_takes() {
    use Effect::{Fatal, Layer};
    let taken = |class: &str, key: &str, taken: Value, other: Value, effect: Effect| {
        beside_silence(class, key, &taken, &[]);
        beside_silence(class, key, &json!(null), &[]);
        beside_silence(class, key, &other, &[(effect, &format!("{key} is {taken} by default and {other}"))]);
    };
    taken("gpt_neox", "use_parallel_residual", json!(true), json!(false), Fatal);
    taken("stablelm", "use_parallel_residual", json!(false), json!(true), Fatal);
    taken("bert", "is_decoder", json!(false), json!(true), Fatal);
    taken("roberta", "position_embedding_type", json!("absolute"), json!("relative_key"), Fatal);
    taken("gemma2", "hidden_activation", json!("gelu_pytorch_tanh"), json!("silu"), Fatal);
    taken("gemma2", "hidden_activation", json!("gelu_pytorch_tanh"), json!("gelu"), Layer);
    taken("llama", "num_attention_heads", json!(32), json!(16), Fatal);
    taken("llama", "rope_theta", json!(10000), json!(500_000), Layer);
    taken("mixtral", "rope_theta", json!(1_000_000), json!(10000), Layer);
    taken("gpt2", "scale_attn_weights", json!(true), json!(false), Layer);
    taken("deepseek_v3", "rope_interleave", json!(true), json!(false), Layer);
    taken("deepseek_v3", "norm_topk_prob", json!(true), json!(false), Layer);
    taken("deepseek_v3", "first_k_dense_replace", json!(3), json!(1), Effect::Around);
    taken("gemma3_text", "sliding_window_pattern", json!(6), json!(4), Layer);
    taken("stablelm", "partial_rotary_factor", json!(0.25), json!(1), Layer);
    taken("gptj", "rotary_dim", json!(64), json!(32), Layer);
    beside_silence("gpt_neox", "rotary_pct", &json!(0.25), &[]);
    beside_silence("gpt_neox", "rotary_pct", &json!(1), &[(Layer, "partial_rotary_factor is 0.25 by default and 1")]);
    // A key in no row is off.
    for (class, key) in [("qwen2_moe", "norm_topk_prob"), ("llama", "mlp_bias"), ("cohere", "use_qk_norm")] {
        beside_silence(class, key, &json!(false), &[]);
        beside_silence(class, key, &json!(null), &[]);
    }
    beside_silence("qwen2_moe", "norm_topk_prob", &json!(true), &[(Layer, "norm_topk_prob is not set and true")]);
    beside_silence("cohere", "rope_theta", &json!(1e4), &[(Layer, "rope_theta is not set and 10000")]);
    compare(
        json!({"model_type": "mistral", "rope_theta": 1e4}),
        json!({"model_type": "mixtral"}),
        &[(Layer, "model_type is \"mistral\" and \"mixtral\""), (Layer, "rope_theta is 10000 and 1000000 by default")],
    );
    compare(
        json!({"model_type": "x", "text_config": {"model_type": "gpt_neox"}, "vision_config": {"is_decoder": false}}),
        json!({"model_type": "x", "text_config": {"model_type": "gpt_neox", "use_parallel_residual": false}}),
        &[(Fatal, "text_config.use_parallel_residual is true by default and false")],
    );
}

#[test]
fn where_nobody_knows_what_a_class_takes_what_one_says_is_told() {
    use Effect::{Around, Layer};
    for class in ["our_own", "minicpm"] {
        let told = |key: &str, said: Value, effect: Effect| {
            beside_silence(class, key, &said, &[(effect, &format!("{key} is not set and {said}"))]);
        };
        for said in [false, true] {
            told("use_parallel_residual", json!(said), Layer);
            told("norm_topk_prob", json!(said), Layer);
            told("what_nobody_knows", json!(said), Around);
        }
        told("rope_theta", json!(10000), Layer);
        told("residual_multiplier", json!(1), Layer);
        told("hidden_act", json!("silu"), Layer);
        for empty in [json!(null), json!([]), json!(""), json!({})] {
            beside_silence(class, "rope_what", &empty, &[]);
        }
        beside_silence(class, "is_decoder", &json!(false), &[]);
        beside_silence(class, "num_attention_heads", &json!(8), &[]);
    }
    // Defaults within such a block are not known either: YaRN's scale is cut to whole numbers unless this is false.
    let yarn = |more: Value| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4});
        scaling.as_object_mut().expect("a block").extend(more.as_object().expect("a block").clone());
        json!({"model_type": "llama", "rope_scaling": scaling})
    };
    compare(
        yarn(json!({})),
        yarn(json!({"truncate": false})),
        &[(Layer, "rope_scaling.truncate is not set and false")],
    );
}

/// Null means "none" where a class has a default.
#[test]
fn a_window_or_cap_that_is_null_is_none() {
    use Effect::{Around, Layer};
    let null = |class: &str, key: &str, effect: Effect, text: &str| {
        beside_silence(class, key, &json!(null), &[(effect, text)]);
    };
    null("mistral", "sliding_window", Layer, "sliding_window is 4096 by default and null");
    null("gemma2", "attn_logit_softcapping", Layer, "attn_logit_softcapping is 50 by default and null");
    null("gemma2", "final_logit_softcapping", Around, "final_logit_softcapping is 30 by default and null");
    beside_silence("llama", "sliding_window", &json!(null), &[]);
    // In a class whose switch is off, there is no window, whatever the key says.
    beside_silence("qwen2", "sliding_window", &json!(32768), &[]);
    beside_silence("qwen2", "use_sliding_window", &json!(false), &[]);
    compare(
        json!({"model_type": "qwen2", "use_sliding_window": true}),
        json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 28}),
        &[],
    );
}

#[test]
fn every_row_names_known_classes_once() {
    let known: BTreeSet<&str> = ALIKE.iter().flat_map(|kinds| kinds.iter().copied()).collect();
    for (key, values) in DEFAULTS {
        let mut named = BTreeSet::new();
        for class in values.iter().flat_map(|(_, classes)| *classes) {
            assert!(known.contains(class) && !CUSTOM_CODE.contains(class), "{key}: {class} is not known");
            assert!(named.insert(class), "{key}: {class} is there twice");
        }
    }
    let keys: BTreeSet<&str> = DEFAULTS.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), DEFAULTS.len(), "a key has two rows");
    assert!(CUSTOM_CODE.iter().all(|kind| known.contains(kind)), "{CUSTOM_CODE:?}");
}
