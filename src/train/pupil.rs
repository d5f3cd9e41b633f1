//! What learns: the network, and beside it a head for each concept, which ends with the run.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::bundle::Weights;
use crate::error::Result;
use crate::kernels::{Linear, Matrix};
use crate::mini::network::training::{NamedTensor, linear_tensors};
use crate::mini::network::{SlotConfig, SlotModel};

const HEADS: &str = "concept_heads";
/// A head begins with nothing to keep, and learns about so many times as fast as the network does: the optimiser moves a weight by
/// the rate, however large its gradient is, and this makes each of its steps count for more.
pub(super) const HEAD_RATE: f32 = 10.0;

/// The network with what learns beside it.
#[derive(Module, Debug)]
pub struct Pupil {
    pub network: SlotModel,
    pub heads: ConceptHeads,
}

/// What each concept adds, at a slot without words, to the logit of harm, which the slot itself tells: the head of harm of any
/// kind is never taught.
#[derive(Module, Debug)]
pub struct ConceptHeads {
    /// `[concepts, hidden]`
    linear: Linear,
}

impl ConceptHeads {
    /// Heads of `weight`, `[concepts, hidden]`, [`HEAD_RATE`] times as large.
    pub fn new(weight: Matrix) -> Self {
        Self { linear: Linear::new(weight, None) }
    }

    /// `[batch, time, hidden]` to `[batch, time, concepts]`.
    pub fn forward(&self, states: Tensor<3>) -> Tensor<3> {
        self.linear.forward(states) * HEAD_RATE
    }
}

impl Pupil {
    /// The network that `weights` hold, with heads that add nothing yet.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn begin(config: &SlotConfig, weights: Weights, concepts: usize, device: &Device) -> Result<Self> {
        let heads = Matrix::from_tensor(Tensor::zeros([concepts, config.hidden_size], device));
        Self::with(config, weights, heads)
    }

    /// The network and the heads of so many concepts that `weights` hold.
    ///
    /// # Errors
    /// [`Error::BadModel`](crate::Error::BadModel) naming a tensor that is missing, misshapen or one too many.
    pub fn load(config: &SlotConfig, mut weights: Weights, concepts: usize) -> Result<Self> {
        let heads = weights.matrix(&format!("{HEADS}.weight"), [concepts, config.hidden_size])?;
        Self::with(config, weights, heads)
    }

    fn with(config: &SlotConfig, mut weights: Weights, heads: Matrix) -> Result<Self> {
        let network = SlotModel::load(config, &mut weights)?;
        weights.finish()?;
        Ok(Self { network, heads: ConceptHeads::new(heads) })
    }

    /// See [`SlotModel::freeze_words`].
    pub fn freeze_words(self) -> Self {
        Self { network: self.network.freeze_words(), ..self }
    }

    /// Every tensor by name, as [`load`](Self::load) takes them.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = self.network.tensors();
        linear_tensors(HEADS, &self.heads.linear, &mut tensors);
        tensors
    }
}
