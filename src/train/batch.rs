//! A batch of examples as tensors, and the three losses on it: slots, the highest of those that should be silent, and the answer.

use std::collections::BTreeSet;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::examples::{Example, Next};
use crate::mini::layout::{Layout, Marker};
use crate::mini::network::{SlotBatch, SlotModel};
use crate::tokenizer::TokenId;

/// Far below any logit.
const FORBIDDEN: f32 = -1e9;

/// Examples as tensors.
pub struct Batch {
    input: SlotBatch,
    /// Indices into `[batch * time]` of the slots whose answer is known, `[slots]`, and what it is: 0, 1, or between them
    /// where readers would differ.
    slots: Vec<i32>,
    targets: Vec<f32>,
    /// How much each of them counts.
    weights: Vec<f32>,
    /// Indices of the slots of which even the highest should stay low, `[quiet_rows, most slots of a row]`; a row with
    /// fewer names its first again.
    quiet: Vec<i32>,
    quiet_rows: usize,
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

/// The parts of a batch's loss, as numbers for the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LossParts {
    pub slots: f32,
    pub quiet: f32,
    pub answer: f32,
}

/// Weights of the parts of the loss.
#[derive(Debug, Clone, Copy)]
pub struct LossWeights {
    pub slots: f32,
    pub quiet: f32,
    pub answer: f32,
}

impl Batch {
    /// Pads the examples to the longest.
    pub fn new(examples: &[Example], vocab_size: usize, device: &Device) -> Self {
        let layouts: Vec<&Layout> = examples.iter().map(|e| &e.layout).collect();
        let time = layouts.iter().map(|l| l.len()).max().unwrap_or(0);
        let mut batch = Self {
            input: SlotBatch::new(&layouts, 0, vocab_size, device),
            slots: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            quiet: Vec::new(),
            quiet_rows: 0,
            choices: Choices::new(examples, time),
            device: device.clone(),
        };
        let most = examples.iter().map(|example| example.quiet.len()).max().unwrap_or(0);
        for (place, example) in examples.iter().enumerate() {
            let at = |index: usize| (place * time + index) as i32;
            for slot in &example.slots {
                batch.slots.push(at(slot.index));
                batch.targets.push(slot.target);
                batch.weights.push(slot.weight);
            }
            if let Some(&first) = example.quiet.first() {
                batch.quiet.extend((0..most).map(|slot| at(*example.quiet.get(slot).unwrap_or(&first))));
                batch.quiet_rows += 1;
            }
        }
        batch
    }

    /// The weighted loss, and its parts.
    pub fn loss(&self, model: &SlotModel, weights: LossWeights) -> (Tensor<1>, LossParts) {
        let hidden = model.forward(&self.input, None);
        let [batch, time, width] = hidden.dims();
        let hidden = hidden.reshape([batch * time, width]);
        let zero = || Tensor::<1>::zeros([1], &self.device);

        let slots = match self.slots.is_empty() {
            true => zero(),
            false => {
                let logits = self.slot_logits(model, &hidden, &self.slots);
                let weights = Tensor::<1>::from_data(self.weights.as_slice(), &self.device);
                let total: f32 = self.weights.iter().sum();
                (cross_entropy(logits, &self.targets) * weights).sum() / total
            }
        };
        let quiet = match self.quiet_rows {
            0 => zero(),
            rows => {
                // The score of a row is that of its highest slot: one false alarm among many silent slots is one.
                let highest = self.slot_logits(model, &hidden, &self.quiet).reshape([rows as i32, -1]).max_dim(1);
                activation::softplus(highest, 1.0).mean()
            }
        };
        let answer = match self.choices.index.is_empty() {
            true => zero(),
            false => -self.choices.log_probs(model, &hidden, 1.0, &self.device).0.mean(),
        };
        let parts = LossParts { slots: number(&slots), quiet: number(&quiet), answer: number(&answer) };
        (slots * weights.slots + quiet * weights.quiet + answer * weights.answer, parts)
    }

    /// The scores of the slots whose answer is known for sure, with that answer.
    pub fn slot_scores(&self, model: &SlotModel) -> Vec<(f32, bool)> {
        if self.slots.is_empty() {
            return Vec::new();
        }
        let hidden = model.forward(&self.input, None);
        let [batch, time, width] = hidden.dims();
        let logits = self.slot_logits(model, &hidden.reshape([batch * time, width]), &self.slots);
        let scores = activation::sigmoid(logits).into_data();
        let decided =
            |(score, &target): (f32, &f32)| (target == 0.0 || target == 1.0).then_some((score, target == 1.0));
        scores.iter::<f32>().zip(&self.targets).filter_map(decided).collect()
    }

    /// `[batch * time, hidden]` to `[slots]`.
    fn slot_logits(&self, model: &SlotModel, hidden: &Tensor<2>, index: &[i32]) -> Tensor<1> {
        let states = pick(hidden, index, &self.device);
        model.slot_logits(states.unsqueeze()).reshape([index.len()])
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

/// Binary cross-entropy of each logit: softplus(z) - z * y.
fn cross_entropy(logits: Tensor<1>, labels: &[f32]) -> Tensor<1> {
    let labels = Tensor::<1>::from_data(labels, &logits.device());
    activation::softplus(logits.clone(), 1.0) - logits * labels
}

fn number(tensor: &Tensor<1>) -> f32 {
    tensor.to_data().iter::<f32>().next().unwrap_or(f32::NAN)
}
