//! Which files a checkpoint is made of, and where in them each tensor lies.

use super::pickle;
use crate::{
    dtype::Dtype,
    error::{Error, Result},
    weights::{Config, Elements, Meta, Stored},
};
use memmap2::Mmap;
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// The names of a model's only file, in the order in which they are preferred. Shards are listed in the file that has
/// `.index.json` after it.
const SINGLE: [&str; 3] = ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"];
const PICKLES: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// Which shard an index says each tensor is in.
type Routes = BTreeMap<String, String>;

/// What a checkpoint is made of.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) config: Config,
    /// The files with tensors.
    pub(super) names: Vec<String>,
    /// The index, if there are shards, and what it says.
    pub(super) routes: Option<(PathBuf, Routes)>,
}

impl Layout {
    /// Finds the files of the model that is at `path`.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let kind = fs::metadata(path).map_err(|e| Error::io("open", path, &e))?;
        if kind.is_file() {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let dir = path.parent().unwrap_or(Path::new("")).to_owned();
            return Ok(Self { dir, config: Config::default(), names: vec![name], routes: None });
        }
        let config = read_config(path)?;
        let there = |name: &str| path.join(name).exists();
        let listing = |name: &str| format!("{name}.index.json");
        let found =
            SINGLE.into_iter().find(|name| there(name) || there(&listing(name))).ok_or_else(|| nothing(path))?;
        let (names, routes) = match (there(found), there(&listing(found))) {
            (true, true) => {
                let message = format!("{}: holds both {found} and {}", path.display(), listing(found));
                return Err(Error::user(message)
                    .hint("one of them is left from an earlier export: delete it, or its shards and the index"));
            }
            (true, false) => (vec![found.to_owned()], None),
            (false, _) => {
                let listing = path.join(listing(found));
                let (names, routes) = read_listing(&listing)?;
                (names, Some((listing, routes)))
            }
        };
        Ok(Self { dir: path.to_owned(), config, names, routes })
    }
}

fn read_config(dir: &Path) -> Result<Config> {
    let path = dir.join("config.json");
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Config)
            .map_err(|e| Error::user(format!("{}: not a JSON object: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(e) => Err(Error::io("read", &path, &e)),
    }
}

fn read_listing(listing: &Path) -> Result<(Vec<String>, Routes)> {
    #[derive(Deserialize)]
    struct Listing {
        weight_map: Routes,
    }

    let text = fs::read_to_string(listing).map_err(|e| Error::io("read", listing, &e))?;
    let routes = serde_json::from_str::<Listing>(&text)
        .map_err(|e| Error::user(format!("{}: not an index of shards: {e}", listing.display())))?
        .weight_map;
    let mut names: Vec<String> = routes.values().cloned().collect();
    names.sort();
    names.dedup();
    match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        None => Ok((names, routes)),
        Some(name) => {
            let message = format!("{}: `{name}` is not the name of a file beside it", listing.display());
            Err(Error::user(message).hint("download the index again"))
        }
    }
}

/// A directory without weights, with what may have been meant.
fn nothing(dir: &Path) -> Error {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut tensors: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|end| end == "safetensors" || PICKLES.iter().any(|p| end == *p)))
        .collect();
    tensors.sort();
    let hint = if dir.join("model_index.json").exists() {
        "this is a pipeline of several models: name one of its directories, such as `unet` or `transformer`".to_owned()
    } else if dir.join("adapter_config.json").exists() {
        "this is an adapter: write `MODEL+ADAPTER` to have it merged into its model".to_owned()
    } else if let Some(file) = tensors.first() {
        format!("to merge a file by its tensors' names, name it: {}", file.display())
    } else {
        "a checkpoint is a directory with config.json and model.safetensors (or shards and their index)".to_owned()
    };
    Error::user(format!("{}: neither model.safetensors nor pytorch_model.bin in it", dir.display())).hint(hint)
}

/// A file with tensors, mapped.
pub(super) struct Map {
    pub(super) name: String,
    pub(super) bytes: Mmap,
}

impl Map {
    #[expect(unsafe_code, reason = "a file can be mapped in no other way")]
    pub(super) fn open(path: &Path, name: String) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        // SAFETY: the map is only read, and this program never changes or truncates a file in place: it writes beside and
        // renames. Another program that truncates a checkpoint while it is mapped would end us with SIGBUS; nothing short
        // of reading the whole file could prevent that.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, &e))?;
        Ok(Self { name, bytes })
    }

    /// Every tensor, by name, and where it lies.
    pub(super) fn tensors(&self, path: &Path) -> Result<Vec<(String, Found)>> {
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if extension == "safetensors" {
            return self.header(path);
        }
        if PICKLES.contains(&extension) {
            return pickle::read(&self.bytes).map_err(|e| e.at(path.display()));
        }
        Err(Error::user(format!("{}: not a file of tensors, by its name", path.display()))
            .hint(format!("tensors are read from .safetensors, and from pickles: .{}", PICKLES.join(", ."))))
    }

    fn header(&self, path: &Path) -> Result<Vec<(String, Found)>> {
        let (len, header) = SafeTensors::read_metadata(&self.bytes).map_err(|e| damaged(path, self.bytes.len(), &e))?;
        let data = size_of::<u64>() + len;
        // In order, so that of several faults the same is named each time.
        let tensors: BTreeMap<_, _> = header.tensors().into_iter().collect();
        let found = tensors.into_iter().map(|(tensor, info)| {
            let dtype = Dtype::from_safetensors(&info.dtype.to_string()).ok_or_else(|| {
                Error::user(format!("{}: `{tensor}` is stored as {}", path.display(), info.dtype))
                    .hint("this type is not known here; convert the checkpoint to bfloat16 first")
            })?;
            let meta = Meta { dtype, shape: info.shape.clone() };
            let bytes = data + info.data_offsets.0..data + info.data_offsets.1;
            Ok((tensor, Found { meta, bytes, strides: None }))
        });
        found.collect()
    }
}

/// A tensor in a mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) meta: Meta,
    /// From its first element to behind its last.
    pub(super) bytes: Range<usize>,
    /// How many elements apart neighbours along each axis are; `None` if they lie row by row.
    pub(super) strides: Option<Vec<usize>>,
}

impl Found {
    /// The tensor, given its part of the file.
    pub(super) fn elements<'a>(&self, bytes: &'a [u8]) -> Box<dyn Elements + 'a> {
        let stored = Stored::new(self.meta.dtype, Cow::Borrowed(bytes));
        match &self.strides {
            None => Box::new(stored),
            Some(strides) => Box::new(Strided { stored, shape: self.meta.shape.clone(), strides: strides.clone() }),
        }
    }

    /// All of its bytes, row by row.
    pub(super) fn gathered(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; self.meta.byte_len()];
        self.elements(bytes).copy(0, &mut out).expect("what is mapped can be read");
        out
    }
}

/// A view of a tensor whose rows don't lie one behind the other: transposed, or a part of a wider one.
struct Strided<'a> {
    /// From the view's first element to its last, and what lies between.
    stored: Stored<'a>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Strided<'_> {
    /// Where the element that is the `number`th row by row lies.
    fn at(&self, mut number: usize) -> usize {
        let axes = self.shape.iter().zip(&self.strides).rev();
        axes.fold(0, |at, (extent, stride)| {
            let along = number % extent;
            number /= extent;
            at + along * stride
        })
    }
}

impl Elements for Strided<'_> {
    fn dtype(&self) -> Dtype {
        self.stored.dtype()
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        for (number, x) in (start..).zip(out) {
            self.stored.read(self.at(number), std::slice::from_mut(x))?;
        }
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        for (number, element) in (start..).zip(out.chunks_exact_mut(self.dtype().size())) {
            self.stored.copy(self.at(number), element)?;
        }
        Ok(())
    }
}

fn damaged(path: &Path, len: usize, error: &SafeTensorError) -> Error {
    let (what, truncated) = match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            ("its header describes more or fewer bytes than it has".to_owned(), true)
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall | SafeTensorError::HeaderTooLarge => {
            ("its header would reach beyond the file".to_owned(), true)
        }
        SafeTensorError::InvalidOffset(tensor) => {
            (format!("the bytes of `{tensor}` overlap another tensor's or leave a gap"), false)
        }
        SafeTensorError::TensorInvalidInfo => ("a tensor's shape and its length disagree".to_owned(), false),
        other => (other.to_string(), false),
    };
    let message = format!("{}: damaged: {what} (the file has {len} bytes)", path.display());
    Error::user(message).hint(if truncated {
        "the file is truncated or not safetensors; download or copy it again"
    } else {
        "the file was written wrongly; download it again, or tell whoever made it"
    })
}
