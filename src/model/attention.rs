//! Grouped-query attention and the biases that say who may see whom. Positions and caches are their callers' business.

use std::ops::Range;

use burn::tensor::{Bool, DType, Device, Tensor, TensorData, activation::softmax};

/// What is added to the score of a position that may not be seen.
///
/// Finite, so that a row that sees nothing (padding) gives an average that nobody reads, not NaN; and far enough
/// from the smallest f32 that two biases can be added.
pub const MASKED: f32 = -1e30;

/// Softmax(q·kᵀ / √head_dim + bias)·v, computed in f32.
///
/// `q` is `[batch, heads, time, head_dim]`, `k` and `v` are `[batch, kv_heads, span, head_dim]` where `heads` is a
/// multiple of `kv_heads`: each run of `heads / kv_heads` query heads shares one key head. `bias` broadcasts to
/// `[batch, heads, time, span]`. Gives `[batch, heads, time, head_dim]`.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Option<&Tensor<4>>) -> Tensor<4> {
    let [batch, heads, time, head_dim] = q.dims();
    let [_, kv_heads, span, _] = k.dims();
    let rows = heads / kv_heads * time;
    let dtype = q.dtype();

    // The query heads of a group become more rows of one product: keys and values are never repeated.
    let q = q.mul_scalar((head_dim as f64).powf(-0.5)).reshape([batch, kv_heads, rows, head_dim]);
    let scores = q.matmul(k.transpose()).reshape([batch, heads, time, span]);
    let scores = if dtype == DType::F32 { scores } else { scores.cast(DType::F32) };
    let scores = match bias {
        Some(bias) => scores + bias.clone(),
        None => scores,
    };
    let shares = softmax(scores, 3);
    let shares = if dtype == DType::F32 { shares } else { shares.cast(dtype) };
    shares.reshape([batch, kv_heads, rows, span]).matmul(v).reshape([batch, heads, time, head_dim])
}

/// The bias under which the queries at `positions` see the keys at `0..=position`, `[1, 1, time, positions.end]`.
///
/// None for a single query at the end, which sees everything.
pub fn causal_bias(positions: Range<usize>, device: &Device) -> Option<Tensor<4>> {
    let (time, span) = (positions.len(), positions.end);
    if time <= 1 {
        return None;
    }
    let bias: Vec<f32> =
        positions.flat_map(|query| (0..span).map(move |key| if key <= query { 0.0 } else { MASKED })).collect();
    Some(Tensor::from_data(TensorData::new(bias, [1, 1, time, span]), device))
}

/// The bias under which nobody sees padding, `[batch, 1, 1, time]`, from `[batch, time]` where true is padding.
pub fn padding_bias(padding: Tensor<2, Bool>) -> Tensor<4> {
    let [batch, time] = padding.dims();
    padding.float().mul_scalar(MASKED).reshape([batch, 1, 1, time])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(shape: [usize; 4], step: f32) -> Tensor<4> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn close(a: Tensor<4>, b: Tensor<4>) {
        let difference: f32 = (a - b).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn a_group_of_query_heads_shares_its_key_head() {
        let (q, k, v) = (ramp([2, 6, 5, 4], 0.3), ramp([2, 2, 7, 4], 0.7), ramp([2, 2, 7, 4], 1.1));
        let repeat = |x: Tensor<4>| {
            let heads: Vec<_> = (0..6).map(|head| x.clone().narrow(1, head / 3, 1)).collect();
            Tensor::cat(heads, 1)
        };
        close(attend(q.clone(), k.clone(), v.clone(), None), attend(q, repeat(k), repeat(v), None));
    }

    #[test]
    fn a_causal_query_does_not_see_later_keys() {
        let (q, k, v) = (ramp([1, 2, 3, 4], 0.3), ramp([1, 2, 5, 4], 0.7), ramp([1, 2, 5, 4], 1.1));
        let bias = causal_bias(2..5, &Device::flex());
        let all = attend(q.clone(), k.clone(), v.clone(), bias.as_ref());
        for i in 0..3 {
            let alone =
                attend(q.clone().narrow(2, i, 1), k.clone().narrow(2, 0, 3 + i), v.clone().narrow(2, 0, 3 + i), None);
            close(all.clone().narrow(2, i, 1), alone);
        }
    }

    #[test]
    fn a_row_that_sees_nothing_is_finite() {
        let padding = Tensor::<2, Bool>::from_data([[true, true, true]], &Device::flex());
        let bias = padding_bias(padding) + causal_bias(0..3, &Device::flex()).unwrap();
        let out = attend(ramp([1, 2, 3, 4], 0.3), ramp([1, 2, 3, 4], 0.7), ramp([1, 2, 3, 4], 1.1), Some(&bias));
        assert!(out.is_finite().all().into_scalar::<bool>());
    }
}
