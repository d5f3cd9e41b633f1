//! The scores at which something counts as unsafe.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::policy::Category;

/// At which P(unsafe) something is flagged, each in `0..=1`; a bundle brings its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Thresholds {
    pub global: f32,
    /// By category id of the bundle's own policy, where it differs from `global`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub categories: IndexMap<String, f32>,
    /// What stands for `global` and `categories` under any other policy, where that differs: scores under a policy without
    /// a category that catches all are lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<f32>,
    /// From the first to the second score a verdict is uncertain, and `Reasoning::Auto` reasons.
    pub uncertain: [f32; 2],
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { global: 0.5, categories: IndexMap::new(), custom: None, uncertain: [0.3, 0.7] }
    }
}

impl Thresholds {
    /// The score from which a category applies: the policy's own, else the one for its id, else `global`. For a policy
    /// other than the bundle's, take it of what [`Dial::at`](super::Dial::at) gives.
    pub fn of(&self, category: &Category) -> f32 {
        let known = || self.categories.get(&category.id).copied();
        category.threshold.or_else(known).unwrap_or(self.global)
    }
}
