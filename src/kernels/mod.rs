//! Matrices as models hold them (float or quantised blocks) and the product they are for.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

/// A weight matrix `[rows, cols]` = `[out, in]`, as Hugging Face stores it.
#[derive(Module, Debug)]
pub enum Matrix {
    Float(Param<Tensor<2>>),
}

impl Matrix {
    /// `x · Wᵀ`: `[batch, time, cols]` to `[batch, time, rows]`.
    pub fn project(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Matrix::Float(weight) => {
                let [rows, cols] = weight.dims();
                let [batch, time, _] = x.dims();
                x.reshape([batch * time, cols]).matmul(weight.val().transpose()).reshape([batch, time, rows])
            }
        }
    }

    /// `x · Wᵀ` for some of W's rows: `[batch, time, cols]` to `[batch, time, rows.len()]`.
    pub fn project_rows(&self, x: Tensor<3>, rows: &[u32]) -> Tensor<3> {
        match self {
            Matrix::Float(weight) => {
                let [batch, time, cols] = x.dims();
                let ids: Vec<i32> = rows.iter().map(|&r| r as i32).collect();
                let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &x.device());
                let picked = weight.val().select(0, ids);
                x.reshape([batch * time, cols]).matmul(picked.transpose()).reshape([batch, time, rows.len()])
            }
        }
    }

    /// Rows by index, as an embedding gives them: `[batch, time]` to `[batch, time, cols]`.
    pub fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match self {
            Matrix::Float(weight) => burn::tensor::module::embedding(weight.val(), ids),
        }
    }
}

/// `x · Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    pub weight: Matrix,
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// `[batch, time, in]` to `[batch, time, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.weight.project(x);
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}
