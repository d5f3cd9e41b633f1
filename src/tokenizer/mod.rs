//! Text to token ids and back, over the `tokenizers` crate; user text can never become a special token.

mod bound;
mod bytes;
mod file;
mod stream;
mod token;
mod wordpiece;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use token::{Spelling, ceil_boundary, floor_boundary};

pub use bound::MAX_BYTES_PER_TOKEN;
pub use bytes::ByteTable;
pub use stream::StreamDecoder;
pub use token::{Span, TokenId};

/// A Hugging Face `tokenizer.json`: byte-level BPE or WordPiece.
///
/// The `tokenizers` crate sees a vocabulary from which every added token has been taken out, together with the
/// merges that lead to one. So no text can be encoded to a control token: the encoder does not know that they exist.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    spelling: Spelling,
    /// Added tokens by name.
    controls: HashMap<String, TokenId>,
    /// Ids of added tokens, ascending, without the unknown token.
    control_ids: Vec<TokenId>,
    bytes: Arc<ByteTable>,
    /// Bytes that no token of a byte-level vocabulary spells; empty for every published tokenizer.
    unspelled: Vec<u8>,
}

impl Tokenizer {
    /// Plain text to tokens with byte offsets; no special or added token ever comes out.
    ///
    /// The unknown token of a WordPiece vocabulary is no control token: it stands for words without a spelling.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the vocabulary cannot spell the text.
    pub fn encode(&self, text: &str) -> Result<Vec<Span>> {
        if let Some(byte) = text.bytes().find(|byte| self.unspelled.contains(byte)) {
            return Err(Error::BadModel(format!(
                "the tokenizer's vocabulary has no token for byte 0x{byte:02X} of the text; byte-level BPE needs all 256"
            )));
        }
        match self.spelling {
            Spelling::Bytes => self.encode_part(text, 0..text.len()),
            Spelling::Words { unknown } => wordpiece::encode(text, unknown, |part| self.encode_part(text, part)),
        }
    }

    /// Encodes a part of a text; the spans are ranges in the whole text.
    fn encode_part(&self, text: &str, part: Range<usize>) -> Result<Vec<Span>> {
        let encoding = self
            .inner
            .encode(&text[part.clone()], false)
            .map_err(|e| Error::BadModel(format!("the tokenizer failed on a text: {e}")))?;
        let spans = encoding.get_ids().iter().zip(encoding.get_offsets()).map(|(&id, &(start, end))| {
            let start = floor_boundary(text, part.start + start);
            Span { id, bytes: start..ceil_boundary(text, part.start + end).max(start) }
        });
        Ok(spans.collect())
    }

    /// The id of a control token by its exact name, e.g. `<|im_start|>`.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the tokenizer has no such added token.
    pub fn control(&self, name: &str) -> Result<TokenId> {
        self.controls.get(name).copied().ok_or_else(|| {
            Error::BadModel(format!(
                "the tokenizer has no added token `{name}`, which the prompt template needs; \
                 choose the template that the model was trained with"
            ))
        })
    }

    /// The id of a whole word that is one token of a WordPiece vocabulary, in the case that the vocabulary has.
    pub fn word(&self, word: &str) -> Option<TokenId> {
        let known = || self.inner.token_to_id(word).filter(|id| !self.is_control(*id));
        matches!(self.spelling, Spelling::Words { .. }).then(known).flatten()
    }

    /// The ids that no text encodes to, ascending: every added token, without the unknown token of WordPiece.
    pub fn control_ids(&self) -> &[TokenId] {
        &self.control_ids
    }

    /// Whether an id is a control token.
    pub fn is_control(&self, id: TokenId) -> bool {
        self.control_ids.binary_search(&id).is_ok()
    }

    /// The bytes that a token adds to a text; empty for control tokens, the unknown token and ids beyond the vocabulary.
    ///
    /// Byte-level BPE: the bytes behind the printable alphabet, perhaps a part of a character. WordPiece: a
    /// `##` continuation as it stands, closing punctuation (`.,;:!?)]}%`) as it stands, anything else behind one
    /// space. A text is its tokens' bytes in a row, for WordPiece without the first space.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.bytes.get(id)
    }

    /// [`token_bytes`](Self::token_bytes) of all ids, to be shared.
    pub fn byte_table(&self) -> &Arc<ByteTable> {
        &self.bytes
    }

    /// The number of ids, added tokens included: one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the first space of a text belongs to the spelling, not to the text.
    fn leads_with_space(&self) -> bool {
        matches!(self.spelling, Spelling::Words { .. })
    }
}
