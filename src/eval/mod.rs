//! Labelled rows and the measures of a guard on them.

#[cfg(feature = "train")]
pub mod adaptive;
pub mod dataset;
pub mod evasion;
pub mod metrics;
pub mod prefixes;
mod report;

use serde::Serialize;

pub use report::Report;

use crate::guard::{Guard, Reasoning, Request};
use crate::verdict::Verdict;
use crate::{Error, Policy, Result};
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    pub id: String,
    pub source: String,
    #[serde(rename = "unsafe")]
    pub is_unsafe: bool,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Judged {
        score: f32,
        /// The guard's own decision, whatever threshold the report uses.
        flagged: bool,
        /// Category ids and scores, as far as the model gives them.
        categories: Vec<(String, f32)>,
        verdict_ms: f64,
    },
    Failed {
        code: &'static str,
        message: String,
    },
}

impl From<Result<Verdict>> for Outcome {
    fn from(result: Result<Verdict>) -> Self {
        match result {
            // Fail closed is right for a product; in a measure it would pass for recall.
            Ok(Verdict { failure: Some(message), .. }) => Outcome::Failed { code: "unparseable", message },
            Ok(verdict) if (0.0..=1.0).contains(&verdict.score) => Outcome::Judged {
                score: verdict.score,
                flagged: verdict.flagged,
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
        Outcome::Failed { code: error.code(), message: error.to_string() }
    }
}

/// Judges rows in their order, hands each judgement to `on_row`, and sums up.
///
/// A row that cannot be judged is counted, see [`Report`]. If the device is lost the rest would fail with it.
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
                let outcome = Outcome::Failed { code: error.code(), message: error.to_string() };
                last_error = Some(error);
                outcome
            }
            verdict => {
                judged += 1;
                verdict.into()
            }
        };
        let judgement = Judgement {
            id: row.id.clone(),
            source: row.source.clone(),
            is_unsafe: row.label == Label::Unsafe,
            outcome,
        };
        on_row(&judgement)?;
        judgements.push(judgement);
    }
    match last_error {
        Some(error) if judged == 0 => Err(error),
        _ => Ok(Report::of(name, &judgements, options.threshold)),
    }
}
