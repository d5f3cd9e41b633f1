//! Tokens to text as they come: only whole characters leave.

use super::Tokenizer;
use super::token::TokenId;
use crate::error::{Error, Result};

/// Turns a stream of tokens into a stream of whole UTF-8 characters. Bytes that cannot become a character
/// become U+FFFD, exactly as if all bytes had been decoded at once.
#[derive(Debug, Clone, Default)]
pub struct StreamDecoder {
    /// The start of a character whose other bytes have not come yet, at most three bytes.
    pending: Vec<u8>,
    /// Whether any text has come: a WordPiece text drops its first space.
    started: bool,
}

impl StreamDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token and gives the characters that are complete now, perhaps none.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the id is beyond the tokenizer's vocabulary.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId) -> Result<String> {
        if id as usize >= tokenizer.vocab_size() {
            return Err(Error::BadModel(format!(
                "token id {id} came where the tokenizer has {} ids; model and tokenizer do not belong together",
                tokenizer.vocab_size()
            )));
        }
        let mut bytes = tokenizer.token_bytes(id);
        if bytes.is_empty() {
            return Ok(String::new());
        }
        if !self.started && tokenizer.leads_with_space() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.started = true;
        self.pending.extend_from_slice(bytes);
        Ok(self.take_complete())
    }

    /// Ends the text: a character that was never completed comes out as one U+FFFD.
    pub fn flush(&mut self) -> String {
        self.started = false;
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn take_complete(&mut self) -> String {
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            let last = done + invalid.len() == self.pending.len();
            if invalid.is_empty() || last && is_unfinished(invalid) {
                continue;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
        self.pending.drain(..done);
        text
    }
}

impl Tokenizer {
    /// All ids to text, control tokens left out; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::BadModel`] if an id is not below [`vocab_size`](Self::vocab_size).
    pub fn decode(&self, ids: &[TokenId]) -> Result<String> {
        let mut stream = StreamDecoder::default();
        let mut text = String::new();
        for &id in ids {
            text.push_str(&stream.push(self, id)?);
        }
        text.push_str(&stream.flush());
        Ok(text)
    }
}

/// Whether bytes are the start of a character that more bytes could complete.
fn is_unfinished(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_any_portions_give_the_text_of_all_at_once() {
        let bytes = b"a\xF0\x9F\x98\x80 \xF0\x9F x\xFF\xC3\xA9\xE2\x82";
        for portion in 1..bytes.len() {
            let mut stream = StreamDecoder::new();
            let mut text = String::new();
            for part in bytes.chunks(portion) {
                stream.pending.extend_from_slice(part);
                text.push_str(&stream.take_complete());
            }
            text.push_str(&stream.flush());
            assert_eq!(text, String::from_utf8_lossy(bytes), "in portions of {portion}");
        }
    }
}
