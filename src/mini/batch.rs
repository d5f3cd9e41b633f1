//! Layouts as the network takes them: tensors padded to the longest, with what each token sees and how far it stands from it.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::mini::layout::{Kind, Layout};

/// The `[MASK]` of BERT's vocabulary: the word that markers wear, told apart by their kind.
pub const MARKER_WORD: i32 = 103;

/// What a token adds to the score of one that it does not see.
pub const UNSEEN: f32 = f32::NEG_INFINITY;

/// Layouts as tensors.
pub struct SlotBatch {
    /// `[batch, time]` each.
    pub words: Tensor<2, Int>,
    pub positions: Tensor<2, Int>,
    pub kinds: Tensor<2, Int>,
    /// `[batch, heads, time, seen]`: what the place of a token adds to the score of one that sees it, 0 without
    /// [`Distances`] (and then for all heads at once), -∞ where it is not seen.
    pub bias: Tensor<4>,
}

impl SlotBatch {
    /// The tokens of each layout behind the first `start` (those are in the cache), padded to the longest.
    pub fn new(
        layouts: &[&Layout],
        start: usize,
        vocab_size: usize,
        distances: Option<&Distances>,
        device: &Device,
    ) -> Self {
        let batch = layouts.len();
        let end = layouts.iter().map(|l| l.len()).max().unwrap_or(start);
        let time = end - start;
        let heads = distances.map_or(1, |distances| distances.heads);
        let mut words = vec![0i32; batch * time];
        let mut positions = vec![0i32; batch * time];
        let mut kinds = vec![0i32; batch * time];
        let mut bias = vec![UNSEEN; batch * heads * time * end];
        for (b, layout) in layouts.iter().enumerate() {
            for i in start..layout.len() {
                let at = b * time + i - start;
                let id = layout.ids[i] as usize;
                let marker = id.checked_sub(vocab_size);
                words[at] = if marker.is_some() { MARKER_WORD } else { id as i32 };
                kinds[at] = marker.map_or(layout.kinds[i] as i32, |m| (Kind::COUNT + m) as i32);
                positions[at] = layout.positions[i] as i32;
            }
            let bias = &mut bias[b * heads * time * end..(b + 1) * heads * time * end];
            for (head, bias) in bias.chunks_exact_mut(time * end).enumerate() {
                for (i, row) in bias.chunks_exact_mut(end).enumerate().map(|(i, row)| (start + i, row)) {
                    if i >= layout.len() {
                        // Padding sees the first token: a softmax over nothing would be NaN, which spreads in a gradient.
                        row[0] = 0.0;
                        continue;
                    }
                    let view = layout.views[i];
                    row[..view.prefix].fill(0.0);
                    row[view.block.0..view.block.1].fill(0.0);
                    row[i] = 0.0;
                    if let Some(distances) = distances {
                        distances.add(layout, i, head, row);
                    }
                }
            }
        }
        let int = |data| Tensor::<2, Int>::from_data(TensorData::new(data, [batch, time]), device);
        Self {
            words: int(words),
            positions: int(positions),
            kinds: int(kinds),
            bias: Tensor::from_data(TensorData::new(bias, [batch, heads, time, end]), device),
        }
    }
}

/// What the distance of two tokens adds to the score of one for the other in every layer, as in MPNet (Song et al., 2020, arXiv
/// 2004.09297): distances fall into buckets, each with a number for each head. Only within the conversation, the words of
/// a block, or an answer: a slot stands nowhere, is as near to one word
/// as to another, and at no distance from itself.
#[derive(Debug, Clone)]
pub struct Distances {
    pub heads: usize,
    /// `[BUCKETS, heads]`.
    pub table: Vec<f32>,
}

/// Buckets of distances: half for what comes before, half for what comes behind; of each half the first half one distance each.
pub const BUCKETS: usize = 32;
/// From here on all distances are one.
const FARTHEST: f64 = 128.0;

impl Distances {
    /// What a token's place adds to its score for itself, for each head: much less than nothing, in a trained MPNet.
    pub fn own(&self) -> &[f32] {
        &self.table[..self.heads]
    }

    /// Adds to a `row` of scores of `head` what token `at` sees in other distances.
    fn add(&self, layout: &Layout, at: usize, head: usize, row: &mut [f32]) {
        let (kind, place) = (layout.part(at), layout.positions[at]);
        if kind.is_none() {
            row[at] = self.own()[head];
            return;
        }
        let others = row.iter_mut().enumerate().take(layout.len());
        for (other, score) in others.filter(|(other, score)| **score == 0.0 && layout.part(*other) == kind) {
            *score = self.table[bucket(place, layout.positions[other]) * self.heads + head];
        }
    }
}

/// The bucket of what stands at `other`, seen from `place`.
fn bucket(place: usize, other: usize) -> usize {
    const HALF: usize = BUCKETS / 2;
    const ALONE: usize = HALF / 2;
    let distance = place.abs_diff(other);
    let far = || {
        let share = (distance as f64 / ALONE as f64).ln() / (FARTHEST / ALONE as f64).ln();
        (ALONE + (share * (HALF - ALONE) as f64) as usize).min(HALF - 1)
    };
    (if other > place { HALF } else { 0 }) + if distance < ALONE { distance } else { far() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buckets of `MPNetEncoder.relative_position_bucket` in Hugging Face's transformers.
    #[test]
    fn distances_fall_into_the_buckets_of_mpnet() {
        let buckets = |distances: &[i64]| -> Vec<usize> {
            distances.iter().map(|distance| bucket(400, (400 + distance) as usize)).collect()
        };
        assert_eq!(buckets(&[0, -1, -7, -8, -11, -12, -16, -90, -91, -400]), [0, 1, 7, 8, 8, 9, 10, 14, 15, 15]);
        assert_eq!(buckets(&[1, 7, 8, 12, 64, 127, 400]), [17, 23, 24, 25, 30, 31, 31]);
    }
}
