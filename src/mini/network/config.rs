//! The shape of rsafe-mini's network, as a `config.json` says it, and what is believed of that.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mini::batch::{BUCKETS, MARKER_WORD};
use crate::mini::layout::{ANSWER, BLOCK, CONVERSATION};
use crate::model::CacheShape;

/// The shape of the network; the fields are those of Hugging Face's `BertConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub layer_norm_eps: f64,
    /// Of an MPNet: [`BUCKETS`], and there are [`Distances`](crate::mini::batch::Distances).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_attention_num_buckets: Option<usize>,
}

/// Bounds that no sane checkpoint crosses and that keep a hostile one from asking for absurd memory.
const MAX_VOCAB: usize = 1 << 20;
const MAX_WIDTH: usize = 1 << 14;
const MAX_LAYERS: usize = 128;

impl SlotConfig {
    /// Reads the fields out of a `config.json`; other fields are ignored.
    ///
    /// # Errors
    /// [`Error::BadModel`] for missing, zero or absurd sizes.
    pub fn from_json(config: &serde_json::Value) -> Result<Self> {
        let config: Self = serde_json::from_value(config.clone())
            .map_err(|e| Error::BadModel(format!("config.json: expected the fields of a BertConfig: {e}")))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let bounds = [
            ("vocab_size", self.vocab_size, MARKER_WORD as usize + 1, MAX_VOCAB),
            ("hidden_size", self.hidden_size, 1, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, 1, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, 1, self.hidden_size),
            ("intermediate_size", self.intermediate_size, 1, 4 * MAX_WIDTH),
            ("max_position_embeddings", self.max_position_embeddings, CONVERSATION + BLOCK + ANSWER, MAX_WIDTH),
        ];
        for (field, found, least, most) in bounds {
            if !(least..=most).contains(&found) {
                return Err(Error::BadModel(format!(
                    "config.json: `{field}` must be {least} to {most}, found {found}"
                )));
            }
        }
        if let Some(found) = self.relative_attention_num_buckets.filter(|&found| found != BUCKETS) {
            return Err(Error::BadModel(format!(
                "config.json: `relative_attention_num_buckets` must be {BUCKETS} where there is one, found {found}"
            )));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(Error::BadModel(format!(
                "config.json: `hidden_size` {} is not a multiple of `num_attention_heads` {}",
                self.hidden_size, self.num_attention_heads
            )));
        }
        Ok(())
    }

    /// The shape of a cache for this network.
    pub fn cache_shape(&self) -> CacheShape {
        CacheShape {
            layers: self.num_hidden_layers,
            kv_heads: self.num_attention_heads,
            head_dim: self.hidden_size / self.num_attention_heads,
        }
    }
}
