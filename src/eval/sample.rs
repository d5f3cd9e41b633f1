//! A run's rows made ready to be measured again and again: sorted once, each counting as often as it was drawn.

use serde::Serialize;

use super::interval::{Bootstrap, Interval};
use super::judgement::Judgement;
use crate::measure::curve::Curve;
use crate::measure::metrics::{Counts, Reliability};

/// The measures that have intervals and are compared between runs, in the order of [`HEADLINES`].
pub type Headline = [Option<f64>; HEADLINES.len()];

/// What the values of a [`Headline`] are called.
pub const HEADLINES: [&str; 7] = ["F1", "recall", "FPR", "accuracy", "AUROC", "AUPRC", "ECE"];

/// Rows as the measures see them.
#[derive(Debug, Clone)]
pub struct Sample {
    rows: Vec<Seen>,
    /// Indices of `rows` from the highest score down.
    order: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    score: f32,
    is_unsafe: bool,
    flagged: bool,
    judged: bool,
}

impl Sample {
    /// The rows of a run. Rows without a verdict are wrong; see [`Measures`](super::Measures).
    pub fn of<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Self {
        let seen = |judgement: &Judgement| Seen {
            score: judgement.score(),
            is_unsafe: judgement.is_unsafe,
            flagged: judgement.flagged(),
            judged: judgement.is_judged(),
        };
        let rows: Vec<Seen> = judgements.into_iter().map(seen).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| rows[b].score.total_cmp(&rows[a].score));
        Self { rows, order }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The measures, each row counting as often as `times` says in the order of the rows.
    pub fn headline(&self, times: &[u32]) -> Headline {
        let (mut counts, mut reliability) = (Counts::default(), Reliability::default());
        for (row, &times) in self.rows.iter().zip(times) {
            counts.add_times(row.is_unsafe, row.flagged, times as usize);
            if row.judged {
                reliability.add_times((row.score, row.is_unsafe), times);
            }
        }
        let ranked = self.order.iter().map(|&at| ((self.rows[at].score, self.rows[at].is_unsafe), times[at]));
        let curve = Curve::of_sorted(ranked);
        let [f1, recall, fpr, accuracy] = [counts.f1(), counts.recall(), counts.fpr(), counts.accuracy()];
        [f1, recall, fpr, accuracy, curve.auroc(), curve.auprc(), reliability.ece()]
    }

    /// The measures with each row counting once.
    pub fn once(&self) -> Headline {
        self.headline(&vec![1; self.len()])
    }

    /// Intervals from resampled rows; `None` if nothing is resampled.
    pub fn intervals(&self, bootstrap: Bootstrap) -> Option<Intervals> {
        let mut values = bootstrap.values(self.len(), |times| self.headline(times));
        let [f1, recall, fpr, accuracy, auroc, auprc, ece] =
            std::array::from_fn(|at| Interval::of_percentiles(&mut values[at]));
        (bootstrap.resamples > 0 && !self.is_empty()).then_some(Intervals {
            bootstrap,
            f1,
            recall,
            fpr,
            accuracy,
            auroc,
            auprc,
            ece,
        })
    }
}

/// 95 % percentile intervals of the measures, rows without a verdict counting as wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    #[serde(flatten)]
    pub bootstrap: Bootstrap,
    pub f1: Option<Interval>,
    pub recall: Option<Interval>,
    pub fpr: Option<Interval>,
    pub accuracy: Option<Interval>,
    pub auroc: Option<Interval>,
    pub auprc: Option<Interval>,
    pub ece: Option<Interval>,
}
