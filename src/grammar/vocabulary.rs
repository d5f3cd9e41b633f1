//! What a grammar needs to know about a tokenizer.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::tokenizer::{ByteTable, TokenId, Tokenizer};

/// The tokens that answers are written with.
pub trait Vocabulary {
    /// The bytes that each token adds to a text, none for control tokens. Shared: a large vocabulary's are megabytes.
    fn bytes(&self) -> &Arc<ByteTable>;
    /// A control token by its exact name.
    fn control(&self, name: &str) -> Option<TokenId>;
    /// The canonical tokens of a text, no control token among them.
    fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>>;
}

impl Vocabulary for Tokenizer {
    fn bytes(&self) -> &Arc<ByteTable> {
        self.byte_table()
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
    let spelt: Vec<u8> = ids.iter().flat_map(|id| vocab.bytes().get(*id)).copied().collect();
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
