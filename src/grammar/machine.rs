//! Walks a grammar's nodes token by token and keeps the answer they spell.

use std::sync::Arc;

use super::free::{self, FreeState, Stop};
use super::mask::{Allowed, Mask};
use super::program::{ChoiceOption, Effect, Node, NodeId, Program};
use super::quote::QuoteState;
use super::shown::Shown;
use crate::error::{Error, Result};
use crate::tokenizer::TokenId;
use crate::verdict::{Answer, Step};

/// An answer in progress. Clones share the nodes and the masks computed so far, so cloning one fresh grammar for each
/// request is cheaper than building it again.
#[derive(Debug, Clone)]
pub struct Grammar {
    program: Arc<Program>,
    at: NodeId,
    pub(super) cursor: Cursor,
    answer: Answer,
    shown: Shown,
    mask: Option<Arc<Mask>>,
    cut: bool,
}

/// How far the node at hand has been read.
#[derive(Debug, Clone)]
pub(super) enum Cursor {
    End,
    Literal {
        pos: usize,
    },
    Choice {
        pos: usize,
        live: Vec<usize>,
    },
    /// `pending` are bytes that may belong to the stop or are not yet a whole character.
    Free {
        state: FreeState,
        used: usize,
        pending: Vec<u8>,
    },
    /// The stop of free text whose budget is spent.
    Closing {
        pos: usize,
    },
    Quote(QuoteState),
}

impl Grammar {
    pub(super) fn start(program: Arc<Program>, at: NodeId) -> Self {
        let mut grammar = Self {
            program,
            at,
            cursor: Cursor::End,
            answer: Answer::default(),
            shown: Shown::default(),
            mask: None,
            cut: false,
        };
        grammar.enter(at, &mut String::new());
        grammar
    }

    /// Whether the answer is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.cursor, Cursor::End)
    }

    /// What the answer says so far.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Whether free text had to be ended because its budget was spent.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// A bound on the number of tokens of a whole answer, forced ones included.
    pub fn max_len(&self) -> usize {
        self.program.max_len
    }

    /// The tokens that may come next; none when the answer is complete.
    pub fn allowed(&self) -> Allowed {
        match (&self.cursor, self.node()) {
            (Cursor::Literal { pos }, Node::Literal { tokens, .. }) => Allowed::Few(vec![tokens[*pos]]),
            (Cursor::Choice { pos, live }, Node::Choice(options)) => {
                let next = live.iter().filter_map(|i| options[*i].tokens.get(*pos)).copied().collect();
                let longer = Allowed::few(next);
                match self.complete(options, *pos, live) {
                    Some(option) => longer.union(self.past(option).allowed()),
                    None => longer,
                }
            }
            (Cursor::Free { state, used, .. }, Node::Free { text, max_tokens, .. }) => {
                let left = max_tokens - used;
                let mask = (left > 0).then(|| text.mask(*state, left - 1)).filter(|mask| !mask.is_empty());
                mask.map_or_else(|| Allowed::Few(vec![text.closing()[0]]), Allowed::Mask)
            }
            (Cursor::Closing { pos }, Node::Free { text, .. }) => Allowed::Few(vec![text.closing()[*pos]]),
            (Cursor::Quote(state), Node::Quote { source, length, close, .. }) => {
                Allowed::few(state.next(source, *length, *close))
            }
            _ => Allowed::Few(Vec::new()),
        }
    }

    /// The tokens that may come next as a set over the vocabulary; empty when the answer is complete.
    pub fn compute_mask(&mut self) -> &Mask {
        let mask = match self.allowed() {
            Allowed::Mask(mask) => mask,
            Allowed::Few(ids) => {
                let mut mask = Mask::new(self.program.vocab_size);
                ids.into_iter().for_each(|id| mask.insert(id));
                Arc::new(mask)
            }
        };
        self.mask.insert(mask)
    }

    /// The longest run of tokens that leaves no choice, to be read by the model at once. Empty at a choice and at the
    /// end. The caller still [consumes](Self::consume) them.
    pub fn forced(&self) -> Vec<TokenId> {
        let only = |grammar: &Self| match grammar.allowed() {
            Allowed::Few(ids) if ids.len() == 1 => Some(ids[0]),
            _ => None,
        };
        let mut run = Vec::new();
        let Some(mut next) = only(self) else { return run };
        let mut ahead = self.clone();
        loop {
            run.push(next);
            if ahead.consume(next).is_err() {
                return run;
            }
            match only(&ahead) {
                Some(token) => next = token,
                None => return run,
            }
        }
    }

    /// Takes the next token. Returns the reasoning that can be shown since the last call: whole characters only, and
    /// nothing that may turn out to be markup. All pieces together are [`Answer::reasoning`].
    ///
    /// # Errors
    /// [`Error::BadInput`] when the token is not [allowed](Self::allowed); the grammar then stays as it was.
    pub fn consume(&mut self, token: TokenId) -> Result<String> {
        let mut out = String::new();
        let program = Arc::clone(&self.program);
        let node = &program.nodes[self.at.0];
        match (&mut self.cursor, node) {
            (Cursor::Literal { pos }, Node::Literal { tokens, display, next }) if tokens[*pos] == token => {
                *pos += 1;
                if *pos == tokens.len() {
                    self.show(display, &mut out);
                    self.enter(*next, &mut out);
                }
            }
            (Cursor::Choice { pos, live }, Node::Choice(options)) => {
                let longer: Vec<usize> =
                    live.iter().copied().filter(|i| options[*i].tokens.get(*pos) == Some(&token)).collect();
                if longer.is_empty() {
                    let (pos, live) = (*pos, std::mem::take(live));
                    let taken = self.complete(options, pos, &live).map(|option| self.past(option));
                    let Some(mut past) = taken.filter(|past| past.allowed().contains(token)) else {
                        self.cursor = Cursor::Choice { pos, live };
                        return Err(self.refuse(token));
                    };
                    out.push_str(&past.answer.reasoning[self.answer.reasoning.len()..]);
                    out.push_str(&past.consume(token)?);
                    *self = past;
                    return Ok(out);
                }
                *pos += 1;
                let end = *pos;
                let only = (longer.len() == 1).then_some(&options[longer[0]]);
                *live = longer;
                if let Some(option) = only.filter(|option| option.tokens.len() == end) {
                    self.take(option, &mut out);
                }
            }
            (Cursor::Free { .. }, Node::Free { .. }) => self.consume_free(node, token, &mut out)?,
            (Cursor::Closing { pos }, Node::Free { text, next, next_after_space, .. })
                if text.closing()[*pos] == token =>
            {
                *pos += 1;
                if *pos == text.closing().len() {
                    let spaced = text.bytes(token).last().is_some_and(u8::is_ascii_whitespace);
                    self.enter(if spaced { *next_after_space } else { *next }, &mut out);
                }
            }
            (Cursor::Quote(state), Node::Quote { source, length, close, next }) => {
                let open = state.next(source, *length, *close).contains(&token);
                if !open {
                    return Err(self.refuse(token));
                }
                if token == *close {
                    let closed = state.close(source);
                    if let Some((rest, quote)) = closed {
                        self.show(rest, &mut out);
                        if let Some(step) = self.answer.steps.last_mut() {
                            step.quote = Some(quote.clone());
                        }
                        self.answer.quotes.push(quote);
                    }
                    self.enter(*next, &mut out);
                } else {
                    state.push(source, token);
                    let piece = state.show(source);
                    self.show(piece, &mut out);
                }
            }
            _ => return Err(self.refuse(token)),
        }
        Ok(out)
    }

    fn consume_free(&mut self, node: &Node, token: TokenId, out: &mut String) -> Result<()> {
        let allowed = self.allowed();
        let (Cursor::Free { state, used, pending }, Node::Free { text, max_tokens, next, next_after_space }) =
            (&mut self.cursor, node)
        else {
            return Err(self.refuse(token));
        };
        if !allowed.contains(token) {
            return Err(self.refuse(token));
        }
        if let Allowed::Few(_) = allowed {
            let rest = std::mem::take(pending);
            self.show(&String::from_utf8_lossy(&rest), out);
            self.cursor = Cursor::Closing { pos: 0 };
            self.cut = true;
            return self.consume(token).map(|more| out.push_str(&more));
        }
        match text.step(*state, token, max_tokens - *used - 1) {
            free::Step::Refused => return Err(self.refuse(token)),
            free::Step::Goes(after) => {
                *state = after;
                *used += 1;
                pending.extend_from_slice(text.bytes(token));
                let free = &pending[..pending.len().saturating_sub(text.held(after))];
                let whole = free.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
                let piece: Vec<u8> = pending.drain(..whole).collect();
                self.show(&String::from_utf8_lossy(&piece), out);
            }
            free::Step::Stops { with_space } => {
                let mut rest = std::mem::take(pending);
                rest.extend_from_slice(text.bytes(token));
                let rest = String::from_utf8_lossy(&rest);
                let before = match text.stop() {
                    Stop::Control(_) => &rest,
                    Stop::Text { text, .. } => rest.rsplit_once(text.as_str()).map_or("", |(before, _)| before),
                };
                self.show(before, out);
                self.enter(if with_space { *next_after_space } else { *next }, out);
            }
        }
        Ok(())
    }

    pub(super) fn node(&self) -> &Node {
        &self.program.nodes[self.at.0]
    }

    /// Goes to a node, and through those that take no token.
    fn enter(&mut self, mut at: NodeId, out: &mut String) {
        let program = Arc::clone(&self.program);
        self.cursor = loop {
            self.at = at;
            match &program.nodes[at.0] {
                Node::Literal { tokens, display, next } if tokens.is_empty() => {
                    self.show(display, out);
                    at = *next;
                }
                Node::End => break Cursor::End,
                Node::Literal { .. } => break Cursor::Literal { pos: 0 },
                Node::Choice(options) => {
                    let named = |option: &ChoiceOption| match &option.effect {
                        Effect::Category(id) => self.answer.categories.contains(id),
                        _ => false,
                    };
                    let live = (0..options.len()).filter(|i| !named(&options[*i])).collect();
                    break Cursor::Choice { pos: 0, live };
                }
                Node::Free { .. } => {
                    break Cursor::Free { state: FreeState::default(), used: 0, pending: Vec::new() };
                }
                Node::Quote { source, length, .. } => break Cursor::Quote(QuoteState::new(source, *length)),
            }
        };
    }

    /// The live option that ends where the choice has been read to; only of interest while longer ones are alive.
    fn complete<'o>(&self, options: &'o [ChoiceOption], pos: usize, live: &[usize]) -> Option<&'o ChoiceOption> {
        live.iter().map(|i| &options[*i]).find(|option| option.tokens.len() == pos)
    }

    /// This answer with `option` taken.
    fn past(&self, option: &ChoiceOption) -> Self {
        let mut past = self.clone();
        past.take(option, &mut String::new());
        past
    }

    fn take(&mut self, option: &ChoiceOption, out: &mut String) {
        match &option.effect {
            Effect::Nothing => {}
            Effect::Verdict(label) => self.answer.verdict = Some(*label),
            Effect::Category(id) => self.answer.categories.push(id.clone()),
            Effect::Step { category, applies } => {
                if *applies && !self.answer.categories.contains(category) {
                    self.answer.categories.push(category.clone());
                }
                self.answer.steps.push(Step { category: category.clone(), applies: *applies, quote: None });
            }
            Effect::Refusal(refusal) => self.answer.refusal = Some(*refusal),
        }
        self.show(&option.display, out);
        self.enter(option.next, out);
    }

    fn show(&mut self, text: &str, out: &mut String) {
        let piece = self.shown.push(text);
        self.answer.reasoning.push_str(&piece);
        out.push_str(&piece);
    }

    fn refuse(&self, token: TokenId) -> Error {
        let allowed = self.allowed();
        Error::BadInput(format!(
            "token {token} cannot come next in the answer, where {} tokens can; sample under the grammar's mask",
            allowed.len()
        ))
    }
}
