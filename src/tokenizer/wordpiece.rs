//! WordPiece over hostile words: what BERT would drop as unknown is spelled as far as it can be.
//!
//! BERT's tokenizer turns a word of more than 100 characters, or one with a single foreign character such as an
//! emoji, into the unknown token as a whole. A guard must not lose a word that readably stands there, so unknown
//! words are cut into runs of one kind and encoded again.

use std::ops::Range;

use super::token::{Span, TokenId};
use crate::error::Result;

/// Runs are cut at this many characters: matching the longest piece takes time quadratic in them.
const RUN: usize = 50;

/// How a word is cut on each attempt.
#[derive(Clone, Copy)]
enum Cut {
    /// Letters and digits apart from everything else: `lock🙂pick`.
    Symbols,
    /// ASCII apart from everything else: a letter of a foreign script inside a word.
    Scripts,
}

/// Encodes a text; `read` gives the tokens of a part of it, `unknown` where a word has none.
pub(super) fn encode(
    text: &str,
    unknown: TokenId,
    read: impl Fn(Range<usize>) -> Result<Vec<Span>>,
) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    encode_into(&read, text, 0..text.len(), unknown, &[Cut::Symbols, Cut::Scripts], &mut spans)?;
    Ok(spans)
}

fn encode_into(
    read: &impl Fn(Range<usize>) -> Result<Vec<Span>>,
    text: &str,
    part: Range<usize>,
    unknown: TokenId,
    cuts: &[Cut],
    spans: &mut Vec<Span>,
) -> Result<()> {
    for span in read(part)? {
        let Some((&cut, rest)) = cuts.split_first().filter(|_| span.id == unknown) else {
            spans.push(span);
            continue;
        };
        let runs = runs(text, span.bytes.clone(), cut);
        if runs.len() < 2 && rest.is_empty() {
            spans.push(span);
            continue;
        }
        for run in runs {
            encode_into(read, text, run, unknown, rest, spans)?;
        }
    }
    Ok(())
}

/// Runs of characters of one kind, each at most [`RUN`] characters long.
fn runs(text: &str, word: Range<usize>, cut: Cut) -> Vec<Range<usize>> {
    let kind = |c: char| match cut {
        Cut::Symbols => c.is_alphanumeric(),
        Cut::Scripts => c.is_ascii(),
    };
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    let mut length = 0;
    for (at, c) in text[word.clone()].char_indices() {
        let (start, end) = (word.start + at, word.start + at + c.len_utf8());
        match runs.last_mut() {
            Some(run) if last == Some(kind(c)) && length < RUN => run.end = end,
            _ => {
                runs.push(start..end);
                length = 0;
            }
        }
        length += 1;
        last = Some(kind(c));
    }
    runs
}
