//! Reinforced alignment: answers are sampled, rewarded, and made likelier or less likely.

pub mod choices;
pub mod decoder;
pub mod export;
pub mod network;
