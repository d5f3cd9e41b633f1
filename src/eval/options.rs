//! How rows are judged, and which of a verdict's scores is measured.

use serde::Serialize;

use super::interval::Bootstrap;
use crate::guard::Reasoning;
use crate::policy::Policy;
use crate::verdict::Verdict;

/// How rows are judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalOptions<'a> {
    /// `None`: the bundle's default policy.
    pub policy: Option<&'a Policy>,
    pub reasoning: Reasoning,
    /// Score in [0, 1] from which a row counts as flagged; `None`: the guard's own decision.
    pub threshold: Option<f32>,
    pub score: Score,
    /// How the 95 % intervals of reports are made.
    pub bootstrap: Bootstrap,
}

/// Which of a verdict's scores is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// The one that decides, with the guard's own decision.
    #[default]
    Categories,
    /// P(unsafe) behind the reasoning; flagged from 0.5, where "unsafe" is likelier than "safe".
    Reasoned,
    /// P(unsafe) of a verdict without reasoning; flagged from 0.5.
    Answer,
}

impl Score {
    /// The verdict with that score; one that lacks it, such as a rule's, as it is.
    pub(super) fn measured(self, verdict: Verdict) -> Verdict {
        let score = match self {
            Score::Categories => None,
            Score::Reasoned => verdict.reasoned_score,
            Score::Answer => verdict.answer_score,
        };
        match score {
            Some(score) => Verdict { score, flagged: score >= 0.5, ..verdict },
            None => verdict,
        }
    }
}
