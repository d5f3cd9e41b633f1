//! Encoded matrices give what their decoded floats give, and keep their weights small.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use proptest::prelude::*;
use rsafe::kernels::{Encoded, Encoding, Linear, Matrix};

const ENCODINGS: [Encoding; 4] = [Encoding::F16, Encoding::Bf16, Encoding::Q8, Encoding::Q4];

fn weights(rows: usize, cols: usize) -> Vec<f32> {
    // Deterministic, of both signs, with a different scale in each row.
    (0..rows * cols).map(|i| ((i * 7919 % 2003) as f32 / 1001.0 - 1.0) * (1.0 + (i / cols % 5) as f32)).collect()
}

fn floats(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().as_slice::<f32>().unwrap().to_vec()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "at {i}: {a} and {b}");
    }
}

#[test]
fn encoded_products_equal_those_of_the_decoded_floats() {
    let device = Device::flex();
    for encoding in ENCODINGS {
        // Rows and columns on both sides of the tile and block sizes, and vectors on both sides of the two bodies.
        for (rows, cols) in [(1, 1), (3, 31), (64, 32), (65, 160), (200, 97)] {
            let encoded = Encoded::encode(encoding, [rows, cols], &weights(rows, cols)).unwrap();
            let float = Matrix::from_tensor(encoded.to_tensor(&device));
            let matrix = Matrix::from_encoded(encoded, &device);
            assert!(matches!(matrix, Matrix::Quantised(_)));
            assert_eq!(matrix.dims(), [rows, cols]);
            for (batch, time) in [(1, 1), (2, 2), (1, 5), (3, 7)] {
                let x = Tensor::<3>::random([batch, time, cols], Distribution::Uniform(-1.0, 1.0), &device);
                close(&floats(matrix.project(x.clone())), &floats(float.project(x.clone())), 1e-4);
                let picked = [rows as u32 - 1, 0, rows as u32 / 2];
                close(&floats(matrix.project_rows(x.clone(), &picked)), &floats(float.project_rows(x, &picked)), 1e-4);
            }
            let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![0, rows as i32 - 1, 0], [1, 3]), &device);
            close(&floats(matrix.rows(ids.clone())), &floats(float.rows(ids)), 0.0);
        }
    }
}

#[test]
fn picked_rows_are_those_of_the_whole_product() {
    let device = Device::flex();
    let encoded = Encoded::encode(Encoding::Q8, [40, 64], &weights(40, 64)).unwrap();
    let x = Tensor::<3>::random([1, 1, 64], Distribution::Uniform(-1.0, 1.0), &device);
    let matrix = Matrix::from_encoded(encoded, &device);
    let all = floats(matrix.project(x.clone()));
    assert_eq!(floats(matrix.project_rows(x, &[7, 39, 7])), [all[7], all[39], all[7]]);
}

#[test]
fn a_strided_input_is_read_in_its_logical_order() {
    let device = Device::flex();
    let matrix = Matrix::from_encoded(Encoded::encode(Encoding::Q8, [5, 6], &weights(5, 6)).unwrap(), &device);
    let x = Tensor::<3>::random([1, 6, 3], Distribution::Uniform(-1.0, 1.0), &device).swap_dims(1, 2);
    let copied = Tensor::<3>::from_data(x.clone().into_data(), &device);
    assert_eq!(floats(matrix.project(x)), floats(matrix.project(copied)));
}

#[test]
fn a_weight_costs_34_bytes_in_32_as_q8_and_18_as_q4() {
    let device = Device::flex();
    let bytes = |encoding| {
        Matrix::from_encoded(Encoded::encode(encoding, [64, 96], &weights(64, 96)).unwrap(), &device).bytes()
    };
    assert_eq!(bytes(Encoding::Q8), 64 * 96 / 32 * 34);
    assert_eq!(bytes(Encoding::Q4), 64 * 96 / 32 * 18);
    assert_eq!(bytes(Encoding::F16), 64 * 96 * 2);
    assert_eq!(bytes(Encoding::F32), 64 * 96 * 4);
}

#[test]
fn under_autodiff_weights_are_decoded_and_get_gradients() {
    let device = Device::flex().autodiff();
    let encoded = Encoded::encode(Encoding::Q8, [4, 8], &weights(4, 8)).unwrap();
    let matrix = Matrix::from_encoded(encoded, &device);
    let Matrix::Float(weight) = &matrix else { panic!("expected floats under autodiff") };
    let x = Tensor::<3>::ones([1, 2, 8], &device);
    let gradients = matrix.project(x).sum().backward();
    let gradient = weight.val().grad(&gradients).expect("a gradient for the weight");
    assert_eq!(gradient.into_data().as_slice::<f32>().unwrap(), [2.0; 32]);
}

#[test]
fn a_bias_is_added_to_every_position() {
    let device = Device::flex();
    let weight = Matrix::from_encoded(Encoded::encode(Encoding::Q8, [3, 4], &[0.0; 12]).unwrap(), &device);
    let bias = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
    let y = Linear::new(weight, Some(bias)).forward(Tensor::ones([1, 2, 4], &device));
    assert_eq!(floats(y), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
}

proptest! {
    #[test]
    fn an_encoded_weight_is_as_close_as_its_encoding_says(
        cols in 1usize..80, seed in prop::collection::vec(-1.0f32..1.0, 80), exponent in -6i32..6,
    ) {
        let weights: Vec<f32> = seed[..cols].iter().map(|w| w * 10f32.powi(exponent) / 1e3).collect();
        for encoding in [Encoding::Q8, Encoding::Q4] {
            let decoded = Encoded::encode(encoding, [1, cols], &weights).unwrap().decode();
            for (block, decoded) in weights.chunks(32).zip(decoded.chunks(32)) {
                let peak = block.iter().fold(0.0f32, |peak, w| peak.max(w.abs()));
                // Half a step (a whole one where q4 lacks the level +8), the rounding of an f16 scale, and the smallest
                // steps an f16 can take.
                let (step, levels) = if encoding == Encoding::Q8 { (peak / 254.0, 127.0) } else { (peak / 8.0, 8.0) };
                let bound = step * 1.001 + peak / 2048.0 + levels * 2f32.powi(-24);
                for (w, d) in block.iter().zip(decoded) {
                    prop_assert!((w - d).abs() <= bound, "{encoding}: {w} became {d}, bound {bound}");
                }
            }
        }
    }
}
