//! rsafe-mini as a causal language model: layouts that grow by the tokens of an answer.

use burn::tensor::{Device, Tensor};

use super::layout::{Layout, Marker};
use super::network::SlotModel;
use crate::engine::read_numbers;
use crate::engine::reader::{CausalLm, Logits, Reader};
use crate::error::{Error, Result};
use crate::grammar::Allowed;
use crate::model::KvCache;
use crate::tokenizer::TokenId;

/// The network and what each row has read.
struct SlotRows<'e> {
    model: &'e SlotModel,
    layouts: Vec<Layout>,
    device: Device,
}

impl<'e> Reader<'e> {
    /// The slot model behind a cache that holds `layout`, whose last tokens' states are `states`.
    pub fn slots(model: &'e SlotModel, cache: KvCache, layout: Layout, states: Tensor<3>) -> Self {
        let rows = SlotRows { model, layouts: vec![layout], device: states.device() };
        Self::new(rows, cache, states)
    }
}

impl<'e> CausalLm<'e> for SlotRows<'e> {
    fn repeat(&self, times: usize) -> Box<dyn CausalLm<'e> + 'e> {
        let layouts = self.layouts.iter().cloned().cycle().take(self.layouts.len() * times).collect();
        Box::new(Self { model: self.model, layouts, device: self.device.clone() })
    }

    fn read(&mut self, rows: &[Vec<TokenId>], cache: &mut KvCache) -> Result<Tensor<3>> {
        let start = cache.len();
        for (layout, ids) in self.layouts.iter_mut().zip(rows) {
            ids.iter().for_each(|&id| {
                layout.push_answer(id);
            });
        }
        let layouts: Vec<&Layout> = self.layouts.iter().collect();
        let batch = self.model.batch(&layouts, start, &self.device);
        Ok(self.model.forward(&batch, Some(cache)))
    }

    fn logits<'a>(&'a self, state: &'a Tensor<3>, wanted: &'a [(usize, Allowed)]) -> Logits<'a> {
        Box::pin(async move {
            let mut logits = Vec::with_capacity(wanted.len());
            for (row, allowed) in wanted {
                let state = if self.layouts.len() == 1 { state.clone() } else { state.clone().narrow(0, *row, 1) };
                logits.push(self.logits_of(state, allowed.ids()).await?);
            }
            Ok(logits)
        })
    }
}

impl SlotRows<'_> {
    /// Logits of words and markers behind one state, `[1, 1, hidden]`.
    async fn logits_of(&self, state: Tensor<3>, ids: Vec<TokenId>) -> Result<Vec<(TokenId, f32)>> {
        let vocab_size = self.model.vocab_size() as TokenId;
        let (words, markers): (Vec<TokenId>, Vec<TokenId>) = ids.into_iter().partition(|&id| id < vocab_size);
        let mut logits = Vec::with_capacity(words.len() + markers.len());
        if !markers.is_empty() {
            let all = read_numbers(self.model.marker_logits(state.clone())).await?;
            let known = markers.iter().filter(|&&id| ((id - vocab_size) as usize) < Marker::COUNT);
            logits.extend(known.map(|&id| (id, all[(id - vocab_size) as usize])));
        }
        if !words.is_empty() {
            let all = read_numbers(self.model.word_logits(state, &words)).await?;
            logits.extend(words.into_iter().zip(all));
        }
        if logits.is_empty() {
            return Err(Error::BadModel("the answer's grammar allows no token that the model has".into()));
        }
        Ok(logits)
    }
}
