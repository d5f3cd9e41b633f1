//! What the templates share: turns of a conversation, one line of text for a category, three segments.

use super::segment::{Piece, Segment, SegmentKind};
use crate::conversation::{Conversation, Role};
use crate::error::Result;
use crate::policy::{Category, Policy};

/// The names that a template gives to the roles.
pub(super) struct Speakers {
    pub user: &'static str,
    pub assistant: &'static str,
    pub system: &'static str,
    pub tool: &'static str,
}

/// The turns up to the message on trial, `Role: text`, a blank line between. What was said after that message
/// is left out: it is not on trial, and the templates ask about the last one.
pub(super) fn turns(conversation: &Conversation, speakers: &Speakers) -> Result<Vec<Piece>> {
    let target = conversation.target_index()?;
    let mut pieces = Vec::with_capacity(2 * (target + 1));
    for (message, turn) in conversation.messages[..=target].iter().enumerate() {
        let speaker = match turn.role {
            Role::User => speakers.user,
            Role::Assistant => speakers.assistant,
            Role::System => speakers.system,
            Role::Tool => speakers.tool,
        };
        let gap = if message == 0 { "" } else { "\n\n" };
        pieces.push(Piece::Text(format!("{gap}{speaker}: ")));
        pieces.push(Piece::Untrusted { message, text: turn.content.clone() });
    }
    Ok(pieces)
}

/// The three segments of a prompt.
pub(super) fn three(policy: Vec<Piece>, conversation: Vec<Piece>, answer: Vec<Piece>) -> Vec<Segment> {
    vec![
        Segment { kind: SegmentKind::Policy, pieces: policy },
        Segment { kind: SegmentKind::Conversation, pieces: conversation },
        Segment { kind: SegmentKind::Answer, pieces: answer },
    ]
}

/// The categories of a policy, one block of text, each by `line(number from 1, category)`.
pub(super) fn categories(policy: &Policy, line: impl Fn(usize, &Category) -> String) -> String {
    let lines: Vec<String> = policy.categories.iter().enumerate().map(|(i, category)| line(i + 1, category)).collect();
    lines.join("\n")
}

/// A category's definition and examples as one line; empty if it has none.
pub(super) fn explanation(category: &Category) -> String {
    let mut parts = Vec::new();
    if !category.definition.trim().is_empty() {
        parts.push(one_line(&category.definition));
    }
    for (name, examples) in [("Unsafe", &category.unsafe_examples), ("Safe", &category.safe_examples)] {
        if !examples.is_empty() {
            let quoted: Vec<String> = examples.iter().map(|example| format!("\"{}\"", one_line(example))).collect();
            parts.push(format!("{name} examples: {}.", quoted.join("; ")));
        }
    }
    parts.join(" ")
}

/// White space and line breaks as single spaces, so that a category keeps to its line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn text(words: impl Into<String>) -> Piece {
    Piece::Text(words.into())
}
