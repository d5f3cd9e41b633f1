//! The threshold and the uncertain band of a bundle, chosen on rows that were held out of its training.

use std::path::Path;

use crate::bundle::{Bundle, Thresholds, save_manifest};
use crate::eval::dataset::{Label, Row};
use crate::eval::metrics::{self, Scored};
use crate::guard::{Guard, LoadOptions, Reasoning, Request};
use crate::train::recipe::{Recipe, UnsafeMeans};
use crate::{Error, Result};

/// The share of unsafe texts that the threshold is chosen for. Training sets hold more than traffic does, and the
/// threshold with the highest F1 on them would flag nearly everything.
const PRIOR: f64 = 0.25;
/// Outside the band a score is wrong in at most this share of the held-out rows beyond it.
const DOUBT: f64 = 0.1;

/// What was measured and written.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    pub rows: usize,
    /// F1 at the chosen threshold, where a quarter of the texts are unsafe.
    pub f1: f64,
    pub auroc: Option<f64>,
    pub thresholds: Thresholds,
}

/// Scores the held-out rows of the recipe's sources that speak of harm in general, and writes the threshold with the
/// highest F1, and the band of scores that are often wrong, into the bundle's manifest.
///
/// # Errors
/// What the recipe, the rows or the bundle have wrong; [`Error::BadInput`] if no rows of both labels are held out.
pub async fn calibrate(
    folder: &Path,
    recipe: &Recipe,
    data: &Path,
    mut on_row: impl FnMut(usize),
) -> Result<Calibration> {
    let bundle = Bundle::open(folder)?;
    let mut manifest = bundle.manifest().clone();
    let guard = Guard::load(bundle, LoadOptions::default()).await?;
    let mut scored: Vec<Scored> = Vec::new();
    for row in held_out(recipe, data)? {
        let verdict = guard.check(&Request::new(row.conversation()).reasoning(Reasoning::Never)).await?;
        scored.push((verdict.score, row.label == Label::Unsafe));
        on_row(scored.len());
    }
    let (f1, global) = best_f1(&scored)
        .ok_or_else(|| Error::BadInput(format!("{}: the held-out rows have one label only", data.display())))?;
    manifest.thresholds = Thresholds { global, uncertain: band(&scored, global), ..manifest.thresholds };
    save_manifest(folder, &manifest)?;
    Ok(Calibration { rows: scored.len(), f1, auroc: metrics::auroc(&scored), thresholds: manifest.thresholds })
}

/// Held-out rows whose label says whether they are harmful in general.
fn held_out(recipe: &Recipe, data: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, source) in &recipe.sources {
        if source.unsafe_means != UnsafeMeans::General {
            continue;
        }
        for row in recipe.rows(name, data)? {
            let row = row?;
            if row.is_held_out(recipe.heldout_fraction) {
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// The threshold with the highest F1 where [`PRIOR`] of the texts are unsafe, and that F1. `None` without rows of
/// both labels.
fn best_f1(scored: &[Scored]) -> Option<(f64, f32)> {
    let of = |label| scored.iter().filter(|row| row.1 == label).count() as f64;
    let (positives, negatives) = (of(true), of(false));
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut alarms) = (0.0, 0.0);
    let mut best = (0.0, 1.0);
    // Rows of one score are flagged together.
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        hits += group.iter().filter(|row| row.1).count() as f64;
        alarms += group.iter().filter(|row| !row.1).count() as f64;
        let (recall, fpr) = (hits / positives, alarms / negatives);
        let f1 = 2.0 * PRIOR * recall / (PRIOR * recall + (1.0 - PRIOR) * fpr + PRIOR);
        if f1 > best.0 {
            best = (f1, group[0].0);
        }
    }
    Some(best)
}

/// The scores around the threshold between which neither "unsafe above" nor "safe below" can be relied on.
fn band(scored: &[Scored], threshold: f32) -> [f32; 2] {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // From the outside in: how far one may go until too many rows beyond are of the other label.
    let reliable = |rows: &mut dyn Iterator<Item = &Scored>, wrong_label: bool| {
        let (mut seen, mut wrong, mut edge) = (0.0, 0.0, None);
        for (score, is_unsafe) in rows {
            seen += 1.0;
            wrong += f64::from(u8::from(*is_unsafe == wrong_label));
            if wrong <= DOUBT * seen {
                edge = Some(*score);
            }
        }
        edge
    };
    let low = reliable(&mut sorted.iter(), true).unwrap_or(0.0).min(threshold);
    let high = reliable(&mut sorted.iter().rev(), false).unwrap_or(1.0).max(threshold);
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_chosen_for_traffic_and_not_for_the_share_of_unsafe_rows() {
        let few = [(0.9, true), (0.6, true), (0.55, false), (0.3, true), (0.2, false), (0.1, false)];
        let many: Vec<Scored> =
            few.iter().flat_map(|row| std::iter::repeat_n(*row, if row.1 { 50 } else { 1 })).collect();
        assert_eq!(best_f1(&few).unwrap().1, 0.6);
        assert_eq!(best_f1(&few), best_f1(&many));
        assert_eq!(best_f1(&few[..2]), None);
    }

    #[test]
    fn the_band_holds_the_scores_that_are_often_wrong() {
        let sure = |score, is_unsafe| std::iter::repeat_n((score, is_unsafe), 5);
        let scored: Vec<Scored> = sure(0.1, false)
            .chain([(0.4, true), (0.45, false), (0.5, true), (0.55, false), (0.6, true)])
            .chain(sure(0.9, true))
            .collect();
        let [low, high] = band(&scored, 0.5);
        assert!((0.1..=0.45).contains(&low) && (0.55..=0.9).contains(&high), "{low} {high}");
        assert_eq!(band(&[(0.2, false), (0.8, true)], 0.5), [0.2f32.min(0.5), 0.8]);
    }
}
