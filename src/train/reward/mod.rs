//! What an answer earns: rules that anyone can verify, composed by a file.
//!
//! Each rule looks at one [`Outcome`] and gives its part of the reward, or nothing where it has nothing to say (the part is
//! then missing, not 0). The reward is the sum of the parts. Which rules count, and how much, is in a YAML file whose
//! fields `models/rsafe-mini/rewards.yaml` explains.

mod amounts;
mod budget;
mod correct;
mod costs;
mod evidence;
mod outcome;
mod rules;

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use amounts::{Amount, Share};
pub use budget::{Budget, BudgetState, Multiplier};
pub use correct::{Accuracy, Categories, Format, Measure};
pub use costs::{Agreement, Asymmetric, Contradiction, Costs, Length, OverRefusal};
pub use evidence::Evidence;
pub use outcome::{Outcome, Truth};
pub use rules::Rules;

use crate::error::{Error, Result};
use crate::policy::Policy;

/// What an answer earned.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reward {
    /// The sum of the parts.
    pub total: f32,
    /// What each rule gave, weighted; rules that had nothing to say are missing.
    pub parts: IndexMap<&'static str, f32>,
}

/// The rules of a training run, and what the [budget](Budget) has learnt so far.
///
/// Serialised it is the file it was read from, without comments; what was learnt is [`state`](Self::state).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Rules", into = "Rules")]
pub struct Rewards {
    rules: Rules,
    state: BudgetState,
}

impl Rewards {
    /// The names that [`builtin`](Self::builtin) knows.
    pub const BUILTIN: [&str; 2] = ["rsafe", "rsafe-mini"];

    /// RSafe's own reward (arXiv 2506.07736): 0.9 for the right verdict in the right form, 0.1 for the form.
    pub fn rsafe() -> Self {
        let rules = Rules {
            accuracy: Some(Accuracy { weight: Amount(0.9) }),
            format: Some(Format { weight: Amount(0.1) }),
            ..Rules::default()
        };
        Self { rules, state: BudgetState::default() }
    }

    /// A built-in set of rules: `rsafe`, or `rsafe-mini`, which the embedded model was trained with.
    ///
    /// # Errors
    /// [`Error::BadInput`] for any other name.
    pub fn builtin(name: &str) -> Result<Self> {
        match name {
            "rsafe" => Ok(Self::rsafe()),
            "rsafe-mini" => Self::parse(include_str!("../../../models/rsafe-mini/rewards.yaml"), name),
            _ => Err(Error::BadInput(format!(
                "expected a built-in set of rewards, one of `{}`, found {name:?}; a file's name has a dot or a slash",
                Self::BUILTIN.join("`, `")
            ))),
        }
    }

    /// Reads a file of rules (YAML, or JSON, which YAML holds).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, otherwise as [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = crate::files::read_text(path)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses and checks rules; `origin` is what errors call the text.
    ///
    /// # Errors
    /// [`Error::BadInput`] with line and column: an unknown field, a value out of its range, no rule at all.
    pub fn parse(yaml: &str, origin: &str) -> Result<Self> {
        serde_saphyr::from_str(yaml)
            .map_err(|error| Error::BadInput(format!("{origin}: expected reward rules: {error}")))
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// # Errors
    /// [`Error::BadInput`] if a rule names a category that the policy lacks: it would never count.
    pub fn check(&self, policy: &Policy) -> Result<()> {
        let costs = self.rules.asymmetric.iter().flat_map(|rule| rule.categories.keys());
        let limits = self.rules.budget.iter().flat_map(|rule| rule.categories.keys());
        let known: Vec<&str> = policy.categories.iter().map(|category| category.id.as_str()).collect();
        match costs.chain(limits).find(|id| !known.contains(&id.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Error::BadInput(format!(
                "rewards: expected the id of a category of the policy {:?}, one of {}, found {unknown:?}",
                policy.name,
                known.join(", ")
            ))),
        }
    }

    /// What an answer earns.
    pub fn score(&self, outcome: &Outcome) -> Reward {
        let rules = &self.rules;
        let parts: IndexMap<&'static str, f32> = [
            ("accuracy", rules.accuracy.as_ref().map(|rule| rule.part(outcome))),
            ("format", rules.format.as_ref().map(|rule| rule.part(outcome))),
            ("category", rules.category.as_ref().and_then(|rule| rule.part(outcome))),
            ("evidence", rules.evidence.as_ref().map(|rule| rule.part(outcome))),
            ("contradiction", rules.contradiction.as_ref().and_then(|rule| rule.part(outcome))),
            ("agreement", rules.agreement.as_ref().and_then(|rule| rule.part(outcome))),
            ("asymmetric", rules.asymmetric.as_ref().map(|rule| rule.part(outcome))),
            ("budget", rules.budget.as_ref().and_then(|_| self.state.part(outcome))),
            ("over_refusal", rules.over_refusal.as_ref().and_then(|rule| rule.part(outcome))),
            ("length", rules.length.as_ref().map(|rule| rule.part(outcome))),
        ]
        .into_iter()
        .filter_map(|(name, part)| Some((name, part?)))
        .collect();
        Reward { total: parts.values().sum(), parts }
    }

    /// Lets the budget learn from a batch of outcomes, once they are scored. Without a budget nothing happens.
    pub fn observe(&mut self, outcomes: &[Outcome]) {
        if let Some(budget) = &self.rules.budget {
            self.state.observe(budget, outcomes);
        }
    }

    /// What the budget has learnt: belongs into a checkpoint.
    pub fn state(&self) -> &BudgetState {
        &self.state
    }

    /// Goes on from what [`state`](Self::state) gave.
    pub fn with_state(mut self, state: BudgetState) -> Self {
        self.state = state;
        self
    }
}

impl TryFrom<Rules> for Rewards {
    type Error = &'static str;

    fn try_from(rules: Rules) -> Result<Self, Self::Error> {
        if rules == Rules::default() {
            return Err("expected at least one rule, such as `accuracy: {weight: 0.9}`, found none");
        }
        Ok(Self { rules, state: BudgetState::default() })
    }
}

impl From<Rewards> for Rules {
    fn from(rewards: Rewards) -> Self {
        rewards.rules
    }
}

#[cfg(test)]
mod tests;
