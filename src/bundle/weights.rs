//! Named tensors on their way from files into a model: each asked for once, by name and shape.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::{Error, Result, kernels::Matrix};

/// Tensors by their Hugging Face names. A model takes what it needs; [`finish`](Weights::finish) names what is left.
pub struct Weights {
    device: Device,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// Weights from memory: name, shape, values in row order.
    pub fn from_tensors(device: &Device, tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        let tensors = tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
        Self { device: device.clone(), tensors }
    }

    /// The device that the tensors are created on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether a tensor of that name is still there.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes a matrix, `[rows, cols]`, float or quantised as the file has it.
    pub fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let values = self.take(name, &shape)?;
        Ok(Matrix::Float(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))))
    }

    /// Takes a vector as f32, `[len]`.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>> {
        let values = self.take(name, &[len])?;
        Ok(Tensor::from_data(TensorData::new(values, [len]), &self.device))
    }

    /// An error that names every tensor nobody asked for.
    pub fn finish(self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.tensors.into_keys().collect();
        Err(Error::BadModel(format!("the model has no place for these tensors: {}", names.join(", "))))
    }

    fn take(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        match self.tensors.remove(name) {
            Some((shape, values)) if shape == expected => Ok(values),
            Some((shape, _)) => {
                Err(Error::BadModel(format!("tensor {name}: expected shape {expected:?}, found {shape:?}")))
            }
            None => Err(Error::BadModel(format!("tensor {name} with shape {expected:?} is missing"))),
        }
    }
}
