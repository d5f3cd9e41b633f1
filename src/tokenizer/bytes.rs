//! What each token adds to a text, as bytes: the byte-level alphabet undone, WordPiece's `##` resolved.

use super::token::TokenId;

/// The bytes that every token of a vocabulary adds to a text, in one buffer.
#[derive(Debug, Default)]
pub struct ByteTable {
    bytes: Vec<u8>,
    /// Where the bytes of each id end.
    ends: Vec<u32>,
}

impl ByteTable {
    /// From the spelling of each id, `None` for ids that add nothing.
    pub fn new(spellings: impl Iterator<Item = Option<Vec<u8>>>) -> Self {
        let mut table = Self::default();
        for spelling in spellings {
            table.bytes.extend(spelling.unwrap_or_default());
            table.ends.push(table.bytes.len() as u32);
        }
        table
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for an id beyond the vocabulary.
    pub fn get(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }
}

/// The bytes behind a token of a byte-level vocabulary. A token with a character outside the alphabet stands
/// for its own UTF-8.
pub(super) fn undo_byte_level(token: &str) -> Vec<u8> {
    token.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that a character of the byte-level alphabet stands for.
///
/// Printable bytes of Latin-1 stand for themselves; the 68 others, in order, are U+0100 and up.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The bytes behind a WordPiece token: see [`Tokenizer::token_bytes`](super::Tokenizer::token_bytes).
pub(super) fn undo_wordpiece(token: &str, prefix: &str) -> Vec<u8> {
    if let Some(rest) = token.strip_prefix(prefix)
        && !rest.is_empty()
        && !prefix.is_empty()
    {
        return rest.as_bytes().to_vec();
    }
    if matches!(token, "." | "," | ";" | ":" | "!" | "?" | ")" | "]" | "}" | "%") {
        return token.as_bytes().to_vec();
    }
    format!(" {token}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_has_each_byte_once() {
        let mut bytes: Vec<u8> = ('\0'..='\u{200}').filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(undo_byte_level("Ġdog"), b" dog");
        assert_eq!(undo_byte_level("Ċ"), b"\n");
    }

    #[test]
    fn wordpiece_tokens_carry_their_own_space() {
        assert_eq!(undo_wordpiece("dog", "##"), b" dog");
        assert_eq!(undo_wordpiece("##s", "##"), b"s");
        assert_eq!(undo_wordpiece("##", "##"), b" ##");
        assert_eq!(undo_wordpiece(",", "##"), b",");
    }
}
