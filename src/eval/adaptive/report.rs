//! Cases judged, summed up.

use serde::Serialize;

use super::{Asked, Case};
use crate::data::rows::Row;
use crate::error::Result;
use crate::eval::{EvalOptions, Judgement, Report, ask_all};
use crate::guard::Guard;

/// The measures of a guard on the cases of one set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdaptiveReport {
    /// Rows that no case was made of.
    pub left_out: usize,
    /// Unsafe rows alone, each once under its own category and once under foreign ones: 0.5 AUROC if the policy is
    /// ignored.
    pub unsafe_rows: Report,
    /// All cases, safe rows too.
    pub all: Report,
    /// False alarms among safe rows; `None` without any.
    pub fpr_safe: Option<f64>,
    /// False alarms among unsafe rows under foreign categories; `None` without any.
    pub fpr_foreign: Option<f64>,
}

/// Judges the cases of `rows` in their order, each under its own policy (the policy of `options` is not used), and hands
/// each judgement to `on_case`, asked as `own`, `foreign` or `safe`. Intervals resample cases, not rows.
///
/// # Errors
/// As [`evaluate`](crate::eval::evaluate).
pub fn evaluate_adaptive(
    guard: &Guard,
    name: &str,
    rows: &[Row],
    (cases, left_out): (&[Case], usize),
    options: EvalOptions<'_>,
    mut on_case: impl FnMut(&Judgement) -> Result<()>,
) -> Result<AdaptiveReport> {
    let mut judgements: Vec<(Asked, Judgement)> = Vec::with_capacity(cases.len());
    ask_all(
        guard,
        cases,
        &options,
        |case| (rows[case.row].conversation(), Some(&case.policy)),
        |case, outcome| {
            let is_unsafe = case.asked == Asked::Own;
            let row = &rows[case.row];
            let judgement = Judgement { is_unsafe, ..Judgement::of(name, row, Some(case.asked.name()), outcome) };
            on_case(&judgement)?;
            judgements.push((case.asked, judgement));
            Ok(())
        },
    )?;
    let report = |asked: &[Asked]| {
        let some = judgements.iter().filter(|(why, _)| asked.contains(why)).map(|(_, judgement)| judgement.clone());
        Report::of(name, &some.collect::<Vec<_>>(), &options)
    };
    Ok(AdaptiveReport {
        left_out,
        unsafe_rows: report(&[Asked::Own, Asked::Foreign]),
        all: report(&[Asked::Own, Asked::Foreign, Asked::Safe]),
        fpr_safe: report(&[Asked::Safe]).measures.fpr,
        fpr_foreign: report(&[Asked::Foreign]).measures.fpr,
    })
}
