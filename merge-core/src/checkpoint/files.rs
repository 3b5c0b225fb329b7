//! Mapped files with tensors, and the position of each tensor in them.

use super::{diagnosis, pickle};
use crate::{
    error::{Error, Result},
    file,
    model::{Elements, Meta, Stored, dtype::Dtype},
};
use memmap2::Mmap;
use safetensors::{SafeTensorError, SafeTensors};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Extensions of pickles.
pub(super) const PICKLES: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// A mapped file with tensors.
pub(super) struct MappedFile {
    pub(super) name: String,
    path: PathBuf,
    /// Device and inode of the file, whichever file has its name by now.
    id: (u64, u64),
    bytes: Mmap,
}

impl MappedFile {
    #[expect(unsafe_code, reason = "a file can be mapped in no other way")]
    pub(super) fn open(path: &Path, name: String) -> Result<Self> {
        let failed = |e| Error::io("open", path, &e);
        let file = file::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        // SAFETY: the map is only read, and this program never changes or truncates a file in
        // place: it writes a new file and renames it. If another program truncates a checkpoint
        // while it is read, SIGBUS ends this process; an earlier truncation is noticed (`bytes`).
        let bytes = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, &e))?;
        file::check(&bytes).map_err(|e| Error::io("read", path, &e))?;
        Ok(Self { name, path: path.to_owned(), id: (found.dev(), found.ino()), bytes })
    }

    /// The file's bytes. Fails if the file was cut since it was opened: bytes behind its new end cannot be read.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        // A file that was replaced or removed is still mapped as it was.
        if let Ok(now) = fs::metadata(&self.path)
            && (now.dev(), now.ino()) == self.id
            && now.len() < self.bytes.len() as u64
        {
            let (was, path) = (self.bytes.len(), self.path.display());
            let message = format!("{path}: had {was} bytes when it was opened, and has {} now", now.len());
            return Err(Error::user(message)
                .hint("something writes to it while it is read: when that has ended, run the same command again"));
        }
        Ok(&self.bytes)
    }

    /// Name and position of every tensor.
    pub(super) fn tensors(&self, path: &Path) -> Result<Vec<(String, MappedTensor)>> {
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if extension == "safetensors" {
            return self.header(path);
        }
        if PICKLES.contains(&extension) {
            return pickle::read(&self.bytes).map_err(|e| e.at(path.display()));
        }
        Err(diagnosis::of_file(path))
    }

    fn header(&self, path: &Path) -> Result<Vec<(String, MappedTensor)>> {
        let (len, header) = SafeTensors::read_metadata(&self.bytes).map_err(|e| damaged(path, self.bytes.len(), &e))?;
        let data = size_of::<u64>() + len;
        // In order, so that of several errors the same one is reported each time.
        let tensors: BTreeMap<_, _> = header.tensors().into_iter().collect();
        let found = tensors.into_iter().map(|(tensor, info)| {
            let dtype = Dtype::from_safetensors(&info.dtype.to_string()).ok_or_else(|| {
                Error::user(format!("{}: `{tensor}` is stored as {}", path.display(), info.dtype))
                    .hint("this type is not known here; convert the checkpoint to bfloat16 first")
            })?;
            let meta = Meta { dtype, shape: info.shape.clone() };
            let bytes = data + info.data_offsets.0..data + info.data_offsets.1;
            Ok((tensor, MappedTensor { meta, bytes, strides: None }))
        });
        found.collect()
    }
}

/// A tensor in a mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MappedTensor {
    pub(super) meta: Meta,
    /// Range of the file from the start of the first element to the end of the last.
    pub(super) bytes: Range<usize>,
    /// Distance in elements between neighbours along each axis; `None` if they are stored row by row.
    pub(super) strides: Option<Vec<usize>>,
}

impl MappedTensor {
    /// The tensor's elements, given its part of the file.
    pub(super) fn elements<'a>(&self, bytes: &'a [u8]) -> Box<dyn Elements + 'a> {
        let stored = Stored::new(self.meta.dtype, Cow::Borrowed(bytes));
        match &self.strides {
            None => Box::new(stored),
            Some(strides) => {
                Box::new(StridedTensor { stored, shape: self.meta.shape.clone(), strides: strides.clone() })
            }
        }
    }

    /// All of the tensor's bytes, row by row.
    pub(super) fn gathered(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; self.meta.byte_len()];
        self.elements(bytes).copy(0, &mut out).expect("what is mapped can be read");
        out
    }
}

/// A view of a tensor that is not stored row by row: transposed, or a part of a wider one.
struct StridedTensor<'a> {
    /// Elements from the view's first to its last, including those between that it does not show.
    stored: Stored<'a>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl StridedTensor<'_> {
    /// Position in `stored` of element `number` of the view, counted row by row.
    fn at(&self, mut number: usize) -> usize {
        let axes = self.shape.iter().zip(&self.strides).rev();
        axes.fold(0, |at, (extent, stride)| {
            let along = number % extent;
            number /= extent;
            at + along * stride
        })
    }
}

impl Elements for StridedTensor<'_> {
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
