//! The operating dial: from a strictness in [0, 1] to the scores from which something is flagged, along a curve that was
//! measured on rows held out of training.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Thresholds;
use crate::error::{Error, Result};

/// The strictness at which a bundle's thresholds hold as they are.
pub const BALANCED: f32 = 0.5;
/// The share of safe texts that is flagged at strictness 0 and at 1, where a curve is known and reaches so far.
const FPR_ENDS: [f64; 2] = [0.001, 0.5];
/// What the ends add to a threshold's logit where no curve is known: the odds of a text must be 55 times as high at 0.
const LOGIT_ENDS: [f64; 2] = [4.0, -4.0];
/// The log of a share ends here.
const LEAST_SHARE: f64 = 1e-4;
const MAX_POINTS: usize = 1024;

/// What one threshold does to texts like those of the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// The global score, in [0, 1], from which a text is flagged; thresholds by category lie where they do beside it.
    pub threshold: f32,
    /// The share of unsafe texts that is flagged.
    pub recall: f32,
    /// The share of safe texts that is flagged.
    pub fpr: f32,
}

/// Operating points from the highest threshold down: thresholds fall and false alarms rise from point to point, and
/// recall never falls. May be empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatingCurve(pub Vec<OperatingPoint>);

/// The curves of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Operating {
    /// Under the bundle's own policy.
    pub own: OperatingCurve,
    /// Under other policies: small ones drawn from what the model was trained on, seen and never-seen names alike.
    #[serde(default, skip_serializing_if = "OperatingCurve::is_empty")]
    pub custom: OperatingCurve,
}

impl OperatingCurve {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The point of the highest recall that flags at most that share of safe texts.
    pub fn at_fpr(&self, fpr: f32) -> Option<OperatingPoint> {
        self.0.iter().rfind(|point| point.fpr <= fpr).copied()
    }

    /// # Errors
    /// What is expected of a curve and does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let shares = |point: &OperatingPoint| [point.threshold, point.recall, point.fpr];
        if self.0.len() > MAX_POINTS {
            return Err(format!("expected at most {MAX_POINTS} points but got {}", self.0.len()));
        }
        if let Some(point) = self.0.iter().find(|point| shares(point).iter().any(|share| !(0.0..=1.0).contains(share)))
        {
            return Err(format!("expected numbers in 0..=1 but got {point:?}"));
        }
        let follows =
            |a: &OperatingPoint, b: &OperatingPoint| a.threshold > b.threshold && a.fpr < b.fpr && a.recall <= b.recall;
        match self.0.windows(2).find(|pair| !follows(&pair[0], &pair[1])) {
            Some(pair) => Err(format!(
                "expected thresholds that fall, false alarms that rise and recall that does not fall but got {:?} before {:?}",
                pair[0], pair[1]
            )),
            None => Ok(()),
        }
    }

    /// The logit of the threshold for a log of a share of false alarms, no further than was measured.
    fn logit_at(&self, log_fpr: f64) -> Option<f64> {
        interpolate(self.0.iter().map(|point| (log_share(point.fpr), logit(point.threshold))), log_fpr)
    }

    /// The log of the share of false alarms at a threshold's logit.
    fn log_fpr_at(&self, z: f64) -> Option<f64> {
        interpolate(self.0.iter().rev().map(|point| (logit(point.threshold), log_share(point.fpr))), z)
    }
}

/// Checks a strictness that somebody gave.
///
/// # Errors
/// [`Error::BadInput`] unless it is in [0, 1].
pub fn check_strictness(strictness: f32) -> Result<()> {
    match (0.0..=1.0).contains(&strictness) {
        true => Ok(()),
        false => Err(Error::BadInput(format!(
            "strictness: expected a number from 0 (flags least) to 1 (flags most) but got {strictness}"
        ))),
    }
}

/// A bundle's thresholds, and how they move.
///
/// At strictness 0.5 they hold as they are. From there to the ends, the share of safe texts that is flagged falls to 0.1 %
/// at 0 and rises to 50 % at 1, evenly on a log scale, along the measured curve and no further than that was measured.
/// Every threshold of the bundle moves by the same number of logits, a policy's own ones not at all: what is flagged at
/// one strictness is flagged at every higher one. Without a curve, thresholds move by 4 logits to either end. One of
/// 0 or 1 does not move, nor does the uncertain band: where a model is often wrong does not depend on what it is used for.
#[derive(Debug, Clone)]
pub struct Dial {
    thresholds: Thresholds,
    operating: Operating,
}

impl Dial {
    pub fn new(thresholds: Thresholds, operating: Operating) -> Self {
        Self { thresholds, operating }
    }

    /// The thresholds as they stand at strictness 0.5.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// The thresholds at a strictness in [0, 1], under the bundle's own policy or another.
    pub fn at(&self, strictness: f32, own: bool) -> Thresholds {
        let (base, curve) = match self.thresholds.custom {
            Some(custom) if !own => {
                let base = Thresholds { global: custom, categories: IndexMap::new(), ..self.thresholds.clone() };
                (base, &self.operating.custom)
            }
            _ => (self.thresholds.clone(), &self.operating.own),
        };
        if strictness == BALANCED {
            return base;
        }
        let offset = offset(curve, base.global, strictness);
        let moved = |threshold: f32| probability(logit(threshold) + offset);
        Thresholds {
            global: moved(base.global),
            categories: base.categories.iter().map(|(id, threshold)| (id.clone(), moved(*threshold))).collect(),
            ..base
        }
    }
}

/// What a strictness adds to the logit of every threshold: at least 0 below the middle, at most 0 above it.
fn offset(curve: &OperatingCurve, global: f32, strictness: f32) -> f64 {
    let here = logit(global);
    // From -1 at strictness 0 to 1 at 1.
    let turn = 2.0 * f64::from(strictness) - 1.0;
    let end = usize::from(turn > 0.0);
    let along = |from: f64, to: f64| from + (to - from) * turn.abs();
    let Some(log_fpr) = curve.log_fpr_at(here).filter(|_| here.is_finite()) else {
        return along(0.0, LOGIT_ENDS[end]);
    };
    let goal = FPR_ENDS[end].ln();
    let goal = if end == 0 { goal.min(log_fpr) } else { goal.max(log_fpr) };
    let offset = curve.logit_at(along(log_fpr, goal)).map_or(0.0, |z| z - here);
    if end == 0 { offset.max(0.0) } else { offset.min(0.0) }
}

/// The value at `x` of the line through points of rising `x`, which is flat beyond them; `None` without points.
fn interpolate(points: impl Iterator<Item = (f64, f64)>, x: f64) -> Option<f64> {
    let mut before: Option<(f64, f64)> = None;
    for (x1, y1) in points {
        if x <= x1 {
            return Some(match before {
                Some((x0, y0)) => y0 + (y1 - y0) * ((x - x0) / (x1 - x0)),
                None => y1,
            });
        }
        before = Some((x1, y1));
    }
    before.map(|(_, y)| y)
}

fn log_share(share: f32) -> f64 {
    f64::from(share).max(LEAST_SHARE).ln()
}

/// Infinite at 0 and 1.
fn logit(probability: f32) -> f64 {
    let p = f64::from(probability);
    (p / (1.0 - p)).ln()
}

fn probability(logit: f64) -> f32 {
    (1.0 / (1.0 + (-logit).exp())) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(threshold: f32, recall: f32, fpr: f32) -> OperatingPoint {
        OperatingPoint { threshold, recall, fpr }
    }

    fn curve() -> OperatingCurve {
        OperatingCurve(vec![
            point(0.95, 0.2, 0.001),
            point(0.8, 0.5, 0.01),
            point(0.3, 0.8, 0.1),
            point(0.05, 0.97, 0.5),
        ])
    }

    fn dial(global: f32, curve: OperatingCurve) -> Dial {
        let categories = [("low".to_owned(), 0.1), ("high".to_owned(), 0.9)].into_iter().collect();
        let thresholds = Thresholds { global, categories, ..Thresholds::default() };
        Dial::new(thresholds, Operating { own: curve, custom: OperatingCurve::default() })
    }

    #[test]
    fn the_dial_goes_along_the_curve_and_rests_in_the_middle() {
        let dial = dial(0.3, curve());
        assert_eq!(dial.at(0.5, true), *dial.thresholds());
        let global = |strictness| dial.at(strictness, true).global;
        for (strictness, threshold) in [(0.0, 0.95), (0.25, 0.8), (1.0, 0.05)] {
            assert!((global(strictness) - threshold).abs() < 1e-5, "{strictness}: {}", global(strictness));
        }
        assert!(global(0.75) < 0.3 && global(0.75) > 0.05);
    }

    #[test]
    fn thresholds_of_categories_move_as_many_logits_as_the_global_one() {
        let dial = dial(0.3, curve());
        let moved = dial.at(0.25, true);
        let by = logit(moved.global) - logit(0.3);
        for (id, threshold) in &dial.thresholds().categories {
            assert!((logit(moved.categories[id]) - logit(*threshold) - by).abs() < 1e-4);
        }
        assert_eq!(moved.uncertain, dial.thresholds().uncertain);
    }

    #[test]
    fn without_a_curve_the_ends_are_four_logits_away() {
        let dial = dial(0.3, OperatingCurve::default());
        for (strictness, by) in [(0.0, 4.0), (0.25, 2.0), (1.0, -4.0)] {
            assert!((logit(dial.at(strictness, true).global) - logit(0.3) - by).abs() < 1e-4);
        }
    }

    #[test]
    fn another_policy_has_a_threshold_and_a_curve_of_its_own_where_the_bundle_has_them() {
        let mut dial = dial(0.3, curve());
        assert_eq!(dial.at(0.5, false), dial.at(0.5, true), "a bundle without one");
        dial.thresholds.custom = Some(0.1);
        let other = dial.at(0.5, false);
        assert_eq!((other.global, other.categories.len()), (0.1, 0));
        assert!((logit(dial.at(0.0, false).global) - logit(0.1) - 4.0).abs() < 1e-4, "its curve is not the other's");
    }

    #[test]
    fn curves_that_go_back_are_refused() {
        let good = [point(0.9, 0.2, 0.01), point(0.5, 0.6, 0.1)];
        assert_eq!(OperatingCurve(good.to_vec()).validate(), Ok(()));
        for second in [point(0.9, 0.6, 0.1), point(0.5, 0.1, 0.1), point(0.5, 0.6, 0.01), point(f32::NAN, 0.6, 0.1)] {
            assert!(OperatingCurve(vec![good[0], second]).validate().is_err(), "{second:?}");
        }
    }

    #[test]
    fn a_point_is_found_by_the_false_alarms_one_can_bear() {
        assert_eq!(curve().at_fpr(0.05), Some(point(0.8, 0.5, 0.01)));
        assert_eq!(curve().at_fpr(0.0001), None);
    }

    fn curves() -> impl Strategy<Value = OperatingCurve> {
        let column = || proptest::collection::btree_set(0u32..=10_000, 0..12);
        (column(), column(), column()).prop_map(|(thresholds, recalls, fprs)| {
            let share = |value: u32| value as f32 / 10_000.0;
            let columns = thresholds.into_iter().rev().zip(recalls).zip(fprs);
            OperatingCurve(columns.map(|((t, r), f)| point(share(t), share(r), share(f))).collect())
        })
    }

    fn strictness() -> impl Strategy<Value = f32> {
        prop_oneof![Just(BALANCED), 0.0f32..=1.0]
    }

    proptest! {
        #[test]
        fn what_is_flagged_is_flagged_at_every_higher_strictness(
            curve in curves(), global in 0.0f32..=1.0, a in strictness(), b in strictness(),
        ) {
            prop_assert_eq!(curve.validate(), Ok(()));
            let dial = dial(global, curve);
            let (loose, strict) = (dial.at(a.min(b), true), dial.at(a.max(b), true));
            prop_assert!((0.0..=1.0).contains(&loose.global) && (0.0..=1.0).contains(&strict.global));
            prop_assert!(strict.global <= loose.global);
            for (id, threshold) in &strict.categories {
                prop_assert!(*threshold <= loose.categories[id]);
            }
        }
    }
}
