//! Tests of configurations of merges.

use super::{
    alike::{Difference, differences, is_carried},
    by_layer::{Contradiction, LayerOrigin, restack},
    effect::Effect,
    tensors::correct,
};
use crate::model::{Config, Meta, dtype::Dtype};
use serde_json::{Value, json};

fn config(value: Value) -> Config {
    let Value::Object(keys) = value else { panic!("a block of keys") };
    Config(keys)
}

/// Stacks `layers` of a model of four layers that is configured by `said`; checks the
/// configuration, or what it would say wrongly.
fn check(mut said: Value, layers: &[usize], expected: Result<Value, (&str, Option<usize>)>) {
    said["num_hidden_layers"] = 4.into();
    let donor = config(said.clone());
    let origins: Vec<LayerOrigin<'_>> =
        layers.iter().map(|layer| LayerOrigin { config: &donor, layer: *layer }).collect();
    let mut result = donor.clone();
    let made = restack(&mut result, 4, &origins).map(|()| Value::from(result.0));
    let expected =
        expected.map_err(|(said, layer)| Contradiction { said: said.to_owned(), layer }).map(|mut expected| {
            expected["num_hidden_layers"] = layers.len().into();
            expected
        });
    assert_eq!(made, expected, "{said} as {layers:?}");
}

#[test]
fn what_is_said_of_layers_by_number_is_kept_rewritten_or_refused() {
    let same = |said: Value, layers: &[usize]| check(said.clone(), layers, Ok(said));
    let becomes = |said: Value, layers: &[usize], made: Value| check(said, layers, Ok(made));
    let refused = |said: Value, layers: &[usize], key: &str, layer| check(said, layers, Err((key, layer)));

    let dense = || json!({"first_k_dense_replace": 1});
    same(dense(), &[0, 1, 2, 1, 2, 3]);
    becomes(dense(), &[1, 2, 3], json!({"first_k_dense_replace": 0}));
    becomes(dense(), &[0, 0, 1, 2], json!({"first_k_dense_replace": 2}));
    refused(dense(), &[0, 1, 2, 0, 1, 2, 3], "first_k_dense_replace: 1", Some(3));
    same(json!({"first_k_dense_replace": 0}), &[0, 1, 2, 0, 1, 2, 3]);
    same(json!({"first_k_dense_replace": 2, "mlp_layer_types": null}), &[0, 1, 3]);
    refused(json!({"model_type": "deepseek_v3"}), &[0, 3, 1], "first_k_dense_replace: 3", Some(1));
    becomes(json!({"moe_layer_end_index": 3}), &[0, 1, 2, 3, 3], json!({"moe_layer_end_index": 4}));
    same(json!({"moe_layer_end_index": -1}), &[0, 1, 2, 3, 3]);

    same(json!({"moe_layer_end_index": u64::MAX}), &[0, 1, 2, 3, 3]);
    becomes(json!({"moe_layer_num_skipped": 1}), &[1, 2, 3], json!({"moe_layer_num_skipped": 0}));

    let every = |n: u64| json!({"full_attention_interval": n});
    same(every(2), &[0, 1, 0, 1, 2, 3]);
    same(every(1), &[3, 1, 2]);
    refused(every(2), &[0, 1, 1, 2], "full_attention_interval: 2", Some(2));
    refused(json!({"model_type": "gemma2"}), &[0, 0], "sliding_window_pattern: 2", Some(1));
    same(json!({"model_type": "gemma2"}), &[2, 3, 0, 1]);
    same(json!({"sliding_window_pattern": "LG"}), &[0, 1, 0, 1]);
    refused(json!({"sliding_window_pattern": "LG"}), &[0, 0], "sliding_window_pattern: \"LG\"", Some(1));
    same(json!({"decoder_sparse_step": 1, "mlp_only_layers": []}), &[0, 2]);
    same(json!({"expert_layer_period": 2, "expert_layer_offset": 1}), &[2, 3, 0, 1]);
    refused(json!({"expert_layer_period": 2, "expert_layer_offset": 1}), &[1, 2], "expert_layer_period: 2", Some(0));
    refused(json!({"global_attn_every_n_layers": 3}), &[1, 2], "global_attn_every_n_layers: 3", Some(0));
    same(json!({"max_window_layers": 2, "use_sliding_window": false}), &[3, 0]);
    becomes(
        json!({"max_window_layers": 4, "use_sliding_window": true}),
        &[0, 1, 2, 3, 3],
        json!({"max_window_layers": 5, "use_sliding_window": true}),
    );
    refused(
        json!({"model_type": "qwen2_moe", "use_sliding_window": true}),
        &[0, 0],
        "model_type: \"qwen2_moe\"",
        Some(1),
    );

    becomes(json!({"mlp_only_layers": [0, 3]}), &[0, 1, 0, 3], json!({"mlp_only_layers": [0, 2, 3]}));
    becomes(json!({"mlp_only_layers": [0, 1, 2, 3]}), &[0, 1], json!({"mlp_only_layers": [0, 1]}));
    becomes(json!({"attn_layer_idx": [1, 3]}), &[3, 0, 1], json!({"attn_layer_idx": [0, 2]}));
    becomes(json!({"attn": {"layers": [1, 3]}}), &[3, 0, 1], json!({"attn": {"layers": [0, 2]}}));
    becomes(json!({"moe_layers_enum": "1,3"}), &[3, 0, 1], json!({"moe_layers_enum": "0,2"}));
    becomes(
        json!({"linear_attn_config": {"kda_layers": [1, 2, 3], "full_attn_layers": [4]}}),
        &[3, 0, 3],
        json!({"linear_attn_config": {"kda_layers": [2], "full_attn_layers": [1, 3]}}),
    );
    becomes(json!({"hybrid_override_pattern": "M-M*"}), &[0, 3, 3], json!({"hybrid_override_pattern": "M**"}));
    becomes(json!({"hybrid_override_pattern": "M-M*"}), &[0, 1, 2], json!({"hybrid_override_pattern": "M-M"}));
    becomes(json!({"block_types": ["r", "r", "a"]}), &[2, 3, 3], json!({"block_types": ["a", "r", "r"]}));
    becomes(json!({"attention_types": [[["g", "l"], 2]]}), &[1, 2], json!({"attention_types": [[["l", "g"], 1]]}));
    becomes(json!({"attention_types": [[["g", "l"], 2]]}), &[0, 1], json!({"attention_types": [[["g", "l"], 1]]}));
    let types = |times: u64| json!({"attention_types": [[[], 3], [["g", "l"], times]]});
    becomes(types(u64::MAX), &[1, 2], json!({"attention_types": [[["l", "g"], 1]]}));
    becomes(json!({"per_layer_config": {"3": {"head_dim": 8}}}), &[0, 1], json!({"per_layer_config": {}}));
    becomes(json!({"per_layer_config": ["a", "b", "c", "d"]}), &[0, 3], json!({"per_layer_config": ["a", "d"]}));
    becomes(json!({"pruned_heads": {"1": [7]}}), &[1, 0, 1], json!({"pruned_heads": {"0": [7], "2": [7]}}));

    refused(
        json!({"scale_attn_by_inverse_layer_idx": true}),
        &[0, 2],
        "scale_attn_by_inverse_layer_idx: true",
        Some(1),
    );
    same(json!({"scale_attn_by_inverse_layer_idx": true}), &[0, 1, 2]);
    same(json!({"scale_attn_by_inverse_layer_idx": false}), &[0, 2]);
    refused(json!({"num_kv_shared_layers": 1}), &[0, 1, 2], "num_kv_shared_layers: 1", None);
    same(json!({"num_kv_shared_layers": 0}), &[0, 1, 2]);
    refused(json!({"scale_depth": 1.4}), &[0, 1, 2, 3, 3], "scale_depth: 1.4", None);
    same(json!({"scale_depth": 1.4}), &[0, 2, 1, 3]);
    refused(json!({"model_type": "diffllama"}), &[1, 0], "model_type: \"diffllama\"", Some(0));
    refused(json!({"model_type": "gpt_neox_japanese"}), &[0, 3, 1], "model_type: \"gpt_neox_japanese\"", Some(1));
    same(json!({"model_type": "gpt_neox_japanese"}), &[0, 1, 1, 2, 3]);
    refused(json!({"model_type": "t5"}), &[1, 2], "model_type: \"t5\"", Some(0));
    same(json!({"model_type": "t5"}), &[0, 2, 2, 3]);
    let deepstack = || json!({"vision_config": {"deepstack_visual_indexes": [5, 11]}});
    same(deepstack(), &[0, 1, 2, 2, 3]);
    refused(deepstack(), &[0, 1, 0, 1], "vision_config.deepstack_visual_indexes: [5,11]", Some(2));
}

#[test]
fn lists_are_stacked_as_layers_are_and_what_they_overrule_is_left_out() {
    let becomes = |said: Value, layers: &[usize], made: Value| check(said, layers, Ok(made));
    becomes(json!({"layer_types": ["a", "b", "c", "d"]}), &[3, 3, 0], json!({"layer_types": ["d", "d", "a"]}));
    becomes(
        json!({"layer_types": ["a", "b", "a", "b"], "sliding_window_pattern": 2}),
        &[0, 0],
        json!({"layer_types": ["a", "a"]}),
    );
    becomes(
        json!({"layer_types": ["a", "b", "a", "b"], "sliding_window_pattern": 2}),
        &[0, 1],
        json!({"layer_types": ["a", "b"], "sliding_window_pattern": 2}),
    );
    // The last entry is for the layer behind the last one, which stays there.
    let ahead = |types: &[&str]| json!({"layer_types": types, "num_nextn_predict_layers": 1});
    becomes(ahead(&["a", "b", "c", "d", "x"]), &[2, 0], ahead(&["c", "a", "x"]));
    let tokens = || json!({"eos_token_id": [1, 2, 3, 4], "architectures": ["a", "b", "c", "d"]});
    becomes(tokens(), &[1, 1], tokens());
    let nested = |n: usize, types: &[&str]| json!({"text_config": {"num_hidden_layers": n, "layer_types": types}});
    becomes(nested(4, &["a", "b", "c", "d"]), &[1, 1], nested(2, &["b", "b"]));
    let mut deep = nested(4, &["a"; 4]);
    deep["text_config"]["first_k_dense_replace"] = 1.into();
    check(deep, &[1, 0], Err(("text_config.first_k_dense_replace: 1", Some(0))));
}

#[test]
fn a_second_count_of_layers_stays_in_step() {
    let becomes = |said: Value, layers: &[usize], made: Value| check(said, layers, Ok(made));
    becomes(json!({"num_blocks": 4}), &[0, 1, 2, 3, 3], json!({"num_blocks": 5}));
    becomes(json!({"num_layers": 8}), &[0, 1, 2], json!({"num_layers": 6}));
    becomes(json!({"num_layers": 1u64 << 63}), &[0, 1, 2, 3, 0, 1, 2, 3], json!({"num_layers": u64::MAX}));
    check(json!({"num_layers": 6}), &[0, 1, 2], Err(("num_layers: 6", None)));
    becomes(json!({"num_layers": 6}), &[0, 1, 2, 2], json!({"num_layers": 6}));
    // A count of other layers, beside the language model's.
    let nested = |n: usize| json!({"num_layers": 8, "text_config": {"num_hidden_layers": n}});
    becomes(nested(4), &[1, 1], nested(2));
    let endless = || json!({"num_nextn_predict_layers": u64::MAX, "layer_types": ["a", "b"]});
    becomes(endless(), &[1, 1], endless());
}

/// Here, `num_layers` and `num_hidden_layers` count the encoder's layers, which do not move.
#[test]
fn what_counts_the_encoder_stays() {
    let said = |n: usize| json!({"num_decoder_layers": n, "num_layers": 4, "is_encoder_decoder": true});
    let donor = config(said(4));
    let mut result = donor.clone();
    restack(&mut result, 4, &[1, 2].map(|layer| LayerOrigin { config: &donor, layer }))
        .expect("it says nothing of layers");
    assert_eq!(Value::from(result.0), said(2));
}

/// Each model describes its own layers.
#[test]
fn a_stack_of_two_models_is_described_by_both() {
    let [a, b] = [1, 2].map(|dense| config(json!({"num_hidden_layers": 4, "first_k_dense_replace": dense})));
    let stack = |layers: &[(bool, usize)]| {
        let origin = |(is_b, layer): &(bool, usize)| LayerOrigin { config: if *is_b { &b } else { &a }, layer: *layer };
        let mut result = a.clone();
        restack(&mut result, 4, &layers.iter().map(origin).collect::<Vec<_>>()).map(|()| result.0)
    };
    let made = stack(&[(false, 0), (true, 1), (false, 2)]).expect("the dense ones come first");
    assert_eq!(made["first_k_dense_replace"], 2);
    let contradiction = stack(&[(false, 0), (false, 1), (true, 1)]).expect_err("the last is dense");
    assert_eq!((contradiction.said.as_str(), contradiction.layer), ("first_k_dense_replace: 1", Some(2)));
}

/// One model gives the number of its dense layers, the other leaves it to its class: three.
#[test]
fn a_model_that_says_nothing_of_its_layers_is_as_its_class_is() {
    let [a, b] = [json!({"first_k_dense_replace": 1}), json!({})].map(|mut keys| {
        keys["model_type"] = "deepseek_v3".into();
        config(keys)
    });
    let origins = [(&a, 0), (&b, 2), (&a, 3)].map(|(config, layer)| LayerOrigin { config, layer });
    let mut result = a.clone();
    restack(&mut result, 4, &origins).expect("the dense ones come first");
    assert_eq!(result.0["first_k_dense_replace"], 2);
    stacked(b.0.into(), a.0.into(), &[(Effect::Around, "first_k_dense_replace is 3 by default and 1")]);
}

/// Checks the differences between two configurations.
pub(super) fn compare(a: Value, b: Value, expected: &[(Effect, &str)]) {
    let found = differences(&config(a), &config(b));
    let found: Vec<_> = found.iter().map(|difference| (difference.effect, Difference::both(difference))).collect();
    let expected: Vec<_> = expected.iter().map(|(effect, text)| (*effect, (*text).to_owned())).collect();
    assert_eq!(found, expected);
}

/// Checks the differences that two models of four and five layers may not have if their layers are stacked.
fn stacked(a: Value, b: Value, expected: &[(Effect, &str)]) {
    let [a, b] = [config(a), config(b)];
    let mut found = differences(&a, &b);
    assert!(!found.is_empty(), "nothing differs");
    found.retain(|difference| !is_carried(difference, [&a, &b], [4, 5]));
    let found: Vec<_> = found.iter().map(|difference| (difference.effect, Difference::both(difference))).collect();
    let expected: Vec<_> = expected.iter().map(|(effect, text)| (*effect, (*text).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_goes_with_each_layer_may_differ_in_a_stack() {
    let carried = |key: &str, a: Value, b: Value| stacked(json!({key: a}), json!({key: b}), &[]);
    let types = |kind: &str, count: usize| json!({"layer_types": vec![kind; count]});
    carried("layer_types", json!(["a", "b", "a", "b"]), json!(["b", "b", "a", "b", "a"]));
    carried("text_config", types("a", 4), types("b", 5));
    carried("first_k_dense_replace", json!(1), json!(2));
    carried("full_attention_interval", json!(2), json!(4));
    carried("moe_layer_freq", json!(1), json!([0, 1, 1, 1, 1]));
    carried("expert_layer_period", json!(1), json!(2));
    carried("mlp_only_layers", json!([0]), json!([1, 2]));
    carried("linear_attn_config", json!({"kda_layers": [1, 2]}), json!({"kda_layers": [2]}));
    carried("hybrid_override_pattern", json!("M-M*"), json!("MM-*M"));
    carried("attention_types", json!([[["g", "l"], 2]]), json!([[["g"], 5]]));
    carried("block_types", json!(["r", "a"]), json!(["r", "r", "a"]));
    carried("pruned_heads", json!({"1": [7]}), json!({"1": [8]}));
}

#[test]
fn what_goes_with_no_layer_may_not_differ_in_a_stack() {
    use Effect::{Around, Layer};
    let apart = |key: &str, [a, b]: [Value; 2], effect: Effect, text: &str| {
        stacked(json!({key: a}), json!({key: b}), &[(effect, text)]);
    };
    let filled = |entry: u64, count: usize| json!(vec![entry; count]);
    let lists = || [filled(1, 4), filled(2, 5)];
    let within = |key: &str| lists().map(|list| json!({key: list}));
    // Lists of parts of a head, even if they are as long as the number of layers.
    for key in ["long_factor", "short_factor", "mrope_section"] {
        let text = format!("rope_scaling.{key} is [1,1,1,1] and [2,2,2,2,2]");
        apart("rope_scaling", within(key), Layer, &text);
    }
    apart("mrope_section", lists(), Layer, "mrope_section is [1,1,1,1] and [2,2,2,2,2]");
    // Lists of other lengths, or of other layers.
    apart("layer_types", [filled(1, 3), filled(2, 5)], Layer, "layer_types is [1,1,1] and [2,2,2,2,2]");
    apart("what_lists", [filled(1, 4), filled(2, 4)], Around, "what_lists is [1,1,1,1] and [2,2,2,2]");
    let tower = "vision_config.layer_types is [1,1,1,1] and [2,2,2,2,2]";
    apart("vision_config", within("layer_types"), Layer, tower);
    // Numbers that decide how each layer computes.
    for key in ["scale_depth", "num_kv_shared_layers", "global_attn_every_n_layers", "kv_source_layers"] {
        apart(key, [json!(2), json!(3)], Layer, &format!("{key} is 2 and 3"));
        stacked(json!({}), json!({key: 3}), &[(Layer, &format!("{key} is not set and 3"))]);
    }
    let dense = "first_k_dense_replace is not set and 1";
    stacked(json!({}), json!({"first_k_dense_replace": 1}), &[(Around, dense)]);
}

#[test]
fn configurations_are_compared_by_every_key_that_computes() {
    use Effect::{Around, Fatal, Layer};
    compare(json!({"rope_theta": 1e4}), json!({"rope_theta": 1e6}), &[(Layer, "rope_theta is 10000 and 1000000")]);
    compare(
        json!({"max_position_embeddings": 128, "num_attention_heads": 4, "rms_norm_eps": 1e-5}),
        json!({"max_position_embeddings": 4096, "num_attention_heads": 8, "rms_norm_eps": 1e-6}),
        &[
            (Fatal, "num_attention_heads is 4 and 8"),
            (Layer, "rms_norm_eps is 0.00001 and 0.000001"),
            (Around, "max_position_embeddings is 128 and 4096"),
        ],
    );
    let acts = |a: &str, b: &str, expected: &[(Effect, &str)]| {
        compare(json!({"hidden_act": a}), json!({"hidden_act": b}), expected);
    };
    acts("silu", "gelu", &[(Fatal, "hidden_act is \"silu\" and \"gelu\"")]);
    acts("gelu", "gelu_new", &[(Layer, "hidden_act is \"gelu\" and \"gelu_new\"")]);
    let layer = |key: &str, a: Value, b: Value, text: &str| compare(json!({key: a}), json!({key: b}), &[(Layer, text)]);
    layer("sliding_window", json!(null), json!(4096), "sliding_window is null and 4096");
    layer("attn_logit_softcapping", json!(50), json!(30), "attn_logit_softcapping is 50 and 30");
    layer("residual_multiplier", json!(1), json!(0.22), "residual_multiplier is 1 and 0.22");
    layer("num_experts_per_tok", json!(2), json!(4), "num_experts_per_tok is 2 and 4");
    layer("partial_rotary_factor", json!(1), json!(0.5), "partial_rotary_factor is 1 and 0.5");
    let around =
        |key: &str, a: Value, b: Value, text: &str| compare(json!({key: a}), json!({key: b}), &[(Around, text)]);
    around("final_logit_softcapping", json!(30), json!(null), "final_logit_softcapping is 30 and null");
    around("logits_scaling", json!(8), json!(16), "logits_scaling is 8 and 16");
    around("what_nobody_knows", json!(8), json!("x"), "what_nobody_knows is 8 and \"x\"");
    compare(
        json!({"hidden_act": "relu", "use_parallel_residual": true, "position_embedding_type": "relative_key"}),
        json!({}),
        &[
            (Layer, "hidden_act is \"relu\" and not set"),
            (Layer, "position_embedding_type is \"relative_key\" and not set"),
            (Layer, "use_parallel_residual is true and not set"),
        ],
    );
    compare(json!({}), json!({"embedding_multiplier": 12}), &[(Around, "embedding_multiplier is not set and 12")]);
    compare(
        json!({"text_config": {"rope_theta": 1e4}, "vision_config": {"hidden_act": "gelu"}}),
        json!({"text_config": {"rope_theta": 1e6}, "vision_config": {"hidden_act": "silu"}}),
        &[
            (Fatal, "vision_config.hidden_act is \"gelu\" and \"silu\""),
            (Layer, "text_config.rope_theta is 10000 and 1000000"),
        ],
    );
}

#[test]
fn what_one_does_not_say_is_told_in_words() {
    let [a, b] = [json!({}), json!({"rope_theta": 5e5})].map(config);
    let told = |a: &Config, b: &Config| differences(a, b).iter().map(Difference::not).collect::<Vec<_>>();
    assert_eq!(told(&a, &b), ["rope_theta is 500000, which the other does not set"]);
    assert_eq!(told(&b, &a), ["rope_theta is not set, not 500000"]);
}

#[test]
fn kinds_whose_layers_compute_otherwise_are_no_one_architecture() {
    use Effect::{Around, Fatal, Layer};
    let kinds = |a: &str, b: &str, effect: Effect| {
        compare(
            json!({"model_type": a}),
            json!({"model_type": b}),
            &[(effect, &format!("model_type is \"{a}\" and \"{b}\""))],
        );
    };
    kinds("gemma", "llama", Fatal);
    kinds("gemma", "gemma2", Layer);
    kinds("cohere", "llama", Layer);
    kinds("llama", "mistral", Around);
    kinds("qwen2", "qwen2_5_vl_text", Around);
    kinds("llama", "our_own_llama", Around);
    compare(json!({"model_type": "evomistral"}), json!({"model_type": "mistral"}), &[]);
    compare(
        json!({"model_type": "llava", "text_config": {"model_type": "gemma"}}),
        json!({"model_type": "llava_next", "text_config": {"model_type": "llama"}}),
        &[
            (Fatal, "text_config.model_type is \"gemma\" and \"llama\""),
            (Around, "model_type is \"llava\" and \"llava_next\""),
        ],
    );
}

#[test]
fn of_two_blocks_or_lists_what_differs_is_told() {
    use Effect::Layer;
    let scaling = |factors: &[f64]| json!({"rope_scaling": {"type": "longrope", "long_factor": factors}});
    let [mut a, mut b] = [[1.5; 32], [1.5; 32]];
    (a[31], b[31]) = (2.5, 3.5);
    compare(scaling(&a), scaling(&b), &[(Layer, "rope_scaling.long_factor[31] is 2.5 and 3.5")]);
    compare(
        json!({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 32}}),
        json!({"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 32}}),
        &[(Layer, "rope_scaling.factor is 2 and 4")],
    );
}

#[test]
fn what_is_said_in_other_words_or_has_no_effect_is_no_difference() {
    let alike = |a: Value, b: Value| compare(a, b, &[]);
    alike(
        json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}, "torch_dtype": "float16", "bos_token_id": 1}),
        json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2}, "dtype": "float32", "bos_token_id": 7}),
    );
    alike(
        json!({"model_type": "llama", "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}),
        json!({"model_type": "llama", "rope_scaling": null, "_name_or_path": "x", "use_cache": false}),
    );
    alike(
        json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}),
        json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4}}, "layer_types": ["sliding_attention", "full_attention"]}),
    );
    alike(
        json!({"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}),
        json!({"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]}}),
    );
    alike(
        json!({"rope_scaling": {"type": "su", "long_factor": [2]}}),
        json!({"rope_scaling": {"rope_type": "longrope", "long_factor": [2]}}),
    );
    alike(json!({"transformers_version": "5"}), json!({"num_key_value_heads": 2}));
    alike(
        json!({"use_sliding_window": false, "sliding_window": 32768, "max_window_layers": 28}),
        json!({"use_sliding_window": false, "sliding_window": null, "max_window_layers": 70, "layer_types": ["full_attention"]}),
    );
    alike(
        json!({"rotary_emb_base": 10000, "rotary_pct": 0.25}),
        json!({"rope_theta": 1e4, "partial_rotary_factor": 0.25}),
    );
    // The other model says it with a list, or leaves it to its class.
    let types = || json!({"model_type": "gemma2", "layer_types": ["sliding_attention", "full_attention"]});
    alike(types(), json!({"model_type": "gemma2"}));
    alike(types(), json!({"model_type": "gemma2", "sliding_window_pattern": 2}));
    alike(json!({"first_k_dense_replace": 1}), json!({"mlp_layer_types": ["dense", "sparse"]}));
    alike(json!({"max_window_layers": 28}), json!({}));
    alike(json!({"pretraining_tp": 1}), json!({"attention_dropout": 0.1, "head_dim": 32}));
    alike(json!({"head_dim": null, "mlp_bias": null}), json!({"head_dim": 128, "mlp_bias": false}));
    alike(json!({"vocab_size": 32, "num_hidden_layers": 2}), json!({"vocab_size": 33, "num_hidden_layers": 4}));
}

/// Checks how tensors of these shapes change a configuration, and the notes on it.
#[expect(clippy::needless_pass_by_value, reason = "calls write the JSON where they stand")]
fn held(said: Value, tensors: &[(&str, [usize; 2])], becomes: Value, notes: &[&str]) {
    let meta = |shape: &[usize; 2]| Meta { dtype: Dtype::F32, shape: shape.to_vec() };
    let index = tensors.iter().map(|(name, shape)| ((*name).to_owned(), meta(shape))).collect();
    let mut result = config(said);
    assert_eq!(correct(&mut result, &index, "a"), notes);
    assert_eq!(Value::from(result.0), becomes);
}

#[test]
fn what_tensors_contradict_is_corrected_or_told() {
    let same = |said: Value, tensors: &[(&str, [usize; 2])]| held(said.clone(), tensors, said, &[]);
    let (embedding, head) = (("model.embed_tokens.weight", [72, 8]), ("lm_head.weight", [72, 8]));
    let note = "`a`: config.json: vocab_size is 64, and the embedding has 72 rows: the result says 72";
    held(json!({"vocab_size": 64}), &[embedding, head], json!({"vocab_size": 72}), &[note]);
    held(json!({"text_config": {"vocab_size": 64}}), &[embedding], json!({"text_config": {"vocab_size": 72}}), &[note]);
    same(json!({"vocab_size": 72}), &[embedding, head]);
    same(json!({"vocab_size": 64, "padded_vocab_size": 72}), &[embedding, head]);
    // Llama 3.2's vision models have rows for images that their heads do not have.
    same(json!({"vocab_size": 64}), &[embedding, ("lm_head.weight", [64, 8])]);
    same(json!({"vocab_size": 64}), &[("model.wpe.weight", [72, 8])]);

    let untied = |class: &str| json!({"vocab_size": 72, "tie_word_embeddings": false, "architectures": [class]});
    let note = "`a`: config.json: tie_word_embeddings is false, and no output head is among the tensors: loaders begin with a random one";
    held(untied("LlamaForCausalLM"), &[embedding], untied("LlamaForCausalLM"), &[note]);
    same(untied("MistralModel"), &[embedding]);
    same(untied("LlamaForCausalLM"), &[embedding, head]);
    same(untied("ChatGLMForCausalLM"), &[embedding, ("transformer.output_layer.weight", [72, 8])]);
}
