//! A set judged as it is and under each transform.

use serde::Serialize;

use super::Transform;
use crate::data::rows::Row;
use crate::error::Result;
use crate::eval::{EvalOptions, Judgement, Report, evaluate};
use crate::guard::Guard;

/// A set as it is, and what each transform made of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvasionReport {
    pub plain: Report,
    pub transforms: Vec<TransformReport>,
}

/// The same rows, rewritten. Drops and rises are against the plain rows, in [−1, 1].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransformReport {
    pub transform: Transform,
    /// Recall lost; below 0 where more was found. `None` without unsafe rows.
    pub recall_drop: Option<f64>,
    /// False alarms gained. `None` without safe rows.
    pub fpr_rise: Option<f64>,
    pub report: Report,
}

/// Judges rows as they are and rewritten by each transform, asked by its name.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_evasion(
    guard: &Guard,
    name: &str,
    rows: &[Row],
    transforms: &[Transform],
    seed: u64,
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<EvasionReport> {
    let plain = evaluate(guard, name, rows, options, &mut on_row)?;
    let less = |a: Option<f64>, b: Option<f64>| Some(a? - b?);
    let mut reports = Vec::with_capacity(transforms.len());
    for &transform in transforms {
        let rewritten: Vec<Row> = rows.iter().map(|row| transform.row(row, seed)).collect();
        let asked =
            |judgement: &Judgement| on_row(&Judgement { asked: Some(transform.name().into()), ..judgement.clone() });
        let report = evaluate(guard, name, &rewritten, options, asked)?;
        reports.push(TransformReport {
            transform,
            recall_drop: less(plain.measures.recall, report.measures.recall),
            fpr_rise: less(report.measures.fpr, plain.measures.fpr),
            report,
        });
    }
    Ok(EvasionReport { plain, transforms: reports })
}
