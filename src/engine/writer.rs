//! The loop that writes an answer: the grammar says which tokens may come, the reader how likely each is, the sampler
//! takes one.

use super::draft::Draft;
use super::reader::Reader;
use crate::Result;
use crate::grammar::Grammar;
use crate::sampling::Sampling;
use crate::verdict::Answer;

/// An answer being written. Pull tokens until [`next`](Self::next) gives `None`; dropping it stops.
pub struct Writer<'e> {
    reader: Reader<'e>,
    draft: Draft,
}

impl<'e> Writer<'e> {
    pub fn new(reader: Reader<'e>, grammar: Grammar, sampling: Sampling) -> Self {
        Self { reader, draft: Draft::new(grammar, sampling) }
    }

    /// Writes on until there is something to show: the new text, or `None` at the end of the answer.
    ///
    /// # Errors
    /// Whatever the model or the device has wrong; the answer is then unusable.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        while text.is_empty() && !self.draft.is_done() {
            // One at a time: what is forced is shown as it comes, too.
            if let Some(id) = self.draft.forced() {
                text.push_str(&self.draft.take(id)?);
                continue;
            }
            self.reader.extend(&[std::mem::take(&mut self.draft.pending)])?;
            let logits = self.reader.logits(&[(0, self.draft.allowed())]).await?;
            // The grammar never allows nothing before its end, so there is always a token to pick.
            let Some((_, shown)) = self.draft.choose(&logits[0])? else { break };
            text.push_str(&shown);
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// Writes to the end without showing.
    pub async fn finish(&mut self) -> Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    pub fn answer(&self) -> &Answer {
        self.draft.answer()
    }

    /// P(unsafe) at the verdict; `None` before it.
    pub fn p_unsafe(&self) -> Option<f32> {
        self.draft.p_unsafe()
    }

    /// Whether every logit so far was a finite number; where one is not, the verdict is unsafe.
    pub fn is_sound(&self) -> bool {
        self.draft.is_sound()
    }

    /// Tokens written, forced ones included.
    pub fn tokens(&self) -> usize {
        self.draft.tokens()
    }
}
