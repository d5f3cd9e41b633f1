//! A low-rank change beside a matrix that stays as it is (LoRA): what is trained where the matrix is too large to be.
//!
//! burn's own LoRA adds the change to the weights at each use; here it is applied to the vectors, so that the matrix
//! can stay encoded and one token costs `rank · (in + out)` multiplications more.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::float::project;

/// `ΔW = scale · B · A` (Hu et al. 2021, arXiv 2106.09685, section 4.1).
#[derive(Module, Debug)]
pub struct LowRank {
    /// `[rank, in]`
    pub a: Param<Tensor<2>>,
    /// `[out, rank]`
    pub b: Param<Tensor<2>>,
    #[module(skip)]
    /// Alpha / rank.
    pub scale: f32,
}

impl LowRank {
    /// What is to be added to the product with the matrix: `[batch, time, in]` to `[batch, time, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        project(project(x, self.a.val()), self.b.val()).mul_scalar(self.scale)
    }

    /// `ΔW`, `[out, in]`.
    pub fn delta(&self) -> Tensor<2> {
        self.b.val().matmul(self.a.val()).mul_scalar(self.scale)
    }
}
