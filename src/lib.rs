//! A safety guard that reads your policy, reasons over it, and runs where the chat runs.

pub mod bundle;
mod conversation;
pub mod engine;
mod error;
#[cfg(feature = "eval")]
pub mod eval;
pub mod grammar;
pub mod guard;
pub mod kernels;
pub mod model;
pub mod policy;
pub mod prompt;
pub mod sampling;
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod train;
pub mod verdict;

pub use conversation::{Conversation, Message, Role, Target};
pub use error::{Error, Result};
pub use policy::{Action, Category, Policy};
