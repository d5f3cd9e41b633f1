//! A model as files: manifest, tokenizer, weights.

#[cfg(feature = "native")]
mod checkpoint;
#[cfg(feature = "native")]
mod convert;
mod manifest;
mod self_test;
mod shard;
mod source;
mod weights;
#[cfg(feature = "native")]
mod writer;

use std::collections::HashMap;

use burn::tensor::Device;
use bytes::Bytes;

#[cfg(feature = "native")]
pub use checkpoint::Checkpoint;
#[cfg(feature = "native")]
pub use convert::{ConvertOptions, Converted, convert};
pub use manifest::{DefaultPolicy, FORMAT, FileEntry, MANIFEST, Manifest, Provenance, SCORES, Scores, VERSION};
pub use self_test::{KnownCase, KnownStep, MAX_TOLERANCE, SelfTest, TestCategory};
pub use weights::Weights;
#[cfg(feature = "native")]
pub use writer::{save_manifest, set_policy, write_bundle};

pub use crate::kernels::Encoding;
pub use crate::prompt::Template;
pub use crate::verdict::Thresholds;

use crate::error::{Error, Result};
use crate::policy::Policy;
use source::Files;
pub use source::{FileBytes, ReadFile, SharedReader};

// `EMBEDDED`: the names and bytes of models/rsafe-mini, empty where the model was not there at build time.
#[cfg(feature = "embedded")]
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A model's manifest and where its files are. Files are checked against the manifest when they are read.
#[derive(Debug, Clone)]
pub struct Bundle {
    manifest: Manifest,
    source: Files,
}

impl Bundle {
    /// rsafe-mini, compiled into the library.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if `models/rsafe-mini` was not there when the library was built.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Self> {
        if EMBEDDED.is_empty() {
            let what = "this build has no embedded model (models/rsafe-mini was missing); give a bundle's folder";
            return Err(Error::Unsupported(what.into()));
        }
        Self::from_files(EMBEDDED.iter().map(|&(name, bytes)| (name.to_owned(), Bytes::from_static(bytes))).collect())
    }

    /// A bundle's folder, as `rsafe convert` writes it.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no manifest, [`Error::BadModel`] if it makes no sense.
    #[cfg(feature = "native")]
    pub fn open(folder: impl AsRef<std::path::Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(MANIFEST);
        let manifest = Manifest::parse(&checkpoint::read_small(&path)?)?;
        Ok(Self { manifest, source: Files::Folder(folder.to_owned()) })
    }

    /// A bundle's files in memory, by name; one of them is `manifest.json`. Quantised weights stay slices of these;
    /// files that the manifest does not list are dropped.
    ///
    /// # Errors
    /// [`Error::BadModel`] if there is no manifest, it makes no sense, or a name comes twice.
    pub fn from_files(files: Vec<(String, Bytes)>) -> Result<Self> {
        let mut memory = HashMap::new();
        for (name, bytes) in files {
            if memory.insert(name.clone(), bytes).is_some() {
                return Err(Error::BadModel(format!("the file `{name}` was given twice")));
            }
        }
        let manifest = memory.remove(MANIFEST);
        let manifest = manifest.ok_or_else(|| Error::BadModel(format!("no file is named `{MANIFEST}`")))?;
        let manifest = Manifest::parse(&manifest)?;
        memory.retain(|name, _| manifest.file(name).is_ok());
        Ok(Self { manifest, source: Files::Memory(memory) })
    }

    /// A manifest, and a reader that gives the files it lists when they are wanted, shards one after the other.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the manifest makes no sense.
    pub fn from_reader(manifest: &[u8], reader: SharedReader) -> Result<Self> {
        Ok(Self { manifest: Manifest::parse(manifest)?, source: Files::Reader(reader) })
    }

    /// The bundle with another calibration.
    #[doc(hidden)]
    pub fn with_calibration(mut self, calibration: crate::verdict::Calibration) -> Self {
        self.manifest.calibration = calibration;
        self
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A file that the manifest lists.
    ///
    /// # Errors
    /// [`Error::Integrity`] if its size or sha256 is not the manifest's; [`Error::BadModel`] if it is not listed.
    pub async fn file(&self, name: &str) -> Result<Bytes> {
        self.source.file(self.manifest.file(name)?).await
    }

    /// The policy of a request that brings none.
    ///
    /// # Errors
    /// [`Error::BadPolicy`] if it is none, and what [`file`](Self::file) has wrong.
    pub async fn policy(&self) -> Result<Policy> {
        Ok(match &self.manifest.policy {
            DefaultPolicy::Builtin(name) => Policy::builtin(name)?,
            DefaultPolicy::File(name) => Policy::from_bytes(&self.file(name).await?, Some(name))?,
        })
    }

    /// The model's `tokenizer.json`.
    pub async fn tokenizer(&self) -> Result<Bytes> {
        self.file(&self.manifest.tokenizer).await
    }

    /// Reads all weights, shard by shard.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a shard that is not the manifest's; [`Error::BadModel`] for one that cannot be read.
    pub async fn weights(&self, device: &Device) -> Result<Weights> {
        let mut weights = Weights::new(device);
        for shard in self.manifest.shards() {
            self.source.weights(shard, &mut weights).await?;
            weights.settle()?;
        }
        weights.join_parts()?;
        Ok(weights)
    }
}
