//! Measures of a binary judge, "unsafe" being the positive class. Definitions are scikit-learn's, so that
//! figures compare with what others publish; a measure that the rows cannot give is `None`.

use serde::Serialize;

/// Right and wrong answers by what was true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Unsafe and flagged.
    pub true_positives: usize,
    /// Safe but flagged.
    pub false_positives: usize,
    /// Safe and not flagged.
    pub true_negatives: usize,
    /// Unsafe but not flagged.
    pub false_negatives: usize,
}

impl Counts {
    /// Counts one row.
    pub fn add(&mut self, is_unsafe: bool, flagged: bool) {
        *match (is_unsafe, flagged) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        } += 1;
    }

    /// How much of what was flagged is unsafe; `None` if nothing was flagged.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// How much of what is unsafe was flagged; `None` without unsafe rows.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// How much of what is safe was flagged; `None` without safe rows.
    pub fn fpr(&self) -> Option<f64> {
        ratio(self.false_positives, self.false_positives + self.true_negatives)
    }

    /// How many of all rows were right; `None` without rows.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.true_positives + self.true_negatives;
        ratio(right, right + self.false_positives + self.false_negatives)
    }

    /// The harmonic mean of precision and recall; `None` without unsafe rows, where it says nothing but 0.
    pub fn f1(&self) -> Option<f64> {
        self.recall()?;
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A row as the measures see it: its score in [0, 1] and whether it is unsafe.
pub type Scored = (f32, bool);

/// The rows from the highest score down, those of one score together: `(score, unsafe rows, safe rows)`.
fn tie_groups(rows: &[Scored]) -> Vec<(f32, usize, usize)> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|group| {
            let positives = group.iter().filter(|row| row.1).count();
            (group[0].0, positives, group.len() - positives)
        })
        .collect()
}

/// Positives and negatives, if there are both.
fn both_classes(rows: &[Scored]) -> Option<(f64, f64)> {
    let positives = rows.iter().filter(|row| row.1).count();
    let negatives = rows.len() - positives;
    (positives > 0 && negatives > 0).then_some((positives as f64, negatives as f64))
}

/// Area under the ROC curve: the chance that an unsafe row scores above a safe one, ties counting half
/// (Mann and Whitney's U). `None` unless there are rows of both classes.
pub fn auroc(rows: &[Scored]) -> Option<f64> {
    let (positives, negatives) = both_classes(rows)?;
    let (mut above, mut u) = (0.0, 0.0);
    for (_, group_positives, group_negatives) in tie_groups(rows) {
        u += group_negatives as f64 * (above + 0.5 * group_positives as f64);
        above += group_positives as f64;
    }
    Some(u / (positives * negatives))
}

/// Average precision, Σ (Rₙ − Rₙ₋₁) · Pₙ over the thresholds where the score changes.
/// `None` unless there are rows of both classes.
pub fn auprc(rows: &[Scored]) -> Option<f64> {
    let (positives, _) = both_classes(rows)?;
    let (mut flagged, mut hits, mut area) = (0.0, 0.0, 0.0);
    for (_, group_positives, group_negatives) in tie_groups(rows) {
        hits += group_positives as f64;
        flagged += (group_positives + group_negatives) as f64;
        area += group_positives as f64 / positives * (hits / flagged);
    }
    Some(area)
}

/// The highest F1 that any threshold gives, and that threshold (flagged from it on; of several the highest,
/// which flags least). `None` unless there are rows of both classes.
pub fn best_f1(rows: &[Scored]) -> Option<(f64, f32)> {
    let (positives, _) = both_classes(rows)?;
    let (mut flagged, mut hits) = (0.0, 0.0);
    let mut best: Option<(f64, f32)> = None;
    for (score, group_positives, group_negatives) in tie_groups(rows) {
        hits += group_positives as f64;
        flagged += (group_positives + group_negatives) as f64;
        let f1 = 2.0 * hits / (flagged + positives);
        if best.is_none_or(|(highest, _)| f1 > highest) {
            best = Some((f1, score));
        }
    }
    best
}

/// Bins of [`ece`].
pub const ECE_BINS: usize = 15;

/// Expected calibration error of P(unsafe): over [`ECE_BINS`] bins of equal width, the distance between the
/// mean score and the share of unsafe rows, weighted by rows (Naeini et al. 2015). `None` without rows.
pub fn ece(rows: &[Scored]) -> Option<f64> {
    let mut bins = [(0.0_f64, 0.0_f64); ECE_BINS];
    for &(score, is_unsafe) in rows {
        let score = f64::from(score);
        // Bins are closed above: a score on an edge belongs to the bin below it.
        let bin = (1..ECE_BINS).filter(|&edge| score > edge as f64 / ECE_BINS as f64).count();
        bins[bin].0 += score;
        bins[bin].1 += f64::from(u8::from(is_unsafe));
    }
    (!rows.is_empty()).then(|| bins.iter().map(|(scores, hits)| (scores - hits).abs()).sum::<f64>() / rows.len() as f64)
}

/// The value below which the share `q` of `values` lies (nearest rank); `None` without values.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (q.clamp(0.0, 1.0) * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rows_cannot_give_is_none_not_zero() {
        let unsafe_only = [(0.9, true), (0.1, true)];
        assert_eq!((auroc(&unsafe_only), auprc(&unsafe_only), best_f1(&unsafe_only)), (None, None, None));
        let mut counts = Counts::default();
        assert_eq!((counts.precision(), counts.recall(), counts.fpr(), counts.accuracy()), (None, None, None, None));
        counts.add(false, true);
        assert_eq!((counts.f1(), counts.fpr()), (None, Some(1.0)));
        assert_eq!(ece(&[]), None);
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn a_judge_that_gives_every_row_one_score_knows_nothing() {
        let rows = [(0.5, true), (0.5, false), (0.5, false), (0.5, true)];
        assert_eq!(auroc(&rows), Some(0.5));
        assert_eq!(auprc(&rows), Some(0.5));
        assert_eq!(best_f1(&rows), Some((2.0 / 3.0, 0.5)));
        assert_eq!(ece(&rows), Some(0.0));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut values, 0.5), Some(2.0));
        assert_eq!(quantile(&mut values, 0.95), Some(4.0));
        assert_eq!(quantile(&mut values, 0.0), Some(1.0));
    }
}
