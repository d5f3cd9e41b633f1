//! How an answer is wanted, and what is known before it is reasoned about.

use serde::{Deserialize, Serialize};

use super::reader::Reader;
use crate::grammar::Grammar;
use crate::verdict::{Answer, Thresholds};

/// Who decides what a reasoning step of the slot model says about its category. Decoders reason in words of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Steps {
    /// The category's score, against its threshold: the text explains the decision.
    #[default]
    Scored,
    /// The model, token by token, and before it a verdict without reasoning.
    Written,
}

/// How the answer about a conversation is made.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The longest reasoning, in tokens; 0 writes none.
    pub reasoning_tokens: usize,
    /// Reasoning is written where P(unsafe) is in this range, both ends included; `None`: wherever it is.
    pub uncertain: Option<[f32; 2]>,
    pub steps: Steps,
    /// The scores from which a category applies.
    pub thresholds: Thresholds,
}

impl Answering {
    /// Whether reasoning is written about a conversation of this score.
    pub(crate) fn reasons(&self, score: f32) -> bool {
        self.reasoning_tokens > 0 && self.uncertain.is_none_or(|[low, high]| (low..=high).contains(&score))
    }

    /// Whether the slot model writes anything about it.
    pub(crate) fn writes(&self, score: f32) -> bool {
        self.steps == Steps::Written || self.reasons(score)
    }
}

/// What one prefill gives.
pub struct Readout<'e> {
    /// P(unsafe) before any reasoning.
    pub score: f32,
    /// A score for each category, where the model has them.
    pub categories: Vec<(String, f32)>,
    /// The scores of categories without the words that are quoted for them, by id.
    pub effects: Vec<(String, f32)>,
    /// P(unsafe) at a verdict token without reasoning before it, where the model wrote one.
    pub answer_score: Option<f32>,
    /// What the model answered without reasoning; empty for the slot model, whose scores say it all.
    pub answer: Answer,
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub answer_tokens: usize,
    /// The share of the judged message, in [0, 1], that is in no language and no code that was undone.
    pub unreadable: f32,
    /// Where a reasoned answer begins; `None` if none is to be written.
    pub(crate) reason: Option<(Reader<'e>, Grammar)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_written_from_one_end_of_the_band_of_doubt_to_the_other() {
        let thresholds = Thresholds::default();
        let of = |reasoning_tokens, uncertain| Answering {
            reasoning_tokens,
            uncertain,
            steps: Steps::Scored,
            thresholds: thresholds.clone(),
        };
        let doubtful = of(9, Some([0.25, 0.75]));
        assert_eq!(
            [0.24, 0.25, 0.5, 0.75, 0.76].map(|score| doubtful.reasons(score)),
            [false, true, true, true, false]
        );
        assert!(of(9, None).reasons(1.0) && !of(0, None).reasons(0.5));
    }
}
