//! Counting before reading: a text that is too long for a model is told so without its tokens ever being held at once.

use super::Tokenizer;
use super::token::{Span, TokenId, ceil_boundary, floor_boundary};
use crate::error::{Error, Result};

/// Texts are read up to so many bytes for each token that a model takes. Ordinary text has 2 to 6, and its longest words
/// 20; beyond are only long runs of white space and characters that no tokenizer keeps.
pub const MAX_BYTES_PER_TOKEN: usize = 64;

/// Texts up to this many bytes are cheap to read whole.
const CHUNK: usize = 16 << 10;
/// How many tokens a cut may add to the two sides of it.
const SLACK: usize = 128;

impl Tokenizer {
    /// Refuses texts that together surely have more than `limit` tokens. Takes little memory, whatever their length, and
    /// stops where it is sure; texts that pass may still have some more.
    ///
    /// # Errors
    /// [`Error::TooManyBytes`] for more than [`MAX_BYTES_PER_TOKEN`] times `limit` bytes, before anything is read;
    /// [`Error::ContextLength`] for too many tokens.
    pub fn refuse_longer<'t>(&self, texts: impl Iterator<Item = &'t str> + Clone, limit: usize) -> Result<()> {
        let bytes = texts.clone().map(str::len).sum();
        let most = limit.saturating_mul(MAX_BYTES_PER_TOKEN);
        if bytes > most {
            return Err(Error::TooManyBytes { bytes, limit: most });
        }
        let mut needed = 0;
        for text in texts.filter(|text| text.len() > CHUNK) {
            for chunk in chunks(text) {
                needed += self.encode(chunk)?.len().saturating_sub(SLACK);
                if needed > limit {
                    return Err(Error::ContextLength { needed, limit });
                }
            }
        }
        Ok(())
    }

    /// The last `count` tokens of a text, or all if it has fewer, in memory that does not grow with the text. Where the text
    /// is long, the first of them may be another way to spell the same place.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_end(&self, text: &str, count: usize) -> Result<Vec<TokenId>> {
        let mut start = text.len();
        loop {
            // Doubled until the end is long enough, so that the text is read at most twice.
            let length = (2 * (text.len() - start)).max(CHUNK);
            start = line_start(text, text.len().saturating_sub(length));
            let spans: Vec<Span> = self.encode(&text[start..])?;
            if start == 0 || spans.len() >= count + SLACK {
                return Ok(spans[spans.len().saturating_sub(count)..].iter().map(|span| span.id).collect());
            }
        }
    }
}

/// A text in parts of about [`CHUNK`] bytes, cut behind white space where there is some.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = ceil_boundary(rest, CHUNK);
        let cut = rest[..at].rfind(char::is_whitespace).filter(|&space| at < rest.len() && space > CHUNK / 2);
        let (chunk, behind) = rest.split_at(cut.unwrap_or(at));
        rest = behind;
        Some(chunk)
    })
}

/// The first white space at or behind a place, if it is near: there, no word is cut.
fn line_start(text: &str, at: usize) -> usize {
    let at = floor_boundary(text, at);
    if at == 0 {
        return 0;
    }
    let near = &text[at..ceil_boundary(text, at + CHUNK / 4)];
    near.find(char::is_whitespace).map_or(at, |space| at + space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_text_in_order_and_bounded() {
        for text in ["", "a", &"<".repeat(100_000), &"word ".repeat(50_000), &"漢字".repeat(40_000)] {
            let all: Vec<&str> = chunks(text).collect();
            assert_eq!(all.concat(), *text);
            assert!(all.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK + 3));
        }
    }
}
