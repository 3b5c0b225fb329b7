//! Explains what a path is that was named in a checkpoint's place, and what to do.

use super::{
    files::PICKLES,
    layout::{SINGLE, listing_of},
};
use crate::{error::Error, file};
use std::{
    fs,
    path::{Path, PathBuf},
};

const CHECKPOINT: &str =
    "a checkpoint is a directory with config.json and model.safetensors (or shards and their index)";

/// Name endings of weights in other formats, each with advice.
const FORMATS: [(&str, &str); 15] = [
    (
        ".gguf",
        "this is GGUF, which is made from a checkpoint: name that checkpoint, the directory with safetensors files",
    ),
    (
        ".ggml",
        "this is GGML, which is made from a checkpoint: name that checkpoint, the directory with safetensors files",
    ),
    (
        ".onnx",
        "this is ONNX, which is made from a checkpoint: name that checkpoint, the directory with safetensors files",
    ),
    (".h5", "this is a format of TensorFlow: load it with transformers (`from_tf=True`) and `save_pretrained` it"),
    (
        ".pb",
        "this is a format of TensorFlow: name the checkpoint that it was made from, the directory with safetensors files",
    ),
    (
        ".tflite",
        "this is a format of TensorFlow: name the checkpoint that it was made from, the directory with safetensors files",
    ),
    (".msgpack", "this is a format of Flax: load it with transformers (`from_flax=True`) and `save_pretrained` it"),
    (".npz", "this is a format of MLX or NumPy: convert it to safetensors first"),
    (
        ".mlpackage",
        "this is a format of Core ML: name the checkpoint that it was made from, the directory with safetensors files",
    ),
    (".distcp", "this is the state of a training in shards: convert it to safetensors (PyTorch: `dcp_to_torch_save`)"),
    ("zero_to_fp32.py", "this is the state of a training with DeepSpeed: its zero_to_fp32.py makes the weights"),
    (".incomplete", "the download was not finished: start it again, and it continues with what is missing"),
    (".part", "the download was not finished: start it again, and it continues with what is missing"),
    (".crdownload", "the download was not finished: start it again, and it continues with what is missing"),
    (".aria2", "the download was not finished: start it again, and it continues with what is missing"),
];

/// True if a file is named like one of tensors, whether or not its format can be read.
pub fn holds_tensors(file: &Path) -> bool {
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    is_read(&name) || FORMATS.iter().any(|(end, _)| name.ends_with(end))
}

fn is_read(name: &str) -> bool {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    end == "safetensors" || PICKLES.contains(&end)
}

/// The error for a file that is not named like one of tensors.
pub(super) fn of_file(file: &Path) -> Error {
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let hint = match FORMATS.iter().find(|(end, _)| name.ends_with(end)) {
        Some((_, hint)) => (*hint).to_owned(),
        None if [".yaml", ".yml"].iter().any(|end| name.ends_with(end)) => {
            "a recipe is no model: merge it first, or put it before this one in the same file, with a `name:` and `---`"
                .to_owned()
        }
        None => format!("tensors are read from .safetensors, and from pickles: .{}", PICKLES.join(", .")),
    };
    Error::user(format!("{}: not a file of tensors, by its name", file.display())).hint(hint)
}

/// The error for a directory without weights.
pub(super) fn of_directory(dir: &Path) -> Error {
    let names = names(dir);
    let has = |name: &str| names.iter().any(|one| one == name);
    let message = if names.is_empty() {
        format!("{}: an empty directory", dir.display())
    } else {
        format!("{}: neither model.safetensors nor pytorch_model.bin in it", dir.display())
    };
    let dangling = SINGLE.into_iter().find(|name| has(name) && !dir.join(name).exists());
    let consolidated = names.iter().find(|name| name.starts_with("consolidated") && is_read(name));
    let format = || FORMATS.iter().find(|(end, _)| names.iter().any(|name| name.ends_with(end)));
    let hint = if let Some(name) = dangling {
        let target = fs::read_link(dir.join(name)).unwrap_or_default();
        format!("{name} is a link to {}, which is not there", target.display())
    } else if has("model_index.json") {
        "this is a pipeline of several models: name one of its directories, such as `unet` or `transformer`".to_owned()
    } else if has("adapter_config.json") {
        "this is an adapter: write `MODEL+ADAPTER` to have it merged into its model".to_owned()
    } else if names.iter().any(|name| name.starts_with("adapter_model.")) {
        "this is an adapter without its adapter_config.json: put that beside it, and write `MODEL+ADAPTER`".to_owned()
    } else if let Some(hint) = of_cache(dir, &names) {
        hint
    } else if let Some(name) = consolidated {
        format!(
            "{name} has the layout and the tensor names of the program that trained it: download the repository's \
             config.json and model*.safetensors; or, to merge it by its own names, name it: {}",
            dir.join(name).display()
        )
    } else if let Some(name) = names.iter().find(|name| is_read(name)) {
        format!("to merge a file by its tensors' names, name it: {}", dir.join(name).display())
    } else if let Some((_, hint)) = format() {
        (*hint).to_owned()
    } else {
        match models_in(dir, &names).as_slice() {
            [] => CHECKPOINT.to_owned(),
            [one] => format!("the model is in a subdirectory: name {}", one.display()),
            several => {
                let names: Vec<String> = several.iter().map(|one| one.display().to_string()).collect();
                format!("it holds several models: name one of {}", listed(&names))
            }
        }
    };
    Error::user(message).hint(hint)
}

/// Advice for a directory of the hub's cache: one repository's, or the whole cache.
fn of_cache(dir: &Path, names: &[String]) -> Option<String> {
    let repository = |name: &str| {
        let known = [("models--", ""), ("datasets--", "data set "), ("spaces--", "space ")];
        known.iter().find_map(|(start, kind)| Some((*kind, name.strip_prefix(start)?.replace("--", "/"))))
    };
    // A path such as `.` has no last part of its own.
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = whole.file_name()?.to_string_lossy().into_owned();
    match repository(&name) {
        Some(("", repo)) => {
            let commit = file::read_text(&dir.join("refs/main")).map(|text| text.trim().to_owned()).ok();
            let snapshots = self::names(&dir.join("snapshots"));
            let there = commit.filter(|commit| snapshots.contains(commit)).or_else(|| snapshots.last().cloned());
            Some(match there {
                Some(commit) => {
                    let snapshot = dir.join("snapshots").join(commit);
                    format!("this is the hub's cache: name {}, or {repo}", snapshot.display())
                }
                None => format!("this is the hub's cache, with nothing of the model in it: name {repo} to download it"),
            })
        }
        Some((kind, repo)) => Some(format!("this is the hub's cache of the {kind}{repo}, which is no model")),
        None => names.iter().find_map(|name| repository(name)).map(|(_, repo)| {
            format!("this is the whole cache of the hub: name a model of it as the hub does, such as {repo}")
        }),
    }
}

/// Subdirectories that look like models.
fn models_in(dir: &Path, names: &[String]) -> Vec<PathBuf> {
    let is_model = |inner: &PathBuf| {
        let weights =
            || SINGLE.into_iter().any(|single| inner.join(single).exists() || inner.join(listing_of(single)).exists());
        inner.is_dir() && (inner.join("config.json").exists() || weights())
    };
    names.iter().map(|name| dir.join(name)).filter(is_model).collect()
}

/// Names of a directory's entries, in order.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The first few names, and the number of the others.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const FEW: usize = 3;
    let few: Vec<&str> = names.iter().take(FEW).map(AsRef::as_ref).collect();
    let more = if names.len() > FEW { format!(" and {} more", names.len() - FEW) } else { String::new() };
    few.join(", ") + &more
}
