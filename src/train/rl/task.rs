//! What the network is asked: a conversation, a policy, and what is true of the one under the other.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::conversation::{Conversation, Target};
use crate::data::rows::Row;
use crate::error::Result;
use crate::policy::Policy;
use crate::train::reward::Truth;

/// Characters of the judged message that a task shows, and of the message before it: reading windows beyond these costs
/// more than it teaches.
const MAX_CHARS: usize = 1600;

/// One question with its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The id of its row.
    pub id: String,
    /// The data set of its row.
    pub source: String,
    pub conversation: Conversation,
    pub policy: Policy,
    pub truth: Truth,
    /// Whether the answer reasons before its verdict.
    pub think: bool,
}

/// The tasks of a run.
pub trait Tasks: Sync {
    /// The task in that place of the run. It depends on the place and the run's seed alone, so that a run goes on from any
    /// place as if it had not stopped.
    ///
    /// # Errors
    /// If there is no row to train on.
    fn task(&self, place: usize) -> Result<Task>;

    /// At most so many tasks about rows that are never trained on, always the same, all with reasoning.
    ///
    /// # Errors
    /// Whatever the rows have wrong.
    fn watched(&self, count: usize) -> Result<Vec<Task>>;
}

/// A generator for one purpose and place of a run.
pub fn generator(seed: u64, purpose: &str, place: u64) -> ChaCha8Rng {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(place.to_le_bytes())
        .chain_update(purpose)
        .finalize();
    ChaCha8Rng::from_seed(digest.into())
}

/// The conversation of a row, long messages cut: the judged one to its beginning or its end.
pub fn conversation(row: &Row, end: bool) -> Conversation {
    match (row.level, &row.response) {
        (Target::Response, Some(response)) => Conversation::response(cut(&row.prompt, true), cut(response, end)),
        _ => Conversation::prompt(cut(&row.prompt, end)),
    }
}

/// The first or the last [`MAX_CHARS`] characters.
fn cut(text: &str, end: bool) -> &str {
    let at = match end {
        true => text.char_indices().rev().nth(MAX_CHARS - 1).map(|(at, _)| &text[at..]),
        false => text.char_indices().nth(MAX_CHARS).map(|(at, _)| &text[..at]),
    };
    at.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long: String = "ä".repeat(MAX_CHARS + 5) + "z";
        assert_eq!(cut(&long, false).chars().count(), MAX_CHARS);
        assert_eq!(cut(&long, true).chars().count(), MAX_CHARS);
        assert!(cut(&long, true).ends_with('z') && cut(&long, false).ends_with('ä'));
        assert_eq!(cut("short", true), "short");
    }
}
