//! Reinforced alignment: the network's own answers are sampled, rewarded and made more or less likely.

pub mod advantage;
pub mod loss;
