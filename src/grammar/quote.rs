//! Quotes copied from a judged message: only tokens that continue some occurrence in it, so a quote is always verbatim.

use std::sync::Arc;

use crate::tokenizer::{Span, TokenId};
use crate::verdict::QuoteSpan;

/// A judged message that may be quoted: its tokens, and the bytes of the original text that each stands for.
#[derive(Debug, Clone)]
pub struct QuoteSource {
    message: usize,
    text: Arc<str>,
    spans: Arc<[Span]>,
}

impl QuoteSource {
    /// `message` is the index in the conversation, `text` its content, `spans` its tokens in order, as the model reads
    /// them. Tokens whose bytes lie outside the text are cut off with all that follows.
    pub fn new(message: usize, text: &str, spans: &[Span]) -> Self {
        let sound = |span: &Span| span.bytes.start <= span.bytes.end && span.bytes.end <= text.len();
        let count = spans.iter().take_while(|span| sound(span)).count();
        Self { message, text: text.into(), spans: spans[..count].into() }
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The bytes of the tokens `from..to`, widened to whole characters.
    fn bytes(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let mut start = self.spans[from].bytes.start;
        let mut end = self.spans[to - 1].bytes.end.max(start);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }
}

/// How long a quote may be, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteLength {
    /// At least this many where the message has them after the quote's start.
    pub min: usize,
    pub max: usize,
}

impl Default for QuoteLength {
    fn default() -> Self {
        Self { min: 1, max: 24 }
    }
}

/// A quote in progress: where in the source it may have started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuoteState {
    starts: Vec<u32>,
    len: usize,
    shown: usize,
}

impl QuoteState {
    /// All places with room for `min` tokens, or all places where none has.
    pub(super) fn new(source: &QuoteSource, length: QuoteLength) -> Self {
        let tokens = source.spans.len();
        let roomy = if tokens >= length.min { tokens + 1 - length.min.max(1) } else { tokens };
        Self { starts: (0..roomy.min(tokens) as u32).collect(), len: 0, shown: 0 }
    }

    /// The tokens that continue the quote, and `close` once it is long enough or cannot go on.
    pub(super) fn next(&self, source: &QuoteSource, length: QuoteLength, close: TokenId) -> Vec<TokenId> {
        let mut next = Vec::new();
        if self.len < length.max.max(1) {
            next.extend(self.starts.iter().filter_map(|start| self.following(source, *start)));
        }
        if self.len >= length.min.max(1) || next.is_empty() {
            next.push(close);
        }
        next
    }

    /// Keeps the places that `token` continues.
    pub(super) fn push(&mut self, source: &QuoteSource, token: TokenId) {
        let starts = std::mem::take(&mut self.starts);
        self.starts = starts.into_iter().filter(|start| self.following(source, *start) == Some(token)).collect();
        self.len += 1;
    }

    /// Text of the quote not yet shown. Places that differ in letters the tokens do not tell apart hold it back.
    pub(super) fn show<'s>(&mut self, source: &'s QuoteSource) -> &'s str {
        let mut texts = self.starts.iter().map(|start| &source.text[self.range(source, *start)]);
        let Some(text) = texts.next().filter(|first| texts.all(|other| other == *first)) else { return "" };
        let piece = text.get(self.shown..).unwrap_or_default();
        self.shown += piece.len();
        piece
    }

    /// The rest of the text and the quote itself, at the first place it stands; `None` without tokens.
    pub(super) fn close<'s>(&self, source: &'s QuoteSource) -> Option<(&'s str, QuoteSpan)> {
        if self.len == 0 {
            return None;
        }
        let bytes = self.range(source, *self.starts.first()?);
        let rest = source.text[bytes.clone()].get(self.shown..).unwrap_or_default();
        Some((rest, QuoteSpan { message: source.message, bytes }))
    }

    fn following(&self, source: &QuoteSource, start: u32) -> Option<TokenId> {
        source.spans.get(start as usize + self.len).map(|span| span.id)
    }

    fn range(&self, source: &QuoteSource, start: u32) -> std::ops::Range<usize> {
        source.bytes(start as usize, start as usize + self.len)
    }
}
