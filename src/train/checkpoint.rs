//! Where a training run stands, on disk: written whole or not at all, so that a run can stop at any moment.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;
use crate::mini::network::training::NamedTensor;

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
        let Some(folder) = self.whole() else { return Ok(None) };
        let progress = read(&folder.join(PROGRESS))?;
        let progress = serde_json::from_slice(&progress)
            .map_err(|e| Error::BadInput(format!("{}: {e}", folder.join(PROGRESS).display())))?;
        let tensors = read_tensors(&folder.join(MODEL))?;
        let optimizer = optimizer
            .load(folder.join(OPTIMIZER))
            .map_err(|e| Error::BadInput(format!("{}: {e:?}", folder.join(OPTIMIZER).display())))?;
        Ok(Some((tensors, optimizer, progress)))
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.whole().is_some()
    }

    /// Where a whole checkpoint lies, the newer one first: a run may have stopped before that took the old one's place.
    fn whole(&self) -> Option<PathBuf> {
        [self.fresh(), self.folder.clone()].into_iter().find(|folder| folder.join(PROGRESS).exists())
    }

    fn fresh(&self) -> PathBuf {
        self.folder.with_extension("new")
    }

    /// Writes a new checkpoint beside the old one, its progress last; then it takes the old one's place.
    pub fn save(&self, tensors: &[NamedTensor], optimizer: &ModuleOptimizer, progress: &impl Serialize) -> Result<()> {
        let fresh = self.fresh();
        if fresh.join(PROGRESS).exists() {
            self.replace()?;
        }
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
        write_tensors(&fresh.join(MODEL), tensors)?;
        optimizer
            .save(fresh.join(OPTIMIZER))
            .map_err(|e| Error::BadInput(format!("{}: {e:?}", fresh.join(OPTIMIZER).display())))?;
        let json = serde_json::to_vec(progress).map_err(|e| Error::BadInput(e.to_string()))?;
        // In one step: half a file would count as a whole checkpoint.
        let progress = fresh.join("progress.part");
        fs::write(&progress, json).map_err(Error::io(&progress))?;
        fs::rename(&progress, fresh.join(PROGRESS)).map_err(Error::io(&progress))?;
        self.replace()
    }

    /// Puts the new checkpoint in the old one's place.
    fn replace(&self) -> Result<()> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::rename(self.fresh(), &self.folder).map_err(Error::io(&self.folder))
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
    files::read(path, files::Kind::Regular, u64::MAX, Error::BadModel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::sft::adam_w;

    #[test]
    fn a_stop_between_the_old_checkpoint_and_the_new_one_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::of(folder.path());
        let tensors = |value: f32| vec![("a".to_owned(), vec![1], vec![value])];
        let optimizer = adam_w(0.0, None);
        let found = || {
            let (tensors, _, step) = checkpoint.load::<usize>(optimizer.clone()).unwrap().unwrap();
            (tensors[0].2[0], step)
        };
        assert!(!checkpoint.exists());
        checkpoint.save(&tensors(1.0), &optimizer, &1).unwrap();
        assert_eq!(found(), (1.0, 1));
        // Stopped when the new one was whole and the old one gone.
        fs::rename(folder.path().join("checkpoint"), folder.path().join("checkpoint.new")).unwrap();
        assert_eq!(found(), (1.0, 1));
        // Stopped while one more was written.
        checkpoint.save(&tensors(2.0), &optimizer, &2).unwrap();
        fs::create_dir(folder.path().join("checkpoint.new")).unwrap();
        fs::write(folder.path().join("checkpoint.new").join(MODEL), "half").unwrap();
        assert_eq!(found(), (2.0, 2));
        checkpoint.save(&tensors(3.0), &optimizer, &3).unwrap();
        assert_eq!(found(), (3.0, 3));
    }
}
