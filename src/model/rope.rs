//! Rotary position embedding: how a config states it, its frequencies, and turning queries and keys by them.

use std::f32::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

/// Base and scaling of the rotary embedding, as `rope_parameters` in Hugging Face's `config.json` names them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RopeParameters {
    /// The base of the geometric series of frequencies.
    pub rope_theta: f64,
    #[serde(flatten)]
    pub scaling: RopeScaling,
}

/// How the frequencies are stretched for contexts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All of them by one factor.
    Linear { factor: f64 },
    /// Llama 3.1's: low frequencies by `factor`, high ones not at all, a ramp between the two.
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_position_embeddings: usize },
}

/// The frequencies of one model, ready to turn heads of one size.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians a position, one for each pair of a head's dimensions.
    inv_freq: Vec<f32>,
}

impl Rope {
    /// `head_dim` is even.
    pub fn new(parameters: &RopeParameters, head_dim: usize) -> Self {
        // In f32 throughout, as the checkpoints were trained: at position 100,000 more precision would be a difference.
        let theta = parameters.rope_theta as f32;
        let plain = (0..head_dim / 2).map(|pair| 1.0 / theta.powf((2 * pair) as f32 / head_dim as f32));
        let inv_freq = match parameters.scaling {
            RopeScaling::Default => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor as f32).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let (factor, low, high) = (factor as f32, low_freq_factor as f32, high_freq_factor as f32);
                let context = original_max_position_embeddings as f32;
                plain
                    .map(|f| {
                        let wavelength = TAU / f;
                        if wavelength > context / low {
                            f / factor
                        } else if wavelength < context / high {
                            f
                        } else {
                            let smooth = (context / wavelength - low) / (high - low);
                            (1.0 - smooth) * f / factor + smooth * f
                        }
                    })
                    .collect()
            }
        };
        Self { inv_freq }
    }

    /// The rotation of tokens at these positions; made once for a pass and used by every layer.
    pub fn at(&self, positions: impl IntoIterator<Item = usize>, device: &Device) -> Rotation {
        // Made for each pass, not kept as a table: a table for 131,072 positions would weigh 64 MB.
        let half = self.inv_freq.len();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for f in &self.inv_freq {
                let angle = position as f32 * f;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let shape = [1, 1, cos.len() / half, half];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device);
        Rotation { cos: tensor(cos), sin: tensor(sin) }
    }
}

/// Cosines and sines of some positions, each `[1, 1, time, head_dim / 2]`.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotation {
    /// Turns queries or keys, `[batch, heads, time, head_dim]`. Dimension `i` is paired with `i + head_dim / 2`.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        Tensor::cat(
            vec![
                a.clone() * self.cos.clone() - b.clone() * self.sin.clone(),
                b * self.cos.clone() + a * self.sin.clone(),
            ],
            3,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> Vec<f32> {
        Rope::new(&RopeParameters { rope_theta: 500_000.0, scaling }, 128).inv_freq
    }

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_stretches_low_ones() {
        let plain = frequencies(RopeScaling::Default);
        let scaled = frequencies(RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        });
        // Wavelengths under 2,048 positions are kept, over 8,192 divided; only pairs 29..=34 lie between.
        assert_eq!(plain[..29], scaled[..29]);
        for pair in 29..35 {
            assert!(scaled[pair] < plain[pair] && scaled[pair] > plain[pair] / 32.0, "{pair}");
        }
        for pair in 35..64 {
            assert_eq!(scaled[pair], plain[pair] / 32.0, "{pair}");
        }
    }

    #[test]
    fn linear_scaling_stretches_all_frequencies() {
        let (plain, scaled) = (frequencies(RopeScaling::Default), frequencies(RopeScaling::Linear { factor: 4.0 }));
        assert!(plain.iter().zip(&scaled).all(|(p, s)| *s == p / 4.0));
    }

    #[test]
    fn a_turned_product_depends_on_the_distance_alone() {
        let device = Device::flex();
        let rope = Rope::new(&RopeParameters { rope_theta: 10_000.0, scaling: RopeScaling::Default }, 4);
        let q = Tensor::<4>::from_data([[[[0.3, -0.7, 0.2, 0.9]]]], &device);
        let k = Tensor::<4>::from_data([[[[-0.4, 0.1, 0.8, 0.5]]]], &device);
        let product = |i, j| -> f32 {
            (rope.at([i], &device).apply(q.clone()) * rope.at([j], &device).apply(k.clone())).sum().into_scalar()
        };
        assert!((product(3, 1) - product(45, 43)).abs() < 1e-5);
        assert!((product(3, 1) - product(4, 1)).abs() > 1e-2);
    }
}
