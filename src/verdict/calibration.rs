//! What turns a model's logits into probabilities that mean the same for prompts and for responses.

use serde::{Deserialize, Serialize};

use crate::conversation::Target;
use crate::policy::Policy;

/// What becomes of how far a logit lies above that which is to back it: two estimates of whether anything is wrong count the
/// same.
pub(crate) const BACKED: f32 = 0.5;

/// A scaling for each side that can be judged: training holds other shares of unsafe prompts than of unsafe responses,
/// and the model learns those shares, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Calibration {
    pub prompt: Scaling,
    pub response: Scaling,
    /// The id of the category of the bundle's own policy that stands for harm of any kind. A category whose logit lies above
    /// its logit comes down half of the way to it, since where nothing is wrong a text only has the category's words; where it
    /// lies above all others itself, it comes down half of the way to the highest of them, since where no kind of harm is
    /// likely it is often mistaken. So a text's highest logit is the mean of both. Under any other policy the categories may
    /// be about anything, and harm says nothing of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_all: Option<String>,
}

impl Calibration {
    /// How the logits of a policy's categories count when this side is judged, where the policy is the bundle's `own` or
    /// another.
    pub fn of(&self, target: Target, policy: &Policy, own: bool) -> Scoring {
        let id = self.catch_all.as_ref().filter(|_| own && policy.categories.len() > 1);
        let catch_all = id.and_then(|id| policy.categories.iter().position(|category| category.id == *id));
        Scoring { scaling: self.scaling(target), catch_all }
    }

    /// What holds for each of the categories.
    pub fn scaling(&self, target: Target) -> Scaling {
        match target {
            Target::Prompt => self.prompt,
            Target::Response => self.response,
        }
    }
}

/// How the logits of one policy's categories become scores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scoring {
    pub scaling: Scaling,
    /// The place of the [catch-all](Calibration::catch_all) among others, if there is one.
    pub catch_all: Option<usize>,
}

impl Scoring {
    /// The scores of logits, in [0, 1]. A logit that is no finite number says that the model is broken, which must not look
    /// safe: it scores 1.
    pub fn scores(self, logits: &[f32]) -> Vec<f32> {
        self.backed(logits).into_iter().map(|backed| self.score(backed)).collect()
    }

    /// The score of a logit as far as others back it.
    pub fn score(self, backed: f32) -> f32 {
        if backed.is_finite() { self.scaling.probability(backed) } else { 1.0 }
    }

    /// The logits as far as others back them: those of the categories by the catch-all's, and this by the highest of theirs.
    pub fn backed(self, logits: &[f32]) -> Vec<f32> {
        let Some(at) = self.catch_all else { return logits.to_vec() };
        let others = logits.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, logit)| *logit);
        let highest = others.fold(f32::NEG_INFINITY, f32::max);
        let backed = |(place, &logit): (usize, &f32)| {
            let above = logit - if place == at { highest } else { logits[at] };
            if above > 0.0 && above.is_finite() { logit - BACKED * above } else { logit }
        };
        logits.iter().enumerate().map(backed).collect()
    }
}

/// Platt scaling (Platt, "Probabilistic outputs for support vector machines", 1999): a logit `z` counts as
/// σ(`scale` · z + `bias`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Above 0, so that order stays.
    pub scale: f32,
    pub bias: f32,
}

impl Default for Scaling {
    /// σ(z).
    fn default() -> Self {
        Self { scale: 1.0, bias: 0.0 }
    }
}

impl Scaling {
    /// The probability of a logit, in [0, 1]; NaN for NaN.
    pub fn probability(self, logit: f32) -> f32 {
        1.0 / (1.0 + (-(self.scale * logit + self.bias)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Category;

    fn calibration() -> Calibration {
        let prompt = Scaling { scale: 2.0, bias: 0.0 };
        Calibration { prompt, catch_all: Some("other".into()), ..Calibration::default() }
    }

    fn policy(ids: &[&str]) -> Policy {
        ids.iter().fold(Policy::new("own"), |policy, id| policy.category(Category::new(*id, "Name")))
    }

    #[test]
    fn a_catch_all_and_the_others_hold_each_other_back() {
        let scoring = calibration().of(Target::Prompt, &policy(&["theft", "other", "fraud"]), true);
        assert_eq!(scoring.backed(&[-1.0, 3.0, 0.0]), [-1.0, 1.5, 0.0]);
        assert_eq!(scoring.backed(&[2.0, 1.0, -4.0]), [1.5, 1.0, -4.0]);
        assert_eq!(scoring.backed(&[2.0, -4.0, 1.0]), [-1.0, -4.0, -1.5], "the order of the others stays");
        let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
        assert_eq!(scoring.scores(&[-1.0, 3.0, 0.0]), [sigmoid(-2.0), sigmoid(3.0), 0.5]);
    }

    #[test]
    fn under_another_policy_or_alone_a_category_counts_as_it_is() {
        let plain = Scoring { scaling: calibration().prompt, catch_all: None };
        for (ids, own) in [(&["other", "tea"][..], false), (&["other"], true), (&["theft", "others"], true)] {
            assert_eq!(calibration().of(Target::Prompt, &policy(ids), own), plain);
        }
    }

    #[test]
    fn what_is_no_number_scores_one_and_takes_nothing_from_the_others() {
        let scoring = calibration().of(Target::Prompt, &policy(&["theft", "other", "fraud"]), true);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for logits in [[broken, 4.0, 0.0], [0.0, 4.0, broken]] {
                let (scores, plain) = (scoring.scores(&logits), scoring.scores(&[0.0, 4.0, 0.0]));
                assert!(scores.contains(&1.0) && scores[1] >= plain[1], "{logits:?}: {scores:?}");
            }
            assert_eq!(scoring.scores(&[0.0, broken, 0.0]), [0.5, 1.0, 0.5]);
        }
    }
}
