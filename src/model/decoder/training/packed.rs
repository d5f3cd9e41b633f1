//! A prompt and several answers to it as one row of tokens: the prompt is read once, and nothing is padded.

use std::ops::Range;

use burn::tensor::{Device, Tensor};

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

    /// The queries one behind the other, in stretches, so that no more scores are computed than there are pairs that see
    /// each other.
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let answers = self.answers.iter().scan(self.prompt, |first, &len| {
            let part = (self.prompt, *first, len);
            *first += len;
            Some(part)
        });
        std::iter::once((0, 0, self.prompt)).chain(answers).flat_map(|(behind, first, len)| {
            let queries = (0..len).step_by(CHUNK).map(move |start| start..len.min(start + CHUNK));
            queries.map(move |queries| Stretch { behind, first, queries })
        })
    }

    /// What [`attend`](Self::attend) needs in every layer.
    pub(super) fn masks(&self, device: &Device) -> Masks {
        let mask = |Stretch { behind, queries, .. }| causal_bias(behind + queries.start..behind + queries.end, device);
        Masks(self.stretches().map(mask).collect())
    }

    /// What each query sees; queries `[1, heads, tokens, head_dim]`, keys and values of `kv_heads`.
    pub(super) fn attend(&self, masks: &Masks, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let seen = self.stretches().zip(&masks.0).map(|(Stretch { behind, first, queries }, mask)| {
            let keys = |x: &Tensor<4>| {
                let own = x.clone().narrow(2, first, queries.end);
                if behind == 0 { own } else { Tensor::cat(vec![x.clone().narrow(2, 0, behind), own], 2) }
            };
            attend(q.clone().narrow(2, first + queries.start, queries.len()), keys(&k), keys(&v), mask.as_ref())
        });
        Tensor::cat(seen.collect(), 2)
    }
}

/// Queries of the prompt or of an answer, which see what comes before them there and the prompt.
struct Stretch {
    /// Tokens of the prompt before its part; none of the prompt itself.
    behind: usize,
    /// Where its part begins in the row.
    first: usize,
    /// In its part.
    queries: Range<usize>,
}

/// What hides the tokens behind each query of a packed row, by stretch.
#[derive(Debug)]
pub(super) struct Masks(Vec<Option<Tensor<4>>>);
