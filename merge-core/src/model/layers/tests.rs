//! Tests of the layers found in lists of names, with and without a configuration that counts them.

use super::{Layers, Stack};
use crate::model::{Config, Index, Meta, dtype::Dtype};
use serde_json::{Value, json};

fn index<'n>(names: impl IntoIterator<Item = &'n str>) -> Index {
    let meta = Meta { dtype: Dtype::F32, shape: vec![1] };
    names.into_iter().map(|name| (name.to_owned(), meta.clone())).collect()
}

fn layers(names: &[&str]) -> Layers {
    Layers::within(&index(names.iter().copied()), &Config::default(), &|_| true)
}

#[test]
fn finds_the_blocks_and_what_is_around_them() {
    let names = [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.experts.7.w1.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.10.mlp.up_proj.weight",
        "model.norm.weight",
    ];
    let found = layers(&names);
    assert_eq!((found.count, found.prefix.as_str()), (11, "model.layers."));
    assert_eq!(found.embeddings, ["model.embed_tokens.weight"]);
    let of: Vec<_> = names.iter().map(|name| found.of_tensor(name)).collect();
    assert_eq!(of, [None, None, Some(0), Some(0), Some(10), None]);
    let depth: Vec<_> = names.iter().map(|name| found.depth(name)).collect();
    assert_eq!(depth, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn a_single_layer_is_at_the_end_of_a_gradient_and_no_layer_is_no_panic() {
    assert!(layers(&["h.0.attn.weight", "wte.weight"]).depth("h.0.attn.weight") > 0.99);
    assert_eq!(layers(&["encoder.weight"]).count, 0);
    assert_eq!(layers(&["h.18446744073709551615.weight"]).count, 0, "nobody has so many");
}

/// Checks the layers that are found: their prefix, their number, and the number behind them.
/// `stacks` are prefixes with their numbers of layers and of tensors in each.
fn check(stacks: &[(&str, usize, usize)], config: Value, expected: (&str, usize, usize)) -> Layers {
    let names = stacks.iter().flat_map(|(prefix, layers, tensors)| {
        (0..*layers).flat_map(move |layer| (0..*tensors).map(move |tensor| format!("{prefix}{layer}.t{tensor}")))
    });
    let names: Vec<String> = names.collect();
    let Value::Object(keys) = config else { panic!("a block of keys") };
    let found = Layers::within(&index(names.iter().map(String::as_str)), &Config(keys), &|_| true);
    assert_eq!((found.prefix.as_str(), found.count, found.behind), expected, "{stacks:?}");
    found
}

#[test]
fn the_layers_are_those_that_the_configuration_counts() {
    let count = |count: usize| json!({ "num_hidden_layers": count });
    let nested = |block: &str, count: usize| json!({ block: { "num_hidden_layers": count } });
    let llava = [("language_model.model.layers.", 4, 9), ("vision_tower.vision_model.encoder.layers.", 3, 16)];
    check(&llava, json!({}), ("vision_tower.vision_model.encoder.layers.", 3, 0));
    check(&llava, nested("text_config", 4), ("language_model.model.layers.", 4, 0));
    check(&llava, json!({"text_config": {"model_type": "llama"}}), ("language_model.model.layers.", 4, 0));
    let alike = [("model.layers.", 4, 9), ("visual.blocks.", 4, 16)];
    check(&alike, count(4), ("model.layers.", 4, 0));
    // A vision tower of exactly the counted number, beside a decoder with one more layer behind it.
    check(&[("model.layers.", 5, 9), ("visual.blocks.", 4, 16)], count(4), ("model.layers.", 4, 1));
    check(&[("transformer.h.", 3, 5), ("transformer.visual.resblocks.", 4, 12)], count(3), ("transformer.h.", 3, 0));
    check(
        &[("llm.model.layers.", 3, 5), ("vpm.encoder.layers.", 4, 12)],
        nested("llm_config", 3),
        ("llm.model.layers.", 3, 0),
    );
    check(
        &[("thinker.model.layers.", 4, 9), ("talker.model.layers.", 2, 30), ("thinker.audio_tower.layers.", 4, 20)],
        json!({"thinker_config": {"text_config": {"num_hidden_layers": 4}}}),
        ("thinker.model.layers.", 4, 0),
    );
    let mtp = check(&[("model.layers.", 4, 9), ("mtp.layers.", 1, 12)], count(4), ("model.layers.", 4, 0));
    assert_eq!(mtp.other_stacks(), [("mtp.layers.", 1)]);
    // T5 counts its encoder in `num_layers`; BART in `num_hidden_layers`.
    let both = [("decoder.block.", 4, 9), ("encoder.block.", 6, 12)];
    check(&both, json!({"num_layers": 6, "num_decoder_layers": 4}), ("decoder.block.", 4, 0));
    check(&both, json!({"num_hidden_layers": 6, "decoder_layers": 4, "encoder_layers": 6}), ("decoder.block.", 4, 0));
    check(&[("bert.encoder.layer.", 3, 16), ("heads.", 2, 2)], count(3), ("bert.encoder.layer.", 3, 0));
    // A few tensors with higher numbers are not a stack with more layers behind the last one.
    check(&[("encoder.layers.", 2, 6), ("feature_extractor.conv_layers.", 7, 1)], count(2), ("encoder.layers.", 2, 0));
    check(&[("encoder.layers.", 2, 6), ("feature_extractor.conv_layers.", 7, 4)], count(2), ("encoder.layers.", 2, 0));
    check(&[("bert.encoder.layer.", 2, 16), ("classifier.", 4, 1)], count(2), ("bert.encoder.layer.", 2, 0));
    check(
        &[("text_model.encoder.layers.", 3, 9), ("vision_model.encoder.layers.", 3, 12)],
        json!({"text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 3}}),
        ("text_model.encoder.layers.", 3, 0),
    );
}

#[test]
fn what_fits_nothing_or_too_much_is_kept_to_be_told() {
    let none = check(&[("model.layers.", 4, 9)], json!({"num_hidden_layers": 6}), ("model.layers.", 4, 0));
    assert_eq!(none.stated_count, Some(("num_hidden_layers".to_owned(), 6)));
    let xlm = [("transformer.attentions.", 2, 8), ("transformer.ffns.", 2, 4)];
    let several = check(&xlm, json!({"n_layers": 2}), ("transformer.attentions.", 2, 0));
    assert_eq!(several.rivals, ["transformer.ffns."]);
    let norms = check(&[("attentions.", 2, 8), ("norms.", 2, 2)], json!({"n_layers": 2}), ("attentions.", 2, 0));
    assert_eq!(norms.rivals, ["norms."]);
}

#[test]
fn what_is_behind_the_last_layer_stays_behind_it() {
    let found =
        check(&[("model.layers.", 6, 4), ("v.", 2, 1)], json!({"num_hidden_layers": 4}), ("model.layers.", 4, 2));
    assert_eq!(found.of_tensor("model.layers.4.t0"), None);
    assert!(found.is_in_other("model.layers.5.t0") && !found.is_before("model.layers.5.t0"));
    assert_eq!(found.outside("model.layers.5.t0", 9), "model.layers.10.t0");
    assert_eq!(found.outside("v.1.t0", 9), "v.1.t0");
    let depths = ["model.layers.0.t0", "model.layers.3.t0", "model.layers.4.t0", "model.layers.5.t0", "v.1.t0"];
    assert_eq!(depths.map(|name| found.depth(name).to_bits()), [0f64, 1.0, 0.0, 1.0, 1.0].map(f64::to_bits));
    assert_eq!(found.inside.len(), 4);
    assert_eq!(found.others.get("v."), Some(&Stack { layers: 2, tensors: 2 }));
    assert_eq!(found.other_stacks(), [("model.layers.", 2)], "a number or two are no stack");
}
