//! Text to token ids and back, over the `tokenizers` crate; user text can never become a special token.

use std::ops::Range;

use crate::Result;

/// An index into a model's vocabulary.
pub type TokenId = u32;

/// A token of a text and the bytes of that text it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub id: TokenId,
    pub bytes: Range<usize>,
}

/// A Hugging Face `tokenizer.json`.
pub struct Tokenizer {}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_bytes(_json: &[u8]) -> Result<Self> {
        todo!()
    }

    /// Plain text to tokens with byte offsets; no special or added token ever comes out.
    pub fn encode(&self, _text: &str) -> Result<Vec<Span>> {
        todo!()
    }

    /// The id of a control token by its exact name.
    pub fn control(&self, _name: &str) -> Result<TokenId> {
        todo!()
    }

    /// All ids to text, control tokens left out.
    pub fn decode(&self, _ids: &[TokenId]) -> Result<String> {
        todo!()
    }

    /// The bytes that a token adds to a text (empty for control tokens).
    pub fn token_bytes(&self, _id: TokenId) -> &[u8] {
        todo!()
    }

    /// The number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
}
