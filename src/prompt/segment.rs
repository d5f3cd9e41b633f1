//! A prompt before it is encoded: segments of pieces, each with who vouches for it.

/// What a part of the prompt depends on, and so how long it may stay in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// Depends on the policy and the target alone: computed once, forked for each request.
    Policy,
    /// Holds what users and assistants wrote.
    Conversation,
    /// Closes the conversation and opens the answer; depends on the target alone.
    Answer,
}

/// A stretch of a segment and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One control token by its name in the vocabulary, e.g. `<|im_start|>`. Templates alone write these.
    Control(&'static str),
    /// Words of the template or the policy, encoded as plain text.
    Text(String),
    /// A message of the conversation, verbatim; `message` is its index. It is neutralised and encoded as plain text.
    Untrusted { message: usize, text: String },
}

/// One cacheable part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub kind: SegmentKind,
    pub pieces: Vec<Piece>,
}
