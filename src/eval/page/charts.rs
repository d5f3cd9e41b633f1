//! The charts of a set: what every threshold would give, and what the scores are worth.

use crate::eval::Judgement;
use crate::eval::interval::Interval;
use crate::measure::curve::{Curve, Scored};
use crate::measure::metrics::{Bin, Reliability};
use crate::report::{Chart, Markup, charts};

/// Bars of the histogram of scores.
const BARS: usize = 20;

/// Precision against recall, recall against FPR, reliability, and the scores of either class. Rows without a verdict
/// are in the first two, with the worst score for their label.
pub fn of(judgements: &[Judgement]) -> Markup {
    let scored = |judgement: &Judgement| (judgement.score(), judgement.is_unsafe);
    let all: Vec<Scored> = judgements.iter().map(scored).collect();
    let judged: Vec<Scored> = judgements.iter().filter(|judgement| judgement.is_judged()).map(scored).collect();
    let curve = Curve::of(&all);
    let rank = [precision_recall(&curve, &all), roc(&curve)].into_iter().filter(|_| curve.auroc().is_some());
    charts(rank.chain([reliability(&judged), scores(&judged)]))
}

fn precision_recall(curve: &Curve, rows: &[Scored]) -> Chart {
    let base = rows.iter().filter(|row| row.1).count() as f64 / rows.len() as f64;
    unit("Precision and recall", "recall", "precision")
        .line("precision", curve.precision_by_recall())
        .guide([(0.0, base), (1.0, base)])
}

fn roc(curve: &Curve) -> Chart {
    unit("ROC", "false-positive rate", "recall").line("recall", curve.recall_by_fpr()).guide([(0.0, 0.0), (1.0, 1.0)])
}

fn reliability(rows: &[Scored]) -> Chart {
    let reliability: Reliability = rows.iter().copied().collect();
    let filled = || reliability.bins.iter().filter(|bin| bin.rows > 0);
    let mean = |bin: &Bin| bin.scores / bin.rows as f64;
    let shares: Vec<_> = filled().map(|bin| (mean(bin), bin.unsafe_rows as f64 / bin.rows as f64)).collect();
    let band = filled().filter_map(|bin| {
        let Interval(low, high) = Interval::of_share(bin.unsafe_rows, bin.rows)?;
        Some((mean(bin), low, high))
    });
    unit("Reliability, 15 bins with Wilson intervals", "mean score", "share of unsafe rows")
        .guide([(0.0, 0.0), (1.0, 1.0)])
        .line("share", shares.clone())
        .band(band)
        .dots(shares)
}

fn scores(rows: &[Scored]) -> Chart {
    let mut bars = [[0_usize; 2]; BARS];
    for &(score, is_unsafe) in rows {
        bars[((score * BARS as f32) as usize).min(BARS - 1)][usize::from(is_unsafe)] += 1;
    }
    let width = 1.0 / BARS as f64;
    // The classes side by side, each in its half of the bin.
    let half = |class: usize| {
        let from = move |at: usize| (at as f64 + 0.1 + 0.4 * class as f64) * width;
        bars.into_iter().enumerate().map(move |(at, bar)| (from(at), from(at) + 0.4 * width, bar[class] as f64))
    };
    Chart::new("Scores", "score", "rows").x_range(0.0..1.0).bars("safe", half(0)).bars("unsafe", half(1))
}

fn unit(title: &str, x: &str, y: &str) -> Chart {
    Chart::new(title, x, y).x_range(0.0..1.0).y_range(0.0..1.0)
}
