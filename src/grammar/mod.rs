//! Which tokens may come next in an answer, and what the answer says: a token-level automaton that is its own parser.
//!
//! A [`Grammar`] is made for a template and a policy, then driven token by token: [`allowed`](Grammar::allowed) or
//! [`compute_mask`](Grammar::compute_mask) before sampling, [`consume`](Grammar::consume) after it, and
//! [`forced`](Grammar::forced) for the runs that leave no choice. Whatever the model prefers, the answer is well formed
//! and ends within [`max_len`](Grammar::max_len) tokens.

mod builder;
mod free;
mod machine;
mod mask;
mod program;
mod quote;
mod shown;
mod templates;
mod verdict_choice;
mod vocabulary;

pub use builder::Builder;
pub use free::Stop;
pub use machine::Grammar;
pub use mask::{Allowed, Mask};
pub use program::{ChoiceOption, Effect, NodeId};
pub use quote::{QuoteLength, QuoteSource};

pub use templates::Think;
pub use verdict_choice::{VerdictChoice, p_unsafe, p_unsafe_by};
pub use vocabulary::Vocabulary;
