//! Makes synthetic Llama models of any size: a base, two models like fine-tunes of it, and recipes.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Names of the three models.
pub(crate) const MODELS: [&str; 3] = ["base", "model-1", "model-2"];
/// Every recipe, and the largest acceptable time of its merge, relative to a copy of its output.
pub(crate) const RECIPES: [(&str, f64); 9] = [
    ("linear", 1.6),
    ("task_arithmetic", 1.6),
    ("slerp", 1.6),
    ("dare_ties", 3.0),
    ("ties", 6.0),
    ("della", 10.0),
    ("breadcrumbs", 10.0),
    ("sce", 10.0),
    ("model_stock", 10.0),
];

/// Sizes of a Llama. Every tensor is in bfloat16, and the head is not tied to the embedding.
pub(crate) struct Shape {
    /// Name of the directory.
    pub(crate) name: &'static str,
    layers: usize,
    width: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    /// Maximum bytes in a file.
    shard: usize,
    /// True if the files are holes, which read as zeros and take no disk space.
    sparse: bool,
}

/// Models of 0.3 GB each.
pub(crate) const SMALL: Shape = Shape {
    name: "small",
    layers: 8,
    width: 1024,
    inner: 2816,
    heads: 16,
    kv_heads: 4,
    vocab: 32_000,
    shard: usize::MAX,
    sparse: false,
};
/// Models of 1.1 billion parameters, 2.2 GB each.
pub(crate) const LARGE: Shape = Shape { name: "large", layers: 22, width: 2048, inner: 5632, heads: 32, ..SMALL };
/// Models of 70 billion parameters; each would have 141 GB without holes.
pub(crate) const HUGE: Shape = Shape {
    name: "huge",
    layers: 80,
    width: 8192,
    inner: 28_672,
    heads: 64,
    kv_heads: 8,
    vocab: 128_256,
    shard: 5_000_000_000,
    sparse: true,
};

/// Returns the directory of the models and recipes, and makes it if it does not exist.
pub(crate) fn made(shape: &Shape, within: &Path) -> io::Result<PathBuf> {
    let dir = within.join(shape.name);
    let shards = shape.shards();
    if !MODELS.iter().all(|model| shards.iter().all(|shard| shard.is_in(&dir.join(model)))) {
        let beside = within.join(format!(".{}.partial", shape.name));
        for stale in [&dir, &beside].into_iter().filter(|stale| stale.exists()) {
            fs::remove_dir_all(stale)?;
        }
        for model in MODELS {
            shape.write(&shards, &beside.join(model))?;
        }
        if !shape.sparse {
            fill(&shards, &beside)?;
        }
        fs::rename(&beside, &dir)?;
    }
    for (name, _) in RECIPES {
        fs::write(dir.join(format!("{name}.yaml")), recipe(name))?;
    }
    Ok(dir)
}

/// A recipe for evomerge and mergekit, which ignores the unknown key `random`.
fn recipe(method: &str) -> String {
    let [base, first, second] = MODELS;
    let (base, parameters) = match method {
        "linear" => ("", "{weight: 0.5}"),
        "slerp" => (first, "{t: 0.4}"),
        "task_arithmetic" => (base, "{weight: 0.7}"),
        "sce" => (base, "{select_topk: 0.3}"),
        "model_stock" => (base, "{}"),
        "della" => (base, "{weight: 0.5, density: 0.5, epsilon: 0.1}"),
        "breadcrumbs" => (base, "{weight: 0.5, density: 0.5, gamma: 0.01}"),
        _ => (base, "{weight: 0.5, density: 0.5}"),
    };
    let base = if base.is_empty() { String::new() } else { format!("base_model: {base}\n") };
    let random = if ["dare_ties", "della"].contains(&method) { "random: {seed: 1}\n" } else { "" };
    format!(
        "merge_method: {method}\n{base}models: [{{model: {first}}}, {{model: {second}}}]\nparameters: {parameters}\n\
         dtype: bfloat16\n{random}"
    )
}

struct Shard {
    name: String,
    header: Vec<u8>,
    /// Tensors and their byte ranges in the file.
    tensors: Vec<(Tensor, Range<usize>)>,
}

#[derive(Clone)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

impl Tensor {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Shard {
    fn new(name: String, tensors: Vec<Tensor>) -> Self {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0;
        let places: Vec<(Tensor, Range<usize>)> = tensors
            .into_iter()
            .map(|tensor| {
                let start = end;
                end += 2 * tensor.len();
                let entry = json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] });
                header.insert(tensor.name.clone(), entry);
                (tensor, start..end)
            })
            .collect();
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text.bytes());
        let after = |place: Range<usize>| header.len() + place.start..header.len() + place.end;
        let tensors = places.into_iter().map(|(tensor, place)| (tensor, after(place))).collect();
        Self { name, header, tensors }
    }

    fn len(&self) -> usize {
        self.tensors.last().map_or(self.header.len(), |(_, place)| place.end)
    }

    fn is_in(&self, dir: &Path) -> bool {
        fs::metadata(dir.join(&self.name)).is_ok_and(|file| file.len() == self.len() as u64)
    }
}

impl Shape {
    fn tensors(&self) -> Vec<Tensor> {
        let tensor = |name: String, shape: &[usize]| Tensor { name, shape: shape.to_vec() };
        let kv = self.width / self.heads * self.kv_heads;
        let mut tensors = vec![tensor("model.embed_tokens.weight".to_owned(), &[self.vocab, self.width])];
        for layer in 0..self.layers {
            let parts: [(&str, &[usize]); 9] = [
                ("input_layernorm", &[self.width]),
                ("self_attn.q_proj", &[self.width, self.width]),
                ("self_attn.k_proj", &[kv, self.width]),
                ("self_attn.v_proj", &[kv, self.width]),
                ("self_attn.o_proj", &[self.width, self.width]),
                ("post_attention_layernorm", &[self.width]),
                ("mlp.gate_proj", &[self.inner, self.width]),
                ("mlp.up_proj", &[self.inner, self.width]),
                ("mlp.down_proj", &[self.width, self.inner]),
            ];
            let named = |(part, shape): (&str, &[usize])| tensor(format!("model.layers.{layer}.{part}.weight"), shape);
            tensors.extend(parts.map(named));
        }
        tensors.push(tensor("model.norm.weight".to_owned(), &[self.width]));
        tensors.push(tensor("lm_head.weight".to_owned(), &[self.vocab, self.width]));
        tensors
    }

    fn shards(&self) -> Vec<Shard> {
        let mut groups: Vec<Vec<Tensor>> = vec![Vec::new()];
        let mut room = self.shard;
        for tensor in self.tensors() {
            let len = 2 * tensor.len();
            if len > room {
                groups.push(Vec::new());
                room = self.shard;
            }
            room = room.saturating_sub(len);
            groups.last_mut().expect("there is a first").push(tensor);
        }
        let n = groups.len();
        let name = |i: usize| match n {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        };
        groups.into_iter().enumerate().map(|(i, tensors)| Shard::new(name(i), tensors)).collect()
    }

    /// Writes a model whose tensors are still holes.
    fn write(&self, shards: &[Shard], dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("config.json"), format!("{:#}", self.config()))?;
        for shard in shards {
            let file = File::create(dir.join(&shard.name))?;
            file.write_all_at(&shard.header, 0)?;
            file.set_len(shard.len() as u64)?;
        }
        if shards.len() > 1 {
            let file_of = |shard: &Shard| {
                let file = json!(shard.name);
                shard.tensors.iter().map(|(tensor, _)| (tensor.name.clone(), file.clone())).collect::<Vec<_>>()
            };
            let map: Map<String, Value> = shards.iter().flat_map(file_of).collect();
            let total: usize = shards.iter().flat_map(|shard| &shard.tensors).map(|(_, place)| place.len()).sum();
            let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
            fs::write(dir.join("model.safetensors.index.json"), format!("{index:#}"))?;
        }
        Ok(())
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.width / self.heads,
            "vocab_size": self.vocab,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": false,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "bfloat16",
        })
    }
}

/// Number of elements that are drawn and written at a time.
const CHUNK: usize = 1 << 20;

/// Fills the three models. Each chunk has its own random stream, so threads change nothing.
fn fill(shards: &[Shard], dir: &Path) -> io::Result<()> {
    let mut chunks = Vec::new();
    for shard in shards {
        let open = |model: &str| File::options().write(true).open(dir.join(model).join(&shard.name));
        let files = Arc::new([open(MODELS[0])?, open(MODELS[1])?, open(MODELS[2])?]);
        for (tensor, place) in &shard.tensors {
            // A norm's weights are near one, a matrix's near zero.
            let centre = if tensor.shape.len() == 1 { 1.0 } else { 0.0 };
            let starts = place.clone().step_by(2 * CHUNK);
            chunks.extend(starts.map(|start| (files.clone(), centre, start..place.end.min(start + 2 * CHUNK))));
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        let mut bytes = [const { Vec::new() }; 3];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((files, centre, place)) = chunks.get(number) else { return Ok(()) };
            draw(number as u64, *centre, place.len() / 2, &mut bytes);
            for (file, bytes) in files.iter().zip(&bytes) {
                file.write_all_at(bytes, place.start as u64)?;
            }
        }
    };
    thread::scope(|scope| {
        let n = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..n).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}

/// Draws bfloat16 elements: the base's from N(centre, 0.02²), two models' from base + N(0, 0.002²).
fn draw(stream: u64, centre: f32, len: usize, bytes: &mut [Vec<u8>; 3]) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    rng.set_stream(stream);
    for bytes in &mut *bytes {
        bytes.clear();
    }
    for _ in 0..len {
        let mut normal = |sigma: f32| sigma * rng.sample::<f32, _>(StandardNormal);
        let base = half::bf16::from_f32(centre + normal(0.02));
        let near = [0, 1].map(|_| half::bf16::from_f32(base.to_f32() + normal(0.002)));
        for (bytes, value) in bytes.iter_mut().zip([base, near[0], near[1]]) {
            bytes.extend(value.to_le_bytes());
        }
    }
}
