//! What a token is, how vocabularies spell, and where characters begin.

use std::ops::Range;

/// An index into a model's vocabulary.
pub type TokenId = u32;

/// A token of a text and the bytes of that text it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub id: TokenId,
    /// Byte range in the text that was encoded, always on character boundaries. Tokens that split a
    /// character each have the whole character.
    pub bytes: Range<usize>,
}

/// How a vocabulary spells text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Byte-level BPE (GPT-2, Qwen2, Qwen3, Llama 3): every text has a spelling.
    Bytes,
    /// WordPiece (BERT): words outside the vocabulary become this id.
    Words { unknown: TokenId },
}

/// The last character boundary at or before a byte index.
pub fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// The first character boundary at or behind a byte index.
pub fn ceil_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index += 1;
    }
    index
}
