//! Writing a bundle: tensors are encoded row by row into shards; every file appears whole or not at all, the manifest last.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checkpoint::read_small;
use super::manifest::{DefaultPolicy, FileEntry, MANIFEST, Manifest, plain_name};
use super::shard::{bad_weight, description, hex};
use crate::error::{Error, Result};
use crate::kernels::Encoding;
use crate::policy::Policy;

/// The file of a bundle's own policy.
const POLICY: &str = "policy.json";
/// Bytes of a shard, header included.
const SHARD: usize = 64_000_000;
/// Bytes of a tensor, so that it fits a shard.
const PART: usize = 32 << 20;
/// Weights of a tensor, so that even decoded to f32 it fits one binding of a GPU (128 MiB).
const PART_WEIGHTS: usize = 32 << 20;
/// What a tensor's line in the header takes beside its name, generously.
const HEADER_LINE: usize = 512;

/// Writes a bundle of tensors in memory. `manifest.files` is filled in; matrices get `encoding`, vectors stay f32.
///
/// # Errors
/// [`Error::BadInput`] if `folder` has something in it and `overwrite` is false; [`Error::BadModel`] for a tensor that
/// is neither matrix nor vector or has a weight that cannot be encoded; [`Error::Io`].
pub fn write_bundle(
    folder: impl AsRef<Path>,
    manifest: Manifest,
    files: Vec<(String, Vec<u8>)>,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    encoding: Encoding,
    overwrite: bool,
) -> Result<Manifest> {
    let mut writer = Writer::create(folder.as_ref(), overwrite)?;
    for (name, bytes) in files {
        writer.file(&name, &bytes)?;
    }
    for (name, shape, values) in tensors {
        let mut tensor = writer.tensor(&name, &shape, encoding)?;
        if tensor.weights() != values.len() {
            let what = format!("tensor `{name}` of shape {shape:?} has {} values, which do not agree", values.len());
            return Err(Error::BadModel(what));
        }
        for row in values.chunks_exact(tensor.cols) {
            tensor.row(row)?;
        }
        tensor.finish()?;
    }
    writer.finish(manifest)
}

/// Replaces a bundle's manifest, e.g. after thresholds or a self-test were chosen.
pub fn save_manifest(folder: impl AsRef<Path>, manifest: &Manifest) -> Result<()> {
    manifest.validate()?;
    let mut file = Whole::create(folder.as_ref(), MANIFEST)?;
    file.write(&manifest.to_json()?)?;
    file.finish().map(drop)
}

/// Writes a policy beside a bundle's weights and makes it, in `manifest`, the one of requests that bring none;
/// [`save_manifest`] comes next.
pub fn set_policy(folder: impl AsRef<Path>, manifest: &mut Manifest, policy: &Policy) -> Result<()> {
    let mut file = Whole::create(folder.as_ref(), POLICY)?;
    file.write(policy.to_json().as_bytes())?;
    manifest.files.retain(|file| file.name != POLICY);
    manifest.files.push(file.finish()?);
    manifest.policy = DefaultPolicy::File(POLICY.into());
    Ok(())
}

/// A bundle being written.
pub(super) struct Writer {
    folder: PathBuf,
    files: Vec<FileEntry>,
    names: HashSet<String>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    shards: usize,
    stale: Vec<String>,
}

/// A tensor on its way into the next shard.
struct Pending {
    name: String,
    shape: Vec<usize>,
    encoding: Encoding,
    bytes: Vec<u8>,
}

impl Writer {
    pub fn create(folder: &Path, overwrite: bool) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut stale = Vec::new();
        if fs::read_dir(folder).map_err(Error::io(folder))?.next().is_some() {
            if !overwrite {
                return Err(Error::BadInput(format!(
                    "{} is not empty; choose another folder, or ask to overwrite it",
                    folder.display()
                )));
            }
            let old = read_small(&folder.join(MANIFEST)).ok().and_then(|json| Manifest::parse(&json).ok());
            stale = old.into_iter().flat_map(|old| old.files).map(|file| file.name).collect();
        }
        Ok(Self {
            folder: folder.to_owned(),
            files: Vec::new(),
            names: HashSet::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            shards: 0,
            stale,
        })
    }

    /// Writes a file that is no weights.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = Whole::create(&self.folder, name)?;
        file.write(bytes)?;
        self.files.push(file.finish()?);
        Ok(())
    }

    /// Begins a tensor. A matrix gets the wanted encoding, a vector f32.
    pub fn tensor(&mut self, name: &str, shape: &[usize], wanted: Encoding) -> Result<TensorWriter<'_>> {
        let bad = |what: &str| Error::BadModel(format!("tensor `{name}` of shape {shape:?} {what}"));
        let (encoding, rows, cols) = match *shape {
            [cols] => (Encoding::F32, 1, cols),
            [rows, cols] => (wanted, rows, cols),
            _ => return Err(bad("is neither a matrix nor a vector")),
        };
        let row_bytes =
            encoding.row_bytes(cols).filter(|&bytes| rows > 0 && bytes > 0 && bytes <= PART && cols <= PART_WEIGHTS);
        let row_bytes = row_bytes.ok_or_else(|| bad(&format!("is empty, or its rows have more than {PART} bytes")))?;
        if !self.names.insert(name.to_owned()) {
            return Err(bad("comes twice"));
        }
        let rows_per_part = (PART / row_bytes).min(PART_WEIGHTS / cols);
        let split = rows > rows_per_part;
        Ok(TensorWriter {
            writer: self,
            name: name.to_owned(),
            vector: shape.len() == 1,
            encoding,
            rows,
            cols,
            rows_per_part,
            split,
            done: 0,
            part: Vec::new(),
        })
    }

    /// Queues a tensor for the next shard, which is written when it is full.
    fn push(&mut self, tensor: Pending) -> Result<()> {
        let bytes = tensor.bytes.len() + tensor.name.len() * 2 + HEADER_LINE;
        if self.pending_bytes + bytes > SHARD {
            self.flush()?;
        }
        self.pending_bytes += bytes;
        self.pending.push(tensor);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut tensors = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if tensors.is_empty() {
            return Ok(());
        }
        // Wide types first keeps every tensor aligned to its own type.
        tensors.sort_by_key(|tensor| match tensor.encoding {
            Encoding::F32 => 0,
            Encoding::F16 | Encoding::Bf16 => 1,
            Encoding::Q8 | Encoding::Q4 => 2,
        });
        self.shards += 1;
        let mut file = Whole::create(&self.folder, &format!("model-{:05}.safetensors", self.shards))?;
        let header = header(&tensors)?;
        file.write(&(header.len() as u64).to_le_bytes())?;
        file.write(&header)?;
        for tensor in tensors {
            file.write(&tensor.bytes)?;
        }
        self.files.push(file.finish()?);
        Ok(())
    }

    /// Writes the last shard and the manifest, and removes files of the bundle that was overwritten.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Manifest> {
        self.flush()?;
        manifest.files = self.files;
        save_manifest(&self.folder, &manifest)?;
        for name in self.stale.iter().filter(|name| manifest.file(name).is_err()) {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path)(error)),
                _ => {}
            }
        }
        Ok(manifest)
    }
}

/// A safetensors header, padded so that the tensors begin at a multiple of 8.
fn header(tensors: &[Pending]) -> Result<Vec<u8>> {
    let mut metadata = HashMap::from([("format".to_owned(), "rsafe".to_owned())]);
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for Pending { name, shape, encoding, bytes } in tensors {
        let (dtype, stored) = match encoding {
            Encoding::F32 => ("F32", shape.clone()),
            Encoding::F16 => ("F16", shape.clone()),
            Encoding::Bf16 => ("BF16", shape.clone()),
            Encoding::Q8 | Encoding::Q4 => {
                metadata.insert(name.clone(), description(*encoding, [shape[0], shape[1]]));
                ("U8", vec![shape[0], bytes.len() / shape[0]])
            }
        };
        let end = at + bytes.len();
        header.insert(name.clone(), serde_json::json!({"dtype": dtype, "shape": stored, "data_offsets": [at, end]}));
        at = end;
    }
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut json = serde_json::to_vec(&header).map_err(|error| Error::BadModel(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// A tensor being encoded, row by row.
pub(super) struct TensorWriter<'w> {
    writer: &'w mut Writer,
    name: String,
    vector: bool,
    encoding: Encoding,
    rows: usize,
    /// Weights of a row.
    pub cols: usize,
    rows_per_part: usize,
    split: bool,
    done: usize,
    part: Vec<u8>,
}

impl TensorWriter<'_> {
    pub fn weights(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    pub fn row(&mut self, row: &[f32]) -> Result<()> {
        self.encoding
            .encode_row(row, &mut self.part)
            .map_err(|bad| bad_weight(&self.name, self.done, self.cols, bad))?;
        self.done += 1;
        if self.done.is_multiple_of(self.rows_per_part) || self.done == self.rows { self.push_part() } else { Ok(()) }
    }

    fn push_part(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.part);
        let part = (self.done - 1) / self.rows_per_part;
        let rows = self.done - part * self.rows_per_part;
        let name = if self.split { format!("{}.part{part}", self.name) } else { self.name.clone() };
        let shape = if self.vector { vec![self.cols] } else { vec![rows, self.cols] };
        self.writer.push(Pending { name, shape, encoding: self.encoding, bytes })
    }

    /// Checks that all rows came.
    pub fn finish(self) -> Result<()> {
        if self.done != self.rows {
            let what = format!("tensor `{}`: expected {} rows but got {}", self.name, self.rows, self.done);
            return Err(Error::BadModel(what));
        }
        Ok(())
    }
}

/// A file under a temporary name until it is complete.
struct Whole {
    name: String,
    path: PathBuf,
    temporary: PathBuf,
    file: Option<fs::File>,
    hash: Sha256,
    size: u64,
}

impl Whole {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        plain_name(name)?;
        let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let file = fs::File::create(&temporary).map_err(Error::io(&temporary))?;
        Ok(Self {
            name: name.into(),
            path: folder.join(name),
            temporary,
            file: Some(file),
            hash: Sha256::new(),
            size: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes).map_err(Error::io(&self.temporary))?;
        }
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<FileEntry> {
        if let Some(file) = self.file.take() {
            // Before the rename: a name must never stand for content that a power cut can still take away.
            let result = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
            if let Err(error) = result {
                let _ = fs::remove_file(&self.temporary);
                return Err(Error::io(&self.path)(error));
            }
        }
        Ok(FileEntry {
            name: std::mem::take(&mut self.name),
            size: self.size,
            sha256: hex(&self.hash.finalize_reset()),
        })
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Still there only if an error came in between; nothing is left to tell anyone if this fails, too.
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
