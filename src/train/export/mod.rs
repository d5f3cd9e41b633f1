//! Training data for frameworks beyond one machine.

/// The Python module that gives veRL the rewards of [`reward`](super::reward).
pub const REWARD_MODULE: &str = include_str!("reward.py");
