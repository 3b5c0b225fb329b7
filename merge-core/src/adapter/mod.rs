//! A model with a PEFT adapter merged into it: low-rank updates, trained biases, and tensors saved whole.
//!
//! With the adapter's matrices `A` (rank, inputs) and `B` (outputs, rank), a tensor `W` (outputs, inputs) becomes
//!
//! - `LoRA`: `W + s·B·A`, `s = alpha / rank` (Hu et al., <https://arxiv.org/abs/2106.09685>);
//! - rsLoRA: the same with `s = alpha / √rank` (Kalajdzievski, <https://arxiv.org/abs/2312.03732>);
//! - `DoRA`: `m · (W + s·B·A) / ‖W + s·B·A‖`, a norm and a learned `m` for each output (Liu et al.,
//!   <https://arxiv.org/abs/2402.09353>).
//!
//! A tensor stored as (inputs, outputs), such as an embedding or GPT-2's `Conv1D`, gets the update
//! transposed. Ranks and alphas may differ by module. A tensor that the adapter has whole
//! (`modules_to_save`, `bias`, an embedding that grew) replaces the base's. Everything is computed
//! in `f32`, stretch by stretch, and rounded once, to the type of the base's tensor.
//!
//! A head that was trained apart from a tied embedding and is saved whole unties the model, as in PEFT. An update of
//! a head needs a model with a head; the recipe gives a tied model one with `tie_word_embeddings: false`.
//!
//! An adapter may spell the model's tensor names differently, if exactly one name fits.

mod low_rank;
mod peft;
#[cfg(test)]
mod tests;

use crate::{
    checkpoint::{Checkpoint, read_if_there},
    error::{Error, Result},
    model::head::{is_tied, untied},
    model::{
        Config, Elements, Index, Meta, MixedAdapter, Mixture, Weights, belongings::MADE_FROM, dtype::Dtype,
        layers::embeddings, spelling::Spelling,
    },
};
use low_rank::{LowRank, RoundedTensor, transposed};
use peft::{Peft, Role};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A model with its adapter, merged as it is read.
pub struct Adapted {
    base: Arc<dyn Weights>,
    adapter: Checkpoint,
    dir: PathBuf,
    index: Index,
    config: Config,
    changes: BTreeMap<String, Change>,
    /// `lora_alpha` of its settings.
    alpha: f64,
}

/// Change of one of the base's tensors.
#[derive(Default)]
struct Change {
    /// The adapter's name of the tensor; its settings name modules in this way.
    called: String,
    /// Name of the adapter's tensor that replaces the base's.
    whole: Option<String>,
    update: Update,
    /// Scale and layout of the update; set once both are known to fit.
    fit: Option<AdapterFit>,
}

/// The names of the adapter's tensors that make a low-rank update.
#[derive(Default)]
struct Update {
    a: Option<String>,
    b: Option<String>,
    magnitude: Option<String>,
    embedding: bool,
}

struct AdapterFit {
    scale: f32,
    /// True if the tensor is stored as (inputs, outputs).
    transposed: bool,
}

impl Adapted {
    /// Opens an adapter in the layout of PEFT: `adapter_config.json`, and `adapter_model.safetensors` or `.bin`.
    ///
    /// Fails, before any weight of the base is read, if the adapter does something that the module's page does not
    /// describe, if one of its tensors has no counterpart or one of another shape, or if it would not be used.
    pub fn open(base: Arc<dyn Weights>, dir: &Path) -> Result<Self> {
        let peft = Peft::read(dir)?;
        let adapter = stored(dir)?;
        let at = |error: Error| error.at(adapter.path().display());
        let changes = changes(&adapter, &Spelling::of(base.index())).map_err(at)?;
        let (index, config) = (base.index().clone(), base.config().clone());
        let mut opened = Self { base, adapter, dir: dir.to_owned(), index, config, changes, alpha: peft.alpha };
        let at = |error: Error| error.at(dir.display());
        opened.replace().map_err(at)?;
        opened.update(&peft).map_err(at)?;
        Ok(opened)
    }

    /// Opens an adapter for a model to which the recipe gives a head of its own.
    ///
    /// If the adapter updates a tied embedding or its head, the model gets the head first: a copy of the embedding,
    /// as in training, where an update of one of the two does not change the other.
    pub fn open_untied(base: Arc<dyn Weights>, dir: &Path) -> Result<Self> {
        let adapter = stored(dir)?;
        let parts = [".lora_embedding_A", "lm_head.lora_A"];
        let updates = adapter.index().keys().any(|name| parts.iter().any(|part| name.contains(part)));
        Self::open(if updates { untied(base)? } else { base }, dir)
    }

    /// Checks the tensors that replace others against those; the vocabulary may grow or shrink.
    fn replace(&mut self) -> Result<()> {
        let embeddings = embeddings(&self.index);
        self.untie(&embeddings)?;
        let old = vocabulary(self.base.config())?;
        let mut new = None;
        for (name, change) in &self.changes {
            let Some(whole) = &change.whole else { continue };
            let has = &self.adapter.index()[whole];
            let meta = self.index.get_mut(name).ok_or_else(|| missing(name, &*self.base))?;
            if has.dtype != meta.dtype && !(has.dtype.is_float() && meta.dtype.is_float()) {
                let message = format!("`{name}` is {}, but {} in the model", has.dtype.name(), meta.dtype.name());
                return Err(Error::user(message).hint(OF_ANOTHER));
            }
            meta.dtype = meta.dtype.computed();
            if has.shape == meta.shape {
                continue;
            }
            let resized = has.shape.len() == meta.shape.len() && has.shape.get(1..) == meta.shape.get(1..);
            if !resized || old != meta.shape.first().copied() || new.is_some_and(|(_, rows)| rows != has.shape[0]) {
                let message = format!("`{name}` has shape {:?}, but {:?} in the model", has.shape, meta.shape);
                return Err(Error::user(message).hint(OF_ANOTHER));
            }
            meta.shape.clone_from(&has.shape);
            new = Some((name, has.shape[0]));
        }
        let (Some((resized, rows)), Some(old)) = (new, old) else { return Ok(()) };
        let left = self.index.iter().find(|(name, meta)| {
            let of_vocabulary = embeddings.contains(name) || name.ends_with("lm_head.weight");
            of_vocabulary && meta.shape.first() == Some(&old)
        });
        if let Some((left, _)) = left {
            let message = format!("`{resized}` has {rows} rows instead of {old}, but `{left}` is not resized");
            return Err(Error::user(message).hint("save the adapter with both: `save_embedding_layers=True`"));
        }
        set_vocabulary(&mut self.config.0, old, rows);
        Ok(())
    }

    /// Drops a head beside a tied embedding if it equals the adapter's embedding; else it becomes the model's head.
    fn untie(&mut self, embeddings: &[String]) -> Result<()> {
        const HEAD: &str = "lm_head.weight";
        let Some(head) = self.changes.get(HEAD).and_then(|change| change.whole.clone()) else { return Ok(()) };
        if !self.config.tied()? || self.index.contains_key(HEAD) {
            return Ok(());
        }
        let of_same_width =
            |name: &&String| self.index[*name].shape.get(1..) == self.adapter.index()[&head].shape.get(1..);
        let embedding = embeddings.iter().find(|name| !name.contains("wpe") && of_same_width(name));
        let embedding = embedding.ok_or_else(|| missing(HEAD, &*self.base))?;
        let change = self.changes.get(embedding);
        if let Some(whole) = change.and_then(|change| change.whole.as_ref())
            && change.is_none_or(|change| change.update.is_none())
            && self.adapter.bytes(whole)? == self.adapter.bytes(&head)?
        {
            self.changes.remove(HEAD);
            return Ok(());
        }
        let meta = self.index[embedding].clone();
        self.index.insert(HEAD.to_owned(), meta);
        self.config.0.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
        Ok(())
    }

    /// Checks the low-rank updates against the tensors that they update.
    fn update(&mut self, peft: &Peft) -> Result<()> {
        let stored = self.adapter.index();
        for (name, change) in &mut self.changes {
            let Update { a, b, magnitude, embedding } = &change.update;
            let (Some(a), Some(b)) = (a, b) else {
                if change.update.is_none() {
                    continue;
                }
                let kind = if a.is_some() { "lora_B" } else { "lora_A" };
                return Err(Error::user(format!("the update of `{name}` has no {kind}")).hint(INCOMPLETE));
            };
            let module = change.called.strip_suffix(".weight").unwrap_or(&change.called);
            let meta = self.index.get_mut(name).ok_or_else(|| missing(name, &*self.base))?;
            let (rank, scale) = peft.rank_and_scale(module)?;
            let ([has_rank, inputs], [outputs, other_rank]) = (matrix(stored, a)?, matrix(stored, b)?);
            if [has_rank, other_rank] != [rank; 2] {
                let message =
                    format!("`{a}` and `{b}` have ranks {has_rank} and {other_rank}; adapter_config.json says {rank}");
                return Err(Error::user(message).hint(INCOMPLETE));
            }
            let transposed = if *embedding || inputs == outputs {
                *embedding || peft.fan_in_fan_out
            } else {
                meta.shape == [inputs, outputs]
            };
            let shape = if transposed { [inputs, outputs] } else { [outputs, inputs] };
            if meta.shape != shape || !meta.dtype.is_float() {
                let message = format!(
                    "the update of `{name}` is for {shape:?} numbers, but the model's is of {:?} in {}",
                    meta.shape,
                    meta.dtype.name()
                );
                return Err(Error::user(message).hint(OF_ANOTHER));
            }
            match magnitude {
                Some(m) if stored[m].len() != outputs => {
                    let message = format!("`{m}` has {} numbers for {outputs} outputs", stored[m].len());
                    return Err(Error::user(message).hint(OF_ANOTHER));
                }
                Some(m) if !peft.dora => {
                    let message = format!("`{m}` is there, but adapter_config.json does not say `use_dora`");
                    return Err(Error::user(message).hint(INCOMPLETE));
                }
                None if peft.dora => {
                    return Err(
                        Error::user(format!("the update of `{name}` has no lora_magnitude_vector")).hint(INCOMPLETE)
                    );
                }
                _ => {}
            }
            meta.dtype = meta.dtype.computed();
            change.fit = Some(AdapterFit { scale, transposed });
        }
        Ok(())
    }

    /// The elements of one of the adapter's tensors, as `f32`.
    fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let mut numbers = vec![0.0; self.adapter.index()[name].len()];
        self.adapter.tensor(name)?.read(0, &mut numbers)?;
        Ok(numbers)
    }

    /// The left and the right matrix whose product is added to the tensor, row by row.
    fn matrices(&self, a: &str, b: &str, fit: &AdapterFit) -> Result<[Vec<f32>; 2]> {
        let ([rank, inputs], [outputs, _]) = (matrix(self.adapter.index(), a)?, matrix(self.adapter.index(), b)?);
        let (a, b) = (self.numbers(a)?, self.numbers(b)?);
        // (B·A)ᵀ = Aᵀ·Bᵀ.
        Ok(if fit.transposed { [transposed(&a, rank, inputs), transposed(&b, outputs, rank)] } else { [b, a] })
    }
}

impl Update {
    fn is_none(&self) -> bool {
        self.a.is_none() && self.b.is_none() && self.magnitude.is_none()
    }
}

impl Weights for Adapted {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let Some(change) = self.changes.get(name) else { return self.base.tensor(name) };
        let Meta { dtype, shape } = &self.index[name];
        let tensor = match &change.whole {
            Some(whole) => self.adapter.tensor(whole)?,
            None => self.base.tensor(name)?,
        };
        let (Update { a: Some(a), b: Some(b), magnitude, .. }, Some(fit)) = (&change.update, &change.fit) else {
            return Ok(RoundedTensor::to(*dtype, tensor));
        };
        let matrices = self.matrices(a, b, fit)?;
        let updated = LowRank::new(tensor, *dtype, shape[1], matrices, fit.scale);
        Ok(Box::new(match magnitude {
            Some(magnitude) => updated.with_magnitude(&self.numbers(magnitude)?, fit.transposed)?,
            None => updated,
        }))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    /// An adapter with a tokenizer replaces all of the base's tokenizer; other files are the base's.
    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let is_one = |name: &str| TOKENIZERS.contains(&name) || MADE_FROM.contains(&name);
        let mut all = TOKENIZERS.iter().chain(&MADE_FROM);
        let brings = all.any(|name| is_named(&self.dir.join(name)));
        if brings && (is_one(name) || BESIDE_TOKENIZERS.contains(&name)) {
            return read_if_there(&self.dir.join(name));
        }
        self.base.sidecar(name)
    }

    fn mixture(&self) -> Result<Mixture> {
        let base = self.base.mixture()?.base;
        let mut alpha = None;
        for (name, change) in &self.changes {
            let (Update { a: Some(a), magnitude: None, embedding: false, .. }, None, Some(fit)) =
                (&change.update, &change.whole, &change.fit)
            else {
                let why = format!("{} changes `{name}` by more than a low-rank update", self.dir.display());
                return Err(Mixture::refused(&why));
            };
            let [rank, _] = matrix(self.adapter.index(), a)?;
            let own = f64::from(fit.scale) * rank as f64;
            if (own - *alpha.get_or_insert(own)).abs() > 1e-4 * own.abs() {
                let why = format!("the modules of {} have different alphas", self.dir.display());
                return Err(Mixture::refused(&why));
            }
        }
        let tensors = Arc::new(self.changes.keys().cloned().collect());
        // One adapter may be named by two paths.
        let dir = self.dir.canonicalize().map_err(|e| Error::io("open", &self.dir, &e))?;
        let (scale, alpha, stated) = (1.0, alpha.unwrap_or(0.0), self.alpha);
        Ok(Mixture { base, adapters: vec![MixedAdapter { dir, scale, alpha, stated, tensors }] })
    }

    fn place(&self) -> String {
        format!("{}+{}", self.base.place(), self.dir.display())
    }
}

/// Files with the tokens, beside those that a tokenizer is made from.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "vocab.json", "vocab.txt"];
const BESIDE_TOKENIZERS: [&str; 6] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

const OF_ANOTHER: &str =
    "the adapter was trained on another model: see `base_model_name_or_path` in its adapter_config.json";
const INCOMPLETE: &str = "the adapter is incomplete: download it again, or save it again with PEFT";

fn missing(tensor: &str, base: &dyn Weights) -> Error {
    if tensor.ends_with("lm_head.weight") && is_tied(base).unwrap_or(false) {
        let message = format!(
            "it changes `{tensor}`, but {} has no output head of its own: its embedding is the head",
            base.place()
        );
        return Error::user(message)
            .hint("`tie_word_embeddings: false` in the recipe gives the model a head of its own, which the adapter then changes");
    }
    Error::user(format!("it changes `{tensor}`, which {} does not have", base.place())).hint(OF_ANOTHER)
}

/// True if anything is at `path`, even a broken link: that is an unfinished download, and no reason
/// to take another file.
fn is_named(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Opens the tensors of an adapter in the layout of PEFT. Fails if they are not there, or damaged.
pub fn stored(dir: &Path) -> Result<Checkpoint> {
    let files = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| dir.join(name));
    Checkpoint::open(files.iter().find(|file| is_named(file)).unwrap_or(&files[0]))
}

/// The changes that an adapter makes, by the base's tensor.
fn changes(adapter: &Checkpoint, base: &Spelling<'_>) -> Result<BTreeMap<String, Change>> {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for name in adapter.index().keys() {
        let Some((called, role)) = peft::role(name)? else { continue };
        let target = base.find(&called).unwrap_or(&called).to_owned();
        let change = changes.entry(target).or_default();
        change.called = called;
        let place = match role {
            Role::Whole => &mut change.whole,
            Role::A { embedding } => {
                change.update.embedding = embedding;
                &mut change.update.a
            }
            Role::B => &mut change.update.b,
            Role::Magnitude => &mut change.update.magnitude,
        };
        // PEFT saves embeddings twice if they grew.
        if let Some(other) = place
            && (adapter.index()[other] != adapter.index()[name] || adapter.bytes(other)? != adapter.bytes(name)?)
        {
            return Err(
                Error::user(format!("`{other}` and `{name}` are for the same tensor and differ")).hint(INCOMPLETE)
            );
        }
        *place = Some(name.clone());
    }
    Ok(changes)
}

/// Rows and columns of a matrix of the adapter.
fn matrix(index: &Index, name: &str) -> Result<[usize; 2]> {
    let Meta { dtype, shape } = &index[name];
    match (shape.as_slice(), dtype) {
        ([rows, columns], Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) => Ok([*rows, *columns]),
        _ => Err(Error::user(format!("`{name}` has shape {shape:?} in {}", dtype.name()))
            .hint("adapters of convolutions and quantised adapters are not supported: merge this one with PEFT")),
    }
}

/// Size of the vocabulary according to a configuration.
fn vocabulary(config: &Config) -> Result<Option<usize>> {
    let inner = config.0.get("text_config").and_then(Value::as_object).cloned().map(Config);
    Ok(config.count("vocab_size")?.or(inner.map(|inner| inner.count("vocab_size")).transpose()?.flatten()))
}

fn set_vocabulary(config: &mut Map<String, Value>, old: usize, new: usize) {
    for (key, value) in config {
        match value {
            Value::Object(part) if key == "text_config" => set_vocabulary(part, old, new),
            _ if key == "vocab_size" && value.as_u64() == Some(old as u64) => *value = Value::from(new),
            _ => {}
        }
    }
}
