//! The tensors in what `torch.save` writes, found without running anything that the file says.
//!
//! Such a file is a zip archive: `data.pkl`, a program for Python's pickle machine that builds a dictionary of tensors, and
//! one entry for each storage that they are views of, which is not compressed. candle's machine runs the program up to the
//! point where Python would call a function: it writes the call down. The only calls that mean something here are the few
//! that make tensors; a file that names any other is refused. (One made to harm can still ask for more memory than there is.)

use super::files::Found;
use crate::{
    dtype::Dtype,
    error::{Error, Result},
    weights::Meta,
};
use candle_core::pickle::{Object, Stack};
use std::{io::Cursor, ops::Range};
use zip::{CompressionMethod, ZipArchive};

const RESAVE: &str = "save its tensors alone: torch.save(model.state_dict(), FILE), or as safetensors";

/// Every tensor of an archive, by name, and where its bytes lie.
pub(super) fn read(file: &[u8]) -> Result<Vec<(String, Found)>> {
    if !file.starts_with(b"PK\x03\x04") {
        return Err(Error::user("not a zip archive, as PyTorch has written them since version 1.6")
            .hint("if it is older, convert it: torch.save(torch.load(OLD, weights_only=True), NEW)"));
    }
    let mut archive = Archive::open(file)?;
    let program = archive.entry("data.pkl")?;
    if archive.entry("byteorder").is_ok_and(|order| file[order] != *b"little") {
        return Err(Error::user("its numbers are stored with the highest byte first").hint(RESAVE));
    }
    let Object::Dict(entries) = unpickle(&file[program])? else {
        return Err(Error::user("not a dictionary of tensors").hint(RESAVE));
    };
    // What `state_dict()` remembers of the modules' versions is the only dictionary beside the tensors.
    let inner = |(key, value): &(Object, Object)| match (key, value) {
        (Object::Unicode(name), Object::Dict(_)) if name != "_metadata" => Some(name.clone()),
        _ => None,
    };
    if let Some(name) = entries.iter().find_map(inner) {
        return Err(Error::user(format!("`{name}` is not a tensor but a dictionary")).hint(format!(
            "if it holds the tensors, convert it: torch.save(torch.load(OLD, weights_only=True)[\"{name}\"], NEW)"
        )));
    }
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Object::Unicode(name) = key else {
            return Err(Error::user("a tensor has a name that is not a text").hint(RESAVE));
        };
        if !matches!(value, Object::Dict(_)) {
            let wrong = |what: String| Error::user(format!("`{name}` {what}")).hint(RESAVE);
            let view = view(&value).map_err(wrong)?;
            let storage = archive.entry(&format!("data/{}", view.storage))?;
            let found = view.place(storage).map_err(wrong)?;
            tensors.push((name, found));
        }
    }
    Ok(tensors)
}

/// A zip archive whose entries lie in it as they are.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The directory that everything is in.
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

    /// Where an entry's bytes lie.
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

/// Runs a pickle's program, which may name only what tensors are made with.
fn unpickle(mut program: &[u8]) -> Result<Object> {
    const LONG: u8 = 0x8a;
    const GLOBAL: u8 = b'c';
    let mut stack = Stack::empty();
    loop {
        // candle shifts a long number's bytes into 64 bits.
        if matches!(program, [LONG, length, ..] if *length > 8) {
            return Err(damaged("a number in data.pkl has more than 64 bits"));
        }
        let names = program.first() == Some(&GLOBAL);
        let ended = stack.read(&mut program).map_err(|e| {
            let what = e.to_string();
            damaged(&format!("data.pkl: {}", what.lines().next().unwrap_or_default()))
        })?;
        if let (true, Some(Object::Class { module_name, class_name })) = (names, stack.stack().last()) {
            let known = match module_name.as_str() {
                "torch" => class_name.ends_with("Storage") || dtype(class_name).is_some(),
                "torch.storage" => class_name == "UntypedStorage",
                "torch._utils" => REBUILD.contains(&class_name.as_str()),
                "collections" => class_name == "OrderedDict",
                _ => false,
            };
            if !known {
                let message = format!("it wants `{module_name}.{class_name}`, which no tensor needs");
                return Err(Error::user(message).hint(format!("nothing that a pickle says is run here; {RESAVE}")));
            }
        }
        if ended {
            return stack.finalize().map_err(|_| damaged("data.pkl builds nothing"));
        }
    }
}

/// The functions that make a tensor of a storage, and one that makes a parameter of a tensor.
const REBUILD: [&str; 3] = [V2, V3, PARAMETER];
const V2: &str = "_rebuild_tensor_v2";
const V3: &str = "_rebuild_tensor_v3";
const PARAMETER: &str = "_rebuild_parameter";

/// What a tensor is made of.
struct View {
    dtype: Dtype,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Reads a call that makes a tensor; fails saying what is wrong with it.
fn view(object: &Object) -> std::result::Result<View, String> {
    let unknown = || "is not a tensor".to_owned();
    let Object::Reduce { callable, args } = object else { return Err(unknown()) };
    let (Object::Class { class_name, .. }, Object::Tuple(args)) = (&**callable, &**args) else { return Err(unknown()) };
    match (class_name.as_str(), args.as_slice()) {
        (PARAMETER, [tensor, ..]) if !is_parameter(tensor) => view(tensor),
        (V2, [storage, offset, shape, strides, ..]) => of(storage, None, offset, shape, strides),
        (V3, [storage, offset, shape, strides, _, _, dtype, ..]) => of(storage, Some(dtype), offset, shape, strides),
        _ => Err(unknown()),
    }
}

fn is_parameter(object: &Object) -> bool {
    matches!(object, Object::Reduce { callable, .. }
        if matches!(&**callable, Object::Class { class_name, .. } if class_name == PARAMETER))
}

/// A view of a storage, `("storage", its type, its key, its device, its length)`. The older call's storages know their
/// elements' type; the newer is told it.
fn of(
    storage: &Object,
    named: Option<&Object>,
    offset: &Object,
    shape: &Object,
    strides: &Object,
) -> std::result::Result<View, String> {
    let unknown = || "is made in a way that is not known here".to_owned();
    let Object::PersistentLoad(storage) = storage else { return Err(unknown()) };
    let Object::Tuple(storage) = &**storage else { return Err(unknown()) };
    let [_, kind, Object::Unicode(key), ..] = storage.as_slice() else { return Err(unknown()) };
    let Object::Class { class_name, .. } = named.unwrap_or(kind) else { return Err(unknown()) };
    let dtype = dtype(class_name).ok_or_else(|| format!("has elements of a type not known here, `{class_name}`"))?;
    let view = || {
        let view = View {
            dtype,
            storage: key.clone(),
            offset: count(offset)?,
            shape: counts(shape)?,
            strides: counts(strides)?,
        };
        (view.shape.len() == view.strides.len()).then_some(view)
    };
    view().ok_or_else(unknown)
}

fn count(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

fn counts(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(numbers) = object else { return None };
    numbers.iter().map(count).collect()
}

/// `torch`'s names of storages and of types.
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

impl View {
    /// Where the view's elements lie, given where its storage does; fails saying what is wrong with it.
    fn place(self, storage: Range<usize>) -> std::result::Result<Found, String> {
        let beyond = || "reaches beyond what is stored".to_owned();
        let len = self.shape.iter().try_fold(1usize, |len, extent| len.checked_mul(*extent)).ok_or_else(beyond)?;
        let meta = Meta { dtype: self.dtype, shape: self.shape };
        if len == 0 {
            return Ok(Found { meta, bytes: storage.start..storage.start, strides: None });
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
        Ok(Found { meta, bytes, strides: (!in_rows).then_some(self.strides) })
    }
}
