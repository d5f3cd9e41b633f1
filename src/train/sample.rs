//! A labelled row as training sees it: its words as tokens, with what is known of it.

use std::ops::Range;

use crate::conversation::Conversation;
use crate::data::recipe::Facts;
use crate::data::rows::Row;
use crate::error::Result;
use crate::mini::layout::Kind;
use crate::mini::prompt::{Context, context};
use crate::tokenizer::{TokenId, Tokenizer};

/// Characters of a text that are tokenised: far more than an example shows.
const MAX_CHARS: usize = 4000;

/// A tokenised row with what is known of it.
#[derive(Clone)]
pub struct Sample {
    pub judged: Vec<TokenId>,
    /// Whether each judged token begins a word.
    pub word_starts: Vec<bool>,
    /// What of it the facts are about, where harmless texts stand around that.
    pub core: Option<Range<usize>>,
    /// What was said before.
    pub context: Vec<Context>,
    pub kind: Kind,
    pub facts: Facts,
    /// The categories of the owner under whose policy it was labelled; without any a policy is drawn by the facts.
    pub asked: Vec<Asked>,
}

/// A category as its owner wrote it, and what it is for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub name: Vec<TokenId>,
    pub definition: Vec<TokenId>,
    /// What its slot should say: 1 where it applies, 0 where it does not, a half where it is borderline; `None` where nobody
    /// said.
    pub target: Option<f32>,
}

impl Sample {
    /// A row's words with its facts; `None` if there are no words.
    pub fn of(row: &Row, facts: Facts, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let Conversation { messages, target } = row.conversation();
        let Some((judged, before)) = messages.split_last() else { return Ok(None) };
        let spans = tokenizer.encode(clip(&judged.content))?;
        if spans.is_empty() {
            return Ok(None);
        }
        let starts_word = |i: usize| i == 0 || spans[i - 1].bytes.end < spans[i].bytes.start;
        Ok(Some(Self {
            judged: spans.iter().map(|span| span.id).collect(),
            word_starts: (0..spans.len()).map(starts_word).collect(),
            core: None,
            context: context(tokenizer, before)?,
            kind: Kind::judged(target),
            facts,
            asked: Vec::new(),
        }))
    }
}

fn clip(text: &str) -> &str {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
