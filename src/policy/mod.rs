//! The owner's policy: categories that the model reads, and rules that are evaluated outside it.

use serde::{Deserialize, Serialize};

/// What the guard does when a category or a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Block,
    Review,
    Allow,
}

/// One kind of content that the policy speaks about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Unique in the policy, `[A-Za-z0-9_.-]{1,32}`; what verdicts name, e.g. `S1`.
    pub id: String,
    /// A short human name, e.g. `Weapons`.
    pub name: String,
    /// What falls under the category, in the owner's words; may be empty.
    pub definition: String,
    /// Short texts that fall under the category.
    pub unsafe_examples: Vec<String>,
    /// Short texts that look alike but do not.
    pub safe_examples: Vec<String>,
    pub action: Action,
    /// Score in [0, 1] from which the category applies; `None` leaves it to the model's bundle.
    pub threshold: Option<f32>,
}

/// A parsed policy. Parse once at the border, trust inside.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub name: String,
    pub version: String,
    pub categories: Vec<Category>,
}

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("bad policy: {message}")]
pub struct PolicyError {
    pub message: String,
}
