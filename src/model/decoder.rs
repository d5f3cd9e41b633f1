//! The decoder that users bring: one network for Qwen2, Qwen3 and Llama 3.x, which differ in biases, head
//! normalisation, rope and a tied head.

#[cfg(feature = "train")]
pub mod training;

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation::silu};

use super::{
    attention::{attend, causal_bias, padding_bias},
    cache::KvCache,
    config::{Architecture, DecoderConfig},
    rope::{Rope, Rotation},
};
use crate::error::{Error, Result};
use crate::{
    bundle::Weights,
    kernels::{Linear, Matrix},
};

/// How many positions one pass over the layers takes at most. Bounds the scores, `heads · CHUNK · context`, that
/// are alive at once, and spares about half of those that the causal bias would hide.
const CHUNK: usize = 256;

/// A causal language model. Modules and fields carry the names of the checkpoint's tensors.
#[derive(Module, Debug)]
pub struct Decoder {
    embed_tokens: Matrix,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None where the embedding is also the head.
    lm_head: Option<Matrix>,
    #[module(skip)]
    rope: Rope,
    #[module(skip)]
    config: DecoderConfig,
}

impl Decoder {
    /// Takes the tensors of a Hugging Face checkpoint by their names. [`Weights::finish`] then tells whether any
    /// are left over.
    ///
    /// # Errors
    /// [`Error::BadModel`] names the tensor that is missing or misshapen.
    pub fn load(config: &DecoderConfig, weights: &mut Weights) -> Result<Self> {
        let embed_tokens = weights.matrix("model.embed_tokens.weight", [config.vocab_size, config.hidden_size])?;
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer::load(config, weights, &format!("model.layers.{layer}")))
            .collect::<Result<_>>()?;
        let norm = RmsNorm::load(weights, "model.norm", config.hidden_size, config.rms_norm_eps)?;
        let head = "lm_head.weight";
        // Some trainers write a tied head a second time; as in transformers the embedding counts.
        let head_is_there = weights.has(head) || !config.tie_word_embeddings;
        let lm_head =
            head_is_there.then(|| weights.matrix(head, [config.vocab_size, config.hidden_size])).transpose()?;
        Ok(Self {
            embed_tokens,
            layers,
            norm,
            lm_head: lm_head.filter(|_| !config.tie_word_embeddings),
            rope: Rope::new(&config.rope_parameters, config.head_dim),
            config: config.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.norm.device()
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// An empty cache for `capacity` positions of this model.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if the model was not made for so many.
    pub fn new_cache(&self, capacity: usize) -> Result<KvCache> {
        let limit = self.config.max_position_embeddings;
        if capacity > limit {
            return Err(Error::ContextLength { needed: capacity, limit });
        }
        Ok(KvCache::new(self.config.cache_shape(), capacity, &self.norm.device()))
    }

    /// Reads whole sequences at once, without a cache: the path of training. `ids` is `[batch, time]`, `padding`
    /// `[batch, time]` is true where a sequence is padded (at either end) and its states are not to be read.
    ///
    /// Gives the states after the last norm, `[batch, time, hidden_size]`.
    ///
    /// # Panics
    /// If an id is not in the vocabulary.
    pub fn forward(&self, ids: Tensor<2, Int>, padding: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let time = ids.dims()[1];
        let device = self.norm.device();
        let bias = match (causal_bias(0..time, &device), padding.map(padding_bias)) {
            (Some(causal), Some(padding)) => Some(causal + padding),
            (causal, padding) => causal.or(padding),
        };
        let rotation = self.rope.at(0..time, &device);
        let mut x = self.embed_tokens.rows(ids);
        for layer in &self.layers {
            x = layer.forward(x, &rotation, |q, k, v| attend(q, k, v, bias.as_ref()));
        }
        self.norm.forward(x)
    }

    /// Reads `ids` behind what `cache` holds, and adds them to it: prefill and decode are both this. With a cache of
    /// several rows, `ids` is `[batch, time]`, row by row.
    ///
    /// Gives the states of `ids` after the last norm, `[batch, time, hidden_size]`. On an error the cache is as it
    /// was.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if the cache is too short; [`Error::BadInput`] if `ids` is empty or not as long for each
    /// row, an id is not in the vocabulary, or the cache is another model's.
    pub fn extend(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor<3>> {
        self.check(ids, cache)?;
        let time = ids.len() / cache.batch();
        cache.reserve(time)?;
        let device = self.norm.device();
        let chunks = (0..time).step_by(CHUNK).map(|start| start..time.min(start + CHUNK));
        let mut states: Vec<_> = chunks
            .map(|chunk| {
                // Ids are below 2²⁰: the config says so.
                let chunk: Vec<i32> =
                    ids.chunks_exact(time).flat_map(|row| row[chunk.clone()].iter().map(|id| *id as i32)).collect();
                self.extend_chunk(chunk, cache, &device)
            })
            .collect();
        Ok(if states.len() == 1 { states.remove(0) } else { Tensor::cat(states, 1) })
    }

    fn extend_chunk(&self, ids: Vec<i32>, cache: &mut KvCache, device: &Device) -> Tensor<3> {
        let batch = cache.batch();
        let time = ids.len() / batch;
        let positions = cache.len()..cache.len() + time;
        let bias = causal_bias(positions.clone(), device);
        let rotation = self.rope.at(positions, device);
        let mut x = self.embed_tokens.rows(Tensor::from_data(TensorData::new(ids, [batch, time]), device));
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, &rotation, |q, k, v| {
                let (k, v) = cache.write(index, k, v);
                attend(q, k, v, bias.as_ref())
            });
        }
        cache.advance(time);
        self.norm.forward(x)
    }

    fn check(&self, ids: &[u32], cache: &KvCache) -> Result<()> {
        let vocab_size = self.config.vocab_size;
        if ids.is_empty() {
            return Err(Error::BadInput("no tokens to read, expected at least one".into()));
        }
        if !ids.len().is_multiple_of(cache.batch()) {
            return Err(Error::BadInput(format!(
                "{} tokens for {} rows, expected as many for each",
                ids.len(),
                cache.batch()
            )));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(Error::BadInput(format!(
                "token {id} is not in the model's vocabulary of {vocab_size}; is the tokenizer another model's?"
            )));
        }
        if cache.shape() != self.config.cache_shape() {
            return Err(Error::BadInput(format!(
                "a cache with {:?}, expected {:?}; make it with this model's `new_cache`",
                cache.shape(),
                self.config.cache_shape()
            )));
        }
        Ok(())
    }

    /// The logits of the next token at each position: `[batch, time, hidden_size]` to `[batch, time, vocab_size]`.
    pub fn logits(&self, states: Tensor<3>) -> Tensor<3> {
        self.head().project(states)
    }

    fn head(&self) -> &Matrix {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// The logits of the next token behind the last position alone: `[batch, time, hidden_size]` to
    /// `[batch, vocab_size]`. The head is the largest product of a small model; a prefill needs it once.
    pub fn last_logits(&self, states: Tensor<3>) -> Tensor<2> {
        let [batch, time, hidden_size] = states.dims();
        let last = states.slice([0..batch, time - 1..time, 0..hidden_size]);
        self.logits(last).reshape([batch, self.config.vocab_size])
    }
}

/// Attention, then the feed-forward network, each behind a norm and added to its input.
#[derive(Module, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    fn load(config: &DecoderConfig, weights: &mut Weights, path: &str) -> Result<Self> {
        let norm = |weights: &mut Weights, name: &str| {
            RmsNorm::load(weights, &format!("{path}.{name}"), config.hidden_size, config.rms_norm_eps)
        };
        Ok(Self {
            input_layernorm: norm(weights, "input_layernorm")?,
            self_attn: Attention::load(config, weights, &format!("{path}.self_attn"))?,
            post_attention_layernorm: norm(weights, "post_attention_layernorm")?,
            mlp: Mlp::load(config, weights, &format!("{path}.mlp"))?,
        })
    }

    /// `mix` is the attention: it gets this pass's queries, keys and values and gives what each query sees.
    fn forward(
        &self,
        x: Tensor<3>,
        rotation: &Rotation,
        mix: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.input_layernorm.forward(x), rotation, mix);
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    #[module(skip)]
    head_dim: usize,
}

impl Attention {
    fn load(config: &DecoderConfig, weights: &mut Weights, path: &str) -> Result<Self> {
        let DecoderConfig { hidden_size, head_dim, rms_norm_eps, attention_bias, .. } = *config;
        let all_heads = config.num_attention_heads * head_dim;
        let kv_heads = config.num_key_value_heads * head_dim;
        let qkv_bias = attention_bias || config.model_type == Architecture::Qwen2;
        let project = |weights: &mut Weights, name: &str, out: usize, input: usize, bias: bool| {
            load_linear(weights, &format!("{path}.{name}"), [out, input], bias)
        };
        let head_norm = |weights: &mut Weights, name: &str| {
            (config.model_type == Architecture::Qwen3)
                .then(|| RmsNorm::load(weights, &format!("{path}.{name}"), head_dim, rms_norm_eps))
                .transpose()
        };
        // Older checkpoints carry the frequencies along; the config says them better.
        let inv_freq = format!("{path}.rotary_emb.inv_freq");
        if weights.has(&inv_freq) {
            weights.vector(&inv_freq, head_dim / 2)?;
        }
        Ok(Self {
            q_proj: project(weights, "q_proj", all_heads, hidden_size, qkv_bias)?,
            k_proj: project(weights, "k_proj", kv_heads, hidden_size, qkv_bias)?,
            v_proj: project(weights, "v_proj", kv_heads, hidden_size, qkv_bias)?,
            o_proj: project(weights, "o_proj", hidden_size, all_heads, attention_bias)?,
            q_norm: head_norm(weights, "q_norm")?,
            k_norm: head_norm(weights, "k_norm")?,
            head_dim,
        })
    }

    fn forward(
        &self,
        x: Tensor<3>,
        rotation: &Rotation,
        mix: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        let q = rotation.apply(self.heads(self.q_proj.forward(x.clone()), self.q_norm.as_ref()));
        let k = rotation.apply(self.heads(self.k_proj.forward(x.clone()), self.k_norm.as_ref()));
        let v = self.heads(self.v_proj.forward(x), None);
        // [batch, heads, time, head_dim] to [batch, time, heads * head_dim]
        let mixed = mix(q, k, v).swap_dims(1, 2).reshape([batch as i64, time as i64, -1]);
        self.o_proj.forward(mixed)
    }

    /// `[batch, time, heads * head_dim]` to `[batch, heads, time, head_dim]`, each head normalised where there is a norm.
    fn heads(&self, x: Tensor<3>, norm: Option<&RmsNorm>) -> Tensor<4> {
        let [batch, time, width] = x.dims();
        let x = x.reshape([batch, time, width / self.head_dim, self.head_dim]);
        let x = match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        x.swap_dims(1, 2)
    }
}

/// SwiGLU: `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    fn load(config: &DecoderConfig, weights: &mut Weights, path: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut project = |name: &str, shape| load_linear(weights, &format!("{path}.{name}"), shape, config.mlp_bias);
        Ok(Self {
            gate_proj: project("gate_proj", [inner, hidden])?,
            up_proj: project("up_proj", [inner, hidden])?,
            down_proj: project("down_proj", [hidden, inner])?,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}

/// `x / √(mean(x²) + eps) · weight` over the last dimension.
#[derive(Module, Debug)]
struct RmsNorm {
    weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    fn load(weights: &mut Weights, path: &str, len: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: Param::from_tensor(weights.vector(&format!("{path}.weight"), len)?), eps })
    }

    fn device(&self) -> Device {
        self.weight.val().device()
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let size = x.clone().square().mean_dim(D - 1).add_scalar(self.eps).sqrt();
        x / size * self.weight.val().unsqueeze()
    }
}

/// `[out, in]`, with the bias beside it where the architecture has one.
fn load_linear(weights: &mut Weights, path: &str, shape: [usize; 2], bias: bool) -> Result<Linear> {
    let weight = weights.matrix(&format!("{path}.weight"), shape)?;
    let bias = bias.then(|| weights.vector(&format!("{path}.bias"), shape[0])).transpose()?;
    Ok(Linear::new(weight, bias))
}
