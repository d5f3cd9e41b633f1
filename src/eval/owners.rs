//! Owners' policies, judged: what a guard says of the messages that were labelled under them.

use super::{Asking, EvalOptions, Judgement, Report};
use crate::Result;
use crate::data::owners::Owner;
use crate::data::rows::Label;
use crate::guard::{Guard, Request};

/// Judges the messages of the owners that training never saw, each under its owner's policy (that of `options` is not
/// used); borderline ones are left out. Hands each judgement to `on_row`, asked as the owner's name.
///
/// # Errors
/// As [`evaluate`](crate::eval::evaluate).
pub async fn evaluate_owners(
    guard: &Guard,
    name: &str,
    owners: &[Owner],
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<Report> {
    let mut judgements = Vec::new();
    let mut asking = Asking::default();
    for owner in owners.iter().filter(|owner| owner.is_held_out()) {
        for row in owner.rows.iter().filter(|row| row.label != Label::Borderline) {
            let request = Request::new(row.conversation()).policy(&owner.policy).reasoning(options.reasoning);
            let outcome = asking.ask(guard, &request, &options).await?;
            let judgement = Judgement::of(name, row, Some(&owner.name), outcome);
            on_row(&judgement)?;
            judgements.push(judgement);
        }
    }
    asking.end()?;
    Ok(Report::of(name, &judgements, &options))
}
