//! How a growing response is checked and released.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::guard::Reasoning;
use crate::verdict::{Decision, Verdict, check_strictness};

/// The largest of [`MonitorOptions`]' sizes.
const MAX_SIZE: usize = 1 << 16;

/// How much of what was checked stays back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pace {
    /// As much as [`hold_back`](field@MonitorOptions::hold_back) says, whatever the checks found.
    Steady,
    /// By the risk curve: less where the last checks found little, and up to eight times as much where one of them came
    /// near its limit.
    #[default]
    Adaptive,
}

/// How a growing response is checked and released. Sizes are in characters (Unicode scalar values), at most 65,536.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MonitorOptions {
    /// Checks fall where sentences end, and after so many new characters at the latest; at least 1. The first ones are
    /// small, so that a response begins soon; later ones have half of it or more to read, but for the last.
    pub check_every: usize,
    /// So many of the last checked characters stay back until a later check has passed, or the end: what only becomes
    /// harmful as it completes is not shown by half. Beyond that only whole sentences are shown; one of more than twice
    /// `check_every` is shown in parts. Phrases that must not be shown in part are best not longer.
    pub hold_back: usize,
    /// Whether `hold_back` follows the risk curve.
    pub pace: Pace,
    /// The model reads at least so many of the characters before the new ones, and at most `check_every` more. A larger
    /// context is slower and sees harm that is spread wider. By default a check is one window of rsafe-mini, which
    /// reads about 450 characters of English at a time; a decoder makes sense of many more.
    pub context: usize,
    /// Whether text is shown on [`Decision::Review`], which asks for a look at it and not that it be kept back; the
    /// verdict is reported either way. `false` stops the response as a block does.
    pub release_on_review: bool,
    /// When the check at the end writes reasoning. Those before it never do.
    pub reasoning: Reasoning,
    /// How readily text is flagged, in [0, 1]; `None`: the guard's.
    pub strictness: Option<f32>,
}

impl Default for MonitorOptions {
    /// A check each 160 characters with 120 before them, 24 held back, more as the risk grows, review released, reasoning
    /// as it matters, the guard's strictness.
    fn default() -> Self {
        Self {
            check_every: 160,
            hold_back: 24,
            pace: Pace::Adaptive,
            context: 120,
            release_on_review: true,
            reasoning: Reasoning::Auto,
            strictness: None,
        }
    }
}

/// What differs from the defaults; [`Monitor::new`](super::Monitor::new) says which values are out of bounds.
impl MonitorOptions {
    /// See [the field](field@Self::check_every).
    pub fn check_every(mut self, characters: usize) -> Self {
        self.check_every = characters;
        self
    }

    /// See [the field](field@Self::hold_back).
    pub fn hold_back(mut self, characters: usize) -> Self {
        self.hold_back = characters;
        self
    }

    /// See [the field](field@Self::pace).
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// See [the field](field@Self::context).
    pub fn context(mut self, characters: usize) -> Self {
        self.context = characters;
        self
    }

    /// See [the field](field@Self::release_on_review).
    pub fn release_on_review(mut self, release: bool) -> Self {
        self.release_on_review = release;
        self
    }

    /// When the check at the end writes reasoning.
    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// From 0 (flags least) to 1 (flags most).
    pub fn strictness(mut self, strictness: f32) -> Self {
        self.strictness = Some(strictness);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        self.strictness.map_or(Ok(()), check_strictness)?;
        let sizes =
            [("check_every", self.check_every, 1), ("hold_back", self.hold_back, 0), ("context", self.context, 0)];
        match sizes.into_iter().find(|(_, size, least)| !(*least..=MAX_SIZE).contains(size)) {
            Some((name, size, least)) => Err(Error::BadInput(format!(
                "monitor: `{name}`: expected {least} to {MAX_SIZE} characters, got {size}"
            ))),
            None => Ok(()),
        }
    }

    /// Whether text that got this verdict may be shown. A check that failed covers nothing, whatever failing counts as.
    pub(super) fn passes(&self, verdict: &Verdict) -> bool {
        verdict.failure.is_none() && !self.stops(verdict.decision)
    }

    /// Whether a response ends with this decision.
    pub(super) fn stops(&self, decision: Decision) -> bool {
        match decision {
            Decision::Allow => false,
            Decision::Review => !self.release_on_review,
            Decision::Block => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::OnError;

    #[test]
    fn a_check_that_failed_lets_nothing_pass() {
        let options = MonitorOptions { release_on_review: true, ..Default::default() };
        for on_error in [OnError::Block, OnError::Review] {
            assert!(!options.passes(&Verdict::fail_closed("no verdict", on_error)));
        }
    }

    #[test]
    fn review_passes_if_the_options_say_so_and_a_block_never() {
        let options = |release_on_review| MonitorOptions { release_on_review, ..Default::default() };
        let rule = |decision| Verdict::by_rule("rule", decision);
        for release_on_review in [true, false] {
            assert!(options(release_on_review).passes(&rule(Decision::Allow)));
            assert_eq!(options(release_on_review).passes(&rule(Decision::Review)), release_on_review);
            assert!(!options(release_on_review).passes(&rule(Decision::Block)));
        }
    }
}
