//! Where a training run stands, on disk: written whole or not at all, so that a run can stop at any moment.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::slots::NamedTensor;
use crate::{Error, Result};

/// A checkpoint's folder.
pub struct Checkpoint {
    folder: PathBuf,
}

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer";
const PROGRESS: &str = "progress.json";

impl Checkpoint {
    /// The checkpoint of the run that writes to `out`.
    pub fn of(out: &Path) -> Self {
        Self { folder: out.join("checkpoint") }
    }

    /// The tensors, the optimiser's state loaded into `optimizer`, and the place in the run from which it goes on; `None`
    /// if there is no checkpoint.
    pub fn load<P: DeserializeOwned>(
        &self,
        optimizer: ModuleOptimizer,
    ) -> Result<Option<(Vec<NamedTensor>, ModuleOptimizer, P)>> {
        if !self.folder.join(PROGRESS).exists() {
            return Ok(None);
        }
        let progress = read(&self.folder.join(PROGRESS))?;
        let progress = serde_json::from_slice(&progress)
            .map_err(|e| Error::BadInput(format!("{}: {e}", self.folder.join(PROGRESS).display())))?;
        let tensors = read_tensors(&self.folder.join(MODEL))?;
        let optimizer = optimizer
            .load(self.folder.join(OPTIMIZER))
            .map_err(|e| Error::BadInput(format!("{}: {e:?}", self.folder.join(OPTIMIZER).display())))?;
        Ok(Some((tensors, optimizer, progress)))
    }

    /// Writes a new checkpoint beside the old one, then takes its place.
    pub fn save(&self, tensors: &[NamedTensor], optimizer: &ModuleOptimizer, progress: &impl Serialize) -> Result<()> {
        let fresh = self.folder.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
        write_tensors(&fresh.join(MODEL), tensors)?;
        optimizer
            .save(fresh.join(OPTIMIZER))
            .map_err(|e| Error::BadInput(format!("{}: {e:?}", fresh.join(OPTIMIZER).display())))?;
        let json = serde_json::to_vec(progress).map_err(|e| Error::BadInput(e.to_string()))?;
        fs::write(fresh.join(PROGRESS), json).map_err(Error::io(fresh.join(PROGRESS)))?;
        let _ = fs::remove_dir_all(&self.folder);
        fs::rename(&fresh, &self.folder).map_err(Error::io(&self.folder))
    }
}

/// Writes f32 tensors as a safetensors file.
pub fn write_tensors(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let bad = |e: safetensors::SafeTensorError| Error::BadModel(format!("{}: {e}", path.display()));
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, shape, values)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map_err(bad)?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<_>>()?;
    safetensors::serialize_to_file(views, None, path).map_err(bad)
}

/// Reads what [`write_tensors`] wrote; tensors of another type than f32 are refused.
pub fn read_tensors(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = read(path)?;
    let bad = |e| Error::BadModel(format!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).map_err(bad)?;
    file.tensors()
        .into_iter()
        .map(|(name, view)| match view.dtype() {
            Dtype::F32 => Ok((name, view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data()))),
            found => Err(Error::BadModel(format!("{}: expected {name} as f32, found {found:?}", path.display()))),
        })
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(path))
}
