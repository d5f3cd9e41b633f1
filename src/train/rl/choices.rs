//! The distribution over the tokens that a grammar allowed: the log-probability and entropy of each choice, and the
//! way back from their gradients to the states.

use burn::optim::GradientsParams;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax};

use crate::grammar::Allowed;
use crate::model::Decoder;
use crate::model::attention::MASKED;
use crate::tokenizer::TokenId;

/// Logits that are alive at once: so many choices of free text are computed together as keep below it.
const LOGITS: usize = 8 << 20;
/// Choices among few tokens that are computed together.
const FEW: usize = 256;

/// A token that was chosen, and the place of the state that tells it.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    pub place: usize,
    pub token: TokenId,
    pub allowed: &'a Allowed,
}

/// Log-probability and entropy, in nats, of each pick under softmax(logits / temperature) over what was allowed.
/// `states` is `[tokens, hidden_size]`.
pub fn read(decoder: &Decoder, states: &Tensor<2>, picks: &[Pick<'_>], temperature: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut log_probs, mut entropies) = (vec![0.0; picks.len()], vec![0.0; picks.len()]);
    for chunk in chunks(picks, decoder.config().vocab_size) {
        let all = chunk.log_probs(decoder, chunk.states(states), temperature);
        let entropy = entropy(&all);
        let chosen = all.gather(1, chunk.chosen(states));
        let numbers = chosen.into_data().iter::<f32>().zip(entropy.into_data().iter::<f32>()).collect::<Vec<_>>();
        for (index, (log_prob, entropy)) in chunk.indices.iter().zip(numbers) {
            (log_probs[*index], entropies[*index]) = (log_prob, entropy);
        }
    }
    (log_probs, entropies)
}

/// The gradient of `states`, `[tokens, hidden_size]`, given those of each pick's log-probability and entropy. That of a
/// trained head is added to `sums`.
pub fn backward(
    decoder: &Decoder,
    states: &Tensor<2>,
    picks: &[Pick<'_>],
    temperature: f32,
    [log_probs, entropies]: [&[f32]; 2],
    sums: &mut GradientsParams,
) -> Tensor<2> {
    let mut out = states.zeros_like();
    for chunk in chunks(picks, decoder.config().vocab_size) {
        let some = chunk.states(states);
        let all = chunk.log_probs(decoder, some.clone(), temperature);
        let column = |values: &[f32]| -> Tensor<2> {
            let values: Vec<f32> = chunk.indices.iter().map(|&index| values[index]).collect();
            let shape = [values.len(), 1];
            Tensor::from_data(TensorData::new(values, shape), &states.device())
        };
        let (of_chosen, of_entropy) = (column(log_probs), column(entropies));
        let shares = all.clone().exp();
        // With p = softmax(z): d log p_y / dz = 1_y - p, and dH / dz = -p · (log p + H).
        let of_logits = -(shares.clone() * of_chosen.clone()) - shares * (all.clone() + entropy(&all)) * of_entropy;
        let of_logits = of_logits.scatter(1, chunk.chosen(states), of_chosen, IndexingUpdateOp::Add);
        let of_states = decoder.logits_backward(some, chunk.tokens.as_deref(), of_logits / temperature, sums);
        out = out.select_assign(0, chunk.places(states), of_states, IndexingUpdateOp::Add);
    }
    out
}

/// `[n, tokens]` log-probabilities to `[n, 1]`. What is not allowed has a share of exactly 0.
fn entropy(log_probs: &Tensor<2>) -> Tensor<2> {
    -(log_probs.clone().exp() * log_probs.clone()).sum_dim(1)
}

/// Picks whose logits are computed together.
struct Chunk<'p, 'a> {
    /// Where they stand among all picks.
    indices: Vec<usize>,
    picks: Vec<&'p Pick<'a>>,
    /// The only tokens that any of them allowed, rising; none where that is most of the vocabulary.
    tokens: Option<Vec<TokenId>>,
    width: usize,
}

fn chunks<'p, 'a>(picks: &'p [Pick<'a>], vocab_size: usize) -> Vec<Chunk<'p, 'a>> {
    let few = |pick: &Pick<'_>| matches!(pick.allowed, Allowed::Few(_));
    let (few, free): (Vec<usize>, Vec<usize>) = (0..picks.len()).partition(|&index| few(&picks[index]));
    let chunk = |indices: &[usize], tokens: Option<Vec<TokenId>>| Chunk {
        indices: indices.to_vec(),
        picks: indices.iter().map(|&index| &picks[index]).collect(),
        width: tokens.as_ref().map_or(vocab_size, Vec::len),
        tokens,
    };
    let few = few.chunks(FEW).map(|indices| {
        let mut tokens = Vec::new();
        indices.iter().for_each(|&index| picks[index].allowed.for_each(|id| tokens.push(id)));
        tokens.sort_unstable();
        tokens.dedup();
        chunk(indices, Some(tokens))
    });
    let free = free.chunks((LOGITS / vocab_size).max(1)).map(|indices| chunk(indices, None));
    few.chain(free).collect()
}

impl Chunk<'_, '_> {
    /// `[n, tokens]`, far below any log-probability where a token was not allowed.
    fn log_probs(&self, decoder: &Decoder, states: Tensor<2>, temperature: f32) -> Tensor<2> {
        let device = states.device();
        let mut bias = vec![MASKED; self.picks.len() * self.width];
        for (pick, bias) in self.picks.iter().zip(bias.chunks_exact_mut(self.width)) {
            pick.allowed.for_each(|id| {
                if let Some(open) = self.column(id).and_then(|column| bias.get_mut(column)) {
                    *open = 0.0;
                }
            });
        }
        let bias = Tensor::from_data(TensorData::new(bias, [self.picks.len(), self.width]), &device);
        log_softmax(decoder.logits_of(states, self.tokens.as_deref()) / temperature + bias, 1)
    }

    /// The column of a token's logit.
    fn column(&self, id: TokenId) -> Option<usize> {
        match &self.tokens {
            Some(tokens) => tokens.binary_search(&id).ok(),
            None => Some(id as usize),
        }
    }

    /// The columns of the tokens chosen, `[n, 1]`.
    fn chosen(&self, states: &Tensor<2>) -> Tensor<2, Int> {
        // A token that was chosen was allowed, so it has a column.
        let columns: Vec<i32> = self.picks.iter().map(|pick| self.column(pick.token).unwrap_or(0) as i32).collect();
        Tensor::from_data(TensorData::new(columns, [self.picks.len(), 1]), &states.device())
    }

    fn places(&self, states: &Tensor<2>) -> Tensor<1, Int> {
        let places: Vec<i32> = self.picks.iter().map(|pick| pick.place as i32).collect();
        Tensor::from_data(TensorData::new(places, [self.picks.len()]), &states.device())
    }

    /// The states that tell the picks, `[n, hidden_size]`.
    fn states(&self, states: &Tensor<2>) -> Tensor<2> {
        states.clone().select(0, self.places(states))
    }
}
