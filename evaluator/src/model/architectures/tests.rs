//! Tests each architecture and rotary embedding against transformers, and results against themselves in other batches.
//!
//! `benches/peers/architectures.sh` makes the models, and their results by transformers.

use super::{
    super::{
        config::Blueprint,
        decoder::{Cache, Decoder},
        load::WeightSource,
    },
    ARCHITECTURES,
};
use crate::model::compute::{kernel, ops::TokenRun};
use candle_core::Device;
use merge_core::{
    checkpoint::Checkpoint,
    error::Result,
    model::{Config, Elements, Index, Weights, dtype::Dtype},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Largest allowed difference of logits, which are of the order of 1 to 10.
const TOLERANCE: f64 = 1e-4;

/// A checkpoint with another configuration, and perhaps other names.
struct Model {
    weights: Checkpoint,
    config: Config,
    index: Index,
    stored: BTreeMap<String, String>,
    /// True if tensors are made when they are read, like those of a merge.
    made: bool,
}

/// A tensor whose bytes are not in memory.
struct Made<'a>(Box<dyn Elements + 'a>);

impl Elements for Made<'_> {
    fn dtype(&self) -> Dtype {
        self.0.dtype()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.0.read(start, out)
    }
}

impl Weights for Model {
    fn index(&self) -> &Index {
        &self.index
    }
    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let tensor = self.weights.tensor(&self.stored[name])?;
        Ok(if self.made { Box::new(Made(tensor)) } else { tensor })
    }
    fn config(&self) -> &Config {
        &self.config
    }
    fn sidecar(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn place(&self) -> String {
        self.weights.place()
    }
}

impl Model {
    fn open(name: &str) -> Self {
        let weights = reference(name)["weights"].as_str().unwrap_or(name).to_owned();
        let weights = Checkpoint::open(&fixtures().join(weights)).unwrap();
        let config = serde_json::from_slice(&fs::read(fixtures().join(name).join("config.json")).unwrap()).unwrap();
        let index = weights.index().clone();
        let stored = index.keys().map(|name| (name.clone(), name.clone())).collect();
        Self { weights, config: Config(config), index, stored, made: false }
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.0.insert(key.to_owned(), value);
        self
    }

    fn renamed(mut self, from: &str, to: &str) -> Self {
        let index = std::mem::take(&mut self.index);
        let stored = std::mem::take(&mut self.stored);
        for ((name, meta), stored) in index.into_iter().zip(stored.into_values()) {
            let name = name.replace(from, to);
            self.index.insert(name.clone(), meta);
            self.stored.insert(name, stored);
        }
        self
    }

    fn load(&self) -> Result<Decoder> {
        Decoder::load(Blueprint::read(&self.config)?, WeightSource { weights: self, device: &Device::Cpu, dot: None })
    }

    fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/architectures")
}

fn names() -> Vec<String> {
    let dirs = fs::read_dir(fixtures()).unwrap();
    let mut names: Vec<String> = dirs.map(|dir| dir.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn reference(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(name).join("expected.json")).unwrap()).unwrap()
}

fn sequences(name: &str) -> Vec<Vec<u32>> {
    let sequences = reference(name)["sequences"].clone();
    sequences.as_array().unwrap().iter().map(|s| serde_json::from_value(s["tokens"].clone()).unwrap()).collect()
}

/// A sequence being read: its tokens, the number of tokens computed, and its rows of the cache.
struct Reading<'a> {
    tokens: &'a [u32],
    done: usize,
    rows: Vec<u32>,
}

/// Rows of each sequence, and logits after each of its tokens: `(sequences, tokens, vocab)`. Each
/// step computes `most` tokens of every sequence that has some left.
fn read(decoder: &Decoder, cache: &mut Cache, sequences: &[&[u32]], most: usize) -> Vec<(Vec<u32>, Vec<Vec<f32>>)> {
    let total: usize = sequences.iter().map(|tokens| tokens.len()).sum();
    cache.keep(&[], total + 16).unwrap();
    let mut readings: Vec<_> = sequences.iter().map(|tokens| Reading { tokens, done: 0, rows: Vec::new() }).collect();
    let mut logits = vec![Vec::new(); sequences.len()];
    while readings.iter().any(|reading| reading.done < reading.tokens.len()) {
        let mut next = cache.len() as u32;
        let mut ends = Vec::new();
        for reading in &mut readings {
            let end = reading.tokens.len().min(reading.done + most);
            reading.rows.extend(next..next + (end - reading.done) as u32);
            next += (end - reading.done) as u32;
            ends.push(end);
        }
        let runs: Vec<TokenRun<'_>> = readings
            .iter()
            .zip(&ends)
            .filter(|(reading, end)| reading.done < **end)
            .map(|(reading, end)| TokenRun {
                tokens: &reading.tokens[reading.done..*end],
                rows: &reading.rows,
                whole: reading.tokens.len(),
            })
            .collect();
        let of: Vec<usize> =
            readings.iter().zip(&ends).enumerate().flat_map(|(i, (r, end))| vec![i; end - r.done]).collect();
        let wanted: Vec<u32> = (0..of.len() as u32).collect();
        let hidden = decoder.step(cache, &runs, &wanted).unwrap();
        for (row, i) in decoder.logits(&hidden).unwrap().to_vec2().unwrap().into_iter().zip(of) {
            logits[i].push(row);
        }
        for (reading, end) in readings.iter_mut().zip(ends) {
            reading.done = end;
        }
    }
    readings.into_iter().map(|reading| reading.rows).zip(logits).collect()
}

fn near(what: &str, ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() < TOLERANCE, "{what}: {ours} is not {theirs}");
}

fn check(name: &str) {
    let decoder = Model::open(name).load().unwrap();
    for reference in reference(name)["sequences"].as_array().unwrap() {
        let tokens: Vec<u32> = serde_json::from_value(reference["tokens"].clone()).unwrap();
        let what = format!("{name}, {} tokens", tokens.len());
        let mut cache = decoder.cache().unwrap();
        let (mut rows, logits) = read(&decoder, &mut cache, &[&tokens], 256).pop().unwrap();
        for (i, row) in logits.iter().enumerate() {
            near(&format!("{what}, greatest after {i}"), f64::from(kernel::maximum(row)), &reference["max"][i]);
            near(&format!("{what}, sum after {i}"), kernel::log_sum_exp(row), &reference["log_sum_exp"][i]);
        }
        let last = &logits[tokens.len() - 1];
        for (i, (ours, theirs)) in last.iter().zip(reference["logits"].as_array().unwrap()).enumerate() {
            near(&format!("{what}, logit {i}"), f64::from(*ours), theirs);
        }
        let mut token = kernel::argmax(last) as u32;
        for (i, greedy) in reference["greedy"].as_array().unwrap().iter().enumerate() {
            assert_eq!(u64::from(token), greedy.as_u64().unwrap(), "{what}, token {i} generated");
            rows.push(cache.len() as u32);
            let run = TokenRun { tokens: &[token], rows: &rows, whole: rows.len() };
            let hidden = decoder.step(&mut cache, &[run], &[0]).unwrap();
            token = kernel::argmax(&decoder.logits(&hidden).unwrap().to_vec2().unwrap()[0]) as u32;
        }
    }
}

#[test]
fn computes_what_transformers_computes() {
    for name in names() {
        check(&name);
    }
}

/// Each of these keys changes the logits of its model, so a decoder that ignored it would be found out.
#[test]
fn the_models_tell_variations_apart() {
    let last = |model: &Model, tokens: &[u32]| {
        let decoder = model.load().unwrap();
        let (_, mut logits) = read(&decoder, &mut decoder.cache().unwrap(), &[tokens], 256).pop().unwrap();
        logits.pop().unwrap()
    };
    for (name, key, value) in [
        ("mistral", "sliding_window", json!(9)),
        ("mixtral-fused", "sliding_window", json!(9)),
        ("phi3", "sliding_window", json!(9)),
        ("qwen2", "layer_types", json!(["full_attention", "full_attention"])),
        ("gemma2", "layer_types", json!(["full_attention", "sliding_attention"])),
        ("gemma2", "attn_logit_softcapping", json!(2.1)),
        ("gemma2", "final_logit_softcapping", json!(5.1)),
        ("gemma2", "query_pre_attn_scalar", json!(21)),
        ("gemma2", "hidden_activation", json!("gelu")),
        ("gemma3-old", "rope_local_base_freq", json!(201.0)),
        ("gemma3-old", "rope_theta", json!(2.1e4)),
        ("gpt-neox", "hidden_act", json!("gelu_new")),
        ("gpt-neox", "use_parallel_residual", json!(false)),
        ("gpt-neox-sequential", "rotary_pct", json!(0.5)),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true)),
        ("llama-dynamic", "max_position_embeddings", json!(33)),
        ("llama-yarn-mscale", "rope_scaling", json!({"type": "default"})),
        ("llama", "rms_norm_eps", json!(1e-3)),
        ("qwen3-moe", "norm_topk_prob", json!(false)),
        ("qwen2-moe", "num_experts_per_tok", json!(3)),
        ("phi3-longrope", "original_max_position_embeddings", json!(31)),
    ] {
        let (model, tokens) = (Model::open(name), &sequences(name)[2]);
        let (expected, other) = (last(&model, tokens), last(&model.set(key, value), tokens));
        let most = expected.iter().zip(other).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(most > 3.0 * TOLERANCE, "{name}: {key} changes logits by {most}");
    }
}

#[test]
fn each_architecture_has_a_model() {
    let models: Vec<Value> =
        names().iter().map(|name| Model::open(name).config.0["architectures"][0].clone()).collect();
    // Layer paths have tests of their own.
    for architecture in ARCHITECTURES.iter().filter(|architecture| architecture.model_type != "evomistral") {
        assert!(models.contains(&json!(architecture.class)), "{}", architecture.class);
    }
}

#[test]
fn results_do_not_depend_on_company() {
    let bits = |logits: Vec<Vec<f32>>| logits.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for name in names() {
        let decoder = Model::open(&name).load().unwrap();
        let sequences = sequences(&name);
        // A second long sequence, so that experts and windows are shared with another sequence.
        let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).chain([&sequences[2][3..]]).collect();
        let alone = |tokens| bits(read(&decoder, &mut decoder.cache().unwrap(), &[tokens], 256).pop().unwrap().1);
        let expected: Vec<_> = sequences.iter().map(|tokens| alone(tokens)).collect();
        for (most, threads) in [(256, 1), (1, 3), (7, 2), (256, 3)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let together = pool.install(|| read(&decoder, &mut decoder.cache().unwrap(), &sequences, most));
            for ((tokens, (_, logits)), expected) in sequences.iter().zip(together).zip(&expected) {
                let same = bits(logits) == *expected;
                assert!(same, "{name}: {} tokens, {most} at a time, {threads} threads", tokens.len());
            }
        }
    }
}

/// Logits after each of three tokens.
fn logits(model: &Model) -> Vec<Vec<f32>> {
    let decoder = model.load().unwrap();
    read(&decoder, &mut decoder.cache().unwrap(), &[&[1, 5, 17]], 3).pop().unwrap().1
}

#[test]
fn computes_a_merge_like_a_checkpoint() {
    for name in ["llama-bfloat16", "phi3", "gpt-neox", "gpt2", "mixtral-fused", "qwen2-moe"] {
        let mut model = Model::open(name);
        let expected = logits(&model);
        model.made = true;
        assert_eq!(logits(&model), expected, "{name}");
    }
}

#[test]
fn takes_names_in_either_spelling() {
    let model = Model::open("gpt2");
    let expected = logits(&model);
    assert_eq!(logits(&model.renamed("transformer.", "")), expected);
    let model = Model::open("gpt-neox");
    let expected = logits(&model);
    assert_eq!(logits(&model.renamed("embed_out", "lm_head")), expected);
    let model = Model::open("gemma3-with-images");
    let expected = logits(&model);
    assert_eq!(logits(&model.renamed("language_model.model.", "model.language_model.")), expected);
}

#[test]
fn refuses_what_it_does_not_compute() {
    let check = |name: &str, key: &str, value: Value, error: &str| {
        assert_eq!(Model::open(name).set(key, value).refusal(), format!("config.json: {error}"));
    };
    let other = "architectures: there is no forward pass for `RwkvForCausalLM`";
    check("llama", "architectures", json!(["RwkvForCausalLM"]), other);
    check("gemma2", "hidden_activation", json!("xielu"), "hidden_activation: there is no activation `xielu`");
    check("gpt2", "activation_function", json!("mish"), "activation_function: there is no activation `mish`");
    let rope = json!({"rope_type": "proportional", "rope_theta": 1e4});
    let error = "rope_parameters: there is no rotary embedding of type `proportional`";
    check("llama", "rope_parameters", rope, error);
    let error = "rope_scaling: there is no rotary embedding of type `mrope`";
    check("qwen2", "rope_scaling", json!({"type": "mrope"}), error);
    check("llama", "rope_scaling", json!({"type": "linear"}), "rope_scaling: factor is missing");
    check("llama", "rope_scaling", json!({"type": "linear", "factor": 0}), "rope_scaling.factor: 0 is not above 0");
    let rope = json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]});
    check("phi3", "rope_scaling", rope, "rope_scaling.short_factor: 1 numbers for 4 pairs of a head");
    let quantised = "quantization_config: quantised weights cannot be evaluated";
    check("qwen3", "quantization_config", json!({"quant_method": "awq"}), quantised);
    let error = "layer_types: there is no layer of type \"chunked_attention\"";
    check("gemma3", "layer_types", json!(["chunked_attention", "full_attention"]), error);
    check("gemma3", "layer_types", json!(["full_attention"]), "layer_types: 1 types for 2 layers");
    check("mistral", "sliding_window", json!(0), "sliding_window is 0");
    let error = "partial_rotary_factor: only 1 is computed for Qwen2ForCausalLM";
    check("qwen2", "partial_rotary_factor", json!(0.5), error);
    let rope = json!({"rope_type": "default", "partial_rotary_factor": 0.5});
    let error = "rope_parameters.partial_rotary_factor: only 1 is computed for LlamaForCausalLM";
    check("llama", "rope_parameters", rope, error);
    let error = "use_bidirectional_attention: only causal self-attention is supported";
    check("gemma3", "use_bidirectional_attention", json!(true), error);
    let error = "num_experts_per_tok: a token cannot go to 9 of 4 experts";
    check("mixtral", "num_experts_per_tok", json!(9), error);
    check("llama", "num_key_value_heads", json!(3), "num_attention_heads: 4 heads cannot share 3 key and value heads");
    check("llama", "hidden_size", json!(1_u64 << 40), "hidden_size: 1099511627776 is too large");
    check("llama", "vocab_size", json!(0), "vocab_size is 0");
    check("gemma3-with-images", "text_config", json!(null), "text_config is missing");
    let missing = Model::open("qwen2").renamed("layers.1.self_attn.k_proj.bias", "other").refusal();
    assert_eq!(missing, "tensor model.layers.1.self_attn.k_proj.bias is missing");
}

/// Sequences with different frequencies must not share rows of the cache.
#[test]
fn knows_which_sequences_turn_alike() {
    let stretches = |name: &str| {
        let decoder = Model::open(name).load().unwrap();
        [1, 32, 33, 60, 61].map(|len| decoder.stretch(len))
    };
    let [short, same, a, b, c] = stretches("llama-dynamic");
    assert!(short == same && same < a && a < b && b < c);
    let [short, same, a, b, c] = stretches("phi3-longrope");
    assert!(short == same && same < a && a == b && b == c);
    for name in ["llama", "llama-yarn", "gemma3", "gpt2"] {
        assert!(stretches(name).iter().all(|stretch| stretch.is_none()), "{name}");
    }
}
