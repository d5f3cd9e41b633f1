//! How rsafe-mini's prompt is laid out: conversation first, then one block for each category, then the answer.
//!
//! | part | positions | sees |
//! |---|---|---|
//! | conversation | `0..CONVERSATION` | its own chunk and every chunk before it |
//! | words of a category block | restart at `CONVERSATION` | the words of their block |
//! | slot of a category block | `CONVERSATION` | the conversation and its block |
//! | answer | restart at `CONVERSATION + BLOCK` | the conversation, the blocks, and what the answer holds so far |
//!
//! What must not change while it is cached sees nothing that can change: messages before the judged one form one
//! chunk, a judged prompt is one chunk, and a judged response grows in chunks of [`RESPONSE_CHUNK`] tokens. Blocks do
//! not see each other, so their number, order and ids carry nothing, and taking a category away takes its score away.
//! The words of a block do not see the conversation either: a policy is read once, and a message costs a slot a category.

use std::ops::Range;

use crate::conversation::{Role, Target};
use crate::tokenizer::TokenId;

/// Positions kept for the conversation, `[CLS]` and `[SEP]`s included.
pub const CONVERSATION: usize = 320;
/// Positions kept for one category block, its marker included.
pub const BLOCK: usize = 48;
/// Positions kept for the answer.
pub const ANSWER: usize = 144;
/// Words of a category block: its marker not counted, its name and its definition together.
pub const BLOCK_WORDS: usize = BLOCK - 1;
/// Words of all blocks of a policy: with more categories than fit, each has fewer. Bounds the memory of what is kept.
pub const POLICY_WORDS: usize = 1536;
/// Words of a category's name, in its block and where the answer repeats it.
pub const NAME_WORDS: usize = 12;
/// Categories that a reasoned answer speaks about.
pub const STEPS: usize = 3;
/// Words of a quote.
pub const QUOTE_WORDS: usize = 12;
/// Words of the judged message that are read at a time; longer ones are read in windows that begin
/// [`WINDOW_STEP`] words apart.
pub const WINDOW: usize = 256;
pub const WINDOW_STEP: usize = 192;
/// Words of a longer window that slots read alone, too, passage by passage: what is said in one of them is not lost among the
/// others. They begin [`PASSAGE_STEP`] words apart.
pub const PASSAGE: usize = 64;
pub const PASSAGE_STEP: usize = 24;
/// Messages before the judged one that are read with it: their ends, together at most [`CONTEXT_WORDS`] words, of which the
/// nearest may take [`NEAREST_WORDS`].
pub const CONTEXT_TURNS: usize = 2;
pub const CONTEXT_WORDS: usize = 60;
pub const NEAREST_WORDS: usize = 48;
/// A growing response is encoded in chunks of so many tokens: a whole chunk never changes again.
pub const RESPONSE_CHUNK: usize = 32;

/// Control tokens of rsafe-mini. They have no text, so no text can become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Marker {
    /// Opens a category block; the category's score is read at it.
    Slot,
    /// Opens the answer.
    Answer,
    Think,
    EndThink,
    Applies,
    DoesNotApply,
    Quote,
    EndQuote,
    Safe,
    Unsafe,
}

impl Marker {
    pub const COUNT: usize = 10;

    /// The marker's token id: markers lie behind the `vocab_size` ids of the tokenizer.
    pub fn id(self, vocab_size: usize) -> TokenId {
        vocab_size as TokenId + self as TokenId
    }
}

/// Whose words a token is, for the embedding that tells the parts of the prompt apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    JudgedUser,
    JudgedAgent,
    ContextUser,
    ContextAgent,
    Category,
    Answer,
}

impl Kind {
    pub const COUNT: usize = 6;

    /// The kind of a message's words.
    pub fn of(role: Role, judged: bool) -> Self {
        match (role, judged) {
            (Role::Assistant, true) => Kind::JudgedAgent,
            (Role::Assistant, false) => Kind::ContextAgent,
            (_, true) => Kind::JudgedUser,
            (_, false) => Kind::ContextUser,
        }
    }

    /// The kind of the side on trial.
    pub fn judged(target: Target) -> Self {
        match target {
            Target::Prompt => Kind::JudgedUser,
            Target::Response => Kind::JudgedAgent,
        }
    }
}

/// The parts of a prompt within which tokens stand before and behind each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Conversation,
    Block,
    Answer,
}

/// What a token sees beside itself: everything before `prefix`, and a `block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub prefix: usize,
    pub block: (usize, usize),
}

/// The tokens that frame a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub cls: TokenId,
    pub sep: TokenId,
}

/// One message's tokens and whose they are.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub kind: Kind,
    pub ids: &'a [TokenId],
}

/// Tokens in the order in which the cache holds them, with all that the network needs to know of each.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    pub ids: Vec<TokenId>,
    pub kinds: Vec<Kind>,
    pub positions: Vec<usize>,
    pub views: Vec<View>,
    conversation: usize,
    answer: usize,
}

impl Layout {
    /// How many tokens are laid out.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many of them are conversation.
    pub fn conversation_len(&self) -> usize {
        self.conversation
    }

    /// Where the judged message's words lie, as far as they are laid out.
    pub fn judged(&self) -> Range<usize> {
        let is_judged = |at: &usize| matches!(self.kinds[*at], Kind::JudgedUser | Kind::JudgedAgent);
        // The frame's first token belongs to none.
        (1..self.conversation).find(is_judged).unwrap_or(self.conversation)..self.conversation
    }

    /// The passages of the judged message, none where it is one.
    pub fn passages(&self) -> Vec<Range<usize>> {
        let judged = self.judged();
        let more = judged.len().saturating_sub(PASSAGE).div_ceil(PASSAGE_STEP);
        let starts = (0..=more).filter(|_| more > 0).map(|at| judged.start + at * PASSAGE_STEP);
        starts.map(|start| start..judged.end.min(start + PASSAGE)).collect()
    }

    /// Lays out a conversation: the messages before the judged one, then the judged one's words.
    ///
    /// `frame` holds the ids of `[CLS]` and `[SEP]`. All that comes before a judged response is one chunk, and so is
    /// a judged prompt with what comes before it; a judged response follows in chunks of [`RESPONSE_CHUNK`].
    pub fn conversation(frame: Frame, context: &[Turn], judged: Turn) -> Self {
        let mut layout = Self::default();
        let first = context.first().map_or(judged.kind, |turn| turn.kind);
        let mut chunk = vec![(first, frame.cls)];
        for turn in context {
            chunk.extend(turn.ids.iter().map(|&id| (turn.kind, id)));
            chunk.push((turn.kind, frame.sep));
        }
        let words = judged.ids.iter().map(|&id| (judged.kind, id));
        if judged.kind == Kind::JudgedAgent {
            layout.push_chunk(&chunk);
            let words: Vec<_> = words.collect();
            words.chunks(RESPONSE_CHUNK).for_each(|chunk| layout.push_chunk(chunk));
        } else {
            chunk.extend(words);
            layout.push_chunk(&chunk);
        }
        layout
    }

    fn push_chunk(&mut self, words: &[(Kind, TokenId)]) {
        let end = self.len() + words.len();
        for &(kind, id) in words {
            self.push(id, kind, self.conversation, View { prefix: end, block: (end, end) });
            self.conversation += 1;
        }
    }

    /// How many tokens at the start of `other` are laid out the same here and cannot change any more: whole chunks.
    pub fn shared_prefix(&self, other: &Self) -> usize {
        let same = |i: usize| {
            self.ids[i] == other.ids[i] && self.kinds[i] == other.kinds[i] && self.views[i] == other.views[i]
        };
        let len = (0..self.conversation.min(other.conversation)).take_while(|&i| same(i)).count();
        // A chunk that ends behind the shared tokens holds some that differ.
        (0..=len).rev().find(|&end| end == 0 || self.views[end - 1].prefix == end).unwrap_or(0)
    }

    /// Which part of the prompt's words token `at` is among; `None` for a slot.
    pub fn part(&self, at: usize) -> Option<Part> {
        match self.kinds[at] {
            Kind::Answer => Some(Part::Answer),
            Kind::Category if self.positions[at] == CONVERSATION => None,
            Kind::Category => Some(Part::Block),
            _ => Some(Part::Conversation),
        }
    }

    /// Where reading from `start` on may pause: behind whole chunks of at most `most` tokens together, or behind the
    /// first one where that alone has more.
    pub fn pause(&self, start: usize, most: usize) -> usize {
        let mut end = self.views.get(start).map_or(start, |view| view.block.1);
        while let Some(next) = self.views.get(end).map(|view| view.block.1).filter(|next| next - start <= most) {
            end = next;
        }
        end
    }

    /// The first `end` tokens.
    pub fn head(&self, end: usize) -> Self {
        Self {
            ids: self.ids[..end].to_vec(),
            kinds: self.kinds[..end].to_vec(),
            positions: self.positions[..end].to_vec(),
            views: self.views[..end].to_vec(),
            conversation: self.conversation.min(end),
            answer: 0,
        }
    }

    /// Adds a policy's blocks, first the slots of all, then the words of each, and gives the places of the slots.
    pub fn push_blocks(&mut self, vocab_size: usize, blocks: &[Vec<TokenId>]) -> Range<usize> {
        let slots = self.len()..self.len() + blocks.len();
        let mut start = slots.end;
        for block in blocks {
            let end = start + block.len();
            self.push_slot(vocab_size, View { prefix: self.conversation, block: (start, end) });
            start = end;
        }
        blocks.iter().for_each(|block| self.push_words(block));
        slots
    }

    /// The words of one block as they are read with a policy: alone.
    pub fn words(block: &[TokenId]) -> Self {
        let mut layout = Self::default();
        layout.push_words(block);
        layout
    }

    /// So many slots alone.
    pub fn slots(vocab_size: usize, count: usize) -> Self {
        let mut layout = Self::default();
        (0..count).for_each(|at| layout.push_slot(vocab_size, View { prefix: 0, block: (at, at) }));
        layout
    }

    fn push_slot(&mut self, vocab_size: usize, view: View) {
        self.push(Marker::Slot.id(vocab_size), Kind::Category, CONVERSATION, view);
    }

    fn push_words(&mut self, block: &[TokenId]) {
        let view = View { prefix: 0, block: (self.len(), self.len() + block.len()) };
        for (i, &id) in block.iter().enumerate() {
            self.push(id, Kind::Category, CONVERSATION + 1 + i, view);
        }
    }

    /// Adds a token of the answer, which sees everything before it, and gives its index.
    pub fn push_answer(&mut self, id: TokenId) -> usize {
        let index = self.len();
        let position = CONVERSATION + BLOCK + self.answer;
        self.push(id, Kind::Answer, position, View { prefix: index + 1, block: (index, index) });
        self.answer += 1;
        index
    }

    /// Adds an answer beside others, each of which sees the first `prompt` tokens and itself, and gives the index of its
    /// first token. So a group of answers shares one prompt in one row.
    pub fn push_answer_beside(&mut self, prompt: usize, ids: &[TokenId]) -> usize {
        let start = self.len();
        for (i, &id) in ids.iter().enumerate() {
            let view = View { prefix: prompt, block: (start, start + i + 1) };
            self.push(id, Kind::Answer, CONVERSATION + BLOCK + i, view);
        }
        start
    }

    fn push(&mut self, id: TokenId, kind: Kind, position: usize, view: View) {
        self.ids.push(id);
        self.kinds.push(kind);
        self.positions.push(position);
        self.views.push(view);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_grown_message_shares_with_its_beginning_ends_with_a_chunk_that_cannot_change() {
        let laid_out = |len: usize, kind| {
            let context = [Turn { kind: Kind::ContextUser, ids: &[7, 8, 9] }];
            let ids: Vec<TokenId> = (0..len as TokenId).collect();
            Layout::conversation(Frame { cls: 101, sep: 102 }, &context, Turn { kind, ids: &ids })
        };
        let response = |len| laid_out(len, Kind::JudgedAgent);
        let begun = response(0).len();
        for (short, long, shared) in [(40, 50, 32), (32, 50, 32), (64, 70, 64), (10, 20, 0), (40, 40, 40)] {
            let (short, long) = (response(short), response(long));
            assert_eq!(short.shared_prefix(&long), begun + shared);
            assert_eq!(long.shared_prefix(&short), begun + shared);
        }
        // A prompt is one chunk with what stands before it: each of its words sees the last one.
        let prompt = |len| laid_out(len, Kind::JudgedUser);
        assert_eq!(prompt(40).shared_prefix(&prompt(50)), 0);
    }

    #[test]
    fn a_sentence_of_a_long_message_is_read_whole_in_some_passage() {
        let laid_out = |len: usize, kind| {
            let context = [Turn { kind: Kind::ContextUser, ids: &[7, 8, 9] }];
            let ids: Vec<TokenId> = (0..len as TokenId).collect();
            Layout::conversation(Frame { cls: 101, sep: 102 }, &context, Turn { kind, ids: &ids })
        };
        assert!(laid_out(PASSAGE, Kind::JudgedUser).passages().is_empty(), "a short message is read once");
        let longest_sentence = PASSAGE - PASSAGE_STEP;
        for (len, kind) in (PASSAGE + 1..=WINDOW).flat_map(|len| [(len, Kind::JudgedUser), (len, Kind::JudgedAgent)]) {
            let layout = laid_out(len, kind);
            let (judged, passages) = (layout.judged(), layout.passages());
            assert_eq!(judged, layout.len() - len..layout.len());
            assert!(passages.iter().all(|passage| passage.len() <= PASSAGE && passage.end <= judged.end));
            for start in judged.start..=judged.end - longest_sentence {
                let holds = |passage: &Range<usize>| passage.start <= start && start + longest_sentence <= passage.end;
                assert!(passages.iter().any(holds), "{start} of {len}: {passages:?}");
            }
        }
    }
}
