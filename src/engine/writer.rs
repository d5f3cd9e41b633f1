//! The loop that writes an answer: the grammar says which tokens may come, the reader how likely each is, the sampler
//! takes one.

use super::reader::Reader;
use crate::Result;
use crate::grammar::{Grammar, p_unsafe_by};
use crate::sampling::{Sampler, Sampling};
use crate::tokenizer::TokenId;
use crate::verdict::Answer;

/// An answer being written. Pull tokens until [`next`](Self::next) gives `None`; dropping it stops.
pub struct Writer<'e> {
    reader: Reader<'e>,
    grammar: Grammar,
    sampler: Sampler,
    /// Tokens that the grammar has consumed and the reader has not read: read together with what follows.
    pending: Vec<TokenId>,
    p_unsafe: Option<f32>,
    tokens: usize,
}

impl<'e> Writer<'e> {
    pub fn new(reader: Reader<'e>, grammar: Grammar, sampling: Sampling) -> Self {
        Self { reader, grammar, sampler: Sampler::new(sampling), pending: Vec::new(), p_unsafe: None, tokens: 0 }
    }

    /// Writes on until there is something to show: the new text, or `None` at the end of the answer.
    ///
    /// # Errors
    /// Whatever the model or the device has wrong; the answer is then unusable.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        while text.is_empty() && !self.grammar.is_done() {
            // One at a time: what is forced is shown as it comes, too.
            if let Some(&id) = self.grammar.forced().first() {
                text.push_str(&self.take(id)?);
                continue;
            }
            self.reader.extend(&std::mem::take(&mut self.pending))?;
            let logits = self.reader.logits(&self.grammar.allowed()).await?;
            if let Some(choice) = self.grammar.verdict_choice() {
                let logit = |id| logits.iter().find(|(known, _)| *known == id).map_or(f32::NAN, |(_, logit)| *logit);
                self.p_unsafe = Some(p_unsafe_by(logit, &choice));
            }
            // The grammar never allows nothing before its end, so there is always a token to pick.
            let Some(sampled) = self.sampler.pick(logits) else { break };
            text.push_str(&self.take(sampled.token)?);
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// Writes to the end without showing.
    pub async fn finish(&mut self) -> Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    fn take(&mut self, id: TokenId) -> Result<String> {
        self.tokens += 1;
        self.pending.push(id);
        self.sampler.observe(&[id]);
        self.grammar.consume(id)
    }

    pub fn answer(&self) -> &Answer {
        self.grammar.answer()
    }

    /// P(unsafe) at the verdict; `None` before it.
    pub fn p_unsafe(&self) -> Option<f32> {
        self.p_unsafe
    }

    /// Tokens written, forced ones included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}
