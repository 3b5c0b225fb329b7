//! Finds the tensors in a file of `torch.save` without running anything that the file says.
//!
//! Such a file is an uncompressed zip archive with `data.pkl`, a program for Python's pickle machine that builds a
//! dictionary of tensors, and one entry for each storage that tensors are views of. The machine in `program` runs it,
//! but writes down each function call instead of making it. Only the few calls that make tensors have a meaning here;
//! a file that names any other function is refused.

mod program;

use super::files::MappedTensor;
use crate::{
    error::{Error, Result},
    model::{Meta, dtype::Dtype},
};
use program::{Id, PickleValue, PickleValues};
use std::{collections::HashSet, io::Cursor, ops::Range};
use zip::{CompressionMethod, ZipArchive};

/// Most tensors, and most axes of one (`PyTorch` allows no more). A program may use one shape for
/// many tensors; here each tensor has a copy of it.
const MOST: usize = 1 << 18;
const MOST_AXES: usize = 64;

const RESAVE: &str = "save its tensors alone: torch.save(model.state_dict(), FILE), or as safetensors";

/// Name and position of every tensor of an archive.
pub(super) fn read(file: &[u8]) -> Result<Vec<(String, MappedTensor)>> {
    if !file.starts_with(b"PK\x03\x04") {
        return Err(Error::user("not a zip archive, as PyTorch has written them since version 1.6")
            .hint("if it is older, convert it: torch.save(torch.load(OLD, weights_only=True), NEW)"));
    }
    let mut archive = Archive::open(file)?;
    let program = archive.entry("data.pkl")?;
    if archive.entry("byteorder").is_ok_and(|order| file[order] != *b"little") {
        return Err(Error::user("its numbers are stored with the highest byte first").hint(RESAVE));
    }
    let values = program::run(&file[program], &is_known)?;
    let PickleValue::Dict(entries) = values.result() else {
        return Err(Error::user("not a dictionary of tensors").hint(RESAVE));
    };
    if entries.len() > MOST {
        return Err(Error::user(format!("{} tensors, far more than a model has", entries.len())).hint(RESAVE));
    }
    let mut seen = HashSet::new();
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let PickleValue::Text(name) = values.get(*key) else {
            return Err(Error::user("a tensor has a name that is not a text").hint(RESAVE));
        };
        // A remembered name may be as long as the program, and each use would copy it.
        if !seen.insert(*key) {
            return Err(damaged("data.pkl names two tensors the same"));
        }
        if let PickleValue::Dict(_) = values.get(*value) {
            return Err(Error::user(format!("`{name}` is not a tensor but a dictionary")).hint(format!(
                "if it holds the tensors, convert it: torch.save(torch.load(OLD, weights_only=True)[\"{name}\"], NEW)"
            )));
        }
        let wrong = |what: String| Error::user(format!("`{name}` {what}")).hint(RESAVE);
        let view = view(&values, *value).map_err(wrong)?;
        let storage = archive.entry(&format!("data/{}", view.storage))?;
        let found = view.place(storage).map_err(wrong)?;
        tensors.push(((*name).to_owned(), found));
    }
    Ok(tensors)
}

/// A zip archive with uncompressed entries.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Directory that all entries are in.
    root: String,
    len: usize,
}

impl<'a> Archive<'a> {
    fn open(file: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(file)).map_err(|e| damaged(&e.to_string()))?;
        let program = zip.file_names().filter_map(std::result::Result::ok).find(|name| name.ends_with("data.pkl"));
        let root = program.and_then(|name| name.strip_suffix("data.pkl").map(str::to_owned));
        let root = root.ok_or_else(|| Error::user("an archive that PyTorch did not write: it has no data.pkl"))?;
        Ok(Self { zip, root, len: file.len() })
    }

    /// Range of an entry's bytes in the file.
    fn entry(&mut self, name: &str) -> Result<Range<usize>> {
        let name = format!("{}{name}", self.root);
        let entry = self.zip.by_name(&name).map_err(|e| damaged(&format!("{name}: {e}")))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(Error::user(format!("{name} is compressed")).hint(RESAVE));
        }
        let range = entry.data_start().and_then(|start| {
            let (start, len) = (usize::try_from(start).ok()?, usize::try_from(entry.size()).ok()?);
            Some(start..start.checked_add(len)?)
        });
        range.filter(|range| range.end <= self.len).ok_or_else(|| damaged(&format!("{name} reaches beyond the file")))
    }
}

fn damaged(what: &str) -> Error {
    Error::user(format!("damaged: {what}")).hint("the file is truncated or not from PyTorch; download or copy it again")
}

/// True for the names that make tensors; a program may use no others.
fn is_known(module: &str, name: &str) -> bool {
    match module {
        "torch" => name.ends_with("Storage") || dtype(name).is_some(),
        "torch.storage" => name == "UntypedStorage",
        "torch._utils" => REBUILD.contains(&name),
        "collections" => name == "OrderedDict",
        _ => false,
    }
}

/// The functions that make a tensor of a storage, and one that makes a parameter of a tensor.
const REBUILD: [&str; 3] = [V2, V3, PARAMETER];
const V2: &str = "_rebuild_tensor_v2";
const V3: &str = "_rebuild_tensor_v3";
const PARAMETER: &str = "_rebuild_parameter";

/// A view of a storage.
struct PickledTensor<'a> {
    dtype: Dtype,
    storage: &'a str,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The name and the arguments of a function call.
fn call<'v, 'a>(values: &'v PickleValues<'a>, id: Id) -> Option<(&'a str, &'v [Id])> {
    let PickleValue::Call(callable, args) = values.get(id) else { return None };
    let (PickleValue::Global(_, name), PickleValue::Tuple(args)) = (values.get(*callable), values.get(*args)) else {
        return None;
    };
    Some((name, args))
}

/// Reads a call that makes a tensor, or a parameter of such a tensor; the error says what is wrong with it.
fn view<'a>(values: &PickleValues<'a>, id: Id) -> std::result::Result<PickledTensor<'a>, String> {
    let called = match call(values, id) {
        Some((PARAMETER, [tensor, ..])) => call(values, *tensor),
        called => called,
    };
    match called {
        Some((V2, [storage, offset, shape, strides, ..])) => {
            storage_view(values, *storage, None, [*offset, *shape, *strides])
        }
        Some((V3, [storage, offset, shape, strides, _, _, dtype, ..])) => {
            storage_view(values, *storage, Some(*dtype), [*offset, *shape, *strides])
        }
        _ => Err("is not a tensor".to_owned()),
    }
}

/// Reads a view of a storage, `("storage", its type, its key, its device, its length)`. In the
/// older call, the storage's type gives the type of the elements; in the newer call, `named` does.
fn storage_view<'a>(
    values: &PickleValues<'a>,
    storage: Id,
    named: Option<Id>,
    [offset, shape, strides]: [Id; 3],
) -> std::result::Result<PickledTensor<'a>, String> {
    let unknown = || "is made in a way that is not known here".to_owned();
    let PickleValue::Stored(storage) = values.get(storage) else { return Err(unknown()) };
    let PickleValue::Tuple(storage) = values.get(*storage) else { return Err(unknown()) };
    let [_, kind, key, ..] = storage.as_slice() else { return Err(unknown()) };
    let (PickleValue::Text(key), PickleValue::Global(_, name)) = (values.get(*key), values.get(named.unwrap_or(*kind)))
    else {
        return Err(unknown());
    };
    let dtype = dtype(name).ok_or_else(|| format!("has elements of a type not known here, `{name}`"))?;
    let count = |id: Id| match values.get(id) {
        PickleValue::Whole(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    let counts = |id: Id| match values.get(id) {
        PickleValue::Tuple(numbers) if numbers.len() <= MOST_AXES => {
            numbers.iter().map(|number| count(*number)).collect::<Option<Vec<usize>>>()
        }
        _ => None,
    };
    let view = || {
        Some(PickledTensor {
            dtype,
            storage: key,
            offset: count(offset)?,
            shape: counts(shape)?,
            strides: counts(strides)?,
        })
    };
    view().filter(|view| view.shape.len() == view.strides.len()).ok_or_else(unknown)
}

/// The element type that a name of a `torch` storage or type stands for.
fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "BFloat16Storage" | "bfloat16" => Dtype::BF16,
        "HalfStorage" | "float16" => Dtype::F16,
        "FloatStorage" | "float32" => Dtype::F32,
        "DoubleStorage" | "float64" => Dtype::F64,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        "BoolStorage" | "bool" => Dtype::Bool,
        "ByteStorage" | "uint8" => Dtype::U8,
        "CharStorage" | "int8" => Dtype::I8,
        "uint16" => Dtype::U16,
        "ShortStorage" | "int16" => Dtype::I16,
        "uint32" => Dtype::U32,
        "IntStorage" | "int32" => Dtype::I32,
        "uint64" => Dtype::U64,
        "LongStorage" | "int64" => Dtype::I64,
        _ => return None,
    })
}

impl PickledTensor<'_> {
    /// The view's position in the file, given its storage's; the error says what is wrong with it.
    fn place(self, storage: Range<usize>) -> std::result::Result<MappedTensor, String> {
        let beyond = || "reaches beyond what is stored".to_owned();
        let len = self.shape.iter().try_fold(1usize, |len, extent| len.checked_mul(*extent)).ok_or_else(beyond)?;
        let meta = Meta { dtype: self.dtype, shape: self.shape };
        if len == 0 {
            return Ok(MappedTensor { meta, bytes: storage.start..storage.start, strides: None });
        }
        let axes = || meta.shape.iter().zip(&self.strides);
        let span =
            axes().try_fold(1usize, |span, (extent, stride)| span.checked_add((extent - 1).checked_mul(*stride)?));
        let span = span.ok_or_else(beyond)?;
        let bytes = || {
            let size = self.dtype.size();
            let start = storage.start.checked_add(self.offset.checked_mul(size)?)?;
            let end = start.checked_add(span.checked_mul(size)?)?;
            (end <= storage.end).then_some(start..end)
        };
        let bytes = bytes().ok_or_else(beyond)?;
        if len > span {
            return Err("repeats its elements, as `expand` does".to_owned());
        }
        let mut apart = 1;
        let in_rows = axes().rev().all(|(extent, stride)| {
            let next = *extent == 1 || *stride == apart;
            apart *= extent;
            next
        });
        Ok(MappedTensor { meta, bytes, strides: (!in_rows).then_some(self.strides) })
    }
}
