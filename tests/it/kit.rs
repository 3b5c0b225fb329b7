//! A directory for each test, commands that run in it, and small checkpoints.

use safetensors::{Dtype, tensor::TensorView};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Directory of the real models in the repository, which form one family.
pub(crate) fn family() -> PathBuf {
    root().join("recipes/sansu")
}

/// Directory in which a test runs its commands.
pub(crate) struct Dir(TempDir);

/// Exit code and output of a command.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A command `evomerge` in this directory, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evomerge"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        // Tests expect English, and leave the user's cache of answers and queue of jobs alone.
        command.env("EVOMERGE_LANG", "en");
        command.env("XDG_CACHE_HOME", self.0.path().join(".cache")).env("EVOMERGE_HOME", self.0.path().join("home"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Every path in this directory, sorted.
    pub(crate) fn tree(&self) -> Vec<String> {
        let mut paths = Vec::new();
        walk(self.0.path(), &mut |path| paths.push(path.strip_prefix(self.0.path()).unwrap().display().to_string()));
        paths.sort();
        paths
    }

    /// Writes an untrained Llama checkpoint: one layer, hidden size 8, 32 tokens.
    pub(crate) fn tiny(&self, name: &str, value: f32) -> PathBuf {
        let tensors = tiny_tensors(value);
        self.checkpoint(name, &tensors)
    }

    pub(crate) fn checkpoint(&self, name: &str, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> PathBuf {
        let dir = self.path(name);
        self.write(&format!("{name}/config.json"), TINY_CONFIG);
        self.write(&format!("{name}/model.safetensors"), safetensors_bytes(tensors));
        dir
    }
}

/// Copy of a directory's content, which can be restored any number of times.
pub(crate) struct Snapshot(Vec<(String, Option<Vec<u8>>)>);

impl Snapshot {
    pub(crate) fn of(dir: &Dir) -> Self {
        let bytes = |name: &String| dir.path(name).is_file().then(|| fs::read(dir.path(name)).unwrap());
        Self(dir.tree().into_iter().map(|name| (name.clone(), bytes(&name))).collect())
    }

    pub(crate) fn restore(&self) -> Dir {
        let dir = Dir::new();
        for (name, bytes) in &self.0 {
            match bytes {
                Some(bytes) => drop(dir.write(name, bytes)),
                None => fs::create_dir_all(dir.path(name)).unwrap(),
            }
        }
        dir
    }
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The first line that begins with `error: `.
    pub(crate) fn error(&self) -> &str {
        self.err.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error in {self:?}"))
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.err.lines().find_map(|line| line.strip_prefix("hint: "))
    }
}

const TINY_CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32,
"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
"num_key_value_heads": 1, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"max_position_embeddings": 64, "tie_word_embeddings": false, "torch_dtype": "float32"}"#;

/// Tensors of the tiny Llama by name, filled with small numbers that depend on `value`.
pub(crate) fn tiny_tensors(value: f32) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let shapes: [(&str, &[usize]); 12] = [
        ("lm_head.weight", &[32, 8]),
        ("model.embed_tokens.weight", &[32, 8]),
        ("model.layers.0.input_layernorm.weight", &[8]),
        ("model.layers.0.mlp.down_proj.weight", &[8, 16]),
        ("model.layers.0.mlp.gate_proj.weight", &[16, 8]),
        ("model.layers.0.mlp.up_proj.weight", &[16, 8]),
        ("model.layers.0.post_attention_layernorm.weight", &[8]),
        ("model.layers.0.self_attn.k_proj.weight", &[4, 8]),
        ("model.layers.0.self_attn.o_proj.weight", &[8, 8]),
        ("model.layers.0.self_attn.q_proj.weight", &[8, 8]),
        ("model.layers.0.self_attn.v_proj.weight", &[4, 8]),
        ("model.norm.weight", &[8]),
    ];
    let fill = |n: usize| (0..n).map(|i| value + (i % 7) as f32 / 64.0).collect::<Vec<f32>>();
    shapes.into_iter().map(|(name, shape)| (name.into(), (shape.to_vec(), fill(shape.iter().product())))).collect()
}

pub(crate) fn safetensors_bytes(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, x))| (name.as_str(), x.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Possible names of Chromium.
pub(crate) const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Path of a program that has one of these names. Tests that need it are ignored if it is missing
/// (see `tests/needs.rs`).
pub(crate) fn program(names: &[&str]) -> PathBuf {
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let mut all = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    all.find(|path| path.is_file()).unwrap_or_else(|| panic!("there is no {}", names[0]))
}

/// Calls `seen` with every path below a directory.
pub(crate) fn walk(dir: &Path, seen: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        seen(&path);
        if path.is_dir() {
            walk(&path, seen);
        }
    }
}
