//! A grammar as data: its nodes, and the way on from each.

use super::free::FreeText;
use super::quote::{QuoteLength, QuoteSource};
use crate::tokenizer::TokenId;
use crate::verdict::Label;

/// A node of one grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub(super) usize);

/// What taking an option of a choice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Verdict(Label),
    /// Names a category, by id. An option that names one already named is not on offer.
    Category(String),
    /// Says whether a category applies, by id.
    Step {
        category: String,
        applies: bool,
    },
    Refusal(bool),
}

/// One way on from a choice.
#[derive(Debug, Clone)]
pub struct ChoiceOption {
    /// At least one token. One option's tokens may begin another's; the longer reading wins.
    pub tokens: Vec<TokenId>,
    /// What people read in the reasoning for it; may be empty.
    pub display: String,
    pub effect: Effect,
    pub next: NodeId,
}

#[derive(Debug)]
pub(super) enum Node {
    End,
    Literal { tokens: Vec<TokenId>, display: String, next: NodeId },
    Choice(Vec<ChoiceOption>),
    Free { text: FreeText, max_tokens: usize, next: NodeId, next_after_space: NodeId },
    Quote { source: QuoteSource, length: QuoteLength, close: TokenId, next: NodeId },
}

/// The nodes, shared by all clones of a grammar.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    pub(super) vocab_size: usize,
    pub(super) max_len: usize,
}
