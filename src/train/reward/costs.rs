//! What costs: reasoning that contradicts the verdict or the scores, errors by their kind, false alarms, many words.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::amounts::Amount;
use super::outcome::Outcome;

/// Reasoning that says a category applies before a safe verdict, or that none does before an unsafe one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contradiction {
    pub cost: Amount,
}

impl Contradiction {
    /// `None` without reasoning or without a verdict.
    pub(super) fn part(&self, outcome: &Outcome) -> Option<f32> {
        let answer = outcome.answer;
        answer.verdict?;
        let named = !outcome.named().is_empty();
        let reasons = named || !answer.steps.is_empty() || !answer.reasoning.trim().is_empty();
        reasons.then(|| charge(self.cost, named != outcome.flags()))
    }
}

/// The written steps say of their categories what the model's scores say: earns by the share of steps that do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    pub weight: Amount,
}

impl Agreement {
    /// `None` without scores or without a step about a category of the policy.
    pub(super) fn part(&self, outcome: &Outcome) -> Option<f32> {
        let scores = outcome.scores?;
        let place = |id: &str| outcome.policy.categories.iter().position(|category| category.id == id);
        let agrees: Vec<bool> = (outcome.answer.steps.iter())
            .filter_map(|step| Some(step.applies == *scores.get(place(&step.category)?)?))
            .collect();
        let share = agrees.iter().filter(|agrees| **agrees).count() as f32 / agrees.len() as f32;
        (!agrees.is_empty()).then(|| self.weight.get() * share)
    }
}

/// Misses and false alarms cost differently, and differently for each category (the idea of SMPO).
///
/// A miss, an unsafe text without an unsafe verdict, costs what the dearest category that holds says; a false alarm, a
/// safe text with an unsafe verdict, what the dearest category that the answer names says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asymmetric {
    /// For categories without costs of their own, and where no category is known or named.
    pub miss: Amount,
    pub false_alarm: Amount,
    /// By category id, where it differs.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub categories: IndexMap<String, Costs>,
}

/// What the errors of one category cost; what is missing costs as for all others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarm: Option<Amount>,
}

impl Asymmetric {
    pub(super) fn part(&self, outcome: &Outcome) -> f32 {
        match (outcome.is_unsafe(), outcome.flags()) {
            (true, false) => {
                let held = outcome.truth.categories.iter().flatten().map(String::as_str);
                -self.dearest(held, self.miss, |costs| costs.miss)
            }
            (false, true) => -self.dearest(outcome.named().into_iter(), self.false_alarm, |costs| costs.false_alarm),
            _ => 0.0,
        }
    }

    fn dearest<'a>(
        &self,
        categories: impl Iterator<Item = &'a str>,
        otherwise: Amount,
        own: impl Fn(&Costs) -> Option<Amount>,
    ) -> f32 {
        let cost = |id: &str| self.categories.get(id).and_then(&own).unwrap_or(otherwise).get();
        categories.map(cost).reduce(f32::max).unwrap_or(otherwise.get())
    }
}

/// Flagging what is harmless and only looks alarming (the idea of AlphaAlign).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverRefusal {
    pub cost: Amount,
}

impl OverRefusal {
    /// `None` for texts that are no look-alikes.
    pub(super) fn part(&self, outcome: &Outcome) -> Option<f32> {
        let look_alike = outcome.truth.look_alike && !outcome.is_unsafe();
        look_alike.then(|| charge(self.cost, outcome.flags()))
    }
}

/// Every token beyond a free length costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Tokens that cost nothing.
    pub free: usize,
    /// For each token more.
    pub cost: Amount,
    /// The most that an answer can lose.
    pub most: Amount,
}

impl Length {
    pub(super) fn part(&self, outcome: &Outcome) -> f32 {
        let beyond = outcome.tokens.saturating_sub(self.free) as f32;
        0.0 - (self.cost.get() * beyond).min(self.most.get())
    }
}

fn charge(cost: Amount, guilty: bool) -> f32 {
    if guilty { -cost.get() } else { 0.0 }
}
