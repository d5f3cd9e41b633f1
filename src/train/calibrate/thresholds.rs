//! Thresholds chosen on scored rows, what they do, and where scores are not to be relied on.

use super::scaling::logit;
use super::{Judged, PRIOR};
use crate::eval::curve::Scored;
use crate::verdict::{OperatingCurve, OperatingPoint};

/// Outside the band a score is wrong in at most this share of the held-out rows beyond it.
const DOUBT: f64 = 0.1;
/// What two values of F1 differ by when the rows can hardly tell them apart: about a standard error on two thousand. Among
/// such thresholds the one that misses least is taken, as trees are pruned (Breiman et al., 1984, section 3.4.3).
const AS_GOOD: f64 = 0.01;
/// A category with fewer positive rows has no threshold of its own.
pub const ENOUGH: usize = 20;
/// Shares of safe rows flagged that a curve has a point for, as far as the rows go.
const FPRS: [f32; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

/// The thresholds under the bundle's own policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    pub global: f32,
    /// In the policy's order; `None` for a category that keeps the global one.
    pub categories: Vec<Option<f32>>,
    /// Of the decisions that these make, where [`PRIOR`] of the texts are unsafe.
    pub f1: f64,
    pub curve: OperatingCurve,
}

/// Chooses thresholds for the categories of the bundle's policy. Each with at least [`ENOUGH`] positive rows gets the one
/// that tells best, by F1, where it applies among texts of which it applies to as many as the rows say; then all are
/// moved together to where the decision, unsafe or not, has the best F1. If one threshold for all decides better, by more
/// than [`AS_GOOD`], there is only that. `None` without rows of both labels.
pub fn own(rows: &[Judged]) -> Option<Own> {
    let scored: Vec<Scored> = rows.iter().filter_map(|row| Some((row.score, row.is_unsafe?))).collect();
    let (f1, single) = best_f1(&scored, PRIOR)?;
    let count = rows.iter().map(|row| row.categories.len()).min().unwrap_or(0);
    let offsets: Vec<Option<f32>> = (0..count).map(|at| Some(logit(of_category(rows, at)?) - logit(single))).collect();
    let adjusted = |row: &Judged| {
        let scores = row.categories.iter().zip(&offsets);
        let scores = scores.map(|((score, _), offset)| offset.map_or(*score, |offset| moved(*score, -offset)));
        scores.reduce(f32::max).unwrap_or(row.score)
    };
    let decided: Vec<Scored> = rows.iter().filter_map(|row| Some((adjusted(row), row.is_unsafe?))).collect();
    Some(match best_f1(&decided, PRIOR) {
        Some((together, global)) if together >= f1 - AS_GOOD && offsets.iter().any(Option::is_some) => {
            let categories = offsets.iter().map(|offset| offset.map(|offset| moved(global, offset))).collect();
            Own { global, categories, f1: together, curve: curve(&decided) }
        }
        _ => Own { global: single, categories: vec![None; count], f1, curve: curve(&scored) },
    })
}

/// The threshold of one category, where enough rows say whether it applies.
fn of_category(rows: &[Judged], at: usize) -> Option<f32> {
    let scored: Vec<Scored> =
        rows.iter().filter_map(|row| row.categories[at].1.map(|applies| (row.categories[at].0, applies))).collect();
    if scored.iter().filter(|row| row.1).count() < ENOUGH {
        return None;
    }
    // Its share of the unsafe texts, by those rows of which it is known; one row of each kind is thought of besides.
    let (mut positives, mut known) = (1.0, 2.0);
    for row in rows.iter().filter(|row| row.is_unsafe == Some(true)) {
        if let Some(applies) = row.categories[at].1 {
            positives += f64::from(u8::from(applies));
            known += 1.0;
        }
    }
    best_f1(&scored, PRIOR * positives / known).map(|(_, threshold)| threshold)
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
    use crate::Target;

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

    fn row(is_unsafe: bool, categories: &[(f32, bool)]) -> Judged {
        let score = categories.iter().map(|(score, _)| *score).fold(0.0, f32::max);
        let categories = categories.iter().map(|(score, applies)| (*score, Some(*applies))).collect();
        Judged { target: Target::Prompt, is_unsafe: Some(is_unsafe), score, categories }
    }

    /// Two kinds of harm, one told from 0.6 on and the other from 0.2 on.
    fn uneven(of_each: usize) -> Vec<Judged> {
        let kinds = [
            row(true, &[(0.7, true), (0.02, false)]),
            row(true, &[(0.1, false), (0.3, true)]),
            row(false, &[(0.5, false), (0.05, false)]),
            row(false, &[(0.4, false), (0.1, false)]),
        ];
        kinds.into_iter().flat_map(|row| std::iter::repeat_n(row, of_each)).collect()
    }

    #[test]
    fn a_category_that_scores_low_where_it_applies_gets_a_low_threshold() {
        let found = own(&uneven(ENOUGH)).unwrap();
        let thresholds: Vec<f32> = found.categories.iter().map(|threshold| threshold.unwrap()).collect();
        assert!((0.6..0.71).contains(&thresholds[0]), "{thresholds:?}");
        assert!((0.2..0.31).contains(&thresholds[1]), "{thresholds:?}");
        assert!(found.f1 > 0.999, "with one threshold for both, one kind is missed: {}", found.f1);
        assert_eq!(found.curve.validate(), Ok(()));
    }

    #[test]
    fn categories_have_thresholds_of_their_own_unless_a_single_one_decides_better() {
        let even = |score| [row(true, &[(score, true), (0.1, false)]), row(true, &[(0.1, false), (score, true)])];
        let safe = row(false, &[(0.2, false), (0.2, false)]);
        let mut rows: Vec<Judged> =
            even(0.6).into_iter().chain([safe]).flat_map(|row| std::iter::repeat_n(row, ENOUGH)).collect();
        let found = own(&rows).unwrap();
        assert!(found.categories.iter().all(Option::is_some), "as good as a single one: {found:?}");

        // Where nobody knows whether it applies, the second category is high on texts that are safe.
        let mut mistaken = row(false, &[(0.1, false), (0.5, false)]);
        mistaken.categories[1].1 = None;
        rows = uneven(ENOUGH).into_iter().chain(std::iter::repeat_n(mistaken, 20 * ENOUGH)).collect();
        let found = own(&rows).unwrap();
        assert!(found.categories.iter().all(Option::is_none), "{found:?}");
        assert!(found.global > 0.5);
    }

    #[test]
    fn a_category_with_few_positive_rows_keeps_the_global_threshold() {
        let found = own(&uneven(ENOUGH - 1)).unwrap();
        assert!(found.categories.iter().all(Option::is_none));
        let single: Vec<Scored> = uneven(1).iter().map(|row| (row.score, row.is_unsafe.unwrap())).collect();
        assert_eq!(best_f1(&single, PRIOR).map(|(_, threshold)| threshold), Some(found.global));
    }

    #[test]
    fn a_rows_unknown_category_says_nothing_about_its_threshold() {
        let mut rows = uneven(ENOUGH);
        let known = own(&rows).unwrap();
        let mut silent = row(true, &[(0.9, true), (0.9, true)]);
        silent.categories.iter_mut().for_each(|category| category.1 = None);
        rows.extend(std::iter::repeat_n(silent, 50));
        assert_eq!(own(&rows).unwrap().categories, known.categories);
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
