//! A toy vocabulary: all bytes, some longer pieces that cut markup in awkward places, and control tokens.

use std::sync::Arc;

use rsafe::Result;
use rsafe::grammar::Vocabulary;
use rsafe::tokenizer::{ByteTable, TokenId};

pub struct Toy {
    tokens: Vec<Vec<u8>>,
    table: Arc<ByteTable>,
    controls: Vec<(&'static str, TokenId)>,
}

const PIECES: [&str; 22] = [
    "</",
    "think",
    ">\n",
    ">\n\n",
    "k>",
    "</think>\n",
    "</think>x",
    "\\boxed",
    "\\boxed{",
    "xed{",
    "safe",
    "unsafe",
    "Safe",
    "\n\\",
    " the",
    "S1",
    "Categories",
    "Violent",
    "é",
    "nk>\n \t",
    "<think>",
    " lock",
];

impl Toy {
    /// `<think>` and `</think>` are plain text.
    pub fn plain() -> Self {
        Self::new(&["<eos>", "<other>"])
    }

    /// `<think>` and `</think>` are control tokens.
    pub fn with_tags() -> Self {
        Self::new(&["<eos>", "<think>", "</think>"])
    }

    fn new(names: &[&'static str]) -> Self {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend(PIECES.map(|piece| piece.as_bytes().to_vec()));
        // Pieces that no text encodes to by itself: half of a character, and one with an ending of another.
        tokens.extend([vec![0xe2, 0x82], vec![0xac, b' ', 0xf0], vec![0xed, 0xa0]]);
        let mut controls = Vec::new();
        for name in names {
            controls.push((*name, tokens.len() as TokenId));
            tokens.push(Vec::new());
        }
        let table = Arc::new(ByteTable::new(tokens.iter().cloned().map(Some)));
        Self { tokens, table, controls }
    }

    pub fn id(&self, piece: &str) -> Option<TokenId> {
        self.tokens.iter().position(|bytes| bytes == piece.as_bytes()).map(|id| id as TokenId)
    }

    /// The text of tokens, which must be valid UTF-8; control tokens give nothing.
    pub fn text(&self, tokens: &[TokenId]) -> String {
        String::from_utf8(tokens.iter().flat_map(|id| self.tokens[*id as usize].clone()).collect()).unwrap()
    }

    /// The text with control tokens by name.
    pub fn text_with_controls(&self, tokens: &[TokenId]) -> String {
        let name = |id: TokenId| self.controls.iter().find(|(_, control)| *control == id).map(|(name, _)| *name);
        let piece = |id: &TokenId| match name(*id) {
            Some(name) => name.as_bytes().to_vec(),
            None => self.tokens[*id as usize].clone(),
        };
        String::from_utf8(tokens.iter().flat_map(piece).collect()).unwrap()
    }
}

impl Vocabulary for Toy {
    fn bytes(&self) -> &Arc<ByteTable> {
        &self.table
    }

    fn control(&self, name: &str) -> Option<TokenId> {
        self.controls.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
    }

    /// The longest piece that fits, again and again.
    fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>> {
        let mut rest = text.as_bytes();
        let mut ids = Vec::new();
        while !rest.is_empty() {
            let fits = self.tokens.iter().enumerate().filter(|(_, t)| !t.is_empty() && rest.starts_with(t));
            let (id, token) = fits.max_by_key(|(_, token)| token.len()).unwrap();
            ids.push(id as TokenId);
            rest = &rest[token.len()..];
        }
        Ok(ids)
    }
}
