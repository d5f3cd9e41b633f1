//! Named tensors on their way from files into a model: each asked for once, by name and shape.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::{Error, Result, kernels::Matrix};

/// Tensors by their Hugging Face names. A model takes what it needs; [`finish`](Weights::finish) names what is left.
pub struct Weights {
    device: Device,
    map: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    pub fn from_tensors(device: &Device, t: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        Self { device: device.clone(), map: t.into_iter().map(|(n, s, d)| (n, (s, d))).collect() }
    }
    /// The device that the tensors are created on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether a tensor of that name is still there.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Takes a matrix, `[rows, cols]`, float or quantised as the file has it.
    pub fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let (s, d) = self.map.remove(name).ok_or_else(|| Error::BadModel(format!("missing {name}")))?;
        if s != shape { return Err(Error::BadModel(format!("{name}: {s:?} {shape:?}"))); }
        Ok(Matrix::Float(Param::from_tensor(Tensor::from_data(TensorData::new(d, s), &self.device))))
    }

    /// Takes a vector as f32, `[len]`.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>> {
        let (s, d) = self.map.remove(name).ok_or_else(|| Error::BadModel(format!("missing {name}")))?;
        if s != [len] { return Err(Error::BadModel(format!("{name}: {s:?} {len:?}"))); }
        Ok(Tensor::from_data(TensorData::new(d, s), &self.device))
    }

    /// An error that names every tensor nobody asked for.
    pub fn finish(self) -> Result<()> {
        if self.map.is_empty() { Ok(()) } else { Err(Error::BadModel(format!("left over: {:?}", self.map.keys()))) }
    }
}
