//! All thresholds of a set at once: what each score would flag, and the measures of ranking that follow from it.

use serde::Serialize;

/// A row as the measures see it: its score in [0, 1] and whether it is unsafe.
pub type Scored = (f32, bool);

/// What a threshold flags: the rows that score at least `score`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    score: f32,
    /// Unsafe rows flagged.
    hits: f64,
    /// Safe rows flagged.
    false_alarms: f64,
}

/// The thresholds at which something changes, from the highest down.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    steps: Vec<Step>,
    positives: f64,
    negatives: f64,
}

/// A threshold and what it would give on these very rows: a bound, not a result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Rows are flagged from this score on; `None`: no score is high enough, nothing is flagged.
    pub threshold: Option<f32>,
    /// `None` if nothing is flagged.
    pub precision: Option<f64>,
    pub recall: f64,
    pub fpr: f64,
    pub f1: f64,
}

impl Curve {
    /// The curve of rows in any order.
    pub fn of(rows: &[Scored]) -> Self {
        let mut sorted = rows.to_vec();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self::of_sorted(sorted.into_iter().map(|row| (row, 1)))
    }

    /// The curve of rows that come from the highest score down, each with how often it counts.
    pub fn of_sorted(rows: impl IntoIterator<Item = (Scored, u32)>) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let (mut hits, mut false_alarms) = (0.0, 0.0);
        for ((score, is_unsafe), times) in rows.into_iter().filter(|(_, times)| *times > 0) {
            *(if is_unsafe { &mut hits } else { &mut false_alarms }) += f64::from(times);
            match steps.last_mut() {
                Some(step) if step.score == score => *step = Step { score, hits, false_alarms },
                _ => steps.push(Step { score, hits, false_alarms }),
            }
        }
        Self { steps, positives: hits, negatives: false_alarms }
    }

    fn has_both_classes(&self) -> bool {
        self.positives > 0.0 && self.negatives > 0.0
    }

    /// Area under the ROC curve: the chance that an unsafe row scores above a safe one, ties counting half
    /// (Mann and Whitney's U). `None` unless there are rows of both classes.
    pub fn auroc(&self) -> Option<f64> {
        let (mut last_hits, mut last_alarms, mut area) = (0.0, 0.0, 0.0);
        for step in &self.steps {
            area += (step.false_alarms - last_alarms) * (last_hits + step.hits) / 2.0;
            (last_hits, last_alarms) = (step.hits, step.false_alarms);
        }
        self.has_both_classes().then(|| area / (self.positives * self.negatives))
    }

    /// Average precision, Σ (Rₙ − Rₙ₋₁) · Pₙ over the thresholds where the score changes.
    /// `None` unless there are rows of both classes.
    pub fn auprc(&self) -> Option<f64> {
        let (mut last_hits, mut area) = (0.0, 0.0);
        for step in &self.steps {
            area += (step.hits - last_hits) * step.hits / (step.hits + step.false_alarms);
            last_hits = step.hits;
        }
        self.has_both_classes().then(|| area / self.positives)
    }

    /// The threshold with the highest F1; of several the highest, which flags least. `None` unless there are rows of
    /// both classes.
    pub fn best(&self) -> Option<OperatingPoint> {
        let f1 = |step: &Step| 2.0 * step.hits / (step.hits + step.false_alarms + self.positives);
        let best = self.steps.iter().reduce(|best, step| if f1(step) > f1(best) { step } else { best });
        self.has_both_classes().then(|| self.point(best))
    }

    /// The threshold with the highest recall among those whose FPR is at most `limit`, in [0, 1]; of several the
    /// highest. `None` unless there are rows of both classes.
    pub fn at_fpr(&self, limit: f64) -> Option<OperatingPoint> {
        let within = self.steps.iter().take_while(|step| step.false_alarms <= limit * self.negatives);
        let best = within.reduce(|best, step| if step.hits > best.hits { step } else { best });
        self.has_both_classes().then(|| self.point(best.filter(|step| step.hits > 0.0)))
    }

    fn point(&self, step: Option<&Step>) -> OperatingPoint {
        let (hits, false_alarms) = step.map_or((0.0, 0.0), |step| (step.hits, step.false_alarms));
        OperatingPoint {
            threshold: step.map(|step| step.score),
            precision: (hits + false_alarms > 0.0).then(|| hits / (hits + false_alarms)),
            recall: hits / self.positives,
            fpr: false_alarms / self.negatives,
            f1: 2.0 * hits / (hits + false_alarms + self.positives),
        }
    }

    /// `(recall, precision)` from the highest threshold down; empty unless there are rows of both classes.
    pub fn precision_by_recall(&self) -> Vec<(f64, f64)> {
        let steps = self.steps.iter().filter(|_| self.has_both_classes());
        steps.map(|step| (step.hits / self.positives, step.hits / (step.hits + step.false_alarms))).collect()
    }

    /// `(FPR, recall)` from flagging nothing to flagging all; empty unless there are rows of both classes.
    pub fn recall_by_fpr(&self) -> Vec<(f64, f64)> {
        if !self.has_both_classes() {
            return Vec::new();
        }
        let steps = self.steps.iter().map(|step| (step.false_alarms / self.negatives, step.hits / self.positives));
        std::iter::once((0.0, 0.0)).chain(steps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_counts_twice_is_two_rows() {
        let twice = Curve::of_sorted([((0.9, true), 2), ((0.8, false), 0), ((0.5, false), 1), ((0.5, true), 1)]);
        assert_eq!(twice, Curve::of(&[(0.9, true), (0.5, true), (0.9, true), (0.5, false)]));
    }

    #[test]
    fn no_threshold_within_the_budget_flags_nothing() {
        let point = Curve::of(&[(0.9, false), (0.5, true)]).at_fpr(0.5).unwrap();
        assert_eq!((point.threshold, point.recall, point.fpr, point.precision), (None, 0.0, 0.0, None));
    }
}
