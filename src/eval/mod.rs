//! What a guard says of labelled rows, and the measures of it.

pub mod adaptive;
pub mod compare;
pub mod evasion;
pub mod evidence;
mod flags;
pub mod interval;
mod judgement;
mod options;
pub mod owners;
pub mod page;
pub mod prefixes;
mod report;
mod sample;

use pollster::block_on;

pub use flags::Flags;
pub use judgement::{Judgement, Outcome};
pub use options::{EvalOptions, Score};
pub use report::{Latency, Measures, Report};
pub use sample::{HEADLINES, Headline, Intervals, Sample};

use crate::conversation::Conversation;
use crate::data::rows::Row;
use crate::error::{Error, Result};
use crate::guard::{Guard, Request};
use crate::policy::Policy;
use crate::verdict::Verdict;
use crate::workers::Workers;

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
    use crate::guard::{LoadOptions, Reasoning};
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
