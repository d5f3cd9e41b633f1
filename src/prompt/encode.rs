//! Segments to tokens, each token with the place in the conversation that it quotes.

use std::ops::Range;

use super::neutralise::{Neutralised, neutralise};
use super::segment::{Piece, Segment, SegmentKind};
use crate::error::Result;
use crate::tokenizer::{TokenId, Tokenizer};

/// A message's index and the byte range of its content that a token stands for.
pub type Quoted = (usize, Range<usize>);

/// The tokens of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSegment {
    pub kind: SegmentKind,
    pub tokens: Vec<TokenId>,
    /// As long as `tokens`; `None` for tokens of the template and the policy.
    pub sources: Vec<Option<Quoted>>,
}

/// A prompt as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub segments: Vec<EncodedSegment>,
}

impl Encoded {
    /// All tokens in a row.
    pub fn tokens(&self) -> Vec<TokenId> {
        self.segments.iter().flat_map(|segment| &segment.tokens).copied().collect()
    }

    /// The number of tokens of all segments.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Encodes a prompt.
///
/// Text between two control tokens is encoded as one, across pieces and segments, so that the tokens are those of
/// the full text. A token over the border of two segments belongs to the later one: so the tokens of a policy
/// segment are the same for each conversation, and a cache of them stays valid.
///
/// # Errors
/// [`Error::BadModel`](crate::Error::BadModel) if the tokenizer lacks a control token of the template.
pub fn encode(segments: &[Segment], tokenizer: &Tokenizer) -> Result<Encoded> {
    let empty = |segment: &Segment| EncodedSegment { kind: segment.kind, tokens: Vec::new(), sources: Vec::new() };
    let mut encoded: Vec<EncodedSegment> = segments.iter().map(empty).collect();
    let mut run = Run::default();
    for (index, segment) in segments.iter().enumerate() {
        for piece in &segment.pieces {
            match piece {
                Piece::Control(name) => {
                    std::mem::take(&mut run).encode_into(tokenizer, &mut encoded)?;
                    encoded[index].tokens.push(tokenizer.control(name)?);
                    encoded[index].sources.push(None);
                }
                Piece::Text(words) => {
                    run.push(index, words);
                }
                Piece::Untrusted { message, text } => {
                    let harmless = neutralise(text);
                    if let Some(part) = run.push(index, &harmless.text) {
                        part.message = Some((*message, harmless));
                    }
                }
            }
        }
    }
    run.encode_into(tokenizer, &mut encoded)?;
    Ok(Encoded { segments: encoded })
}

/// Text between two control tokens.
#[derive(Default)]
struct Run {
    text: String,
    parts: Vec<Part>,
}

struct Part {
    segment: usize,
    /// Its place in the run's text.
    bytes: Range<usize>,
    message: Option<(usize, Neutralised)>,
}

impl Run {
    fn push(&mut self, segment: usize, text: &str) -> Option<&mut Part> {
        if text.is_empty() {
            return None;
        }
        let start = self.text.len();
        self.text.push_str(text);
        self.parts.push(Part { segment, bytes: start..self.text.len(), message: None });
        self.parts.last_mut()
    }

    fn encode_into(self, tokenizer: &Tokenizer, encoded: &mut [EncodedSegment]) -> Result<()> {
        let Some(first) = self.parts.first() else { return Ok(()) };
        let mut segment = first.segment;
        for span in tokenizer.encode(&self.text)? {
            let last = self.parts.partition_point(|part| part.bytes.end < span.bytes.end);
            // Segments never go back, even where a normaliser gives a token an odd span.
            segment = self.parts.get(last).map_or(segment, |part| part.segment.max(segment));
            encoded[segment].tokens.push(span.id);
            encoded[segment].sources.push(self.source(&span.bytes));
        }
        Ok(())
    }

    /// The message that a span of the run quotes. Between two messages stands the name of a role, so it is one at most.
    fn source(&self, span: &Range<usize>) -> Option<Quoted> {
        let first = self.parts.partition_point(|part| part.bytes.end <= span.start);
        let touched = self.parts[first..].iter().take_while(|part| part.bytes.start < span.end);
        touched.filter_map(|part| part.message.as_ref().map(|message| (part, message))).find_map(|(part, message)| {
            let start = span.start.max(part.bytes.start) - part.bytes.start;
            let end = span.end.min(part.bytes.end) - part.bytes.start;
            Some((message.0, message.1.original(start..end)?))
        })
    }
}
