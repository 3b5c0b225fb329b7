//! Merging from disk to disk, against copying as many bytes as are written.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod samples;

use divan::{Bencher, counter::BytesCount};
use merge_core::{
    dtype::Dtype,
    error::Result,
    export::export,
    merge::{Merge, Sources},
    recipe::Recipe,
    weights::{Config, Index, Meta, Weights},
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{
    borrow::Cow,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A model of 25 matrices of a thousand by a thousand, 52 MB.
const N_TENSORS: usize = 25;
const SHAPE: [usize; 2] = [1024, 1024];

/// Where the models are, and what is written.
static DIR: OnceLock<PathBuf> = OnceLock::new();

fn main() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    for seed in 0..4u64 {
        let name = if seed == 0 { "base".to_owned() } else { format!("model-{seed}") };
        export(&Noise::new(seed), &dir.path().join(name), "").expect("room for 300 MB");
    }
    DIR.set(dir.path().to_owned()).expect("set once");
    divan::main();
    for merge in MERGES.iter().map(|(name, _)| *name) {
        for copy in ["copy", "copy and sync"] {
            if let (Some(merging), Some(copying)) = (samples::median(merge), samples::median(copy)) {
                println!(
                    "{merge} / {copy}: {:.2} ({:.0} ms / {:.0} ms)",
                    merging / copying,
                    1e3 * merging,
                    1e3 * copying
                );
            }
        }
    }
}

/// Recipes of two and of three models.
const MERGES: [(&str, &str); 3] = [
    (
        "linear",
        "merge_method: linear\nmodels: [{model: model-1}, {model: model-2}]\nparameters: {weight: 0.5}\ndtype: bfloat16\n",
    ),
    (
        "task_arithmetic",
        "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: model-1}, {model: model-2}]\n\
         parameters: {weight: 0.7}\ndtype: bfloat16\n",
    ),
    (
        "dare_ties",
        "merge_method: dare_ties\nbase_model: base\nmodels: [{model: model-1}, {model: model-2}, {model: model-3}]\n\
         parameters: {weight: 0.7, density: 0.5}\ndtype: bfloat16\nrandom: {seed: 1}\n",
    ),
];

/// From opening the models to the rename of what is on the device.
#[divan::bench(args = MERGES.map(|(name, _)| name), sample_count = 15, sample_size = 1)]
fn merge(bencher: Bencher<'_, '_>, name: &str) {
    let text = MERGES.iter().find(|(known, _)| *known == name).expect("one of them").1;
    let recipe = Recipe::parse(text, &dir().join("recipe.yaml")).expect("a good recipe");
    let work = |to: PathBuf| {
        samples::timed(name, || {
            let sources = Sources::open(&recipe).expect("the models are there");
            let merge = Merge::plan(&recipe, &sources).expect("they fit together");
            export(&merge, &to, "").expect("room for another");
        });
    };
    bencher.counter(BytesCount::new(model_len())).with_inputs(new).bench_local_values(work);
}

/// What `cp` does.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn copy(bencher: Bencher<'_, '_>) {
    let work = |to: PathBuf| samples::timed("copy", || drop(copied(&to)));
    bencher.counter(BytesCount::new(model_len())).with_inputs(new).bench_local_values(work);
}

/// What `cp` does, brought to the device, as an export is.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn copy_and_sync(bencher: Bencher<'_, '_>) {
    let work = |to: PathBuf| samples::timed("copy and sync", || copied(&to).sync_all().expect("a working disk"));
    bencher.counter(BytesCount::new(model_len())).with_inputs(new).bench_local_values(work);
}

fn copied(to: &Path) -> File {
    fs::create_dir(to).expect("it is new");
    let to = to.join("model.safetensors");
    fs::copy(dir().join("model-1/model.safetensors"), &to).expect("room for another");
    File::open(to).expect("just written")
}

fn dir() -> &'static Path {
    DIR.get().expect("set before anything is measured")
}

/// A place to write to, where nothing is: what was there is removed while nobody measures.
fn new() -> PathBuf {
    let place = dir().join("written");
    if place.exists() {
        fs::remove_dir_all(&place).expect("our own directory");
    }
    place
}

fn model_len() -> usize {
    N_TENSORS * SHAPE[0] * SHAPE[1] * Dtype::BF16.size()
}

/// A model of random weights.
struct Noise {
    index: Index,
    config: Config,
    seed: u64,
}

impl Noise {
    fn new(seed: u64) -> Self {
        let meta = Meta { dtype: Dtype::BF16, shape: SHAPE.to_vec() };
        let name = |layer| format!("model.layers.{layer}.weight");
        let index = (0..N_TENSORS).map(|layer| (name(layer), meta.clone())).collect();
        Self { index, config: Config::default(), seed }
    }
}

impl Weights for Noise {
    fn index(&self) -> &Index {
        &self.index
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.index.keys().position(|known| known == name).expect("one of them") as u64);
        let meta = &self.index[name];
        let values: Vec<f32> = (0..meta.len()).map(|_| rng.random_range(-0.1..0.1)).collect();
        let mut bytes = vec![0; meta.byte_len()];
        meta.dtype.narrow(&values, &mut bytes);
        Ok(Cow::Owned(bytes))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecars(&self) -> &Path {
        Path::new("none")
    }
}
