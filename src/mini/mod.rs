//! rsafe-mini: how a policy and a conversation are laid out, the network that reads them, and what it may answer.

pub mod answer;
mod asked;
pub mod batch;
mod causal;
pub(crate) mod engine;
mod explain;
mod known;
pub mod layout;
pub mod network;
mod occlusion;
pub(crate) mod policy;
pub(crate) mod prompt;
mod readings;
pub(crate) mod scan;
pub(crate) mod telling;
pub(crate) mod window;
