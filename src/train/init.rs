//! Where a run begins: a bundle's folder, or one with the files of a checkpoint.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use pollster::block_on;
use safetensors::SafeTensors;

use super::checkpoint::read_tensors;
use super::warm_start::warm_start;
use crate::bundle::{Bundle, MANIFEST, Weights};
use crate::error::{Error, Result};
use crate::files::{Kind, read};
use crate::mini::network::SlotConfig;
use crate::tokenizer::Tokenizer;

pub struct Init {
    folder: PathBuf,
    /// `None` for the files of a checkpoint.
    pub bundle: Option<Bundle>,
    pub config: serde_json::Value,
    pub tokenizer: Vec<u8>,
}

impl Init {
    /// # Errors
    /// [`Error::Io`] and [`Error::BadModel`] for what is missing or cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        if folder.join(MANIFEST).exists() {
            let bundle = Bundle::open(&folder)?;
            let tokenizer = block_on(bundle.tokenizer())?.to_vec();
            return Ok(Self { config: bundle.manifest().config.clone(), tokenizer, bundle: Some(bundle), folder });
        }
        let file = |name: &str| read(&folder.join(name), Kind::Regular, u64::MAX, Error::BadModel);
        let config = serde_json::from_slice(&file("config.json")?)
            .map_err(|e| Error::BadModel(format!("{}: {e}", folder.join("config.json").display())))?;
        let tokenizer = file("tokenizer.json")?;
        Ok(Self { config, tokenizer, bundle: None, folder })
    }

    /// The weights as they are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn weights(&self, device: &Device) -> Result<Weights> {
        match &self.bundle {
            Some(bundle) => block_on(bundle.weights(device)),
            None => Weights::from_tensors(device, read_tensors(&self.file())?),
        }
    }

    /// The weights as they are, those of a trunk with what it has not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn warm(&self, config: &SlotConfig, seed: u64, device: &Device) -> Result<Weights> {
        if self.bundle.is_some() {
            return self.weights(device);
        }
        let path = self.file();
        let bytes = read(&path, Kind::Regular, u64::MAX, Error::BadModel)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::BadModel(format!("{}: {e}", path.display())))?;
        // A published BERT also holds what is no weight, such as the numbers of its positions.
        match file.names().contains(&"slot_head.weight") {
            true => self.weights(device),
            false => {
                let cls = Tokenizer::from_bytes(&self.tokenizer)?.control("[CLS]")?;
                Weights::from_tensors(device, warm_start(config, &file, cls, seed)?)
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("model.safetensors")
    }
}
