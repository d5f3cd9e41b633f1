//! What a guard says of labelled rows, and the measures of it.

pub mod adaptive;
pub mod compare;
pub mod evasion;
pub mod evidence;
mod flags;
pub mod interval;
pub mod owners;
pub mod page;
pub mod prefixes;
mod report;
mod sample;

use pollster::block_on;
use serde::{Deserialize, Serialize};

pub use flags::Flags;
pub use report::{Latency, Measures, Report};
pub use sample::{HEADLINES, Headline, Intervals, Sample};

use crate::conversation::{Conversation, Target};
use crate::data::rows::{Label, Row};
use crate::error::{Error, Result};
use crate::guard::{Guard, Reasoning, Request};
use crate::policy::Policy;
use crate::verdict::Verdict;
use crate::workers::Workers;
use interval::Bootstrap;

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
    fn measured(self, verdict: Verdict) -> Verdict {
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
        /// The guard's own decision, or whether the score reaches [`EvalOptions::threshold`].
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
    fn decided_at(mut self, threshold: Option<f32>) -> Self {
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

/// Judges rows on all cores, hands each judgement to `on_row` in the rows' order, and sums up.
///
/// A row that cannot be judged is counted, see [`Measures`]. If the device is lost the rest would fail with it.
///
/// # Errors
/// [`Error::DeviceLost`], whatever `on_row` returns, and the last row's error if no row could be judged.
pub fn evaluate(
    guard: &Guard,
    name: &str,
    rows: &[Row],
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<Report> {
    let mut judgements = Vec::with_capacity(rows.len());
    let asked = |row: &Row| (row.conversation(), None);
    ask_all(guard, rows, &options, asked, |row, outcome| {
        let judgement = Judgement::of(name, row, None, outcome);
        on_row(&judgement)?;
        judgements.push(judgement);
        Ok(())
    })?;
    Ok(Report::of(name, &judgements, &options))
}

/// Rows for each core between two times that outcomes are handed on: what a core may idle at the end is shared by them.
const AHEAD: usize = 16;

/// Asks a guard on all cores about what `asked` makes of each row, under a policy of its own or that of `options`, and
/// hands on what becomes of it, in the rows' order.
///
/// # Errors
/// [`Error::DeviceLost`], whatever `on_row` returns, and the last row's error if no row could be judged.
pub(crate) fn ask_all<'r, R: Sync>(
    guard: &Guard,
    rows: &'r [R],
    options: &EvalOptions<'_>,
    asked: impl Fn(&'r R) -> (Conversation, Option<&'r Policy>) + Sync,
    mut on_row: impl FnMut(&'r R, Outcome) -> Result<()>,
) -> Result<()> {
    let workers = Workers::new()?;
    let mut asking = Asking::default();
    for rows in rows.chunks(workers.len() * AHEAD) {
        let rows: Vec<&R> = rows.iter().collect();
        let verdicts = workers.map(&rows, |&row| {
            let (conversation, policy) = asked(row);
            let mut request = Request::new(conversation).reasoning(options.reasoning);
            request.policy = policy.or(options.policy);
            block_on(guard.check(&request))
        });
        for (row, verdict) in rows.into_iter().zip(verdicts) {
            on_row(row, asking.take(verdict, options)?)?;
        }
    }
    asking.end()
}

/// Tells a guard that fails at some rows from one that fails at all.
#[derive(Default)]
struct Asking {
    judged: usize,
    last_error: Option<Error>,
}

impl Asking {
    /// What becomes of a row.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]; any other error is an outcome.
    fn take(&mut self, verdict: Result<Verdict>, options: &EvalOptions<'_>) -> Result<Outcome> {
        match verdict {
            Err(error @ Error::DeviceLost(_)) => Err(error),
            Err(error) => {
                let outcome = Outcome::Failed { code: error.code().into(), message: error.to_string() };
                self.last_error = Some(error);
                Ok(outcome)
            }
            verdict => {
                self.judged += 1;
                let outcome = Outcome::from(verdict.map(|verdict| options.score.measured(verdict)));
                Ok(outcome.decided_at(options.threshold))
            }
        }
    }

    /// # Errors
    /// The last row's error if no row could be judged.
    fn end(self) -> Result<()> {
        match self.last_error {
            Some(error) if self.judged == 0 => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::guard::LoadOptions;
    use crate::policy::Category;

    #[test]
    fn rows_that_are_judged_side_by_side_come_in_their_order_with_the_scores_of_rows_judged_alone() {
        let guard = block_on(Guard::load(Bundle::embedded().unwrap(), LoadOptions::default())).unwrap();
        let row = |at: usize| {
            let prompt = "How do I bake bread? ".repeat(1 + at * 7 % 5);
            serde_json::from_value::<Row>(serde_json::json!({
                "id": at.to_string(), "level": "prompt", "prompt": format!("{prompt}{at}"), "label": "safe",
            }))
        };
        // Enough of them to be handed on more than once.
        let rows = 2 * AHEAD * Workers::new().unwrap().len() + 3;
        let rows: Vec<Row> = (0..rows).map(|at| row(at).unwrap()).collect();
        let policy = Policy::new("house").category(Category::new("bread", "Baking bread"));
        let options = EvalOptions { policy: Some(&policy), reasoning: Reasoning::Never, ..EvalOptions::default() };
        let mut heard = Vec::new();
        let report = evaluate(&guard, "rows", &rows, options, |judgement| {
            heard.push((judgement.id.clone(), judgement.score()));
            Ok(())
        });
        assert_eq!(report.unwrap().rows, rows.len());
        let alone = |row: &Row| {
            let request = Request::new(row.conversation()).policy(&policy).reasoning(Reasoning::Never);
            (row.id.clone(), block_on(guard.check(&request)).unwrap().score)
        };
        assert_eq!(heard, rows.iter().map(alone).collect::<Vec<_>>());

        // Whatever ends a run ends it where it stands.
        let mut before = 0;
        let stopped = evaluate(&guard, "rows", &rows, options, |judgement| {
            before += 1;
            if judgement.id == "4" { Err(Error::BadInput("full".into())) } else { Ok(()) }
        });
        assert_eq!((stopped.unwrap_err().code(), before), ("bad_input", 5));
    }
}
