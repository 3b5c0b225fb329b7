//! What a GGUF file tells of the checkpoint that it was made from: enough to know one again.

use candle_core::{
    Device,
    quantized::{GgmlDType, gguf_file::Content},
};
use merge_core::{
    adapter,
    checkpoint::Checkpoint,
    error::{Error, Result},
    file,
    model::{Elements, Weights as _, layers::Layers},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// An opened GGUF file.
pub(super) struct GgufFile {
    path: PathBuf,
    file: File,
    content: Content,
}

/// Numbers that are compared before all are.
const BEGINNING: usize = 64;

impl GgufFile {
    /// Reads its header; `None` if it is not here, or is something else.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let mut file = file::open(path).ok()?;
        let content = Content::read(&mut file).ok()?;
        Some(Self { path: path.to_owned(), file, content })
    }

    /// `lora_alpha` of an adapter, which llama.cpp divides by the rank of each update; `None` if it is no adapter.
    pub(super) fn alpha(&self) -> Option<f64> {
        self.content.metadata.get("adapter.lora.alpha")?.to_f32().ok().map(f64::from)
    }

    /// True if it was made from this checkpoint: each of its norms, which no quantisation changes, is one of the
    /// checkpoint's, or one more than it, as some architectures have them. Of the first and the last layer, projections
    /// are compared, too, if they have 8 bits or more: adapters leave norms as they are.
    pub(super) fn is_model(&mut self, checkpoint: &Checkpoint) -> Result<bool> {
        let names: Vec<String> =
            self.content.tensor_infos.keys().filter(|name| name.ends_with("norm.weight")).cloned().collect();
        let vectors = checkpoint.index().iter().filter(|(_, meta)| meta.shape.len() == 1 && meta.dtype.is_float());
        let vectors = vectors.map(|(name, _)| all(&*checkpoint.tensor(name)?)).collect::<Result<Vec<_>>>()?;
        for name in &names {
            let norm = self.numbers(name)?;
            let is_it = |vector: &Vec<f32>, more: f32| {
                vector.len() == norm.len()
                    && vector.iter().zip(&norm).all(|(a, b)| (a + more - b).abs() <= 1e-6 * b.abs())
            };
            if !vectors.iter().any(|vector| is_it(vector, 0.0) || is_it(vector, 1.0)) {
                return Ok(false);
            }
        }
        let layers = 0..Layers::of(checkpoint).count;
        for layer in layers.clone().take(1).chain(layers.last()) {
            for (theirs, ours) in PROJECTIONS {
                let theirs = format!("blk.{layer}.{theirs}.weight");
                let ours = format!("model.layers.{layer}.{ours}.weight");
                let tolerance = self.content.tensor_infos.get(&theirs).and_then(|info| rounding(info.ggml_dtype));
                if let Some(tolerance) = tolerance.filter(|_| checkpoint.index().contains_key(&ours)) {
                    let (stored, own) = (self.numbers(&theirs)?, all(&*checkpoint.tensor(&ours)?)?);
                    if stored.len() != own.len() || !near(&stored, &own, tolerance) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(!names.is_empty())
    }

    /// True if it has the updates of an adapter in the layout of PEFT, and no others.
    ///
    /// Of each update it compares the numbers of `A`, and sums and norms of the columns of `B`, whose rows llama.cpp orders
    /// in another way.
    pub(super) fn is_adapter(&mut self, dir: &Path) -> Result<bool> {
        let adapter = adapter::stored(dir)?;
        let of = |name: &str| all(&*adapter.tensor(name)?);
        let mut left = Vec::new();
        for (name, meta) in adapter.index().iter().filter(|(name, _)| name.contains("lora_A")) {
            left.push((of(name)?, of(&name.replace("lora_A", "lora_B"))?, meta.shape[0]));
        }
        let infos = self.content.tensor_infos.iter();
        let modules =
            infos.filter_map(|(name, info)| Some((name.strip_suffix(".lora_a")?.to_owned(), info.ggml_dtype)));
        for (module, dtype) in modules.collect::<Vec<_>>() {
            let (a, b) = (self.numbers(&format!("{module}.lora_a"))?, self.numbers(&format!("{module}.lora_b"))?);
            let Some(tolerance) = rounding(dtype) else { return Ok(false) };
            let head = BEGINNING.min(a.len());
            let found = left.iter().position(|(other, other_b, rank)| {
                other.len() == a.len()
                    && other_b.len() == b.len()
                    && near(&a[..head], &other[..head], tolerance)
                    && near(&a, other, tolerance)
                    && same_columns(&b, other_b, *rank, tolerance)
            });
            let Some(found) = found else { return Ok(false) };
            left.swap_remove(found);
        }
        Ok(left.is_empty())
    }

    fn numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        let read = |file: &mut File| {
            self.content.tensor(file, name, &Device::Cpu)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()
        };
        read(&mut self.file).map_err(|e| Error::user(format!("{}: `{name}`: {e}", self.path.display())))
    }
}

/// Projections whose rows llama.cpp leaves in order, in its names and in those of most checkpoints.
const PROJECTIONS: [(&str, &str); 2] = [("attn_v", "self_attn.v_proj"), ("ffn_down", "mlp.down_proj")];

/// Largest relative change of numbers that are stored in this type; `None` if it is too coarse to know them again.
fn rounding(dtype: GgmlDType) -> Option<f64> {
    match dtype {
        GgmlDType::F32 => Some(1e-6),
        GgmlDType::F16 => Some(1.0 / 1024.0),
        GgmlDType::BF16 => Some(1.0 / 256.0),
        GgmlDType::Q8_0 => Some(0.01),
        _ => None,
    }
}

/// True if numbers are the same but for rounding.
fn near(stored: &[f32], own: &[f32], tolerance: f64) -> bool {
    let squares = stored.iter().zip(own).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt() <= tolerance * norm(own)
}

/// True if two matrices with rows of this length have the same rows, in whatever order, as far as sums and norms of their
/// columns tell.
fn same_columns(stored: &[f32], own: &[f32], row: usize, tolerance: f64) -> bool {
    let column = |all: &[f32], at: usize| -> Vec<f32> { all.iter().skip(at).step_by(row).copied().collect() };
    (0..row).all(|at| {
        let (stored, own) = (column(stored, at), column(own, at));
        let (sum, size) = (|all: &[f32]| all.iter().map(|number| f64::from(*number)).sum::<f64>(), norm(&own));
        (norm(&stored) - size).abs() <= tolerance * size
            && (sum(&stored) - sum(&own)).abs() <= tolerance * size * (own.len() as f64).sqrt()
    })
}

fn all(tensor: &dyn Elements) -> Result<Vec<f32>> {
    let mut numbers = vec![0.0; tensor.len()];
    tensor.read(0, &mut numbers)?;
    Ok(numbers)
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/adapters")
    }

    #[test]
    fn a_file_of_the_converter_is_known_by_its_numbers() {
        let dir = fixtures();
        let mut adapter = GgufFile::open(&dir.join("patterns.gguf")).unwrap();
        assert_eq!(adapter.alpha(), Some(8.0));
        for (name, is_it) in [("patterns", true), ("rslora", false), ("dora", false), ("embedding", false)] {
            assert_eq!(adapter.is_adapter(&dir.join(name)), Ok(is_it), "{name}");
        }
        let mut model = GgufFile::open(&dir.join("llama.gguf")).unwrap();
        assert_eq!(model.alpha(), None);
        for (name, is_it) in [("llama", true), ("gpt2", false)] {
            assert_eq!(model.is_model(&Checkpoint::open(&dir.join(name)).unwrap()), Ok(is_it), "{name}");
        }
        assert!(GgufFile::open(&dir.join("README.md")).is_none());
        assert!(GgufFile::open(&dir.join("nowhere.gguf")).is_none());
    }
}
