//! A batch of answers as tensors, and the loss on it.

use std::collections::BTreeSet;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::examples::{Example, Next};
use crate::mini::batch::SlotBatch;
use crate::mini::layout::{Layout, Marker};
use crate::mini::network::SlotModel;
use crate::tokenizer::TokenId;

/// Far below any logit.
const FORBIDDEN: f32 = -1e9;

/// Answers as tensors.
pub struct Batch {
    input: SlotBatch,
    choices: Choices,
    device: Device,
}

/// The answer's choices, `[choices]`, over the candidates `[Marker::COUNT + words]`.
#[derive(Default)]
pub struct Choices {
    /// Indices into `[batch * time]` of the tokens whose states predict.
    index: Vec<i32>,
    target: Vec<i32>,
    /// `[choices, candidates]`: 0 where the grammar allows a candidate.
    bias: Vec<f32>,
    words: Vec<TokenId>,
}

impl Batch {
    /// Pads the examples to the longest.
    pub fn new(examples: &[Example], model: &SlotModel, device: &Device) -> Self {
        let layouts: Vec<&Layout> = examples.iter().map(|e| &e.layout).collect();
        let time = layouts.iter().map(|l| l.len()).max().unwrap_or(0);
        Self { input: model.batch(&layouts, 0, device), choices: Choices::new(examples, time), device: device.clone() }
    }

    /// The mean cross-entropy of the choices.
    pub fn loss(&self, model: &SlotModel) -> Tensor<1> {
        if self.choices.is_empty() {
            return Tensor::zeros([1], &self.device);
        }
        let hidden = model.forward(&self.input, None);
        let [batch, time, width] = hidden.dims();
        -self.choices.log_probs(model, &hidden.reshape([batch * time, width]), 1.0, &self.device).0.mean()
    }
}

impl Choices {
    fn new(examples: &[Example], time: usize) -> Self {
        let words: BTreeSet<TokenId> = examples.iter().flat_map(|e| e.words.iter().copied()).collect();
        let words: Vec<TokenId> = words.into_iter().collect();
        let place = |word: TokenId| words.binary_search(&word).map_or(0, |at| Marker::COUNT + at);
        let width = Marker::COUNT + words.len();
        let mut choices = Self::default();
        for (row, example) in examples.iter().enumerate() {
            for choice in &example.choices {
                choices.index.push((row * time + choice.index) as i32);
                let mut bias = vec![FORBIDDEN; width];
                let target = match choice.next {
                    Next::Marker { right, wrong } => {
                        bias[wrong as usize] = 0.0;
                        right as usize
                    }
                    Next::Word(_) | Next::EndQuote => {
                        example.words.iter().for_each(|&word| bias[place(word)] = 0.0);
                        bias[Marker::EndQuote as usize] = 0.0;
                        if let Next::Word(word) = choice.next { place(word) } else { Marker::EndQuote as usize }
                    }
                };
                bias[target] = 0.0;
                choices.target.push(target as i32);
                choices.bias.extend(bias);
            }
        }
        choices.words = words;
        choices
    }

    /// No choices yet, among markers and these words, which must be ascending.
    pub fn among(words: Vec<TokenId>) -> Self {
        Self { words, ..Self::default() }
    }

    /// Adds a choice: the state at `index` predicts `chosen`, one of the `allowed` tokens.
    pub fn push(&mut self, index: usize, allowed: &[TokenId], chosen: TokenId, vocab_size: usize) {
        let place = |id: TokenId| match (id as usize).checked_sub(vocab_size) {
            Some(marker) => marker,
            None => self.words.binary_search(&id).map_or(0, |at| Marker::COUNT + at),
        };
        let mut bias = vec![FORBIDDEN; Marker::COUNT + self.words.len()];
        allowed.iter().for_each(|&id| bias[place(id)] = 0.0);
        let target = place(chosen) as i32;
        self.index.push(index as i32);
        self.target.push(target);
        self.bias.extend(bias);
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The log-probability of each choice under softmax(logits / temperature) over what the grammar allows, and the entropy
    /// of that distribution in nats, `[choices]` each, from the states `[batch * time, hidden]`.
    pub fn log_probs(
        &self,
        model: &SlotModel,
        hidden: &Tensor<2>,
        temperature: f32,
        device: &Device,
    ) -> (Tensor<1>, Tensor<1>) {
        let n = self.index.len();
        let states: Tensor<3> = pick(hidden, &self.index, device).unsqueeze();
        let markers = model.marker_logits(states.clone());
        let logits = match self.words.is_empty() {
            true => markers,
            false => Tensor::cat(vec![markers, model.word_logits(states, &self.words)], 2),
        };
        let width = Marker::COUNT + self.words.len();
        let bias = Tensor::<2>::from_data(TensorData::new(self.bias.clone(), [n, width]), device);
        let target = Tensor::<2, Int>::from_data(TensorData::new(self.target.clone(), [n, 1]), device);
        let logits: Tensor<2> = logits.reshape([n, width]) / temperature + bias;
        let all = activation::log_softmax(logits, 1);
        // What is forbidden has the probability 0, and 0 times a finite number is 0.
        let entropy = -(all.clone().exp() * all.clone()).sum_dim(1);
        (all.gather(1, target).reshape([n]), entropy.reshape([n]))
    }
}

/// Rows of `[batch * time, hidden]`.
fn pick(hidden: &Tensor<2>, index: &[i32], device: &Device) -> Tensor<2> {
    hidden.clone().select(0, Tensor::<1, Int>::from_data(index, device))
}
