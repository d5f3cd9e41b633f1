//! A sequence being read, or several side by side: the cache of what came before, and the last tokens' states, from which
//! the next are told.

use burn::tensor::Tensor;

use super::pass::read_numbers;
use crate::grammar::Allowed;
use crate::mini::layout::{Layout, Marker};
use crate::mini::network::{SlotBatch, SlotModel};
use crate::model::{Decoder, KvCache};
use crate::tokenizer::TokenId;
use crate::{Error, Result};

/// Dropping a reader frees its cache; a clone is a fork.
#[derive(Clone)]
pub struct Reader<'e> {
    network: Network<'e>,
    cache: KvCache,
    /// The last token's hidden state in each row, `[rows, 1, hidden]`.
    state: Tensor<3>,
}

#[derive(Clone)]
enum Network<'e> {
    Decoder(&'e Decoder),
    /// With a layout for each row, all as long.
    Slots(&'e SlotModel, Vec<Layout>),
}

impl<'e> Reader<'e> {
    /// A decoder behind a cache, whose last tokens' states are `states`.
    pub fn decoder(decoder: &'e Decoder, cache: KvCache, states: Tensor<3>) -> Self {
        Self { network: Network::Decoder(decoder), cache, state: last(states) }
    }

    /// The slot model behind a cache that holds `layout`, whose last tokens' states are `states`.
    pub fn slots(model: &'e SlotModel, cache: KvCache, layout: Layout, states: Tensor<3>) -> Self {
        Self { network: Network::Slots(model, vec![layout]), cache, state: last(states) }
    }

    /// Rows that all begin with what this one has read, each with room for `more` tokens.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if there is no such room.
    pub fn repeat(&self, rows: usize, more: usize) -> Result<Self> {
        let network = match &self.network {
            Network::Decoder(decoder) => Network::Decoder(decoder),
            Network::Slots(model, layouts) => {
                Network::Slots(model, layouts.iter().cloned().cycle().take(layouts.len() * rows).collect())
            }
        };
        let cache = self.cache.repeat(rows, self.cache.len() + more)?;
        Ok(Self { network, cache, state: self.state.clone().repeat_dim(0, rows) })
    }

    /// Reads more tokens, as many in every row.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if they do not fit.
    pub fn extend(&mut self, rows: &[Vec<TokenId>]) -> Result<()> {
        let time = rows.first().map_or(0, Vec::len);
        if time == 0 {
            return Ok(());
        }
        self.cache.reserve(time)?;
        let states = match &mut self.network {
            Network::Decoder(decoder) => decoder.extend(&rows.concat(), &mut self.cache)?,
            Network::Slots(model, layouts) => {
                let start = self.cache.len();
                for (layout, ids) in layouts.iter_mut().zip(rows) {
                    ids.iter().for_each(|&id| {
                        layout.push_answer(id);
                    });
                }
                let layouts: Vec<&Layout> = layouts.iter().collect();
                let batch = SlotBatch::new(&layouts, start, model.vocab_size(), &self.state.device());
                model.forward(&batch, Some(&mut self.cache))
            }
        };
        self.state = last(states);
        Ok(())
    }

    /// For each row and the tokens that may come next there, those tokens and their logits.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device does not answer.
    pub async fn logits(&self, wanted: &[(usize, Allowed)]) -> Result<Vec<Vec<(TokenId, f32)>>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let ids = |allowed: &Allowed| {
            let mut ids = Vec::with_capacity(allowed.len());
            allowed.for_each(|id| ids.push(id));
            ids
        };
        match &self.network {
            Network::Decoder(decoder) => {
                let all = read_numbers(decoder.last_logits(self.state.clone())).await?;
                let width = all.len() / self.state.dims()[0];
                let logit = |row: usize, id: TokenId| {
                    let known = (id as usize) < width;
                    if known { all[row * width + id as usize] } else { f32::NAN }
                };
                let of = |(row, allowed): &(usize, Allowed)| {
                    ids(allowed).into_iter().map(|id| (id, logit(*row, id))).collect()
                };
                Ok(wanted.iter().map(of).collect())
            }
            Network::Slots(model, _) => {
                let mut logits = Vec::with_capacity(wanted.len());
                for (row, allowed) in wanted {
                    logits.push(self.slot_logits(model, *row, ids(allowed)).await?);
                }
                Ok(logits)
            }
        }
    }

    async fn slot_logits(&self, model: &SlotModel, row: usize, ids: Vec<TokenId>) -> Result<Vec<(TokenId, f32)>> {
        let vocab_size = model.vocab_size() as TokenId;
        let state = if self.cache.batch() == 1 { self.state.clone() } else { self.state.clone().narrow(0, row, 1) };
        let (words, markers): (Vec<TokenId>, Vec<TokenId>) = ids.into_iter().partition(|&id| id < vocab_size);
        let mut logits = Vec::with_capacity(words.len() + markers.len());
        if !markers.is_empty() {
            let all = read_numbers(model.marker_logits(state.clone())).await?;
            let known = markers.iter().filter(|&&id| ((id - vocab_size) as usize) < Marker::COUNT);
            logits.extend(known.map(|&id| (id, all[(id - vocab_size) as usize])));
        }
        if !words.is_empty() {
            let all = read_numbers(model.word_logits(state, &words)).await?;
            logits.extend(words.into_iter().zip(all));
        }
        if logits.is_empty() {
            return Err(Error::BadModel("the answer's grammar allows no token that the model has".into()));
        }
        Ok(logits)
    }
}

/// `[rows, time, hidden]` to the last tokens, `[rows, 1, hidden]`.
fn last(states: Tensor<3>) -> Tensor<3> {
    let [batch, time, hidden] = states.dims();
    states.slice([0..batch, time - 1..time, 0..hidden])
}
