//! rsafe-mini's network: a BERT-shaped trunk (post-norm, learnt positions) that reads a [`Layout`], scores each
//! category at its slot, and predicts the next token of the answer.
//!
//! The trunk's weight names are those of Hugging Face's `BertModel`.

mod config;
#[cfg(feature = "train")]
pub mod training;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation, module as ops};

use crate::bundle::Weights;
use crate::error::Result;
use crate::kernels::{Linear, Matrix};
use crate::mini::batch::{Distances, SlotBatch, UNSEEN};
use crate::mini::layout::{Kind, Layout, Marker};
use crate::model::{CacheShape, KvCache};
use crate::tokenizer::TokenId;
pub use config::SlotConfig;

/// `(x - mean) / sqrt(var + eps) · weight + bias` over the last dimension.
#[derive(Module, Debug)]
struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    eps: f64,
}

impl LayerNorm {
    fn load(weights: &mut Weights, name: &str, size: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: Param::from_tensor(weights.vector(&format!("{name}.weight"), size)?),
            bias: Param::from_tensor(weights.vector(&format!("{name}.bias"), size)?),
            eps,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        ops::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.eps)
    }
}

fn linear(weights: &mut Weights, name: &str, shape: [usize; 2]) -> Result<Linear> {
    let weight = weights.matrix(&format!("{name}.weight"), shape)?;
    let bias = weights.vector(&format!("{name}.bias"), shape[0])?;
    Ok(Linear::new(weight, Some(bias)))
}

/// One post-norm transformer layer.
#[derive(Module, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn load(config: &SlotConfig, weights: &mut Weights, index: usize) -> Result<Self> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Self {
            query: linear(weights, &name("attention.self.query"), [hidden, hidden])?,
            key: linear(weights, &name("attention.self.key"), [hidden, hidden])?,
            value: linear(weights, &name("attention.self.value"), [hidden, hidden])?,
            output: linear(weights, &name("attention.output.dense"), [hidden, hidden])?,
            attention_norm: LayerNorm::load(weights, &name("attention.output.LayerNorm"), hidden, eps)?,
            up: linear(weights, &name("intermediate.dense"), [inner, hidden])?,
            down: linear(weights, &name("output.dense"), [hidden, inner])?,
            output_norm: LayerNorm::load(weights, &name("output.LayerNorm"), hidden, eps)?,
            heads: config.num_attention_heads,
        })
    }

    /// `x` `[batch, time, hidden]`; `attend` makes of its queries, keys and values, `[batch, heads, time, head_dim]` each,
    /// what its tokens see, in the same shape.
    fn forward(&self, x: Tensor<3>, attend: impl FnOnce([Tensor<4>; 3]) -> Tensor<4>) -> Tensor<3> {
        let [batch, time, hidden] = x.dims();
        // [batch, time, hidden] -> [batch, heads, time, head_dim]
        let split = |t: Tensor<3>| t.reshape([batch, time, self.heads, hidden / self.heads]).swap_dims(1, 2);
        let parts = [&self.query, &self.key, &self.value].map(|linear| split(linear.forward(x.clone())));
        let seen = attend(parts).swap_dims(1, 2).reshape([batch, time, hidden]);
        let x = self.attention_norm.forward(x + self.output.forward(seen));
        let inner = activation::gelu(self.up.forward(x.clone()));
        self.output_norm.forward(x + self.down.forward(inner))
    }
}

/// A batch on its way through the layers.
pub struct Pass {
    /// Behind the layers so far, `[batch, time, hidden]`.
    pub states: Tensor<3>,
    bias: Tensor<4>,
    /// Of slots with distances: what each head's score of a slot for itself is changed by, `[1, heads, 1, 1]`.
    own: Option<Tensor<4>>,
    layer: usize,
}

impl Pass {
    /// How many tokens it has, padding counted.
    pub fn tokens(&self) -> usize {
        let [batch, time, _] = self.states.dims();
        batch * time
    }
}

/// The words of a policy's blocks as every layer sees them.
#[derive(Debug, Clone)]
pub struct PolicyStates {
    /// A row for each block, padded to the longest.
    pub cache: KvCache,
    /// `[blocks, 1, 1, longest]`: 0 where a row has a word, -∞ behind its last.
    pub unseen: Tensor<4>,
}

impl PolicyStates {
    /// `lengths` are those of the blocks, in the order of the rows.
    pub fn new(cache: KvCache, lengths: impl IntoIterator<Item = usize>, device: &Device) -> Self {
        let longest = cache.len();
        let row = |len| (0..longest).map(move |at| if at < len { 0.0 } else { UNSEEN });
        let unseen: Vec<f32> = lengths.into_iter().flat_map(row).collect();
        let shape = [cache.batch(), 1, 1, longest];
        Self { cache, unseen: Tensor::from_data(TensorData::new(unseen, shape), device) }
    }
}

/// Positions that slots do not see, of those that their row sees: its own for each slot of the only row, or for each row.
pub enum Unseen<'a> {
    BySlot(&'a [Vec<Range<usize>>]),
    ByRow(&'a [Vec<Range<usize>>]),
}

/// What slots see beside themselves.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// All of a row: its conversation, which may be that of all rows.
    pub shared: &'a KvCache,
    /// Each its row: the words of its block.
    pub words: Option<&'a PolicyStates>,
}

/// Keys and values.
type Pair = (Tensor<4>, Tensor<4>);

/// Attention of slots to what they share, to the words of their block, and to themselves.
///
/// Queries, keys and values of the slots and what they share are `[rows, heads, time, head_dim]` (what all rows share one row),
/// those of the words `[slots, heads, longest, head_dim]`, with their biases. Gives `[rows, heads, slots, head_dim]`.
fn attend_slots(
    [query, key, value]: [Tensor<4>; 3],
    shared: Pair,
    (bias, own): (&Tensor<4>, Option<&Tensor<4>>),
    words: Option<(Pair, &Tensor<4>)>,
) -> Tensor<4> {
    let [_, _, _, head_dim] = query.dims();
    let query = query / (head_dim as f64).sqrt();
    let mut scores = vec![query.clone().matmul(shared.0.transpose()) + bias.clone()];
    if let Some(((keys, _), unseen)) = &words {
        let read = query.clone().swap_dims(0, 2).matmul(keys.clone().transpose()) + (*unseen).clone();
        scores.push(read.swap_dims(0, 2));
    }
    let itself = (query * key).sum_dim(3);
    scores.push(match own {
        Some(own) => itself + own.clone(),
        None => itself,
    });
    let said = scores[0].dims()[3];
    let shares = activation::softmax(Tensor::cat(scores, 3), 3);
    let last = shares.dims()[3] - 1;
    let seen = shares.clone().narrow(3, 0, said).matmul(shared.1) + shares.clone().narrow(3, last, 1) * value;
    match words {
        Some(((_, values), _)) => {
            seen + shares.narrow(3, said, last - said).swap_dims(0, 2).matmul(values).swap_dims(0, 2)
        }
        None => seen,
    }
}

/// rsafe-mini's network.
#[derive(Module, Debug)]
pub struct SlotModel {
    words: Matrix,
    positions: Matrix,
    /// `[Kind::COUNT + Marker::COUNT, hidden]`: whose words these are, or which marker.
    kinds: Matrix,
    norm: LayerNorm,
    layers: Vec<Layer>,
    slot_head: Linear,
    /// Turns a hidden state towards the word that comes next; the words' own embeddings are the output matrix.
    answer_transform: Linear,
    marker_head: Linear,
    vocab_size: usize,
    cache_shape: (usize, usize, usize),
    #[module(skip)]
    distances: Option<Distances>,
}

const DISTANCES: &str = "encoder.relative_attention_bias.weight";

impl SlotModel {
    /// Takes the network's tensors out of `weights`.
    ///
    /// # Errors
    /// [`Error::BadModel`] naming a tensor that is missing or misshapen.
    pub fn load(config: &SlotConfig, weights: &mut Weights) -> Result<Self> {
        let hidden = config.hidden_size;
        let layers = (0..config.num_hidden_layers).map(|i| Layer::load(config, weights, i)).collect::<Result<_>>()?;
        let shape = config.cache_shape();
        Ok(Self {
            words: weights.matrix("embeddings.word_embeddings.weight", [config.vocab_size, hidden])?,
            positions: weights
                .matrix("embeddings.position_embeddings.weight", [config.max_position_embeddings, hidden])?,
            kinds: weights.matrix("embeddings.kind_embeddings.weight", [Kind::COUNT + Marker::COUNT, hidden])?,
            norm: LayerNorm::load(weights, "embeddings.LayerNorm", hidden, config.layer_norm_eps)?,
            layers,
            slot_head: linear(weights, "slot_head", [1, hidden])?,
            answer_transform: linear(weights, "answer_transform", [hidden, hidden])?,
            marker_head: linear(weights, "marker_head", [Marker::COUNT, hidden])?,
            vocab_size: config.vocab_size,
            cache_shape: (shape.layers, shape.kv_heads, shape.head_dim),
            distances: match config.relative_attention_num_buckets {
                Some(buckets) => {
                    let heads = config.num_attention_heads;
                    let table = weights.vector(DISTANCES, buckets * heads)?.into_data();
                    Some(Distances { heads, table: table.iter::<f32>().collect() })
                }
                None => None,
            },
        })
    }

    /// The number of ids that are words; markers lie behind them.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.norm.weight.val().device()
    }

    /// An empty cache for layouts of so many rows.
    pub fn cache(&self, rows: usize, capacity: usize, device: &Device) -> KvCache {
        let (layers, kv_heads, head_dim) = self.cache_shape;
        KvCache::rows(CacheShape { layers, kv_heads, head_dim }, rows, capacity, device)
    }

    /// The tokens of each layout behind the first `start` (those are in the cache), padded to the longest.
    pub fn batch(&self, layouts: &[&Layout], start: usize, device: &Device) -> SlotBatch {
        SlotBatch::new(layouts, start, self.vocab_size, self.distances.as_ref(), device)
    }

    /// Hidden states of the batch's tokens, `[batch, time, hidden]`; with a cache they continue what it holds.
    pub fn forward(&self, batch: &SlotBatch, mut cache: Option<&mut KvCache>) -> Tensor<3> {
        let mut pass = self.begin(batch);
        while !self.advance(&mut pass, cache.as_deref_mut(), self.layers.len()) {}
        pass.states
    }

    /// A pass of which [`advance`](Self::advance) makes the layers.
    pub fn begin(&self, batch: &SlotBatch) -> Pass {
        let embedded = self.words.rows(batch.words.clone())
            + self.positions.rows(batch.positions.clone())
            + self.kinds.rows(batch.kinds.clone());
        Pass { states: self.norm.forward(embedded), bias: batch.bias.clone(), own: None, layer: 0 }
    }

    /// The next `layers` layers of a pass; whether it is at its end, and its tokens in the cache. Meanwhile nothing else may
    /// be written to that.
    pub fn advance(&self, pass: &mut Pass, mut cache: Option<&mut KvCache>, layers: usize) -> bool {
        let end = self.layers.len().min(pass.layer + layers);
        for index in pass.layer..end {
            pass.states = self.layers[index].forward(pass.states.clone(), |[query, key, value]| {
                let (key, value) = match cache.as_deref_mut() {
                    Some(cache) => cache.write(index, key, value),
                    None => (key, value),
                };
                ops::attention(query, key, value, None, Some(pass.bias.clone()), Default::default())
            });
        }
        pass.layer = end;
        let over = end == self.layers.len();
        if let Some(cache) = cache.filter(|_| over) {
            cache.advance(pass.states.dims()[1]);
        }
        over
    }

    /// How many layers a token goes through.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// A pass over `count` slots alone in each of some rows, of which [`advance_slots`](Self::advance_slots) makes the layers.
    /// Each row has `shared` positions.
    pub fn begin_slots(&self, [rows, count]: [usize; 2], unseen: &Unseen<'_>, shared: usize, device: &Device) -> Pass {
        let slots = Layout::slots(self.vocab_size, count);
        let apart = if matches!(unseen, Unseen::BySlot(_)) { count } else { 1 };
        debug_assert!(rows == 1 || apart == 1, "slots of several rows see alike");
        let mut bias = vec![0.0; rows * apart * shared];
        let (Unseen::BySlot(ranges) | Unseen::ByRow(ranges)) = unseen;
        for (row, ranges) in bias.chunks_exact_mut(shared.max(1)).zip(*ranges) {
            ranges.iter().for_each(|range| row[range.clone()].fill(UNSEEN));
        }
        let bias = Tensor::from_data(TensorData::new(bias, [rows, 1, apart, shared]), device);
        let pass = self.begin(&self.batch(&[&slots], 0, device));
        let own = self.distances.as_ref().map(|distances| {
            Tensor::from_data(TensorData::new(distances.own().to_vec(), [1, distances.heads, 1, 1]), device)
        });
        Pass { bias, own, states: pass.states.repeat_dim(0, rows), layer: 0 }
    }

    /// The next `layers` layers of a pass over slots alone; whether it is at its end. Their keys and values go to `own`, if
    /// that is given, which must be empty before the first layer.
    pub fn advance_slots(&self, pass: &mut Pass, seen: Seen<'_>, mut own: Option<&mut KvCache>, layers: usize) -> bool {
        let end = self.layers.len().min(pass.layer + layers);
        for index in pass.layer..end {
            pass.states = self.layers[index].forward(pass.states.clone(), |parts| {
                if let Some(own) = own.as_deref_mut() {
                    own.write(index, parts[1].clone(), parts[2].clone());
                }
                let words = seen.words.map(|policy| (policy.cache.layer(index), &policy.unseen));
                attend_slots(parts, seen.shared.layer(index), (&pass.bias, pass.own.as_ref()), words)
            });
        }
        pass.layer = end;
        let over = end == self.layers.len();
        if let Some(own) = own.filter(|_| over) {
            own.advance(pass.states.dims()[1]);
        }
        over
    }

    /// The logit of "this category applies" at each hidden state, `[batch, time, hidden]` to `[batch, time, 1]`.
    pub fn slot_logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.slot_head.forward(hidden)
    }

    /// Logits of every marker, `[batch, time, hidden]` to `[batch, time, Marker::COUNT]`.
    pub fn marker_logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.marker_head.forward(hidden)
    }

    /// Logits of the words `ids`, `[batch, time, hidden]` to `[batch, time, ids.len()]`.
    pub fn word_logits(&self, hidden: Tensor<3>, ids: &[TokenId]) -> Tensor<3> {
        self.words.project_rows(self.answer_transform.forward(hidden), ids)
    }
}
