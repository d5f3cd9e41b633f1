//! A prompt and several answers to it as one row of tokens: the prompt is read once, and nothing is padded.

use burn::tensor::Tensor;

use crate::model::attention::{attend, causal_bias};
use crate::model::decoder::CHUNK;

/// The prompt, then the answers one behind the other. Each answer stands at the positions behind the prompt and sees the
/// prompt and itself, as if the others were not there.
#[derive(Debug, Clone)]
pub struct Packed {
    ids: Vec<u32>,
    prompt: usize,
    answers: Vec<usize>,
}

impl Packed {
    pub fn new<'a>(prompt: &[u32], answers: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut packed = Self { ids: prompt.to_vec(), prompt: prompt.len(), answers: Vec::new() };
        for answer in answers {
            packed.ids.extend(answer);
            packed.answers.push(answer.len());
        }
        packed
    }

    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The place in the row from whose state token `at` of an answer is told: that of the token before it.
    pub fn place(&self, answer: usize, at: usize) -> usize {
        match at {
            0 => self.prompt - 1,
            _ => self.prompt + self.answers[..answer].iter().sum::<usize>() + at - 1,
        }
    }

    /// The position of each token in its own sequence.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        (0..self.prompt).chain(self.answers.iter().flat_map(|len| self.prompt..self.prompt + len))
    }

    /// What each query sees; queries `[1, heads, tokens, head_dim]`, keys and values of `kv_heads`.
    ///
    /// In stretches of queries, so that no more scores are computed than there are pairs that see each other.
    pub(super) fn attend(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let device = q.device();
        let mut seen = Vec::new();
        for start in (0..self.prompt).step_by(CHUNK) {
            let end = self.prompt.min(start + CHUNK);
            let bias = causal_bias(start..end, &device);
            let (k, v) = (k.clone().narrow(2, 0, end), v.clone().narrow(2, 0, end));
            seen.push(attend(q.clone().narrow(2, start, end - start), k, v, bias.as_ref()));
        }
        let mut first = self.prompt;
        for &len in &self.answers {
            for start in (0..len).step_by(CHUNK) {
                let end = len.min(start + CHUNK);
                let bias = causal_bias(self.prompt + start..self.prompt + end, &device);
                let behind_prompt = |x: &Tensor<4>| {
                    Tensor::cat(vec![x.clone().narrow(2, 0, self.prompt), x.clone().narrow(2, first, end)], 2)
                };
                let q = q.clone().narrow(2, first + start, end - start);
                seen.push(attend(q, behind_prompt(&k), behind_prompt(&v), bias.as_ref()));
            }
            first += len;
        }
        Tensor::cat(seen, 2)
    }
}
