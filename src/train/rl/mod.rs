//! Reinforced alignment: the network's own answers are sampled, rewarded, and made more or less likely.
//!
//! A step draws [`Task`]s, lets the [`Network`] write a group of answers to each, rewards them
//! ([`reward`](super::reward)), turns the rewards of a group into [`advantage`]s and moves the network along the [`loss`]
//! ([`grpo`]). Or pairs of answers are mined once ([`mine`]) and learnt from without sampling ([`dpo`]). What trains is
//! behind the [`Network`] trait: the slot model in [`slots`], decoders that users bring in [`decoder`].

pub mod advantage;
mod choices;
pub mod claims;
pub mod decoder;
pub mod dpo;
mod export;
mod group;
pub mod grpo;
pub mod labelled;
pub mod loss;
pub mod mine;
pub mod network;
pub mod options;
mod page;
pub mod pairs;
pub mod recipe_tasks;
pub mod report;
mod run;
pub mod slots;
pub mod supervision;
pub mod task;
mod update;
mod watch;

pub use network::{Network, Rollout};
pub use run::{Setup, TaskSource, mine_pairs, run, run_dpo};
pub use task::{Task, Tasks};
