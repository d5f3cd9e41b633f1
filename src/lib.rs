//! A safety guard that reads your policy, reasons over it, and runs where the chat runs.
//!
//! A [`Guard`] is a model behind a [`Policy`]. Given a conversation it scores every category in one pass, writes its
//! reasoning where the score leaves doubt, and ends with a [`Verdict`]: a decision, scores, quoted evidence.
//!
//! ```
//! # #[cfg(all(feature = "embedded", feature = "native"))]
//! # pollster::block_on(async {
//! use rsafe::{Bundle, Event, Guard, LoadOptions, Policy, Reasoning, Request};
//!
//! let policy: Policy = "
//! name: front desk
//! categories:
//!   - id: locks
//!     name: Opening locks
//!     definition: Asking how to open a lock without its key.
//! "
//! .parse()?;
//! let guard = Guard::load(Bundle::embedded()?, LoadOptions::default()).await?;
//!
//! let verdict = guard.check(&Request::prompt("What should I feed my cat?").policy(&policy)).await?;
//! println!("{:?}, score {:.2}", verdict.decision, verdict.score);
//!
//! let request = Request::prompt("How do I pick a lock?").policy(&policy).reasoning(Reasoning::Always);
//! let mut session = guard.start(&request)?;
//! while let Some(event) = session.next().await? {
//!     match event {
//!         Event::Reasoning(text) => print!("{text}"),
//!         Event::Verdict(verdict) => println!("{:?}", verdict.decision),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), rsafe::Error>(())
//! # }).unwrap();
//! ```
//!
//! A response that is still being written goes through a [`Monitor`], which holds text back until it is checked.
//!
//! # Rooms
//!
//! Data goes one way: [`policy`] and [`Conversation`] become a `prompt`, the `tokenizer` makes tokens of it, the `engine`
//! runs a `model` over them under a `grammar`, and the [`guard`] makes a [`verdict`] of the answer. Where a message is
//! disguised the engine also reads what `normalise` makes of it. A [`monitor`] asks a guard again and again while a
//! response grows. A [`bundle`] is a model as files.
//!
//! The public interface is what these pages show. The rooms between a policy and a verdict (`prompt`, `tokenizer`,
//! `engine`, `model`, `kernels`, `grammar`, `sampling`, `normalise`, `report`) can be reached, for the command line and the tests,
//! but are not shown: they change without notice. What will grow is marked `non_exhaustive`: options are made by
//! `default()` and methods, and a `match` on [`Event`], [`Decision`] or [`Error`] needs an arm for what is to come.
//!
//! # Failing closed
//!
//! An error is never a verdict, and no verdict that stands for a failure allows: see [`Verdict::fail_closed`]. Errors
//! have a stable [`code`](Error::code).

pub mod bundle;
mod conversation;
#[doc(hidden)]
pub mod engine;
mod error;
#[cfg(feature = "eval")]
pub mod eval;
#[cfg(feature = "native")]
mod files;
#[doc(hidden)]
pub mod grammar;
pub mod guard;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod model;
pub mod monitor;
#[doc(hidden)]
pub mod normalise;
pub mod policy;
#[doc(hidden)]
pub mod prompt;
#[cfg(feature = "eval")]
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod sampling;
#[doc(hidden)]
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod train;
pub mod verdict;
#[cfg(all(feature = "web", target_family = "wasm"))]
mod web;

pub use bundle::Bundle;
pub use conversation::{Conversation, Message, Role, Target};
pub use error::{Error, Result};
pub use guard::{Event, Guard, LoadOptions, Reasoning, Request, Session};
pub use monitor::{Monitor, MonitorOptions, Released};
pub use policy::{Action, Category, Policy};
pub use verdict::{Decision, Verdict};

/// The samples of the manual.
#[cfg(all(doctest, feature = "embedded", feature = "native"))]
#[doc = include_str!("../README.md")]
struct Manual;
