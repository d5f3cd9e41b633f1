//! A budget of false alarms: as much recall as a false-positive rate allows, for every category (RePO, SafeVLA).
//!
//! Constrained policy optimisation by a rectified Lagrangian: each constraint FPR ≤ budget has a multiplier λ ≥ 0, a false
//! alarm costs λ, and dual ascent λ ← max(0, λ + η · (FPR − budget)) makes it dear while the rate is above the budget
//! and free again once it is below.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::amounts::{Amount, Share};
use super::outcome::Outcome;

/// False-positive rates that are tolerated: of the verdict over safe texts, and of every category over texts that are
/// known to lack it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The rate for the verdict and for each category.
    pub fpr: Share,
    /// By category id, where it differs.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub categories: IndexMap<String, Share>,
    /// η, how fast multipliers move: a batch adds η · (FPR − budget).
    #[serde(default = "rate")]
    pub rate: Amount,
    /// What an observation still counts when the next one comes: rates are means over about 1 / (1 − memory) texts.
    #[serde(default = "memory")]
    pub memory: Share,
    /// The highest multiplier, so that a guard that must flag something is not taught to flag nothing.
    #[serde(default = "most")]
    pub most: Amount,
}

fn rate() -> Amount {
    Amount(0.05)
}

fn memory() -> Share {
    Share(0.99)
}

fn most() -> Amount {
    Amount(1.0)
}

/// What a [`Budget`] has learnt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetState {
    /// Of the verdict.
    pub overall: Multiplier,
    /// By category id.
    pub categories: IndexMap<String, Multiplier>,
}

/// One constraint: its running rate and its price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiplier {
    /// False alarms, older ones counting less.
    pub alarms: f32,
    /// Texts that could raise one, older ones counting less.
    pub texts: f32,
    /// λ: what a false alarm costs.
    pub lambda: f32,
}

impl Multiplier {
    /// The running false-positive rate; `None` before the first text.
    pub fn fpr(&self) -> Option<f32> {
        (self.texts > 0.0).then(|| self.alarms / self.texts)
    }

    fn count(&mut self, alarm: bool, memory: Share) {
        self.alarms = memory.get() * self.alarms + f32::from(alarm);
        self.texts = memory.get() * self.texts + 1.0;
    }

    fn ascend(&mut self, budget: Share, rate: Amount, most: Amount) {
        let excess = self.fpr().unwrap_or(budget.get()) - budget.get();
        self.lambda = (self.lambda + rate.get() * excess).clamp(0.0, most.get());
    }
}

impl BudgetState {
    /// The price of an outcome's false alarms; `None` where none is known to be possible.
    pub(super) fn part(&self, outcome: &Outcome) -> Option<f32> {
        if outcome.is_unsafe() && outcome.truth.categories.is_none() {
            return None;
        }
        let verdict = if !outcome.is_unsafe() && outcome.flags() { self.overall.lambda } else { 0.0 };
        let alarms = outcome.named().into_iter().filter(|id| outcome.lacks(id));
        let categories: f32 = alarms.filter_map(|id| self.categories.get(id)).map(|known| known.lambda).sum();
        Some(0.0 - (verdict + categories))
    }

    /// Counts a batch, then moves the multiplier of every constraint that the batch spoke about.
    pub(super) fn observe(&mut self, budget: &Budget, outcomes: &[Outcome]) {
        let mut overall = false;
        let mut touched: Vec<&str> = Vec::new();
        for outcome in outcomes {
            if !outcome.is_unsafe() {
                self.overall.count(outcome.flags(), budget.memory);
                overall = true;
            }
            let named = outcome.named();
            for id in outcome.policy.categories.iter().map(|category| category.id.as_str()) {
                if !outcome.lacks(id) {
                    continue;
                }
                self.categories.entry(id.to_owned()).or_default().count(named.contains(&id), budget.memory);
                if !touched.contains(&id) {
                    touched.push(id);
                }
            }
        }
        if overall {
            self.overall.ascend(budget.fpr, budget.rate, budget.most);
        }
        for id in touched {
            let limit = budget.categories.get(id).copied().unwrap_or(budget.fpr);
            if let Some(known) = self.categories.get_mut(id) {
                known.ascend(limit, budget.rate, budget.most);
            }
        }
    }
}
