//! What can be aligned: a network that writes answers and says how likely they were.

use std::path::Path;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::claims::Claim;
pub use super::group::Choice;
use super::task::Task;
use crate::error::Result;
use crate::mini::network::training::NamedTensor;
use crate::sampling::Sampling;
use crate::tokenizer::TokenId;
use crate::verdict::Answer;

/// An answer that the network wrote.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// What the categories' scores were drawn to say before the answer was written; none where the model writes it.
    pub claims: Vec<Claim>,
    /// All tokens of the answer, forced ones too.
    pub tokens: Vec<TokenId>,
    /// Where the grammar left more than one token, in order. Only these and the claims have a probability, and so a loss.
    pub choices: Vec<Choice>,
    pub answer: Answer,
    /// Whether the answer ended by itself in its template's form.
    pub well_formed: bool,
    /// P(unsafe) where the verdict was chosen.
    pub p_unsafe: Option<f32>,
    /// The score of each category, in the policy's order, where the network has scores; and whether it reaches its threshold.
    pub scores: Option<Vec<f32>>,
    pub flags: Option<Vec<bool>>,
    /// Which window of the judged message the answer is about; 0 where all is read at once.
    pub window: usize,
    /// The categories whose words the answer was written behind, by their places in the policy; none where all are read
    /// with the prompt.
    pub about: Vec<usize>,
    /// Tokens that were read before the answer.
    pub prompt_tokens: usize,
}

impl Rollout {
    /// How many of its claims and choices there are.
    pub fn decisions(&self) -> usize {
        self.claims.len() + self.choices.len()
    }

    /// The log-probability of each when it was drawn: claims, then choices.
    pub fn log_probs(&self) -> impl Iterator<Item = f32> {
        let claims = self.claims.iter().map(|claim| claim.log_prob);
        claims.chain(self.choices.iter().map(|choice| choice.log_prob))
    }
}

/// A network whose answers are being tuned. Its trainable parameters are numbered in their order, so that the optimiser's
/// state finds them again when a run is resumed.
pub trait Network: Module + Sync {
    /// `group` answers to one task, written as at inference: same prompt, cache, grammar and sampler. With a greedy
    /// `sampling` they say what inference says, else they may be made to speak about what is known to hold.
    ///
    /// # Errors
    /// Whatever the task or the device has wrong.
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>>;

    /// For every decision of the rollouts of one task, each rollout's claims before its choices, its log-probability under
    /// softmax(logits / temperature) over what could have been chosen, and the entropy of that distribution in nats:
    /// `[decisions]` each, with gradients where the network has them.
    ///
    /// # Errors
    /// Whatever the task or the device has wrong.
    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Tensor<1>, Tensor<1>)>;

    /// The gradients of `loss(log_probs, entropies)` by parameter, where both are those of [`log_probs`](Self::log_probs)
    /// for the tasks of the batch, one behind the other. The loss is called once.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    fn gradients(
        &self,
        batch: &[(&Task, &[Rollout])],
        temperature: f32,
        loss: &mut dyn FnMut(Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> Result<GradientsParams> {
        let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
        for (task, rollouts) in batch {
            let (log_prob, entropy) = self.log_probs(task, rollouts, temperature)?;
            log_probs.push(log_prob);
            entropies.push(entropy);
        }
        let loss = loss(Tensor::cat(log_probs, 0), Tensor::cat(entropies, 0));
        Ok(GradientsParams::from_grads(loss.backward(), self))
    }

    /// Every trained tensor by name, for a checkpoint.
    fn tensors(&self) -> Vec<NamedTensor>;

    /// The network with the tensors of a checkpoint.
    ///
    /// # Errors
    /// If they are another network's.
    fn with_tensors(self, tensors: Vec<NamedTensor>) -> Result<Self>;

    /// Writes the trained network as a folder that `rsafe convert` reads.
    ///
    /// # Errors
    /// If it cannot be written.
    fn export(&self, out: &Path) -> Result<()>;
}
