//! `evomerge inspect`: describes a model without reading its weights.

mod components;

use crate::{
    args::Inspect as Args,
    artefact::licence::Licences,
    draw::{
        screen::{self, Meter, grouped, noun},
        table,
    },
    study_report::figures,
    work::model::OpenedModel,
};
use comfy_table::CellAlignment;
use components::{Component, components};
use merge_core::{
    error::{Error, Result},
    model::{
        Index, Weights,
        digest::digest,
        layers::{Layers, is_numbered},
    },
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let model = OpenedModel::open(&args.model)?;
    let mut facts = Facts::of(model.weights(), args.model.display().to_string())?;
    facts.licence = Licences::of(model.files().into_iter())?.list();
    if let OpenedModel::Checkpoint(checkpoint) = &model {
        facts.files = Some(files(checkpoint)?);
        // Scaled tensors are read as plain numbers: the model's own config omits the quantisation.
        let stored = sidecar(checkpoint, "config.json")?;
        let is_read_as_it_is = checkpoint.notes().iter().any(|note| note.contains("quantization_config"));
        facts.quantization =
            stored.as_ref().and_then(Value::as_object).and_then(quantization).filter(|_| !is_read_as_it_is);
        facts.notes.extend_from_slice(checkpoint.notes());
    }
    if args.hash {
        let progress = Meter::bytes("hashed", facts.bytes);
        let tensors = digest(model.weights(), &|n| progress.add(n));
        progress.finish();
        facts.hashes = Some(FileHashes { tensors: tensors?, files: model.sha256()?.into_iter().collect() });
    }
    screen::data(&if args.json { figures::json(&facts) } else { facts.to_string() });
    Ok(())
}

/// Description of a model. A value that its configuration does not state is `None`.
#[derive(Serialize)]
struct Facts {
    model: String,
    architecture: Option<String>,
    model_type: Option<String>,
    layers: usize,
    /// Every stack of layers; first the one that `config.json` counts.
    stacks: Vec<StackFacts>,
    parameters: u64,
    parameters_by_dtype: BTreeMap<&'static str, u64>,
    bytes: u64,
    /// Number of files with tensors; `None` if the tensors are not computed yet.
    files: Option<usize>,
    vocabulary: VocabularySummary,
    head: Head,
    hidden_size: Option<u64>,
    attention_heads: Option<u64>,
    key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    intermediate_size: Option<u64>,
    experts: Option<u64>,
    context: Option<u64>,
    chat_template: bool,
    quantization: Option<String>,
    /// Licences of the model, or of all models that it is made of.
    licence: String,
    components: Vec<Component>,
    /// Contradictions in the model's files.
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<FileHashes>,
}

/// A stack of layers.
#[derive(Serialize)]
struct StackFacts {
    /// Prefix of the layers' numbers in tensor names.
    name: String,
    layers: usize,
    /// True if these are the layers that `config.json` counts.
    counted: bool,
}

#[derive(Serialize)]
struct VocabularySummary {
    /// Number of rows of the embedding.
    rows: Option<usize>,
    /// Number of tokens in `tokenizer.json`, added ones included.
    tokens: Option<usize>,
}

/// Kind of output head.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    Own,
    Tied,
    None,
}

#[derive(Serialize)]
struct FileHashes {
    /// SHA-256 of all tensors, independent of the division into files.
    tensors: String,
    /// SHA-256 of each file that is read, by model.
    files: BTreeMap<String, BTreeMap<String, String>>,
}

impl Facts {
    fn of(weights: &dyn Weights, model: String) -> Result<Self> {
        let (index, layers) = (weights.index(), Layers::of(weights));
        let mut by_dtype = BTreeMap::new();
        for meta in index.values() {
            *by_dtype.entry(meta.dtype.name()).or_default() += meta.len() as u64;
        }
        // A multimodal model describes its language model in a separate block.
        let (config, within) = (&weights.config().0, weights.config().language());
        let key = |name: &str| config.get(name).or_else(|| within.get(name)).filter(|value| !value.is_null());
        let count = |name: &str| key(name).and_then(Value::as_u64);
        let text = |name: &str| key(name).and_then(Value::as_str).map(str::to_owned);
        let architecture = config.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
        let (hidden_size, attention_heads) = (count("hidden_size"), count("num_attention_heads"));
        let head_dim = count("head_dim").or_else(|| hidden_size?.checked_div(attention_heads?));
        Ok(Self {
            model,
            architecture: architecture.map(str::to_owned),
            model_type: text("model_type"),
            layers: layers.count,
            stacks: stacks(&layers),
            parameters: index.values().map(|meta| meta.len() as u64).sum(),
            parameters_by_dtype: by_dtype,
            bytes: index.values().map(|meta| meta.byte_len() as u64).sum(),
            files: None,
            vocabulary: VocabularySummary { rows: rows(index, &layers), tokens: tokens(weights)? },
            head: head(index, &layers, key("tie_word_embeddings").and_then(Value::as_bool)),
            hidden_size,
            attention_heads,
            key_value_heads: count("num_key_value_heads"),
            head_dim,
            intermediate_size: count("intermediate_size"),
            experts: count("num_local_experts").or_else(|| count("num_experts")).or_else(|| count("n_routed_experts")),
            context: count("max_position_embeddings"),
            chat_template: has_chat_template(weights)?,
            quantization: quantization(config),
            licence: String::new(),
            components: components(index, &layers),
            notes: uncounted(&layers).into_iter().collect(),
            hashes: None,
        })
    }
}

/// Stacks of layers: the language model's, the layers behind its last one, and all others.
fn stacks(layers: &Layers) -> Vec<StackFacts> {
    let facts = |(prefix, layers): (&str, usize), counted: bool| StackFacts {
        name: prefix.trim_end_matches('.').to_owned(),
        layers,
        counted,
    };
    let own = (layers.count > 0).then(|| facts((layers.prefix.as_str(), layers.count), true));
    own.into_iter().chain(layers.other_stacks().into_iter().map(|other| facts(other, false))).collect()
}

/// Note for a `config.json` that counts layers which do not exist.
fn uncounted(layers: &Layers) -> Option<String> {
    let (key, said) = layers.stated_count.as_ref().filter(|(_, said)| *said != layers.count)?;
    Some(format!("config.json: {key} is {said}, but no stack has {said} layers"))
}

/// Number of rows of the token embedding.
fn rows(index: &Index, layers: &Layers) -> Option<usize> {
    let named = |name: &&String| ["tok", "wte", "word", "embed_in"].iter().any(|part| name.contains(part));
    let name = layers.embeddings.iter().find(named).or(layers.embeddings.first())?;
    index[name].shape.first().copied()
}

fn head(index: &Index, layers: &Layers, tied: Option<bool>) -> Head {
    let names = ["lm_head.weight", "embed_out.weight", "output.weight"];
    let is_head = |name: &str| names.iter().any(|head| name == *head || name.ends_with(&format!(".{head}")));
    if index.keys().any(|name| is_head(name) && !is_numbered(name)) {
        return Head::Own;
    }
    // In many families, the head is tied by default.
    if layers.embeddings.is_empty() || tied == Some(false) { Head::None } else { Head::Tied }
}

/// Number of tokens in `tokenizer.json`.
fn tokens(weights: &dyn Weights) -> Result<Option<usize>> {
    let Some(json) = sidecar(weights, "tokenizer.json")? else { return Ok(None) };
    let mut tokens: BTreeSet<&str> = match &json["model"]["vocab"] {
        Value::Object(vocab) => vocab.keys().map(String::as_str).collect(),
        Value::Array(vocab) => vocab.iter().filter_map(|entry| entry[0].as_str()).collect(),
        _ => BTreeSet::new(),
    };
    tokens.extend(json["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["content"].as_str()));
    Ok(Some(tokens.len()))
}

fn has_chat_template(weights: &dyn Weights) -> Result<bool> {
    for name in ["chat_template.jinja", "chat_template.json"] {
        if weights.sidecar(name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(sidecar(weights, "tokenizer_config.json")?.is_some_and(|json| !json["chat_template"].is_null()))
}

fn sidecar(weights: &dyn Weights, name: &str) -> Result<Option<Value>> {
    let Some(bytes) = weights.sidecar(name)? else { return Ok(None) };
    let read = merge_core::python_json::parse(&bytes);
    read.map(Some).map_err(|e| Error::user(format!("{}: {name}: {e}", weights.place())))
}

/// Describes a quantisation: `gptq, 4 bits`.
fn quantization(config: &serde_json::Map<String, Value>) -> Option<String> {
    let block = config.get("quantization_config").filter(|block| !block.is_null())?;
    let method = block["quant_method"].as_str().unwrap_or("of an unknown kind");
    let bits = block["bits"].as_u64().map_or_else(String::new, |bits| format!(", {bits} bits"));
    Some(format!("{method}{bits}"))
}

/// Number of files with a checkpoint's tensors.
fn files(weights: &dyn Weights) -> Result<usize> {
    for name in ["model.safetensors.index.json", "pytorch_model.bin.index.json"] {
        if let Some(listing) = sidecar(weights, name)? {
            let shards = listing["weight_map"].as_object().into_iter().flat_map(|map| map.values());
            return Ok(shards.filter_map(Value::as_str).collect::<BTreeSet<_>>().len());
        }
    }
    Ok(1)
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.model)?;
        for (label, value) in self.lines() {
            writeln!(f, "{label:<17} {value}")?;
        }
        let mut table = table::plain();
        table.set_header(["tensors", "type", "shape", "how many", "parameters"]);
        for part in &self.components {
            let count = if part.tensors == 1 { String::new() } else { format!("x{}", part.tensors) };
            let shape = format!("{:?}", part.shape);
            table.add_row([part.name.clone(), part.dtype.to_owned(), shape, count, grouped(part.parameters)]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "\n{}", table::flush_left(&table))?;
        let Some(hashes) = &self.hashes else { return Ok(()) };
        write!(f, "\n\nsha256 of all tensors (name, type, shape, bytes; the same however they are cut into files)")?;
        write!(f, "\n  {}", hashes.tensors)?;
        for (model, files) in &hashes.files {
            write!(f, "\nsha256 of the files of {model}")?;
            for (file, hash) in files {
                write!(f, "\n  {hash}  {file}")?;
            }
        }
        Ok(())
    }
}

impl Facts {
    /// Labels and values of the text output.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let architecture = match (&self.architecture, &self.model_type) {
            (Some(architecture), Some(kind)) => format!("{architecture} ({kind})"),
            (one, other) => one.as_ref().or(other.as_ref()).cloned().unwrap_or_else(|| "unknown".to_owned()),
        };
        lines.push(("architecture", architecture));
        let stacks = self.stacks.iter().map(|stack| format!("{} of {}", stack.layers, stack.name));
        lines.push(match self.stacks.len() {
            0 | 1 => ("layers", self.layers.to_string()),
            _ => ("layers", stacks.collect::<Vec<_>>().join("; beside them ")),
        });
        lines.push(("parameters", format!("{} ({})", grouped(self.parameters), short(self.parameters))));
        let types = self.parameters_by_dtype.iter().map(|(dtype, n)| match self.parameters_by_dtype.len() {
            1 => (*dtype).to_owned(),
            _ => format!("{dtype} ({})", grouped(*n)),
        });
        lines.push(("type", types.collect::<Vec<_>>().join(", ")));
        if let Some(quantization) = &self.quantization {
            lines.push(("quantisation", quantization.clone()));
        }
        let stored = match self.files {
            None => format!("{}, not written yet", screen::bytes(self.bytes)),
            Some(1) => format!("{} in one file", screen::bytes(self.bytes)),
            Some(n) => format!("{} in {n} files", screen::bytes(self.bytes)),
        };
        lines.push(("size", stored));
        let mut size = |label, n: Option<u64>, unit: &str| lines.extend(n.map(|n| (label, format!("{n}{unit}"))));
        size("hidden size", self.hidden_size, "");
        size("feed-forward size", self.intermediate_size, "");
        size("experts", self.experts, "");
        if let Some(heads) = self.attention_heads {
            let shared = self.key_value_heads.filter(|n| *n != heads);
            let shared = shared.map_or_else(String::new, |n| format!(", {n} of keys and values"));
            let dim = self.head_dim.map_or_else(String::new, |n| format!(", {n} wide"));
            lines.push(("attention heads", format!("{heads}{shared}{dim}")));
        }
        lines.extend(self.context.map(|n| ("context", format!("{} {}", grouped(n), noun(n as usize, "position")))));
        let many = |n: usize, what: &str| format!("{} {}", grouped(n as u64), noun(n, what));
        let vocabulary = match (self.vocabulary.rows, self.vocabulary.tokens) {
            (None, None) => None,
            (None, Some(tokens)) => Some(many(tokens, "token")),
            (Some(rows), None) => Some(format!("{}, no tokenizer.json", many(rows, "row"))),
            (Some(rows), Some(tokens)) => {
                let few = if tokens > rows { ": too few rows for the tokens" } else { "" };
                Some(format!("{}, {}{few}", many(rows, "row"), many(tokens, "token")))
            }
        };
        lines.extend(vocabulary.map(|text| ("vocabulary", text)));
        let head = match self.head {
            Head::Own => "its own",
            Head::Tied => "tied to the embedding",
            Head::None => "none",
        };
        lines.push(("output head", head.to_owned()));
        lines.push(("chat template", if self.chat_template { "yes" } else { "no" }.to_owned()));
        lines.push(("licence", self.licence.clone()));
        lines.extend(self.notes.iter().map(|note| ("note", note.clone())));
        lines
    }
}

/// Formats a number of parameters: `1.37 M`, `7.24 B`.
fn short(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_said_in_short() {
        assert_eq!([12_345, 1_371_264, 7_241_732_096].map(short), ["12.3 k", "1.37 M", "7.24 B"]);
    }
}
