//! Labelled rows and the measures of a guard on them.

pub mod compare;
pub mod curve;
pub mod dataset;
mod flags;
pub mod interval;
pub mod metrics;
pub mod page;
mod report;
mod sample;

use serde::{Deserialize, Serialize};

pub use flags::Flags;
pub use report::{Latency, Measures, Report};
pub use sample::{HEADLINES, Headline, Intervals, Sample};

use crate::guard::{Guard, Reasoning, Request};
use crate::verdict::Verdict;
use crate::{Error, Policy, Result, Target};
use dataset::{Label, Row};

/// How rows are judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalOptions<'a> {
    /// `None`: the bundle's default policy.
    pub policy: Option<&'a Policy>,
    pub reasoning: Reasoning,
    /// Score in [0, 1] from which a row counts as flagged; `None`: the guard's own decision.
    pub threshold: Option<f32>,
}

/// A row and what the guard said of it. The texts are left out: scores may be kept where rows may not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub id: String,
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
        /// The guard's own decision, whatever threshold the report uses.
        flagged: bool,
        /// Category ids and scores, as far as the model gives them.
        categories: Vec<(String, f32)>,
        /// The ids of those that the guard flagged.
        flagged_categories: Vec<String>,
        verdict_ms: f64,
    },
    Failed {
        /// [`Error::code`], or `unparseable`.
        code: String,
        message: String,
    },
}

impl Judgement {
    /// What became of a row, without its texts.
    pub fn of(row: &Row, outcome: Outcome) -> Self {
        Self {
            id: row.id.clone(),
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

    /// Whether the row counts as flagged: from `threshold` on, or by the guard's own decision. Without a verdict it
    /// counts as whatever is wrong.
    pub fn flagged(&self, threshold: Option<f32>) -> bool {
        match &self.outcome {
            Outcome::Judged { score, flagged, .. } => threshold.map_or(*flagged, |threshold| *score >= threshold),
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

/// Judges rows in their order, hands each judgement to `on_row`, and sums up.
///
/// A row that cannot be judged is counted, see [`Measures`]. If the device is lost the rest would fail with it.
///
/// # Errors
/// [`Error::DeviceLost`], whatever `on_row` returns, and the last row's error if no row could be judged.
pub async fn evaluate(
    guard: &Guard,
    name: &str,
    rows: &[Row],
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<Report> {
    let mut judgements = Vec::with_capacity(rows.len());
    let (mut judged, mut last_error) = (0, None);
    for row in rows {
        let mut request = Request::new(row.conversation()).reasoning(options.reasoning);
        request.policy = options.policy;
        let outcome = match guard.check(&request).await {
            Err(error @ Error::DeviceLost(_)) => return Err(error),
            Err(error) => {
                let outcome = Outcome::Failed { code: error.code().into(), message: error.to_string() };
                last_error = Some(error);
                outcome
            }
            verdict => {
                judged += 1;
                verdict.into()
            }
        };
        let judgement = Judgement::of(row, outcome);
        on_row(&judgement)?;
        judgements.push(judgement);
    }
    match last_error {
        Some(error) if judged == 0 => Err(error),
        _ => Ok(Report::of(name, &judgements, options.threshold)),
    }
}
