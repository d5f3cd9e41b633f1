//! What learns: the network, and beside it a head for each concept, which ends with the run.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::bundle::Weights;
use crate::error::Result;
use crate::kernels::{Linear, Matrix};
use crate::mini::network::training::NamedTensor;
use crate::mini::network::{SlotConfig, SlotModel};

const HEADS: &str = "concept_heads.weight";
/// A head begins with nothing to keep, and learns so many times as fast as the network does: AdamW's steps depend on the rate
/// alone, and this makes each of them count for more.
pub(super) const HEAD_RATE: f32 = 10.0;

/// The network with what learns beside it.
#[derive(Module, Debug)]
pub struct Pupil {
    pub network: SlotModel,
    pub heads: ConceptHeads,
}

/// What each concept adds, at a slot without words, to the logit of harm, which all share.
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
    /// Takes the network out of `weights`, and the heads of so many concepts: zeros if there are none yet.
    ///
    /// # Errors
    /// [`Error::BadModel`](crate::Error::BadModel) naming a tensor that is missing, misshapen or one too many.
    pub fn load(config: &SlotConfig, mut weights: Weights, concepts: usize, device: &Device) -> Result<Self> {
        let shape = [concepts, config.hidden_size];
        let heads = match weights.has(HEADS) {
            true => weights.matrix(HEADS, shape)?,
            false => Matrix::from_tensor(Tensor::zeros(shape, device)),
        };
        let network = SlotModel::load(config, &mut weights)?;
        weights.finish()?;
        Ok(Self { network, heads: ConceptHeads::new(heads) })
    }

    /// See [`SlotModel::freeze_words`].
    pub fn freeze_words(self) -> Self {
        Self { network: self.network.freeze_words(), ..self }
    }

    /// Every tensor by name.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = self.network.tensors();
        if let Matrix::Float(weight) = &self.heads.linear.weight {
            let data = weight.val().into_data();
            tensors.push((HEADS.into(), data.shape().to_vec(), data.iter::<f32>().collect()));
        }
        tensors
    }
}
