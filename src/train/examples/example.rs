//! A text under one policy and the answer about it, with the places where the network should choose right.

use crate::mini::layout::{Layout, Marker};
use crate::tokenizer::TokenId;

/// A place in the answer where the grammar leaves a choice.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Index of the token whose hidden state predicts the next.
    pub index: usize,
    pub next: Next,
}

/// What comes next, and so what it is chosen from.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// One marker against another.
    Marker {
        right: Marker,
        wrong: Marker,
    },
    /// A word of the judged message, or the end of the quote.
    Word(TokenId),
    EndQuote,
}

/// A text under one policy, and the answer about it.
pub struct Example {
    pub layout: Layout,
    pub choices: Vec<Choice>,
    /// Words that a quote may hold.
    pub words: Vec<TokenId>,
}

impl Example {
    /// The verdict, which the token at `index` predicts.
    pub(super) fn push_verdict(&mut self, index: usize, flagged: bool, vocab_size: usize) {
        let (right, wrong) = match flagged {
            true => (Marker::Unsafe, Marker::Safe),
            false => (Marker::Safe, Marker::Unsafe),
        };
        self.choices.push(Choice { index, next: Next::Marker { right, wrong } });
        self.layout.push_answer(right.id(vocab_size));
    }
}
