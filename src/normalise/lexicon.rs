//! Which words there are: what tells a text that was read rightly from one that was not.

use super::traced::{Traced, small};
use crate::tokenizer::Tokenizer;

/// The words of a language, in small ASCII letters, by how often they are used.
pub trait Lexicon {
    /// A word's place among all words, the most used at 1; `None` for what is no word.
    fn rank(&self, word: &str) -> Option<u32>;
}

/// Where the words begin in the vocabularies that BERT's descend from: the most used first.
const FIRST: u32 = 1996;
/// Vocabularies hold most pairs of letters, as abbreviations; these are words.
const PAIRS: &[&str] = &[
    "of", "in", "to", "he", "is", "as", "on", "it", "by", "at", "an", "be", "my", "or", "me", "up", "no", "we", "so",
    "if", "do", "us", "go", "am", "oh", "ok", "hi", "id", "tv",
];

/// The whole words of a WordPiece vocabulary. A byte-level one is not sorted by use: it knows none.
impl Lexicon for Tokenizer {
    fn rank(&self, word: &str) -> Option<u32> {
        match word.len() {
            1 => (word == "a" || word == "i").then_some(10),
            2 if !PAIRS.contains(&word) => None,
            _ => self.word(word)?.checked_sub(FIRST).map(|place| place + 1),
        }
    }
}

/// Whether letters spell a word of at least two letters.
pub fn knows(lexicon: &dyn Lexicon, letters: &[Traced]) -> bool {
    (2..=LONGEST).contains(&letters.len()) && lexicon.rank(&small(letters)).is_some()
}

/// No word is longer.
pub const LONGEST: usize = 20;

/// The share of a text's ASCII letters that stand in known words of three letters or more.
pub fn known_share(lexicon: &dyn Lexicon, text: &[Traced]) -> f32 {
    let words = super::traced::words(text);
    let letters: usize = words.iter().map(|word| word.len()).sum();
    let known: usize =
        words.into_iter().filter(|word| word.len() > 2 && knows(lexicon, &text[word.clone()])).map(|w| w.len()).sum();
    known as f32 / letters.max(1) as f32
}
