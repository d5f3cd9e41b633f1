//! What turns a model's logits into probabilities that mean the same for prompts and for responses.

use serde::{Deserialize, Serialize};

use crate::Target;

/// A scaling for each side that can be judged: training holds other shares of unsafe prompts than of unsafe responses,
/// and the model learns those shares, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub prompt: Scaling,
    pub response: Scaling,
}

impl Calibration {
    pub fn of(&self, target: Target) -> Scaling {
        match target {
            Target::Prompt => self.prompt,
            Target::Response => self.response,
        }
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
