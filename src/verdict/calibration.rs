//! What turns a model's logits into probabilities that mean the same for prompts and for responses.

use serde::{Deserialize, Serialize};

use crate::{Category, Target};

/// What becomes of how far a catch-all's logit lies above those of all other categories: two estimates of whether
/// anything is wrong count the same.
pub(crate) const BACKED: f32 = 0.5;

/// A scaling for each side that can be judged: training holds other shares of unsafe prompts than of unsafe responses,
/// and the model learns those shares, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub prompt: Scaling,
    pub response: Scaling,
    /// The name, in any case, of a category that stands for harm of any kind. In a policy that has it beside others, its
    /// logit comes down half of the way to the highest of the others, where it lies above: it is learnt from rows of which
    /// nobody said what is wrong with them, and where no kind of harm is likely it is often mistaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_all: Option<String>,
}

impl Calibration {
    /// How the logits of a policy's categories count, in the policy's order, when this side is judged.
    pub fn of(&self, target: Target, categories: &[Category]) -> Scoring {
        let name = self.catch_all.as_ref().map(|name| name.to_lowercase());
        let catch_all = categories.iter().position(|category| Some(category.name.to_lowercase()) == name);
        let scaling = match target {
            Target::Prompt => self.prompt,
            Target::Response => self.response,
        };
        Scoring { scaling, catch_all: catch_all.filter(|_| categories.len() > 1) }
    }
}

/// How the logits of one policy's categories become scores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scoring {
    pub scaling: Scaling,
    /// The place of the [catch-all](Calibration::catch_all), if there are other categories beside it.
    pub catch_all: Option<usize>,
}

impl Scoring {
    /// The scores of logits, in [0, 1]. A logit that is no finite number says that the model is broken, which must not look
    /// safe: it scores 1.
    pub fn scores(self, logits: &[f32]) -> Vec<f32> {
        let score = |logit: f32| if logit.is_finite() { self.scaling.probability(logit) } else { 1.0 };
        self.backed(logits).into_iter().map(score).collect()
    }

    /// The logits, that of the catch-all no further above the others than these back it.
    pub fn backed(self, logits: &[f32]) -> Vec<f32> {
        let mut backed = logits.to_vec();
        if let Some(at) = self.catch_all {
            let others = logits.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, logit)| *logit);
            let above = logits[at] - others.fold(f32::NEG_INFINITY, f32::max);
            if above > 0.0 && above.is_finite() {
                backed[at] -= BACKED * above;
            }
        }
        backed
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

    /// How far the score of a logit lies above a threshold on scores, in logits; finite for finite logits, whatever the
    /// threshold.
    #[cfg(feature = "train")]
    pub(crate) fn margin(self, logit: f32, threshold: f32) -> f32 {
        const LEAST: f32 = 1e-6;
        let threshold = threshold.clamp(LEAST, 1.0 - LEAST);
        self.scale * logit + self.bias - (threshold / (1.0 - threshold)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let prompt = Scaling { scale: 2.0, bias: 0.0 };
        Calibration { prompt, catch_all: Some("Other harm".into()), ..Calibration::default() }
    }

    fn categories(names: &[&str]) -> Vec<Category> {
        names.iter().map(|name| Category::new(name.to_lowercase(), *name)).collect()
    }

    #[test]
    fn a_catch_all_is_held_back_by_the_others_and_holds_none_of_them_back() {
        let scoring = calibration().of(Target::Prompt, &categories(&["Theft", "OTHER HARM", "Fraud"]));
        assert_eq!(scoring.backed(&[-1.0, 3.0, 0.0]), [-1.0, 1.5, 0.0]);
        assert_eq!(scoring.backed(&[2.0, 1.0, -4.0]), [2.0, 1.0, -4.0], "there it is not alone");
        let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
        assert_eq!(scoring.scores(&[-1.0, 3.0, 0.0]), [sigmoid(-2.0), sigmoid(3.0), 0.5]);
    }

    #[test]
    fn a_category_alone_or_of_another_name_counts_as_it_is() {
        for names in [&["Other harm"][..], &["Theft", "Other harms"]] {
            let scoring = calibration().of(Target::Response, &categories(names));
            assert_eq!(scoring, Scoring::default());
        }
    }

    #[test]
    fn what_is_no_number_scores_one_and_takes_nothing_from_the_others() {
        let scoring = calibration().of(Target::Prompt, &categories(&["Theft", "Other harm", "Fraud"]));
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let plain = scoring.scores(&[0.0, 4.0, 0.0])[1];
            for logits in [[broken, 4.0, 0.0], [0.0, 4.0, broken]] {
                let scores = scoring.scores(&logits);
                assert!(scores.contains(&1.0) && scores[1] >= plain, "{logits:?}: {scores:?}");
            }
            assert_eq!(scoring.scores(&[0.0, broken, 0.0]), [0.5, 1.0, 0.5]);
        }
    }
}
