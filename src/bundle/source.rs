//! Where a bundle's files are: in a folder, in memory, or with a reader that gives them one by one. Nothing leaves this
//! room whose size and sha256 are not the manifest's.

use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "native")]
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::manifest::FileEntry;
#[cfg(feature = "native")]
use super::shard::hex;
use super::shard::{Input, Shard, sha256};
use super::weights::Weights;
use crate::error::{Error, Result};
#[cfg(feature = "native")]
use crate::files;

/// A file's bytes, some time from now.
pub type FileBytes<'r> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + 'r>>;

/// Gives a bundle's files by name, each when it is wanted: a download, a browser's storage, a picked folder.
pub trait ReadFile {
    /// The whole file. What it gives is checked against the manifest.
    fn read<'r>(&'r self, name: &'r str) -> FileBytes<'r>;
}

/// Where files come from.
#[derive(Clone)]
pub(super) enum Files {
    #[cfg(feature = "native")]
    Folder(PathBuf),
    Memory(HashMap<String, Bytes>),
    Reader(SharedReader),
}

/// A reader for every thread: on the web, where readers hold JavaScript values, there is one thread only.
#[cfg(not(target_family = "wasm"))]
pub type SharedReader = Arc<dyn ReadFile + Send + Sync>;
#[cfg(target_family = "wasm")]
pub type SharedReader = Arc<dyn ReadFile>;

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "native")]
            Files::Folder(folder) => write!(f, "Folder({})", folder.display()),
            Files::Memory(files) => f.debug_tuple("Memory").field(&files.keys()).finish(),
            Files::Reader(_) => f.write_str("Reader"),
        }
    }
}

impl Files {
    /// A whole file, checked.
    ///
    /// # Errors
    /// [`Error::Integrity`] if size or sha256 differ; [`Error::Io`] or [`Error::BadModel`] if it is not there.
    pub async fn file(&self, entry: &FileEntry) -> Result<Bytes> {
        let bytes = match self {
            #[cfg(feature = "native")]
            Files::Folder(folder) => {
                use std::io::Read;
                let path = folder.join(&entry.name);
                let mut bytes = Vec::new();
                let file = open(&path, entry)?;
                // One byte more than expected is enough to know that the file has grown since.
                file.take(entry.size.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(&path))?;
                Bytes::from(bytes)
            }
            Files::Memory(files) => in_memory(files, entry)?,
            Files::Reader(reader) => reader.read(&entry.name).await?.into(),
        };
        same_size(entry, bytes.len() as u64)?;
        same_hash(entry, &sha256(&bytes))?;
        Ok(bytes)
    }

    /// Adds a weight file's tensors to `weights`. From a folder, each tensor is read into memory of its own while the
    /// hash is computed; after an error, what was added is not to be used.
    pub async fn weights(&self, entry: &FileEntry, weights: &mut Weights) -> Result<()> {
        let size = usize::try_from(entry.size);
        let size = size.map_err(|_| Error::Unsupported(format!("`{}` is too large for this machine", entry.name)))?;
        match self {
            #[cfg(feature = "native")]
            Files::Folder(folder) => {
                use sha2::{Digest, Sha256};
                let path = folder.join(&entry.name);
                let result = stream(open(&path, entry)?, entry, size, weights);
                if matches!(result, Err(Error::BadModel(_))) {
                    // A damaged file rarely parses: its hash says better what is wrong with it.
                    let mut hash = Sha256::new();
                    std::io::copy(&mut open(&path, entry)?, &mut HashWriter(&mut hash)).map_err(Error::io(&path))?;
                    same_hash(entry, &hex(&hash.finalize()))?;
                }
                result
            }
            Files::Memory(_) | Files::Reader(_) => {
                let bytes = self.file(entry).await?;
                weights.read(&mut Shard::open(&entry.name, Input::Memory(bytes), size)?, |_| false)
            }
        }
    }
}

#[cfg(feature = "native")]
fn stream(file: std::fs::File, entry: &FileEntry, size: usize, weights: &mut Weights) -> Result<()> {
    use sha2::{Digest, Sha256};
    let reader = Box::new(std::io::BufReader::new(file));
    let mut shard = Shard::open(&entry.name, Input::Stream { reader, hash: Some(Sha256::new()) }, size)?;
    weights.read(&mut shard, |_| false)?;
    same_hash(entry, &shard.finish().unwrap_or_default())
}

/// Opens a file whose size is the manifest's.
#[cfg(feature = "native")]
fn open(path: &std::path::Path, entry: &FileEntry) -> Result<std::fs::File> {
    let file = files::open(path, files::Kind::Regular)?;
    same_size(entry, file.metadata().map_err(Error::io(path))?.len())?;
    Ok(file)
}

#[cfg(feature = "native")]
struct HashWriter<'a>(&'a mut sha2::Sha256);

#[cfg(feature = "native")]
impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn in_memory(files: &HashMap<String, Bytes>, entry: &FileEntry) -> Result<Bytes> {
    files.get(&entry.name).cloned().ok_or_else(|| {
        Error::BadModel(format!("the manifest lists `{}`, but no file of that name was given", entry.name))
    })
}

fn same_size(entry: &FileEntry, found: u64) -> Result<()> {
    if found != entry.size {
        return Err(Error::Integrity(format!(
            "`{}`: expected {} bytes but found {found}; copy or download it again",
            entry.name, entry.size
        )));
    }
    Ok(())
}

fn same_hash(entry: &FileEntry, found: &str) -> Result<()> {
    if found != entry.sha256 {
        return Err(Error::Integrity(format!(
            "`{}`: expected sha256 {} but found {found}; copy or download it again",
            entry.name, entry.sha256
        )));
    }
    Ok(())
}
