//! What earns: the right verdict, the right form, the right categories.

use serde::{Deserialize, Serialize};

use super::amounts::Amount;
use super::outcome::Outcome;

/// The verdict is the label, in an answer that is well formed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    pub weight: Amount,
}

impl Accuracy {
    pub(super) fn part(&self, outcome: &Outcome) -> f32 {
        self.weight.get() * f32::from(outcome.well_formed && outcome.is_right())
    }
}

/// The answer is well formed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    pub weight: Amount,
}

impl Format {
    pub(super) fn part(&self, outcome: &Outcome) -> f32 {
        self.weight.get() * f32::from(outcome.well_formed)
    }
}

/// The categories that a well-formed answer names are those that hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    pub weight: Amount,
    #[serde(default)]
    pub measure: Measure,
}

/// How near the named categories are to those that hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// 2 · both / (named + held), the F1 of the two sets; 1 where both are empty.
    #[default]
    F1,
    /// 1 if they are the same, else 0.
    Exact,
}

impl Categories {
    /// `None` where nobody said which categories hold.
    pub(super) fn part(&self, outcome: &Outcome) -> Option<f32> {
        let held = outcome.truth.categories.as_ref()?;
        let named = outcome.named();
        let both = named.iter().filter(|name| held.iter().any(|id| id == *name)).count();
        let exact = both == named.len() && both == held.len();
        let near = match self.measure {
            _ if exact => 1.0,
            Measure::F1 => 2.0 * both as f32 / (named.len() + held.len()) as f32,
            Measure::Exact => 0.0,
        };
        Some(self.weight.get() * f32::from(outcome.well_formed) * near)
    }
}
