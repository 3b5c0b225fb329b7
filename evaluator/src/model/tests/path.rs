//! Paths through layers, against transformers going through them literally.

use super::super::{
    config::Blueprint,
    decoder::Decoder,
    load::Source,
    ops::Run,
};
use candle_core::Device;
use merge_core::{
    merge::Merge,
    recipe::Recipe,
    sources::{FilesOnly, Sources},
    weights::Weights,
};
use serde::Deserialize;
use std::{fs, path::{Path, PathBuf}};

/// What transformers computes, each hop's state multiplied by its scale: made by `benches/peers/path.py`.
#[derive(Deserialize)]
struct Reference {
    models: Vec<String>,
    /// Model, layer, scale.
    path: Vec<(usize, usize, f64)>,
    tokens: Vec<u32>,
    /// After the last token.
    logits: Vec<f64>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn references() -> Vec<Reference> {
    serde_json::from_slice(&fs::read(root().join("tests/data/path-refs.json")).unwrap()).unwrap()
}

pub(super) fn merge(recipe: &str) -> Merge {
    let recipe = Recipe::parse(recipe, &root().join("recipe.yaml")).unwrap();
    Merge::plan(&recipe, &Sources::open(&recipe, &[], &FilesOnly).unwrap()).unwrap()
}

fn recipe(reference: &Reference, form: &str) -> String {
    let hops = reference.path.iter().map(|(model, layer, scale)| {
        format!("- {{model: {}, layer_range: [{layer}, {}], scale: {scale}}}\n", reference.models[*model], layer + 1)
    });
    let hops: String = hops.collect();
    let base = &reference.models[0];
    format!("merge_method: passthrough\nbase_model: {base}\ndtype: float32\npath_form: {form}\npath:\n{hops}")
}

fn logits(weights: &dyn Weights, tokens: &[u32]) -> Vec<f32> {
    let blueprint = Blueprint::read(weights.config()).unwrap();
    let decoder = Decoder::load(blueprint, Source { weights, device: &Device::Cpu }).unwrap();
    let mut cache = decoder.cache().unwrap();
    cache.keep(&[], tokens.len()).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let run = Run { tokens, rows: &rows, whole: tokens.len() };
    let hidden = decoder.step(&mut cache, &[run], &[tokens.len() as u32 - 1]).unwrap();
    decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, where logits are of the order of 1 to 10.
fn difference(ours: &[f32], reference: &Reference) -> f64 {
    assert_eq!(ours.len(), reference.logits.len());
    ours.iter().zip(&reference.logits).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_plain_checkpoint_computes_what_the_scaled_path_does() {
    for (number, reference) in references().iter().enumerate() {
        let merge = merge(&recipe(reference, "plain"));
        let difference = difference(&logits(&merge, &reference.tokens), reference);
        assert!(difference <= 1e-4, "{number}, {}: {difference}", reference.models[0]);
    }
}
