//! A sequence being read: the cache of what came before, and the last token's state, from which the next is told.

use burn::tensor::Tensor;

use super::read_numbers;
use crate::grammar::Allowed;
use crate::model::slots::{SlotBatch, SlotModel};
use crate::model::{Decoder, KvCache};
use crate::prompt::slots::{Layout, Marker};
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// Dropping a reader frees its cache; a clone is a fork.
#[derive(Clone)]
pub struct Reader<'e> {
    network: Network<'e>,
    cache: KvCache,
    /// The last token's hidden state, `[1, 1, hidden]`.
    state: Tensor<3>,
}

#[derive(Clone)]
enum Network<'e> {
    Decoder(&'e Decoder),
    Slots(&'e SlotModel, Layout),
}

impl<'e> Reader<'e> {
    /// A decoder behind a cache, reading `ids` next.
    pub fn decoder(decoder: &'e Decoder, mut cache: KvCache, ids: &[TokenId]) -> Result<Self> {
        let state = last(decoder.extend(ids, &mut cache)?);
        Ok(Self { network: Network::Decoder(decoder), cache, state })
    }

    /// The slot model behind a cache that holds `layout`, of which the last token's state is `state`.
    pub fn slots(model: &'e SlotModel, cache: KvCache, layout: Layout, state: Tensor<3>) -> Self {
        Self { network: Network::Slots(model, layout), cache, state: last(state) }
    }

    /// Reads more tokens.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if they do not fit.
    pub fn extend(&mut self, ids: &[TokenId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.cache.reserve(ids.len())?;
        let states = match &mut self.network {
            Network::Decoder(decoder) => decoder.extend(ids, &mut self.cache)?,
            Network::Slots(model, layout) => {
                let start = layout.len();
                ids.iter().for_each(|&id| {
                    layout.push_answer(id);
                });
                let batch = SlotBatch::new(&[layout], start, model.vocab_size(), &self.state.device());
                model.forward(&batch, Some(&mut self.cache))
            }
        };
        self.state = last(states);
        Ok(())
    }

    /// The logits of the tokens that may come next, with their ids.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device does not answer.
    pub async fn logits(&self, allowed: &Allowed) -> Result<Vec<(TokenId, f32)>> {
        let mut ids = Vec::with_capacity(allowed.len());
        allowed.for_each(|id| ids.push(id));
        match &self.network {
            Network::Decoder(decoder) => {
                let all = read_numbers(decoder.last_logits(self.state.clone())).await?;
                let logit = |id: TokenId| all.get(id as usize).copied().unwrap_or(f32::NAN);
                Ok(ids.into_iter().map(|id| (id, logit(id))).collect())
            }
            Network::Slots(model, _) => {
                let vocab_size = model.vocab_size() as TokenId;
                let (words, markers): (Vec<TokenId>, Vec<TokenId>) = ids.into_iter().partition(|&id| id < vocab_size);
                let mut logits = Vec::with_capacity(words.len() + markers.len());
                if !markers.is_empty() {
                    let all = read_numbers(model.marker_logits(self.state.clone())).await?;
                    let known = markers.iter().filter(|&&id| ((id - vocab_size) as usize) < Marker::COUNT);
                    logits.extend(known.map(|&id| (id, all[(id - vocab_size) as usize])));
                }
                if !words.is_empty() {
                    let all = read_numbers(model.word_logits(self.state.clone(), &words)).await?;
                    logits.extend(words.into_iter().zip(all));
                }
                if logits.is_empty() {
                    return Err(Error::BadModel("the answer's grammar allows no token that the model has".into()));
                }
                Ok(logits)
            }
        }
    }
}

/// `[1, time, hidden]` to its last token, `[1, 1, hidden]`.
fn last(states: Tensor<3>) -> Tensor<3> {
    let [batch, time, hidden] = states.dims();
    states.slice([0..batch, time - 1..time, 0..hidden])
}
