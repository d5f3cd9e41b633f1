//! What the loop asks of a network that writes answers.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::grammar::Allowed;
use crate::sampling::Sampling;
use crate::tokenizer::TokenId;
use crate::verdict::Answer;
use crate::{Conversation, Policy, Result};

#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub conversation: Conversation,
    pub policy: Policy,
}
#[derive(Debug, Clone)]
pub struct Choice {
    pub at: usize,
    pub allowed: Allowed,
    pub log_prob: f32,
}
#[derive(Debug, Clone)]
pub struct Rollout {
    pub tokens: Vec<TokenId>,
    pub choices: Vec<Choice>,
    pub answer: Answer,
    pub well_formed: bool,
    pub scores: Option<Vec<f32>>,
}

pub trait Network: Clone + Send {
    fn rollouts(&self, task: &Task, group: usize, sampling: Sampling, seed: u64) -> Result<Vec<Rollout>>;
    fn log_probs(&self, task: &Task, rollouts: &[Rollout], temperature: f32) -> Result<(Vec<f32>, Vec<f32>)>;
    fn gradients(
        &self,
        batch: &[(&Task, &[Rollout])],
        temperature: f32,
        loss: &mut dyn FnMut(Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> Result<GradientsParams>;
}
