//! The loop that writes an answer: the grammar says which tokens may come, the reader how likely each is, the sampler
//! takes one.

use super::draft::Draft;
use super::reader::Reader;
use super::repeats::Repeats;
use crate::error::{Error, Result};
use crate::grammar::{Allowed, Grammar};
use crate::sampling::Sampling;
use crate::verdict::Answer;

/// Why an answer was given up before its end: what a verdict forced behind such reasoning would say is chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Its free text went in a circle.
    Circle,
    /// Its free text was as long as it may be, or as the model's context lets it.
    Limit,
}

/// An answer being written. Pull tokens until [`next`](Self::next) gives `None`; dropping it stops.
pub struct Writer<'e> {
    reader: Reader<'e>,
    draft: Draft,
    repeats: Repeats,
    stopped: Option<Stopped>,
}

impl<'e> Writer<'e> {
    pub fn new(reader: Reader<'e>, grammar: Grammar, sampling: Sampling) -> Self {
        Self { reader, draft: Draft::new(grammar, sampling), repeats: Repeats::new(), stopped: None }
    }

    /// Writes on until there is something to show: the new text, or `None` at the end of the answer and where it was
    /// [stopped](Self::stopped).
    ///
    /// # Errors
    /// Whatever the model or the device has wrong; the answer is then unusable.
    pub async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        while text.is_empty() && self.stopped.is_none() && !self.draft.is_done() {
            // One at a time: what is forced is shown as it comes, too.
            if let Some(id) = self.draft.forced() {
                text.push_str(&self.draft.take(id)?);
                self.stopped = self.draft.was_cut().then_some(Stopped::Limit);
                continue;
            }
            let allowed = self.draft.allowed();
            // Names and quotes, where few tokens may come, repeat what they are copied from.
            let free = matches!(allowed, Allowed::Mask(_));
            match self.reader.extend(&[std::mem::take(&mut self.draft.pending)]) {
                Err(Error::ContextLength { .. }) if free => {
                    self.stopped = Some(Stopped::Limit);
                    continue;
                }
                read => read?,
            }
            let logits = self.reader.logits(&[(0, allowed)]).await?;
            // The grammar never allows nothing before its end, so there is always a token to pick.
            let Some((id, shown)) = self.draft.choose(&logits[0])? else { break };
            text.push_str(&shown);
            if free && self.repeats.push(id) {
                self.stopped = Some(Stopped::Circle);
            }
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

    /// Why the answer ended before its verdict, if it did.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Tokens written, forced ones included.
    pub fn tokens(&self) -> usize {
        self.draft.tokens()
    }
}
