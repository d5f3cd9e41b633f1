//! A sequence being read, or several side by side: the cache of what came before, and the last tokens' states, from
//! which the next are told.

use std::pin::Pin;

use burn::tensor::Tensor;

use crate::error::Result;
use crate::grammar::Allowed;
use crate::model::KvCache;
use crate::tokenizer::TokenId;

/// Dropping a reader frees its cache; a clone is a fork.
pub struct Reader<'e> {
    model: Box<dyn CausalLm<'e> + 'e>,
    cache: KvCache,
    /// The last token's hidden state in each row, `[rows, 1, hidden]`.
    state: Tensor<3>,
}

/// A causal language model with the rows of tokens that it has read, all as long.
pub trait CausalLm<'e>: Send + Sync {
    /// The model with its rows so many times, one round behind the other.
    fn repeat(&self, times: usize) -> Box<dyn CausalLm<'e> + 'e>;

    /// Reads more tokens, as many in every row, and adds them to the cache; gives their states, `[rows, time, hidden]`.
    ///
    /// # Errors
    /// Whatever the tokens or the cache have wrong.
    fn read(&mut self, rows: &[Vec<TokenId>], cache: &mut KvCache) -> Result<Tensor<3>>;

    /// As [`Reader::logits`], from the last tokens' states, `[rows, 1, hidden]`.
    fn logits<'a>(&'a self, state: &'a Tensor<3>, wanted: &'a [(usize, Allowed)]) -> Logits<'a>;
}

/// For each row that was asked about its tokens and their logits, some time from now.
pub type Logits<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vec<(TokenId, f32)>>>> + Send + 'a>>;

impl<'e> Reader<'e> {
    /// A model behind a cache that holds what its rows have read, whose last tokens' states are `states`,
    /// `[rows, time, hidden]`.
    pub fn new(model: impl CausalLm<'e> + 'e, cache: KvCache, states: Tensor<3>) -> Self {
        Self { model: Box::new(model), cache, state: last(states) }
    }

    /// Rows that all begin with what this one has read, each with room for `more` tokens.
    ///
    /// # Errors
    /// [`ContextLength`](crate::Error::ContextLength) if there is no such room.
    pub fn repeat(&self, rows: usize, more: usize) -> Result<Self> {
        let cache = self.cache.repeat(rows, self.cache.len() + more)?;
        Ok(Self { model: self.model.repeat(rows), cache, state: self.state.clone().repeat_dim(0, rows) })
    }

    /// Reads more tokens, as many in every row.
    ///
    /// # Errors
    /// [`ContextLength`](crate::Error::ContextLength) if they do not fit.
    pub fn extend(&mut self, rows: &[Vec<TokenId>]) -> Result<()> {
        let time = rows.first().map_or(0, Vec::len);
        if time == 0 {
            return Ok(());
        }
        self.cache.reserve(time)?;
        self.state = last(self.model.read(rows, &mut self.cache)?);
        Ok(())
    }

    /// For each row and the tokens that may come next there, those tokens and their logits.
    ///
    /// # Errors
    /// [`DeviceLost`](crate::Error::DeviceLost) if the device does not answer.
    pub async fn logits(&self, wanted: &[(usize, Allowed)]) -> Result<Vec<Vec<(TokenId, f32)>>> {
        match wanted {
            [] => Ok(Vec::new()),
            _ => self.model.logits(&self.state, wanted).await,
        }
    }
}

impl Clone for Reader<'_> {
    fn clone(&self) -> Self {
        Self { model: self.model.repeat(1), cache: self.cache.clone(), state: self.state.clone() }
    }
}

/// `[rows, time, hidden]` to the last tokens, `[rows, 1, hidden]`.
fn last(states: Tensor<3>) -> Tensor<3> {
    let [batch, time, hidden] = states.dims();
    states.slice([0..batch, time - 1..time, 0..hidden])
}
