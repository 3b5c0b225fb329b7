//! Tests layer paths against transformers, which applies the layers one by one.

use crate::{
    answer::Transformer,
    answer::tests::{bits, choices, readings, word_problems},
    language_model::answers,
    model::{Pool, compute::ops::TokenRun, config::Blueprint, decoder::Decoder, load::WeightSource},
    prompt::Tokenizer,
};
use candle_core::Device;
use merge_core::{
    merge::{
        Merge,
        sources::{FilesOnly, Sources},
    },
    model::Weights,
    recipe::Recipe,
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Results of transformers, with each hop's state multiplied by its scale: made by `benches/peers/path.py`.
#[derive(Deserialize)]
struct Reference {
    models: Vec<String>,
    /// Model, layer and scale of each hop.
    path: Vec<(usize, usize, f64)>,
    tokens: Vec<u32>,
    /// Logits after the last token.
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
    let decoder = Decoder::load(blueprint, WeightSource { weights, device: &Device::Cpu, dot: None }).unwrap();
    let mut cache = decoder.cache().unwrap();
    cache.keep(&[], tokens.len()).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let run = TokenRun { tokens, rows: &rows, whole: tokens.len() };
    let hidden = decoder.step(&mut cache, &[run], &[tokens.len() as u32 - 1]).unwrap();
    decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference; logits are of the order of 1 to 10.
fn difference(ours: &[f32], reference: &Reference) -> f64 {
    assert_eq!(ours.len(), reference.logits.len());
    ours.iter().zip(&reference.logits).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_plain_checkpoint_computes_what_the_scaled_path_does() {
    let references = references();
    let mut worst = Vec::new();
    for (number, reference) in references.iter().enumerate() {
        let merge = merge(&recipe(reference, "plain"));
        let difference = difference(&logits(&merge, &reference.tokens), reference);
        worst.push((difference, number, &reference.models[0]));
    }
    assert!(worst.iter().all(|(difference, ..)| *difference <= 1e-4), "{worst:#?}");
}

#[test]
fn evollm_jp_s_form_is_gone_through_literally_and_made_plain() {
    let mut seen = 0;
    for reference in references().iter().filter(|reference| reference.models[0].ends_with("mistral")) {
        let formed = merge(&recipe(reference, "evomistral"));
        assert_eq!(formed.config().0["num_hops"], reference.path.len());
        assert!(formed.index().len() < 9 * reference.path.len(), "a layer is there once");
        assert!(difference(&logits(&formed, &reference.tokens), reference) <= 1e-4);
        let dir = tempfile::TempDir::new().unwrap();
        merge_core::export::export(&formed, &dir.path().join("formed"), "").unwrap();
        let hops = reference.path.len();
        let all = format!("merge_method: passthrough\npath: [{{model: formed, layer_range: [0, {hops}]}}]");
        let recipe = Recipe::parse(&all, &dir.path().join("recipe.yaml")).unwrap();
        let plain = Merge::plan(&recipe, &Sources::open(&recipe, &[], &FilesOnly).unwrap()).unwrap();
        assert_eq!(plain.config().0["model_type"], "mistral");
        assert!(!plain.config().0.contains_key("num_hops"));
        assert!(difference(&logits(&plain, &reference.tokens), reference) <= 1e-4);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// Recipes of layer paths through sansu, with scales or without.
fn paths(scaled: bool) -> Vec<String> {
    let scale = |number: usize| if scaled { format!(", scale: 0.{}", 90 + number) } else { String::new() };
    let hop = |number: usize, (model, layer): &(&str, usize)| {
        format!("- {{model: recipes/sansu/{model}, layer_range: [{layer}, {}]{}}}\n", layer + 1, scale(number))
    };
    let whole: Vec<(&str, usize)> = (0..6).map(|layer| ("ja", layer)).collect();
    let mut all: Vec<Vec<(&str, usize)>> =
        (1..5).map(|left_out| [&whole[..left_out], &whole[left_out + 1..]].concat()).collect();
    all.push([&whole[..3], &[("math-a", 2), ("math-a", 3)], &whole[3..]].concat());
    all.push([&whole[..5], &whole[1..]].concat());
    let head = "merge_method: passthrough\nbase_model: recipes/sansu/ja\npath:\n";
    let recipe =
        |hops: &Vec<(&str, usize)>| hops.iter().enumerate().map(|(number, of)| hop(number, of)).collect::<String>();
    all.iter().map(|hops| format!("{head}{}", recipe(hops))).collect()
}

/// Merges of several recipes from the same opened models, like those of a search.
fn candidates(recipes: &[String]) -> Vec<Merge> {
    let both = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: recipes/sansu/ja}, {model: recipes/sansu/math-a}]";
    let file = root().join("recipe.yaml");
    let sources = Sources::open(&Recipe::parse(both, &file).unwrap(), &[], &FilesOnly).unwrap();
    recipes.iter().map(|text| Merge::plan(&Recipe::parse(text, &file).unwrap(), &sources).unwrap()).collect()
}

#[test]
fn what_paths_share_changes_no_bit_in_any_order() {
    let requests = [word_problems(6), choices(4), readings(1)].concat();
    for scaled in [false, true] {
        let merges = candidates(&paths(scaled));
        let ask = |pool: &Pool, merge: &Merge| {
            let mut model = Transformer::in_pool(pool, merge, Tokenizer::of(merge).unwrap()).unwrap();
            bits(answers(&mut model, &requests).unwrap())
        };
        let alone: Vec<_> = merges.iter().map(|merge| ask(&Pool::new(&Device::Cpu, 0), merge)).collect();
        if !scaled {
            let merged =
                |merge: &Merge| bits(answers(&mut Transformer::load(merge, &Device::Cpu).unwrap(), &requests).unwrap());
            assert!(merges.iter().map(merged).eq(alone.iter().cloned()), "without scales it is the merge");
        }
        for (room, step) in [(usize::MAX, 1), (1 << 23, 5), (usize::MAX, 5)] {
            let pool = Pool::new(&Device::Cpu, room);
            for number in (0..2 * merges.len()).map(|number| number * step % merges.len()) {
                let threads = rayon::ThreadPoolBuilder::new().num_threads(1 + number % 3).build().unwrap();
                assert!(
                    threads.install(|| ask(&pool, &merges[number])) == alone[number],
                    "path {number}, {room} bytes"
                );
            }
            assert!(room < usize::MAX || pool.counts()[0] > 0, "something was shared");
        }
    }
}

#[test]
fn leaving_out_one_layer_after_the_other_computes_each_beginning_once() {
    let requests = choices(8);
    let recipe = |left_out: usize| {
        let path = format!(
            "[{{model: recipes/sansu/ja, layer_range: [0, 6], use: {:?}}}]",
            [0, 1, 2, 3, 4, 5].map(|layer| layer != left_out)
        );
        format!("merge_method: passthrough\npath: {path}")
    };
    let merges = candidates(&(0..6).map(recipe).collect::<Vec<_>>());
    let scan = |room| {
        let pool = Pool::new(&Device::Cpu, room);
        for merge in &merges {
            let mut model = Transformer::in_pool(&pool, merge, Tokenizer::of(merge).unwrap()).unwrap();
            answers(&mut model, &requests).unwrap();
        }
        pool.counts()
    };
    let ([_, every], [recalled, computed]) = (scan(0), scan(usize::MAX));
    assert_eq!(recalled + computed, every);
    // 30 hops in all: the path without layer `n` shares its first `n - 1` hops with the one before.
    assert_eq!(30 * recalled, (1 + 2 + 3 + 4) * every);
}
