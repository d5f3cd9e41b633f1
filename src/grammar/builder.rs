//! Puts a grammar together from nodes, last node first.

use std::sync::Arc;

use super::free::{FreeText, Stop};
use super::machine::Grammar;
use super::program::{ChoiceOption, Node, NodeId, Program};
use super::quote::{QuoteLength, QuoteSource};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::tokenizer::TokenId;

/// Builds a [`Grammar`] from its end to its start, so that each node names the one that follows.
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    vocab_size: usize,
}

impl Builder {
    /// A grammar over ids below `vocab_size`.
    pub fn new(vocab_size: usize) -> Self {
        Self { nodes: vec![Node::End], vocab_size }
    }

    /// The node where the answer is complete.
    pub fn end(&self) -> NodeId {
        NodeId(0)
    }

    /// Tokens without a choice, and what people read in the reasoning for them.
    pub fn literal(&mut self, tokens: Vec<TokenId>, display: impl Into<String>, next: NodeId) -> NodeId {
        self.push(Node::Literal { tokens, display: display.into(), next })
    }

    /// One of several token sequences. Options that lead back to the choice must name a category, so that it ends.
    ///
    /// # Errors
    /// [`Error::BadInput`] when there is no option, or two options or none of their tokens are told apart.
    pub fn choice(&mut self, options: Vec<ChoiceOption>) -> Result<NodeId> {
        let node = self.reserve();
        self.fill(node, options)?;
        Ok(node)
    }

    /// A choice whose options come later, so that they can lead back to it.
    pub fn reserve(&mut self) -> NodeId {
        self.push(Node::Choice(Vec::new()))
    }

    /// Gives a [reserved](Self::reserve) choice its options; errors as [`choice`](Self::choice).
    pub fn fill(&mut self, node: NodeId, options: Vec<ChoiceOption>) -> Result<()> {
        let twin = |(i, option): (usize, &ChoiceOption)| {
            option.tokens.is_empty() || options[..i].iter().any(|other| other.tokens == option.tokens)
        };
        if options.is_empty() || options.iter().enumerate().any(twin) {
            return Err(Error::BadInput(
                "a choice in the answer's grammar needs options that are written differently; \
                 give each category of the policy its own id and name"
                    .into(),
            ));
        }
        self.nodes[node.0] = Node::Choice(options);
        Ok(())
    }

    /// Up to `max_tokens` tokens of valid UTF-8 without any of the `forbidden` ASCII strings, then the stop.
    /// Goes on at `next_after_space` where whitespace came along with the stop, else at `next`.
    pub fn free(
        &mut self,
        vocab: &dyn Vocabulary,
        stop: Stop,
        forbidden: &[&str],
        max_tokens: usize,
        [next, next_after_space]: [NodeId; 2],
    ) -> Result<NodeId> {
        let text = FreeText::new(vocab, stop, forbidden)?;
        Ok(self.push(Node::Free { text, max_tokens, next, next_after_space }))
    }

    /// A verbatim quote of `source`, then `close`. It goes to the last step's evidence and into the reasoning.
    pub fn quote(&mut self, source: QuoteSource, length: QuoteLength, close: TokenId, next: NodeId) -> NodeId {
        self.push(Node::Quote { source, length, close, next })
    }

    /// The grammar that starts at `start`.
    pub fn build(self, start: NodeId) -> Grammar {
        // Each node is passed once, but for a choice whose options lead back to it: those are taken once each.
        let longest = |(at, node): (usize, &Node)| match node {
            Node::End => 0,
            Node::Literal { tokens, .. } => tokens.len(),
            Node::Choice(options) => {
                let lengths =
                    |back: bool| options.iter().filter(move |o| (o.next == NodeId(at)) == back).map(|o| o.tokens.len());
                lengths(true).sum::<usize>() + lengths(false).max().unwrap_or(0)
            }
            Node::Free { text, max_tokens, .. } => max_tokens + text.closing().len(),
            Node::Quote { length, .. } => length.max.max(1) + 1,
        };
        let max_len = self.nodes.iter().enumerate().map(longest).sum();
        let program = Program { nodes: self.nodes, vocab_size: self.vocab_size, max_len };
        Grammar::start(Arc::new(program), start)
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}
