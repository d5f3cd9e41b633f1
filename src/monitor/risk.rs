//! How near the last checks came to stopping a response, and how much is held back for it.

use std::collections::VecDeque;

use super::{MonitorOptions, Pace};
use crate::policy::Policy;
use crate::verdict::Verdict;

/// Checks that count: risk that has passed is let go after so many.
const CHECKS: usize = 3;
/// Below this nearness nothing beyond the sentence stays back; from there to 1 what does grows evenly.
const LOW: f32 = 0.1;
/// At the limit so many times `hold_back` stay back.
const MOST: f32 = 8.0;

/// The tail of the risk curve.
#[derive(Debug)]
pub(super) struct Risk {
    pace: Pace,
    hold_back: usize,
    last: VecDeque<f32>,
}

impl Risk {
    pub fn new(options: &MonitorOptions) -> Self {
        Self { pace: options.pace, hold_back: options.hold_back, last: VecDeque::with_capacity(CHECKS) }
    }

    /// A check that passed came so near to stopping the response, in [0, 1].
    pub fn add(&mut self, nearness: f32) {
        self.last.truncate(CHECKS - 1);
        self.last.push_front(nearness);
    }

    /// How many of the last checked characters stay back. One check near its limit counts as such, whatever the others
    /// found: a mean would hide it.
    pub fn hold_back(&self) -> usize {
        match self.pace {
            Pace::Steady => self.hold_back,
            Pace::Adaptive => {
                let highest = self.last.iter().copied().fold(0.0, f32::max);
                let share = ((highest - LOW) / (1.0 - LOW)).clamp(0.0, 1.0);
                (self.hold_back as f32 * MOST * share).round() as usize
            }
        }
    }
}

/// How near a verdict that passes comes to one that does not, in [0, 1]: the score over the threshold, of the category of
/// `policy` where that is most, or of the whole from `global` on where no category has a score.
pub(super) fn nearness(verdict: &Verdict, policy: &Policy, options: &MonitorOptions, global: f32) -> f32 {
    let share = |score: f32, threshold: f32| if threshold > 0.0 { (score / threshold).min(1.0) } else { 1.0 };
    if verdict.rule.is_some() || verdict.categories.is_empty() {
        return share(verdict.score, global);
    }
    // What is only reported cannot stop the response, however high it scores.
    let stops = |id: &str| {
        let action = policy.categories.iter().find(|category| category.id == id).map(|category| category.action);
        action.is_none_or(|action| options.stops(action.into()))
    };
    let stopping = verdict.categories.iter().filter(|category| stops(&category.id));
    stopping.map(|category| share(category.score, category.threshold)).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Category};
    use crate::verdict::Decision;

    fn held(pace: Pace, last: &[f32]) -> usize {
        let mut risk = Risk::new(&MonitorOptions::default().hold_back(10).pace(pace));
        last.iter().for_each(|&nearness| risk.add(nearness));
        risk.hold_back()
    }

    #[test]
    fn more_stays_back_the_nearer_the_limit_and_little_far_from_it() {
        assert_eq!([&[][..], &[0.05], &[0.1]].map(|last| held(Pace::Adaptive, last)), [0; 3]);
        assert_eq!([0.55, 1.0].map(|nearness| held(Pace::Adaptive, &[nearness])), [40, 80]);
        assert_eq!([0.0, 1.0].map(|nearness| held(Pace::Steady, &[nearness])), [10; 2]);
    }

    #[test]
    fn the_highest_of_the_last_checks_counts_and_no_mean_of_them() {
        assert_eq!(held(Pace::Adaptive, &[1.0, 0.0, 0.0]), 80);
        assert_eq!(held(Pace::Adaptive, &[1.0, 0.0, 0.0, 0.0]), 0);
    }

    #[test]
    fn nearness_is_that_of_the_category_which_would_stop_the_response() {
        let category = |id: &str, threshold, action| Category::new(id, id).threshold(threshold).action(action);
        let policy = Policy::new("house")
            .category(category("locks", 0.5, Action::Block))
            .category(category("tea", 0.2, Action::Review))
            .category(category("pots", 0.1, Action::Allow));
        let verdict = |locks, tea| {
            let builder = Verdict::builder(&policy).category("locks", locks).category("tea", tea);
            builder.category("pots", 0.9).build()
        };
        let near = |verdict: &Verdict, options: MonitorOptions| nearness(verdict, &policy, &options, 0.4);
        let (shows, stops) = (MonitorOptions::default(), MonitorOptions::default().release_on_review(false));
        assert_eq!(near(&verdict(0.1, 0.15), shows), 0.2);
        assert_eq!(near(&verdict(0.1, 0.15), stops), 0.75);
        assert_eq!(near(&verdict(0.9, 0.0), shows), 1.0);
        // Where no category has a score, as with a decoder that names none, the whole's counts.
        assert_eq!(near(&Verdict::builder(&policy).score(0.1).build(), shows), 0.25);
        assert_eq!(near(&Verdict::by_rule("tea", Decision::Allow), shows), 0.0);
    }
}
