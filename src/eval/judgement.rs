//! What became of a row: a verdict or a failure, without the row's texts.

use serde::{Deserialize, Serialize};

use crate::conversation::Target;
use crate::data::rows::{Label, Row};
use crate::error::{Error, Result};
use crate::verdict::Verdict;

/// A row and what the guard said of it. The texts are left out: scores may be kept where rows may not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The name of the file that the row is from.
    pub set: String,
    pub id: String,
    /// What was done to the row, if anything: how it was rewritten, how much of it was shown, whether its own category was in
    /// the policy. A row is asked about in each way once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    pub source: String,
    pub level: Target,
    #[serde(rename = "unsafe")]
    pub is_unsafe: bool,
    /// The data set's own names for what the row is.
    pub row_categories: Vec<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    Judged {
        score: f32,
        /// The guard's own decision, or whether the score reaches [`EvalOptions::threshold`](super::EvalOptions::threshold).
        flagged: bool,
        /// Category ids and scores, as far as the model gives them.
        categories: Vec<(String, f32)>,
        /// The ids of those that the guard flagged.
        flagged_categories: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoned_score: Option<f32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer_score: Option<f32>,
        verdict_ms: f64,
    },
    Failed {
        /// [`Error::code`], or `unparseable`.
        code: String,
        message: String,
    },
}

impl Judgement {
    /// What became of a row of a set, without its texts.
    pub fn of(set: &str, row: &Row, asked: Option<&str>, outcome: Outcome) -> Self {
        Self {
            set: set.to_owned(),
            id: row.id.clone(),
            asked: asked.map(str::to_owned),
            source: row.source.clone(),
            level: row.level,
            is_unsafe: row.label == Label::Unsafe,
            row_categories: row.categories.clone(),
            outcome,
        }
    }

    pub fn is_judged(&self) -> bool {
        matches!(self.outcome, Outcome::Judged { .. })
    }

    /// Whether the row counts as flagged. Without a verdict it counts as whatever is wrong.
    pub fn flagged(&self) -> bool {
        match &self.outcome {
            Outcome::Judged { flagged, .. } => *flagged,
            Outcome::Failed { .. } => !self.is_unsafe,
        }
    }

    /// P(unsafe); without a verdict the worst score for the row's label.
    pub fn score(&self) -> f32 {
        match &self.outcome {
            Outcome::Judged { score, .. } => *score,
            Outcome::Failed { .. } => f32::from(u8::from(!self.is_unsafe)),
        }
    }
}

impl Outcome {
    /// Flagged from this score on, if there is one. The flags of categories stay the guard's own.
    pub(super) fn decided_at(mut self, threshold: Option<f32>) -> Self {
        if let (Outcome::Judged { score, flagged, .. }, Some(threshold)) = (&mut self, threshold) {
            *flagged = *score >= threshold;
        }
        self
    }
}

impl From<Result<Verdict>> for Outcome {
    fn from(result: Result<Verdict>) -> Self {
        match result {
            // Fail closed is right for a product; in a measure it would pass for recall.
            Ok(Verdict { failure: Some(message), .. }) => Outcome::Failed { code: "unparseable".into(), message },
            Ok(verdict) if (0.0..=1.0).contains(&verdict.score) => Outcome::Judged {
                score: verdict.score,
                flagged: verdict.flagged,
                flagged_categories: verdict.categories.iter().filter(|c| c.flagged).map(|c| c.id.clone()).collect(),
                categories: verdict.categories.into_iter().map(|category| (category.id, category.score)).collect(),
                reasoned_score: verdict.reasoned_score,
                answer_score: verdict.answer_score,
                verdict_ms: verdict.usage.verdict_ms,
            },
            Ok(verdict) => Error::BadModel(format!("the score is {}, not a probability", verdict.score)).into(),
            Err(error) => error.into(),
        }
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        Outcome::Failed { code: error.code().into(), message: error.to_string() }
    }
}
