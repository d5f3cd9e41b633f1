//! The product with a matrix of floats.

use burn::tensor::Tensor;

/// `x · Wᵀ`: `[batch, time, cols]` to `[batch, time, rows]`.
pub fn project(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [rows, cols] = weight.dims();
    let [batch, time, _] = x.dims();
    x.reshape([batch * time, cols]).matmul(weight.transpose()).reshape([batch, time, rows])
}
