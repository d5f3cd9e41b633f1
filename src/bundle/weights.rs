//! Named tensors on their way from files into a model: each asked for once, by name and shape.

use burn::tensor::{Device, Tensor};

use crate::{Result, kernels::Matrix};

/// Tensors by their Hugging Face names. A model takes what it needs; [`finish`](Weights::finish) names what is left.
pub struct Weights {}

impl Weights {
    /// The device that the tensors are created on.
    pub fn device(&self) -> &Device {
        todo!()
    }

    /// Whether a tensor of that name is still there.
    pub fn has(&self, _name: &str) -> bool {
        todo!()
    }

    /// Takes a matrix, `[rows, cols]`, float or quantised as the file has it.
    pub fn matrix(&mut self, _name: &str, _shape: [usize; 2]) -> Result<Matrix> {
        todo!()
    }

    /// Takes a vector as f32, `[len]`.
    pub fn vector(&mut self, _name: &str, _len: usize) -> Result<Tensor<1>> {
        todo!()
    }

    /// An error that names every tensor nobody asked for.
    pub fn finish(self) -> Result<()> {
        todo!()
    }
}
