//! Safetensors files, read front to back: the header, then each tensor's bytes into memory of its own, and the hash of
//! everything on the way.
//!
//! A safetensors file is a header length (u64), a JSON header, and the tensors' bytes without gaps. Plain tensors are
//! F32, F16 or BF16. Blocks ([`Encoding::Q8`], [`Encoding::Q4`]) are a U8 tensor `[rows, bytes of a row]` whose
//! weights' shape stands in the header's `__metadata__` under the tensor's name: `"<name>": "q8:[rows,cols]"`. Any
//! matrix may be split by rows into tensors `<name>.part0`, `<name>.part1`, … (over several files, too), so that none
//! is too large for one binding of a GPU.

use std::collections::VecDeque;
#[cfg(feature = "native")]
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
#[cfg(feature = "native")]
use crate::kernels::BadWeight;
use crate::kernels::Encoding;
use crate::mistaken::mistaken;

const MAX_HEADER: usize = 32 << 20;
/// Bytes of a file without a header that are looked at, to say what it is instead.
const BEGINNING: usize = 512;
/// Bytes of weights that are decoded at a time.
#[cfg(feature = "native")]
const CHUNK: usize = 4 << 20;
/// Constants that old checkpoints carry along and every model computes itself.
const BUFFERS: [&str; 2] = ["rotary_emb.inv_freq", "embeddings.position_ids"];

/// What the header says of one tensor: the shape of its weights, not of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorHeader {
    pub name: String,
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    /// How many bytes it takes in the file.
    pub bytes: usize,
}

/// Where a file's bytes come from.
pub(super) enum Input {
    /// Tensors become slices of these bytes; their hash was checked before.
    Memory(Bytes),
    /// Tensors are read one by one.
    #[cfg(feature = "native")]
    Stream { reader: Box<dyn Read>, hash: Option<Sha256> },
}

enum Item {
    Tensor(TensorHeader),
    /// One of the [`BUFFERS`], to be passed over.
    Buffer {
        bytes: usize,
    },
}

/// An open safetensors file.
pub(super) struct Shard {
    pub file: Arc<str>,
    /// What was not yet read, in the order of the bytes.
    items: VecDeque<Item>,
    input: Input,
    at: usize,
    len: usize,
}

impl Shard {
    /// Reads the header of a file of `len` bytes.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the header is not valid, does not describe exactly `len` bytes, or has tensors that are
    /// no weights; [`Error::Io`].
    pub fn open(file: &str, input: Input, len: usize) -> Result<Self> {
        let mut shard = Self { file: file.into(), items: VecDeque::new(), input, at: 0, len };
        let bad = |what: String| Error::BadModel(format!("`{file}` is not a valid safetensors file: {what}"));
        if len < 8 {
            return Err(bad(format!("expected a header but the file has {len} bytes")));
        }
        let first = shard.take(8)?;
        let size = u64::from_le_bytes(first[..8].try_into().expect("8 bytes were taken"));
        let Some(size) = usize::try_from(size).ok().filter(|&size| size <= MAX_HEADER.min(len - 8)) else {
            // A page may begin with many blanks.
            let more = shard.take(BEGINNING.min(len - 8))?;
            let truncated = || format!("its header should have {size} bytes, the file has {len}; it may be truncated");
            return Err(bad(mistaken(&[&first[..], &more[..]].concat()).map_or_else(truncated, str::to_owned)));
        };
        let json = shard.take(size)?;
        shard.items = parse_header(&json, len - 8 - size).map_err(bad)?;
        Ok(shard)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<Bytes> {
        if n > self.len - self.at {
            return Err(Error::BadModel(format!("`{}` ends after {} bytes", self.file, self.len)));
        }
        self.at += n;
        match &mut self.input {
            Input::Memory(bytes) => Ok(bytes.slice(self.at - n..self.at)),
            #[cfg(feature = "native")]
            Input::Stream { reader, hash } => {
                let mut bytes = vec![0; n];
                reader.read_exact(&mut bytes).map_err(Error::io(&*self.file))?;
                if let Some(hash) = hash {
                    hash.update(&bytes);
                }
                Ok(bytes.into())
            }
        }
    }

    /// The next tensor, whose bytes are to be [taken](Self::take) next.
    pub fn next(&mut self) -> Result<Option<TensorHeader>> {
        loop {
            match self.items.pop_front() {
                Some(Item::Tensor(header)) => return Ok(Some(header)),
                Some(Item::Buffer { bytes }) => {
                    self.take(bytes)?;
                }
                None => return Ok(None),
            }
        }
    }

    /// The names of the tensors that were not read yet.
    #[cfg(feature = "native")]
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| match item {
            Item::Tensor(header) => Some(header.name.as_str()),
            Item::Buffer { .. } => None,
        })
    }

    /// Gives the tensors that were not read yet other names.
    #[cfg(feature = "native")]
    pub fn rename(&mut self, name: impl Fn(&str) -> String) {
        for item in &mut self.items {
            if let Item::Tensor(header) = item {
                header.name = name(&header.name);
            }
        }
    }

    /// Decodes a tensor's rows one by one, a vector as one row, a few of them in memory at a time.
    ///
    /// # Errors
    /// [`Error::BadModel`] for a tensor without weights, or with one that is no number; what `each` gives.
    #[cfg(feature = "native")]
    pub fn rows(&mut self, tensor: &TensorHeader, mut each: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let TensorHeader { name, shape, encoding, .. } = tensor;
        let cols = shape.last().copied().unwrap_or(1);
        let row_bytes = encoding.row_bytes(cols).filter(|&bytes| bytes > 0);
        let row_bytes =
            row_bytes.ok_or_else(|| Error::BadModel(format!("tensor `{name}` of shape {shape:?} is empty")))?;
        let mut left = tensor.bytes / row_bytes;
        let mut row = vec![0.0; cols];
        let mut done = 0;
        while left > 0 {
            let rows = left.min((CHUNK / row_bytes).max(1));
            for encoded in self.take(rows * row_bytes)?.chunks_exact(row_bytes) {
                encoding.decode_row(encoded, &mut row).map_err(|bad| bad_weight(name, done, cols, bad))?;
                each(&row)?;
                done += 1;
            }
            left -= rows;
        }
        Ok(())
    }

    /// Closes a streamed file after its last tensor and gives the sha256 of what was read, if that was asked for.
    #[cfg(feature = "native")]
    pub fn finish(self) -> Option<String> {
        match self.input {
            Input::Stream { hash: Some(hash), .. } => Some(hex(&hash.finalize())),
            _ => None,
        }
    }
}

/// The sha256 of bytes as lower-case hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tensors in the order of their bytes, `data` of them in all.
fn parse_header(json: &[u8], data: usize) -> Result<VecDeque<Item>, String> {
    // Reading it checks that the tensors lie one behind the other and that their shapes give their sizes.
    let header: Metadata = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if header.data_len() != data {
        return Err(format!("its tensors have {} bytes, the file has room for {data}", header.data_len()));
    }
    let none = Default::default();
    let metadata = header.metadata().as_ref().unwrap_or(&none);
    for (name, value) in metadata {
        if described(value).is_some() && header.info(name).is_none_or(|info| info.dtype != Dtype::U8) {
            return Err(format!("its metadata says that `{name}` is {value}, but it has no U8 tensor of that name"));
        }
    }
    let mut items = VecDeque::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let bytes = info.data_offsets.1 - info.data_offsets.0;
        if is_buffer(&name) {
            items.push_back(Item::Buffer { bytes });
            continue;
        }
        let (encoding, shape) = match info.dtype {
            Dtype::F32 => (Encoding::F32, info.shape.clone()),
            Dtype::F16 => (Encoding::F16, info.shape.clone()),
            Dtype::BF16 => (Encoding::Bf16, info.shape.clone()),
            Dtype::U8 => {
                let (encoding, [rows, cols]) =
                    metadata.get(&name).and_then(|value| described(value)).ok_or_else(|| {
                        format!("tensor `{name}` is U8 but no metadata says what it holds, as `q8:[rows,cols]` would")
                    })?;
                let row_bytes = encoding.row_bytes(cols);
                if info.shape.len() != 2 || info.shape[0] != rows || Some(info.shape[1]) != row_bytes {
                    return Err(format!(
                        "tensor `{name}` should be {encoding} [{rows}, {cols}], but its bytes have the shape {:?}",
                        info.shape
                    ));
                }
                (encoding, vec![rows, cols])
            }
            other => return Err(format!("tensor `{name}` is {other:?}; expected F32, F16, BF16, or U8 blocks")),
        };
        items.push_back(Item::Tensor(TensorHeader { name, shape, encoding, bytes }));
    }
    Ok(items)
}

/// Names a weight by its tensor and its place there.
#[cfg(feature = "native")]
pub(super) fn bad_weight(name: &str, row: usize, cols: usize, bad: BadWeight) -> Error {
    let index = row * cols + bad.index;
    Error::BadModel(format!("tensor `{name}`, row {row}: {}", BadWeight { index, ..bad }))
}

pub(super) fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}

/// What metadata says of a tensor of blocks, the opposite of [`description`].
fn described(value: &str) -> Option<(Encoding, [usize; 2])> {
    let (encoding, shape) = value.split_once(":[")?;
    let (rows, cols) = shape.strip_suffix(']')?.split_once(',')?;
    let encoding = encoding.parse::<Encoding>().ok().filter(|encoding| encoding.is_blocks())?;
    Some((encoding, [rows.parse().ok()?, cols.parse().ok()?]))
}

/// The metadata of a tensor of blocks.
#[cfg(feature = "native")]
pub(super) fn description(encoding: Encoding, [rows, cols]: [usize; 2]) -> String {
    format!("{encoding}:[{rows},{cols}]")
}
