//! Thresholds chosen on scored rows, what they do, and where scores are not to be relied on.

use super::judged::{Judged, PRIOR};
use super::scaling::logit;
use crate::measure::curve::Scored;
use crate::verdict::{OperatingCurve, OperatingPoint};

/// Outside the band a score is wrong in at most this share of the held-out rows beyond it.
const DOUBT: f64 = 0.1;
/// What two values of F1 differ by when the rows can hardly tell them apart: about a standard error on two thousand. Among
/// such thresholds the one that misses least is taken, as trees are pruned (Breiman et al., 1984, section 3.4.3).
const AS_GOOD: f64 = 0.01;
/// The share of the safe texts that each category alone may flag, before all of them are moved together,
const ALIKE: f64 = 0.01;
/// and the share that a catch-all may, which stands for all of them.
const CATCH_ALL: f64 = 0.05;
/// Fewer safe texts than these do not tell such shares: categories then have no thresholds of their own.
const ENOUGH: usize = 100;
/// Shares of safe rows flagged that a curve has a point for, as far as the rows go.
const FPRS: [f32; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

/// The thresholds under the bundle's own policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    pub global: f32,
    /// In the policy's order; none where all keep the global one.
    pub categories: Vec<f32>,
    /// Of the decisions that these make, where [`PRIOR`] of the texts are unsafe.
    pub f1: f64,
    pub curve: OperatingCurve,
}

/// Chooses thresholds for the categories of the bundle's policy: scores that as many safe texts reach, whichever category it
/// is (five times as many that at `catch_all`), all moved together to where the decision, unsafe or not, has the best F1. So
/// no category pays for another's false alarms, and a rare one is not given up for its rarity, as it would be by an F1 of
/// its own. With few safe texts, or if one threshold for all decides better, by more than [`AS_GOOD`], there is only that.
/// `None` without rows of both labels.
pub fn own(rows: &[Judged], catch_all: Option<usize>) -> Option<Own> {
    let scored: Vec<Scored> = rows.iter().filter_map(|row| Some((row.score, row.is_unsafe?))).collect();
    let (f1, single) = best_f1(&scored, PRIOR)?;
    let safe = rows.iter().filter(|row| row.is_unsafe == Some(false)).count();
    let count = rows.iter().map(|row| row.categories.len()).min().filter(|_| safe >= ENOUGH).unwrap_or(0);
    let offsets: Vec<f32> = (0..count)
        .map(|at| logit(reached(rows, at, if catch_all == Some(at) { CATCH_ALL } else { ALIKE })) - logit(single))
        .collect();
    let adjusted = |row: &Judged| {
        let scores = row.categories.iter().zip(&offsets).map(|(score, offset)| moved(*score, -offset));
        scores.reduce(f32::max).unwrap_or(row.score)
    };
    let decided: Vec<Scored> = rows.iter().filter_map(|row| Some((adjusted(row), row.is_unsafe?))).collect();
    Some(match best_f1(&decided, PRIOR) {
        Some((together, global)) if together >= f1 - AS_GOOD => {
            let categories = offsets.iter().map(|offset| moved(global, *offset)).collect();
            Own { global, categories, f1: together, curve: curve(&decided) }
        }
        _ => Own { global: single, categories: Vec::new(), f1, curve: curve(&scored) },
    })
}

/// The lowest threshold of a category that at most this share of the safe texts reach.
fn reached(rows: &[Judged], at: usize, share: f64) -> f32 {
    let safe = rows.iter().filter(|row| row.is_unsafe == Some(false));
    let mut scores: Vec<f32> = safe.map(|row| row.categories[at]).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.get((share * scores.len() as f64) as usize).map_or(1.0, |score| score.next_up().min(1.0))
}

/// The lowest threshold whose F1, where a share `prior` of the texts are unsafe, is as good as the highest but for
/// [`AS_GOOD`], and its F1. `None` without rows of both labels.
pub fn best_f1(scored: &[Scored], prior: f64) -> Option<(f64, f32)> {
    let tried: Vec<(f64, f32)> = points(scored)?.iter().map(|point| (f1_of(point, prior), point.threshold)).collect();
    let highest = tried.iter().map(|(f1, _)| *f1).fold(0.0, f64::max);
    // Thresholds fall from point to point.
    tried.into_iter().rfind(|(f1, _)| *f1 >= highest - AS_GOOD)
}

/// F1 at a threshold where a share `prior` of the texts are unsafe; `None` without rows of both labels.
pub fn f1_at(scored: &[Scored], threshold: f32, prior: f64) -> Option<f64> {
    let points = points(scored)?;
    Some(points.iter().rfind(|point| point.threshold >= threshold).map_or(0.0, |point| f1_of(point, prior)))
}

fn f1_of(point: &OperatingPoint, prior: f64) -> f64 {
    let (recall, fpr) = (f64::from(point.recall), f64::from(point.fpr));
    2.0 * prior * recall / (prior * recall + (1.0 - prior) * fpr + prior)
}

/// For each of [`FPRS`] the lowest threshold that flags no more of the safe rows; fewer points where rows are few.
pub fn curve(scored: &[Scored]) -> OperatingCurve {
    let all = points(scored).unwrap_or_default();
    let mut curve: Vec<OperatingPoint> = Vec::new();
    for point in FPRS.iter().filter_map(|fpr| all.iter().rfind(|point| point.fpr <= *fpr)) {
        if curve.last().is_none_or(|last| point.fpr > last.fpr) {
            curve.push(*point);
        }
    }
    OperatingCurve(curve)
}

/// What flagging from each score on does, from the highest score down; `None` without rows of both labels.
fn points(scored: &[Scored]) -> Option<Vec<OperatingPoint>> {
    let of = |label| scored.iter().filter(|row| row.1 == label).count() as f64;
    let (positives, negatives) = (of(true), of(false));
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut alarms) = (0.0, 0.0);
    // Rows of one score are flagged together.
    let groups = sorted.chunk_by(|a, b| a.0 == b.0).map(|group| {
        let unsafe_rows = group.iter().filter(|row| row.1).count();
        hits += unsafe_rows as f64;
        alarms += (group.len() - unsafe_rows) as f64;
        OperatingPoint { threshold: group[0].0, recall: (hits / positives) as f32, fpr: (alarms / negatives) as f32 }
    });
    Some(groups.collect())
}

/// A score or threshold, so many logits away.
fn moved(score: f32, logits: f32) -> f32 {
    1.0 / (1.0 + (-(logit(score) + logits)).exp())
}

/// The scores around the threshold between which neither "unsafe above" nor "safe below" can be relied on.
pub fn band(scored: &[Scored], threshold: f32) -> [f32; 2] {
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
    use crate::conversation::Target;

    #[test]
    fn the_threshold_is_chosen_for_traffic_and_not_for_the_share_of_unsafe_rows() {
        let few = [(0.9, true), (0.6, true), (0.55, false), (0.3, true), (0.2, false), (0.1, false)];
        let many: Vec<Scored> =
            few.iter().flat_map(|row| std::iter::repeat_n(*row, if row.1 { 50 } else { 1 })).collect();
        assert_eq!(best_f1(&few, PRIOR).unwrap().1, 0.6);
        assert_eq!(best_f1(&few, PRIOR), best_f1(&many, PRIOR));
        assert_eq!(best_f1(&few[..2], PRIOR), None);
    }

    #[test]
    fn among_thresholds_as_good_as_each_other_the_one_that_misses_least_is_taken() {
        // From 0.9 on F1 is 0.857, from 0.5 on it is 0.85; from 0.1 on it is far worse.
        let rows = |score, is_unsafe, count| std::iter::repeat_n((score, is_unsafe), count);
        let scored: Vec<Scored> = rows(0.9, true, 750)
            .chain(rows(0.5, true, 150))
            .chain(rows(0.5, false, 73))
            .chain(rows(0.1, true, 100))
            .chain(rows(0.1, false, 927))
            .collect();
        let (f1, threshold) = best_f1(&scored, PRIOR).unwrap();
        assert_eq!(threshold, 0.5);
        assert!((0.84..f1_at(&scored, 0.9, PRIOR).unwrap()).contains(&f1), "{f1}");
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

    fn row(is_unsafe: bool, categories: &[f32]) -> Judged {
        let score = categories.iter().copied().fold(0.0, f32::max);
        Judged { target: Target::Prompt, is_unsafe: Some(is_unsafe), score, categories: categories.into() }
    }

    /// Two kinds of harm, one told from 0.6 on and the other, rare, from 0.2 on.
    fn uneven() -> Vec<Judged> {
        let kinds = [
            (row(true, &[0.7, 0.02]), 90),
            (row(true, &[0.1, 0.3]), 10),
            (row(false, &[0.5, 0.05]), 60),
            (row(false, &[0.4, 0.04]), 56),
            (row(false, &[0.4, 0.1]), 4),
        ];
        kinds.into_iter().flat_map(|(row, times)| std::iter::repeat_n(row, times)).collect()
    }

    #[test]
    fn a_category_that_scores_low_where_it_applies_gets_a_low_threshold_however_rare_it_is() {
        let found = own(&uneven(), None).unwrap();
        assert!((0.5..0.71).contains(&found.categories[0]), "{found:?}");
        assert!((0.1..0.31).contains(&found.categories[1]), "{found:?}");
        assert!(found.f1 > 0.999, "with one threshold for both, one kind is missed: {}", found.f1);
        assert_eq!(found.curve.validate(), Ok(()));
    }

    #[test]
    fn as_many_safe_texts_reach_each_threshold() {
        // The second category's scores are a tenth of the first one's.
        let rows: Vec<Judged> =
            (0..1000).map(|at| at as f32 / 1000.0).map(|score| row(false, &[score, score / 10.0])).collect();
        for (share, safe) in [(ALIKE, 10), (CATCH_ALL, 50)] {
            for at in [0, 1] {
                let threshold = reached(&rows, at, share);
                assert_eq!(rows.iter().filter(|row| row.categories[at] >= threshold).count(), safe);
            }
        }
    }

    #[test]
    fn a_catch_all_gets_a_lower_threshold_than_it_would_as_one_of_many() {
        let rows = uneven();
        let (one, all) = (own(&rows, None).unwrap(), own(&rows, Some(1)).unwrap());
        let apart = |found: &Own| logit(found.categories[0]) - logit(found.categories[1]);
        assert!(apart(&all) > apart(&one), "{one:?} {all:?}");
    }

    #[test]
    fn a_few_safe_texts_give_one_threshold_for_all() {
        let (harmful, safe): (Vec<Judged>, Vec<Judged>) =
            uneven().into_iter().partition(|row| row.is_unsafe == Some(true));
        let with =
            |count: usize| own(&harmful.iter().chain(&safe[..count]).cloned().collect::<Vec<_>>(), None).unwrap();
        assert!(with(ENOUGH - 1).categories.is_empty());
        assert_eq!(with(ENOUGH).categories.len(), 2);
    }

    #[test]
    fn categories_have_no_thresholds_of_their_own_where_a_single_one_decides_better() {
        let mistaken = std::iter::repeat_n(row(false, &[0.1, 0.6]), 3);
        let missed = std::iter::repeat_n(row(true, &[0.1, 0.5]), 30);
        let told = std::iter::repeat_n(row(true, &[0.5, 0.1]), 30);
        let safe = std::iter::repeat_n(row(false, &[0.3, 0.1]), 147);
        let found = own(&mistaken.chain(missed).chain(told).chain(safe).collect::<Vec<_>>(), None).unwrap();
        assert!(found.categories.is_empty(), "{found:?}");
        assert_eq!(found.global, 0.5);
    }

    #[test]
    fn a_curve_has_the_lowest_threshold_for_each_share_of_false_alarms() {
        // 1000 safe rows at 0.000 to 0.999, unsafe ones only above 0.9.
        let safe = (0..1000).map(|at| (at as f32 / 1000.0, false));
        let scored: Vec<Scored> = safe.chain((0..100).map(|at| (0.9005 + at as f32 / 1000.0, true))).collect();
        let curve = curve(&scored);
        assert_eq!(curve.validate(), Ok(()));
        assert_eq!(curve.0.len(), FPRS.len());
        let point = curve.at_fpr(0.05).unwrap();
        assert!((0.949..0.95).contains(&point.threshold), "{point:?}");
        assert_eq!((point.fpr, point.recall), (0.05, 0.51));
        assert_eq!(f1_at(&scored, point.threshold, 0.25), Some(f1_of(&point, 0.25)));
        assert!(super::curve(&scored[..1000]).is_empty(), "rows of one label have no curve");
    }
}
