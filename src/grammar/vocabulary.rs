//! What a grammar needs to know about a tokenizer.

use crate::tokenizer::{TokenId, Tokenizer};
use crate::{Error, Result};

/// The tokens that answers are written with.
pub trait Vocabulary {
    /// The number of ids, control tokens included.
    fn size(&self) -> usize;
    /// The bytes that a token adds to a text, empty for control tokens; `id` is below [`size`](Self::size).
    fn bytes(&self, id: TokenId) -> &[u8];
    /// Whether a token is out of reach of plain text.
    fn is_control(&self, id: TokenId) -> bool;
    /// A control token by its exact name.
    fn control(&self, name: &str) -> Option<TokenId>;
    /// The canonical tokens of a text, no control token among them.
    fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>>;
}

impl Vocabulary for Tokenizer {
    fn size(&self) -> usize {
        self.vocab_size()
    }

    fn bytes(&self, id: TokenId) -> &[u8] {
        self.token_bytes(id)
    }

    fn is_control(&self, id: TokenId) -> bool {
        self.token_bytes(id).is_empty()
    }

    fn control(&self, name: &str) -> Option<TokenId> {
        Tokenizer::control(self, name).ok()
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>> {
        Ok(self.encode(text)?.into_iter().map(|span| span.id).collect())
    }
}

/// The tokens of a text that an answer must spell byte for byte.
pub(super) fn spell(vocab: &dyn Vocabulary, text: &str) -> Result<Vec<TokenId>> {
    let ids = vocab.encode_plain(text)?;
    let spelt: Vec<u8> = ids.iter().flat_map(|id| vocab.bytes(*id)).copied().collect();
    if spelt != text.as_bytes() {
        return Err(Error::BadModel(format!(
            "the tokenizer spells {text:?} as {:?}, so it cannot write this answer; use the template it was made for",
            String::from_utf8_lossy(&spelt)
        )));
    }
    Ok(ids)
}

/// A control token that an answer needs.
pub(super) fn control(vocab: &dyn Vocabulary, name: &str) -> Result<TokenId> {
    vocab.control(name).ok_or_else(|| {
        Error::BadModel(format!("the tokenizer has no control token {name:?}, which the answer's template needs"))
    })
}
