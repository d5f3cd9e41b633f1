//! What rewards judge: an answer, and what is true.

use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::data::rows::Label;
use crate::policy::Policy;
use crate::verdict::{self, Answer};

/// What is true of a conversation under a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    pub label: Label,
    /// Ids of the policy's categories that hold; `None`: nobody said which.
    pub categories: Option<Vec<String>>,
    /// Harmless, but looks alarming.
    #[serde(default)]
    pub look_alike: bool,
}

/// What a reward judges.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    pub conversation: &'a Conversation,
    pub policy: &'a Policy,
    pub truth: &'a Truth,
    /// An answer in free text comes [with its claims](Answer::with_claims).
    pub answer: &'a Answer,
    /// The answer ended by itself, in the form of its template.
    pub well_formed: bool,
    /// Length of the answer in tokens.
    pub tokens: usize,
    /// Whether each category's score reaches its threshold, in the policy's order, where the model gives scores.
    pub scores: Option<&'a [bool]>,
}

impl Outcome<'_> {
    pub(super) fn is_unsafe(&self) -> bool {
        self.truth.label == Label::Unsafe
    }

    pub(super) fn flags(&self) -> bool {
        self.answer.verdict == Some(verdict::Label::Unsafe)
    }

    /// Whether the verdict is the label; an answer without one is wrong.
    pub(super) fn is_right(&self) -> bool {
        match self.answer.verdict {
            Some(verdict::Label::Safe) => !self.is_unsafe(),
            Some(verdict::Label::Unsafe) => self.is_unsafe(),
            Some(verdict::Label::Controversial) | None => false,
        }
    }

    /// Ids of the categories that the answer says apply, each once.
    pub(super) fn named(&self) -> Vec<&str> {
        let steps = self.answer.steps.iter().filter(|step| step.applies).map(|step| &step.category);
        let mut named: Vec<&str> = Vec::new();
        for id in self.answer.categories.iter().chain(steps) {
            if !named.contains(&id.as_str()) {
                named.push(id);
            }
        }
        named
    }

    /// Whether a category is known not to hold.
    pub(super) fn lacks(&self, category: &str) -> bool {
        !self.is_unsafe() || self.truth.categories.as_ref().is_some_and(|held| held.iter().all(|id| id != category))
    }
}
