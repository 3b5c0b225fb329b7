//! Tests that a faulty model is refused before it is asked, or recognised by its answers.

use crate::{
    answer::tests::{Memory, choices, likelihoods, llama, word_problems},
    language_model::answers,
    model::device,
};
use merge_core::model::{Meta, dtype::Dtype};
use serde_json::{Value, json};

#[test]
fn broken_weights_still_answer() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for name in ["model.embed_tokens.weight", "model.layers.2.self_attn.k_proj.weight", "lm_head.weight"] {
            let mut model = Memory::open("ja");
            let Meta { shape, .. } = model.index[name].clone();
            let bytes = std::iter::repeat_n(value.to_le_bytes(), shape.iter().product()).flatten().collect();
            model.put(name, shape, Dtype::F32, bytes);
            let answers = answers(&mut model.load().unwrap(), &[word_problems(3), choices(2)].concat()).unwrap();
            for answer in &answers {
                let values = likelihoods(&answer.said);
                assert!(values.iter().all(|v| !v.log.is_nan() && v.log < 0.0), "{name} {value}: {answer:?}");
                assert!(answer.broken || value.is_finite(), "{name} {value}: {answer:?}");
            }
        }
    }
}

#[test]
fn refuses_what_it_does_not_compute() {
    let check = |key: &str, value: Value, error: &str| {
        let refusal = Memory::open("ja").set(key, value).refusal();
        // Errors about config.json begin with the model's directory.
        assert_eq!(refusal.split_once("recipes/sansu/ja: ").map_or(&*refusal, |(_, what)| what), error);
    };
    let other = "config.json: architectures: there is no forward pass for `RwkvForCausalLM`";
    check("architectures", json!(["RwkvForCausalLM"]), other);
    let rope = "config.json: rope_scaling: there is no rotary embedding of type `proportional`";
    check("rope_scaling", json!({"rope_type": "proportional", "factor": 4.0}), rope);
    check("hidden_act", json!("xielu"), "config.json: hidden_act: there is no activation `xielu`");
    let shape = "tensor model.layers.0.mlp.gate_proj.weight has shape [352, 128], but config.json requires [300, 128]";
    check("intermediate_size", json!(300), shape);
    check("num_hidden_layers", json!(7), "tensor model.layers.6.input_layernorm.weight is missing");
    let small = Memory::open("ja").set("vocab_size", json!(1000)).refusal();
    assert!(small.ends_with(
        "tokenizer.json: a tokenizer that doesn't match: it has token 1023, but config.json has vocab_size 1000"
    ));
    assert_eq!(device("tpu").unwrap_err().to_string(), "there is no device `tpu`");
    #[cfg(not(feature = "cuda"))]
    assert!(device("cuda:0").unwrap_err().advice().unwrap().contains("--features cuda"));
}

#[test]
fn takes_rope_theta_from_either_place() {
    let tokens = [1, 333, 269, 752];
    let mut new = Memory::open("ja").set("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e5}));
    new.config.0.remove("rope_theta");
    let old = Memory::open("ja").set("rope_theta", json!(5e5));
    let logits = new.load().unwrap().logits(&tokens).unwrap();
    assert_eq!(logits, old.load().unwrap().logits(&tokens).unwrap());
    assert_ne!(logits, llama("ja").logits(&tokens).unwrap());
}
