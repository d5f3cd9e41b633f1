//! From a policy and a conversation to typed segments of a prompt.

pub mod slots;

use crate::{Conversation, Policy, Result};

/// What a part of the prompt depends on, and so how long it may stay in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// Depends on the policy and the target alone: computed once, forked for each request.
    Policy,
    /// Holds what users and assistants wrote.
    Conversation,
    /// Opens the answer.
    Answer,
}

/// A stretch of a segment and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One control token by its name in the vocabulary, e.g. `<|im_start|>`. Templates alone write these.
    Control(&'static str),
    /// Words of the template or the policy, encoded as plain text.
    Text(String),
    /// Words of the conversation, encoded as plain text; `message` is the index of the message they come from.
    Untrusted { message: usize, text: String },
}

/// One cacheable part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub kind: SegmentKind,
    pub pieces: Vec<Piece>,
}

/// The prompt formats that guards are trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// RSafe's guided reasoning in one ChatML user message (Qwen2.5 and kin).
    Rsafe,
    LlamaGuard3,
    Qwen3guard,
    /// rsafe-mini: conversation, category slots, answer. Laid out in `model::slots`, not as text.
    Slots,
}

impl Template {
    /// Lays the prompt out: policy segments first, then the conversation, then what opens the answer.
    pub fn segments(self, _policy: &Policy, _conversation: &Conversation) -> Result<Vec<Segment>> {
        todo!()
    }
}
