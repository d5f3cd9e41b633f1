//! What a verdict comes to on one scale of four.

use serde::{Deserialize, Serialize};

use super::decision::Decision;
use super::thresholds::Thresholds;

/// How far a text is from harmless, in the words of those who have to look at it; it rises with the scores and with
/// strictness.
///
/// | tier | decision | holds where |
/// |---|---|---|
/// | `clear` | allow | nothing below holds, or a rule allows the text |
/// | `care` | allow | a category that does not apply has a score [in doubt](Thresholds::doubt), a tenth of the text is [unreadable](Tier::UNREADABLE), or the verdict has a [note](super::Note) other than `empty` |
/// | `attention` | review | something applies, or could not be judged, and a person should look |
/// | `block` | block | something applies that the policy forbids, or it could not be judged |
///
/// Categories whose action is to allow have no say, whatever their score. Where no category has a score, P(unsafe) stands
/// for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tier {
    Clear,
    Care,
    Attention,
    Block,
}

impl Tier {
    /// The share of unreadable text from which a text is not clear. Names and keys make a smaller one of many texts.
    pub const UNREADABLE: f32 = 0.1;

    pub(super) fn of(decision: Decision, in_doubt: bool) -> Self {
        match decision {
            Decision::Allow if in_doubt => Tier::Care,
            Decision::Allow => Tier::Clear,
            Decision::Review => Tier::Attention,
            Decision::Block => Tier::Block,
        }
    }

    /// The word that verdicts use.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Clear => "clear",
            Tier::Care => "care",
            Tier::Attention => "attention",
            Tier::Block => "block",
        }
    }
}

impl Thresholds {
    /// The score from which doubt is left that a text is harmless, where something applies from `threshold` on: where the
    /// uncertain band begins, and no later than half way to the threshold, which may lie below the band under another policy
    /// or a strict dial.
    pub fn doubt(&self, threshold: f32) -> f32 {
        self.uncertain[0].min(threshold / 2.0)
    }
}
