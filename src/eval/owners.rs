//! Owners' policies, judged: what a guard says of the messages that were labelled under them.

use super::{EvalOptions, Judgement, Report, ask_all};
use crate::data::owners::Owner;
use crate::data::rows::{Label, Row};
use crate::error::Result;
use crate::guard::Guard;

/// Judges the messages of the owners that training never saw, each under its owner's policy (that of `options` is not
/// used); borderline ones are left out. Hands each judgement to `on_row`, asked as the owner's name.
///
/// # Errors
/// As [`evaluate`](crate::eval::evaluate).
pub fn evaluate_owners(
    guard: &Guard,
    name: &str,
    owners: &[Owner],
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<Report> {
    let held_out = owners.iter().filter(|owner| owner.is_held_out());
    let asked: Vec<(&Owner, &Row)> = held_out
        .flat_map(|owner| owner.rows.iter().map(move |row| (owner, row)))
        .filter(|(_, row)| row.label != Label::Borderline)
        .collect();
    let mut judgements = Vec::with_capacity(asked.len());
    ask_all(
        guard,
        &asked,
        &options,
        |(owner, row)| (row.conversation(), Some(&owner.policy)),
        |(owner, row), outcome| {
            let judgement = Judgement::of(name, row, Some(&owner.name), outcome);
            on_row(&judgement)?;
            judgements.push(judgement);
            Ok(())
        },
    )?;
    Ok(Report::of(name, &judgements, &options))
}
