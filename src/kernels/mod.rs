//! Matrices as models hold them (float or encoded) and the products they are for.
//!
//! An encoded matrix is a CPU body: activations are read back, which on the Flex device costs a copy of `x` at most.
//! On any other device, and under autodiff, [`Matrix::from_encoded`] decodes to floats, so that a model runs anywhere.

mod encoded;
mod encoding;
mod float;
mod low_rank;
mod row;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

pub use encoded::Encoded;
pub use encoding::{BLOCK, BadWeight, Encoding};
pub use low_rank::LowRank;

/// A weight matrix `[rows, cols]` = `[out, in]`, as Hugging Face stores it.
#[derive(Module, Debug)]
pub enum Matrix {
    /// Differentiable floats.
    Float(Param<Tensor<2>>),
    /// Weights that stay encoded in memory; no gradients flow to them.
    Quantised(Quantised),
}

/// An [`Encoded`] matrix as a part of a module: it has no parameters, and moving the module moves nothing.
#[derive(Module, Debug)]
pub struct Quantised {
    #[module(skip)]
    weights: Encoded,
}

/// Whether encoded weights can be multiplied where they are: the CPU, without gradients.
pub fn runs_encoded(device: &Device) -> bool {
    #[cfg(feature = "cpu")]
    let cpu = *device == Device::flex();
    #[cfg(not(feature = "cpu"))]
    let cpu = false;
    cpu && !device.is_autodiff()
}

impl Quantised {
    pub fn weights(&self) -> &Encoded {
        &self.weights
    }
}

impl Matrix {
    /// A float parameter.
    pub fn from_tensor(weight: Tensor<2>) -> Self {
        Matrix::Float(Param::from_tensor(weight))
    }

    /// Encoded where the device can multiply it so, decoded to floats everywhere else and for f32.
    pub fn from_encoded(weights: Encoded, device: &Device) -> Self {
        if weights.encoding() != Encoding::F32 && runs_encoded(device) {
            Matrix::Quantised(Quantised { weights })
        } else {
            Matrix::from_tensor(weights.to_tensor(device))
        }
    }

    /// `[rows, cols]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Matrix::Float(weight) => weight.dims(),
            Matrix::Quantised(matrix) => matrix.weights.dims(),
        }
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        match self {
            Matrix::Float(weight) => weight.dims().iter().product::<usize>() * weight.val().dtype().size(),
            Matrix::Quantised(matrix) => matrix.weights.bytes(),
        }
    }

    /// All weights as floats, `[rows, cols]`, on `device`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        match self {
            Matrix::Float(weight) => weight.val().to_device(device),
            Matrix::Quantised(matrix) => matrix.weights.to_tensor(device),
        }
    }

    /// `x · Wᵀ`: `[batch, time, cols]` to `[batch, time, rows]`.
    pub fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        match self {
            Matrix::Float(weight) => float::project(x, weight.val()),
            Matrix::Quantised(matrix) => {
                let [rows, _] = matrix.weights.dims();
                on_cpu(x, [batch, time, rows], |x| matrix.weights.project(x))
            }
        }
    }

    /// `x · Wᵀ` for the rows of those indices alone, as the logits of a few tokens need:
    /// `[batch, time, cols]` to `[batch, time, rows.len()]`.
    ///
    /// # Panics
    /// If an index is not below the number of rows.
    pub fn project_rows(&self, x: Tensor<3>, rows: &[u32]) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        match self {
            Matrix::Float(weight) => {
                let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
                let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &x.device());
                float::project(x, weight.val().select(0, indices))
            }
            Matrix::Quantised(matrix) => on_cpu(x, [batch, time, rows.len()], |x| matrix.weights.project_rows(x, rows)),
        }
    }

    /// Rows by index, as an embedding gives them: `[batch, time]` to `[batch, time, cols]`. Of an encoded matrix only
    /// those rows are decoded.
    ///
    /// # Panics
    /// If an index is not below the number of rows.
    pub fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match self {
            Matrix::Float(weight) => burn::tensor::module::embedding(weight.val(), ids),
            Matrix::Quantised(matrix) => {
                let ([batch, time], device) = (ids.dims(), ids.device());
                let [_, cols] = matrix.weights.dims();
                let ids: Vec<usize> = ids.into_data().iter::<i64>().map(|id| id as usize).collect();
                let rows = matrix.weights.gather(ids.into_iter());
                Tensor::from_data(TensorData::new(rows, [batch, time, cols]), &device)
            }
        }
    }
}

/// Hands the numbers of `x` to `product` and makes a tensor of what it gives.
fn on_cpu(x: Tensor<3>, shape: [usize; 3], product: impl FnOnce(&[f32]) -> Vec<f32>) -> Tensor<3> {
    let device = x.device();
    // Activations are f32 everywhere in rsafe; the cast costs nothing then and keeps other types right.
    let data = x.cast(DType::F32).into_data();
    let x = data.as_slice::<f32>().expect("the tensor was just cast to f32");
    Tensor::from_data(TensorData::new(product(x), shape), &device)
}

/// `x · Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    pub weight: Matrix,
    pub bias: Option<Param<Tensor<1>>>,
    /// What is trained in place of the weight.
    pub adapter: Option<LowRank>,
}

impl Linear {
    pub fn new(weight: Matrix, bias: Option<Tensor<1>>) -> Self {
        Self { weight, bias: bias.map(Param::from_tensor), adapter: None }
    }

    /// `[batch, time, in]` to `[batch, time, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let change = self.adapter.as_ref().map(|adapter| adapter.forward(x.clone()));
        let y = self.weight.project(x);
        let y = match change {
            Some(change) => y + change,
            None => y,
        };
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}
