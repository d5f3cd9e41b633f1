//! What thresholds and scalings are made of: judged rows, and the share of unsafe ones that they are made for.

use crate::conversation::Target;

/// The share of unsafe texts that a score is a probability for, and that thresholds are chosen for. Training sets hold
/// more than traffic does, and the threshold with the highest F1 on them would flag nearly everything.
pub const PRIOR: f64 = 0.25;

/// A held-out row as the thresholds see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub target: Target,
    /// Whether it is harmful in general; `None` where its source does not say.
    pub is_unsafe: Option<bool>,
    /// P(unsafe) under the bundle's policy.
    pub score: f32,
    /// For each category of it the score; empty for models without such scores.
    pub categories: Vec<f32>,
}
