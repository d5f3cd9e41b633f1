//! Which of a decoder's parameters are trained: all of them, or low-rank changes beside its projections.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::{Linear, LowRank, Matrix};
use crate::model::Decoder;
use crate::model::decoder::Layer;

/// The projections that can have an adapter, by the names that checkpoints and PEFT use.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraOptions {
    /// Rows of `A` and columns of `B`, at least 1.
    pub rank: usize,
    /// The change counts `alpha / rank`.
    pub alpha: f32,
    /// Which projections of each layer are changed: some of [`TARGETS`].
    pub targets: Vec<String>,
    /// Draws the first `A`.
    pub seed: u64,
}

impl Default for LoraOptions {
    /// Rank 8, alpha 16, every projection, seed 1.
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: TARGETS.map(String::from).to_vec(), seed: 1 }
    }
}

impl Decoder {
    /// The same decoder with adapters that change nothing yet; they alone are trained.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the rank is 0, alpha is no number, or a target is none of [`TARGETS`].
    pub fn with_adapters(self, options: &LoraOptions) -> Result<Self> {
        let LoraOptions { rank, alpha, targets, seed } = options;
        if *rank == 0 || !alpha.is_finite() {
            return Err(Error::BadInput(format!(
                "a LoRA rank of {rank} with alpha {alpha}; expected a rank of at least 1 and a number"
            )));
        }
        if let Some(other) = targets.iter().find(|name| !TARGETS.contains(&name.as_str())) {
            return Err(Error::BadInput(format!("no LoRA target `{other}`; expected some of {}", TARGETS.join(", "))));
        }
        if targets.is_empty() {
            return Err(Error::BadInput(format!("no LoRA target; expected some of {}", TARGETS.join(", "))));
        }
        let device = self.norm.device();
        let mut rng = ChaCha8Rng::seed_from_u64(*seed);
        let mut decoder = self.no_grad();
        for layer in &mut decoder.layers {
            for (name, linear) in TARGETS.into_iter().zip(layer.projections_mut()) {
                if targets.iter().any(|target| target == name) {
                    let shape = linear.weight.dims();
                    linear.adapter = Some(no_change(shape, *rank, alpha / *rank as f32, &mut rng, &device));
                }
            }
        }
        Ok(decoder)
    }

    /// The same decoder with every weight as a float that is trained.
    pub fn thawed(self) -> Self {
        let device = self.norm.device();
        Self {
            embed_tokens: floats(&self.embed_tokens, &device),
            layers: self.layers.iter().map(|layer| layer.decoded(&device)).collect(),
            lm_head: self.lm_head.as_ref().map(|head| floats(head, &device)),
            ..self
        }
        .set_require_grad(true)
    }
}

/// A change that is none yet: `A` uniform within `±1/√in` (Kaiming with a slope of √5, as PEFT draws it), `B` zero.
fn no_change([out, input]: [usize; 2], rank: usize, scale: f32, rng: &mut ChaCha8Rng, device: &Device) -> LowRank {
    let bound = (input as f32).powf(-0.5);
    let a: Vec<f32> = (0..rank * input).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect();
    LowRank {
        a: Param::from_tensor(Tensor::from_data(TensorData::new(a, [rank, input]), device)),
        b: Param::from_tensor(Tensor::zeros([out, rank], device)),
        scale,
    }
}

/// The same weights as floats. Those that were encoded are not for training.
fn floats(matrix: &Matrix, device: &Device) -> Matrix {
    match matrix {
        Matrix::Float(_) => matrix.clone(),
        Matrix::Quantised(_) => Matrix::Float(Param::from_tensor(matrix.to_tensor(device)).set_require_grad(false)),
    }
}

impl Layer {
    /// The same layer with all weights as floats.
    pub(super) fn decoded(&self, device: &Device) -> Self {
        let mut layer = self.clone();
        for linear in layer.projections_mut() {
            linear.weight = floats(&linear.weight, device);
        }
        layer
    }

    /// The projections in the order of [`TARGETS`].
    pub(super) fn projections(&self) -> [&Linear; 7] {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        [
            &attention.q_proj,
            &attention.k_proj,
            &attention.v_proj,
            &attention.o_proj,
            &mlp.gate_proj,
            &mlp.up_proj,
            &mlp.down_proj,
        ]
    }

    pub(super) fn projections_mut(&mut self) -> [&mut Linear; 7] {
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        [
            &mut attention.q_proj,
            &mut attention.k_proj,
            &mut attention.v_proj,
            &mut attention.o_proj,
            &mut mlp.gate_proj,
            &mut mlp.up_proj,
            &mut mlp.down_proj,
        ]
    }
}
