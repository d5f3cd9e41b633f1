//! A policy of one's own becomes a bundle's own, with thresholds that rows labelled by it choose.

use std::path::{Path, PathBuf};

use pollster::block_on;

use super::judged::Judged;
use super::{Calibration, scored, under_own};
use crate::bundle::{Bundle, save_manifest, set_policy};
use crate::data::rows::{Label, Row, labelled_rows};
use crate::error::{Error, Result};
use crate::guard::{Guard, LoadOptions, Reasoning, Request};
use crate::policy::Policy;
use crate::train::policies::truth_under;

/// Makes `policy` the one that the bundle judges by where a request brings none, and chooses its thresholds, its operating
/// curve and the band of doubt on the share `held_out`, above 0 and at most 1, of labelled rows: those that `rsafe train`
/// keeps out of training for the same share. A row's categories are ids or names of the policy's. Rows that a rule of the
/// policy decides say nothing about scores and are left out. Thresholds that the policy itself sets win over those chosen.
///
/// How logits become scores stays as it is, but that no category is held back as a catch-all under a policy that is new to
/// the bundle; and so does what was chosen for policies other than the bundle's own. The self-test is made anew, for what
/// is the bundle's own now.
///
/// # Errors
/// What the policy, the rows or the bundle have wrong; [`Error::BadInput`] if no rows of both labels are held out.
pub fn adopt(
    folder: &Path,
    policy: &Policy,
    data: &[PathBuf],
    held_out: f64,
    on_row: impl FnMut(usize),
) -> Result<Calibration> {
    if !(held_out > 0.0 && held_out <= 1.0) {
        return Err(Error::BadInput(format!("held_out: expected a share above 0, at most 1, found {held_out}")));
    }
    policy.validate()?;
    let mut rows = labelled_rows(data)?;
    rows.retain(|row| row.is_held_out(held_out));
    let bundle = Bundle::open(folder)?;
    let mut manifest = bundle.manifest().clone();
    if !policy.reads_like(&block_on(bundle.policy())?) {
        // Nothing is known of what stands beside a catch-all there.
        manifest.calibration.catch_all = None;
    }
    let bundle = bundle.with_calibration(manifest.calibration.clone());
    let guard = block_on(Guard::load(bundle, LoadOptions::default().allow_untested(true)))?;
    let judged = scored(&rows, |row| block_on(score(&guard, policy, row)), on_row)?;
    let judged: Vec<Judged> = judged.into_iter().flatten().collect();
    let found = under_own(policy, &judged, &mut manifest)?;
    manifest.self_test = Some(block_on(guard.known_answers(policy, manifest.template))?);
    set_policy(folder, &mut manifest, policy)?;
    save_manifest(folder, &manifest)?;
    Ok(found)
}

/// A row under the policy; `None` if a rule decided.
async fn score(guard: &Guard, policy: &Policy, row: &Row) -> Result<Option<Judged>> {
    let verdict = guard.check(&Request::new(row.conversation()).policy(policy).reasoning(Reasoning::Never)).await?;
    if verdict.rule.is_some() {
        return Ok(None);
    }
    let truth = truth_under(policy, row);
    // A model without scores of its own for categories only names those that it found.
    let all = verdict.categories.len() == policy.categories.len();
    let categories = verdict.categories.iter().filter(|_| all).map(|category| category.score);
    Ok(Some(Judged {
        target: row.level,
        is_unsafe: Some(truth.label == Label::Unsafe),
        score: verdict.score,
        categories: categories.collect(),
    }))
}
