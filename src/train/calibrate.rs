//! Calibration, threshold and uncertain band of a bundle, chosen on rows that were held out of its training.

use std::path::Path;

use crate::bundle::{Bundle, Thresholds, save_manifest};
use crate::eval::dataset::{Label, Row};
use crate::eval::metrics::{self, Scored};
use crate::guard::{Guard, LoadOptions, Reasoning, Request};
use crate::train::recipe::{Recipe, UnsafeMeans};
use crate::verdict::{self, Scaling};
use crate::{Error, Result, Target};

/// The share of unsafe texts that a score is a probability for, and that the threshold is chosen for. Training sets hold
/// more than traffic does, and the threshold with the highest F1 on them would flag nearly everything.
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
    pub calibration: verdict::Calibration,
    pub thresholds: Thresholds,
}

/// Scores the held-out rows of the recipe's sources that speak of harm in general. From these scores come, and go into the
/// bundle's manifest: a scaling for prompts and one for responses, after which a score is the probability that a text is
/// unsafe where a quarter of them are; then the threshold with the highest F1, and the band of scores that are often wrong.
///
/// # Errors
/// What the recipe, the rows or the bundle have wrong; [`Error::BadInput`] if no rows of both labels are held out.
pub async fn calibrate(
    folder: &Path,
    recipe: &Recipe,
    data: &Path,
    mut on_row: impl FnMut(usize),
) -> Result<Calibration> {
    let bundle = Bundle::open(folder)?.uncalibrated();
    let mut manifest = bundle.manifest().clone();
    let guard = Guard::load(bundle, LoadOptions::default()).await?;
    let (mut scored, mut targets) = (Vec::<Scored>::new(), Vec::new());
    for row in held_out(recipe, data)? {
        let verdict = guard.check(&Request::new(row.conversation()).reasoning(Reasoning::Never)).await?;
        scored.push((verdict.score, row.label == Label::Unsafe));
        targets.push(row.level);
        on_row(scored.len());
    }
    let of = |target| {
        let rows = scored.iter().zip(&targets).filter(|(_, of)| **of == target).map(|(row, _)| *row);
        platt(&rows.collect::<Vec<_>>())
    };
    manifest.calibration = verdict::Calibration { prompt: of(Target::Prompt), response: of(Target::Response) };
    for ((score, _), target) in scored.iter_mut().zip(&targets) {
        *score = manifest.calibration.of(*target).probability(logit(*score));
    }
    let (f1, global) = best_f1(&scored)
        .ok_or_else(|| Error::BadInput(format!("{}: the held-out rows have one label only", data.display())))?;
    manifest.thresholds = Thresholds { global, uncertain: band(&scored, global), ..manifest.thresholds };
    save_manifest(folder, &manifest)?;
    Ok(Calibration {
        rows: scored.len(),
        f1,
        auroc: metrics::auroc(&scored),
        calibration: manifest.calibration,
        thresholds: manifest.thresholds,
    })
}

/// The logit of a score, finite.
fn logit(score: f32) -> f32 {
    const LEAST: f32 = 1e-6;
    let score = score.clamp(LEAST, 1.0 - LEAST);
    (score / (1.0 - score)).ln()
}

/// The scaling that makes scores the likeliest, where [`PRIOR`] of the texts are unsafe: logistic regression by
/// Newton's method. Too few rows of a label leave scores as they are.
fn platt(scored: &[Scored]) -> Scaling {
    const ENOUGH: usize = 20;
    const STEPS: usize = 50;
    let positives = scored.iter().filter(|row| row.1).count();
    let negatives = scored.len() - positives;
    if positives.min(negatives) < ENOUGH {
        return Scaling::default();
    }
    let weights = [(1.0 - PRIOR) / negatives as f64, PRIOR / positives as f64];
    let (mut scale, mut bias) = (1.0f64, 0.0f64);
    for _ in 0..STEPS {
        // Gradient and Hessian of the weighted log loss, with a little pull towards `scale` = 1.
        const PULL: f64 = 1e-4;
        let (mut g, mut h) = ([PULL * (scale - 1.0), 0.0], [PULL, 0.0, PULL]);
        for &(score, is_unsafe) in scored {
            let z = f64::from(logit(score));
            let p = 1.0 / (1.0 + (-(scale * z + bias)).exp());
            let weight = weights[usize::from(is_unsafe)];
            let (off, curve) = (weight * (p - f64::from(u8::from(is_unsafe))), weight * p * (1.0 - p));
            g = [g[0] + off * z, g[1] + off];
            h = [h[0] + curve * z * z, h[1] + curve * z, h[2] + curve];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        scale -= (h[2] * g[0] - h[1] * g[1]) / determinant;
        bias -= (h[0] * g[1] - h[1] * g[0]) / determinant;
    }
    match scale.is_finite() && bias.is_finite() && scale > 0.0 {
        true => Scaling { scale: scale as f32, bias: bias as f32 },
        false => Scaling::default(),
    }
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
    fn scores_become_the_shares_of_unsafe_texts_where_a_quarter_are() {
        // Too sure of itself and off by one: the truth is σ((z - 1) / 2) among as many unsafe texts as safe ones.
        let mut scored = Vec::new();
        for step in -40..=40 {
            let z = step as f32 / 10.0;
            let unsafe_rows = (200.0 / (1.0 + (-(z - 1.0) / 2.0).exp())) as usize;
            let score = 1.0 / (1.0 + (-z).exp());
            scored.extend(std::iter::repeat_n((score, true), unsafe_rows));
            scored.extend(std::iter::repeat_n((score, false), 200 - unsafe_rows));
        }
        let positives = scored.iter().filter(|row| row.1).count() as f32;
        let odds = positives / (scored.len() as f32 - positives);
        let Scaling { scale, bias } = platt(&scored);
        assert!((scale - 0.5).abs() < 0.02, "{scale}");
        assert!((bias - (-0.5 - odds.ln() + (0.25f32 / 0.75).ln())).abs() < 0.05, "{bias}");
        assert_eq!(platt(&scored[..10]), Scaling::default());
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
