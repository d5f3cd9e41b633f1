//! Measures of a binary judge, "unsafe" being the positive class. Definitions are scikit-learn's, so that
//! figures compare with what others publish; a measure that the rows cannot give is `None`.

use serde::Serialize;

use super::curve::{Curve, Scored};

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
        self.add_times(is_unsafe, flagged, 1);
    }

    /// Counts one row `times` times.
    pub fn add_times(&mut self, is_unsafe: bool, flagged: bool, times: usize) {
        *match (is_unsafe, flagged) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        } += times;
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

pub(crate) fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// [`Curve::auroc`] of rows in any order.
pub fn auroc(rows: &[Scored]) -> Option<f64> {
    Curve::of(rows).auroc()
}

/// [`Curve::auprc`] of rows in any order.
pub fn auprc(rows: &[Scored]) -> Option<f64> {
    Curve::of(rows).auprc()
}

/// The highest F1 that any threshold gives, and that threshold; see [`Curve::best`].
pub fn best_f1(rows: &[Scored]) -> Option<(f64, f32)> {
    let best = Curve::of(rows).best()?;
    Some((best.f1, best.threshold?))
}

/// Bins of [`Reliability`].
pub const ECE_BINS: usize = 15;

/// How P(unsafe) and the share of unsafe rows agree, over [`ECE_BINS`] bins of equal width.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reliability {
    pub bins: [Bin; ECE_BINS],
}

/// The rows whose scores fall into one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    pub rows: usize,
    pub unsafe_rows: usize,
    /// Sum of the scores.
    pub scores: f64,
}

impl Reliability {
    /// Counts one row `times` times. Bins are closed above: a score on an edge belongs to the bin below it.
    pub fn add_times(&mut self, (score, is_unsafe): Scored, times: u32) {
        let score = f64::from(score);
        let edge = |bin: usize| bin as f64 / ECE_BINS as f64;
        let mut bin = ((score * ECE_BINS as f64) as usize).min(ECE_BINS - 1);
        // The product may be rounded across an edge; the edges themselves decide.
        while bin > 0 && score <= edge(bin) {
            bin -= 1;
        }
        while bin + 1 < ECE_BINS && score > edge(bin + 1) {
            bin += 1;
        }
        let times = times as usize;
        self.bins[bin].rows += times;
        self.bins[bin].unsafe_rows += if is_unsafe { times } else { 0 };
        self.bins[bin].scores += times as f64 * score;
    }

    /// Expected calibration error: the distance between the mean score and the share of unsafe rows, weighted by rows
    /// (Naeini et al. 2015). `None` without rows.
    pub fn ece(&self) -> Option<f64> {
        let rows: usize = self.bins.iter().map(|bin| bin.rows).sum();
        let gaps: f64 = self.bins.iter().map(|bin| (bin.scores - bin.unsafe_rows as f64).abs()).sum();
        (rows > 0).then(|| gaps / rows as f64)
    }
}

impl FromIterator<Scored> for Reliability {
    fn from_iter<T: IntoIterator<Item = Scored>>(rows: T) -> Self {
        let mut reliability = Self::default();
        rows.into_iter().for_each(|row| reliability.add_times(row, 1));
        reliability
    }
}

/// [`Reliability::ece`] of rows in any order.
pub fn ece(rows: &[Scored]) -> Option<f64> {
    rows.iter().copied().collect::<Reliability>().ece()
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
