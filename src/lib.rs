//! A safety guard that reads your policy, reasons over it, and runs where the chat runs.
//!
//! A [`Guard`] is a model behind a [`Policy`]. Given a conversation it scores every category in one pass, writes its
//! reasoning where the score leaves doubt, and ends with a [`Verdict`]: a decision and its [`Tier`], scores, quoted evidence.
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
//! Data goes one way: [`policy`] and [`Conversation`] become a `prompt`, the `tokenizer` makes tokens of it, a `model`,
//! or `mini`, reads them, the `engine` writes its answer under a `grammar`, and the [`guard`] makes a [`verdict`] of
//! that. Where a message is disguised rsafe-mini also reads what `normalise` makes of it. A [`monitor`] asks a guard
//! again and again while a response grows. A [`bundle`] is a model as files.
//!
//! The public interface is what these pages show. The rooms between a policy and a verdict (`prompt`, `tokenizer`,
//! `engine`, `mini`, `model`, `kernels`, `grammar`, `sampling`, `normalise`), and those that make and measure models
//! (`data`, `measure`, `eval`, `train`, `report`), can be reached, for the command line and the tests, but are not shown:
//! they change without notice. What will grow is marked `non_exhaustive`: options are made by `default()` and methods, and a
//! `match` on [`Event`], [`Decision`], [`Tier`] or [`Error`] needs an arm for what is to come. The words of a policy
//! ([`Action`] and its like) and of a conversation are not: a new one must not pass unseen where they are acted on.
//!
//! # Two kinds of model
//!
//! - **A decoder** (Qwen, Llama) reads policy, conversation, answer, in this order. The policy's cache is computed once and
//!   forked for each request. P(unsafe) is read at the verdict token.
//! - **rsafe-mini** reads a policy once: the words of each category see themselves alone, and are kept. A message then
//!   costs its own tokens and one token a category, the *slot*, which sees the conversation and its category's words, never
//!   another category. The score read there is scaled so that it means the same for prompts and for responses
//!   ([`verdict::Calibration`]). So a category's number and order carry nothing, and taking a category away takes its score
//!   away. The score of a text is that of its highest category. The reasoning tells what the scores say, and moves none of
//!   them: it quotes the shortest run of words without which a category would not apply, and what would be left of its
//!   score without them ([`verdict::Evidence::effect`]).
//!
//! rsafe-mini reads the judged message in windows of 256 tokens that begin 192 apart, with the ends of the two messages
//! before it, 60 tokens of them. In a window of more than 64 tokens a category has further slots, each of which sees a passage
//! of 64 tokens alone (they begin 24 apart), so that one sentence is not lost among many; its score is the highest of all
//! readings. The states of the last texts and policies are kept, so a response that grows is not read from its start again.
//!
//! # Security
//!
//! - **Failing closed.** An error is never a verdict, and no verdict that stands for a failure allows: see
//!   [`Verdict::fail_closed`]. Handle `Err` and [`Verdict::failure`] as blocked. Errors have a stable
//!   [`code`](Error::code).
//! - **User text is data.** Messages are encoded by a tokenizer that does not know control tokens. In text prompts,
//!   look-alikes of control tokens, block markers, `<think>` and `\boxed` are made harmless, role names at the start of a
//!   line are quoted, and zero-width and bidirectional characters are dropped. rsafe-mini's control tokens have no text.
//! - **The answer parses.** A grammar admits only well-formed answers, category ids of the active policy, and quotes that
//!   stand in the input.
//! - **No silent garbage.** Files are checked against the sizes and sha256 of the manifest, and a model must give the known
//!   answers that its manifest holds, or it does not load. Names, shapes and numbers are checked before they are used.
//!   Hashes show damage, not who made a bundle: manifests are not signed. Load bundles only from where you would run code
//!   from.
//! - **Disguises.** rsafe-mini also reads what a message spells with look-alike, turned or invisible characters, letters or
//!   pairs of letters apart, run together or on lines, digits and signs for letters, markup and escapes, numbers, Morse,
//!   Base64, Base32, shifted or reversed text, three deep, and takes the highest score; quotes are of the message as it
//!   stands. What it cannot read is told ([`Verdict::unreadable`]), and a policy can send it to review. Decoders do not read
//!   disguises, and some still pass.
//! - **Languages.** A text in a language that the model does not read has scores that say little: the verdict tells so
//!   ([`Verdict::notes`]), and a policy can send it to review. rsafe-mini reads English. What is short (below some ten words),
//!   half in English, or written in letters that are not its language's own (Hindi in Latin ones) may go untold.
//! - **Work is bounded.** Nothing is judged in part: a message beyond 32,768 tokens is an error, as is a prompt beyond a
//!   decoder's context. Time grows with the length and the number of categories:
//!   [`LoadOptions::max_work`](field@LoadOptions::max_work) bounds it before a check begins, and a check pauses again and
//!   again while it reads ([`Event::Reading`]), where others may pass. [`policy`] says how policies are bounded.
//! - **State does not leak.** A, then B, then A gives A's answer again. A guard keeps the states of the last four texts
//!   that it read, and of policies. They never change a verdict, but timing and
//!   [`cached_tokens`](verdict::Usage::cached_tokens) show whether a text began like a recent one, or a policy was read before. Give users who must not learn that of each other guards of their own.
//! - **Output.** Evidence and reasoning hold users' words: escape them in your own pages. The command line shows control
//!   characters of messages and model escaped.

pub mod bundle;
mod conversation;
#[cfg(feature = "eval")]
#[doc(hidden)]
pub mod data;
#[doc(hidden)]
pub mod engine;
mod error;
#[cfg(feature = "eval")]
#[doc(hidden)]
pub mod eval;
#[cfg(feature = "native")]
#[doc(hidden)]
pub mod files;
mod finding;
#[doc(hidden)]
pub mod grammar;
pub mod guard;
#[doc(hidden)]
pub mod kernels;
mod language;
#[cfg(feature = "eval")]
#[doc(hidden)]
pub mod measure;
#[doc(hidden)]
pub mod mini;
mod mistaken;
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
pub mod records;
#[cfg(feature = "eval")]
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod sampling;
#[doc(hidden)]
pub mod tokenizer;
#[cfg(feature = "train")]
#[doc(hidden)]
pub mod train;
pub mod verdict;
#[cfg(all(feature = "web", target_family = "wasm"))]
mod web;
#[cfg(feature = "native")]
#[doc(hidden)]
pub mod workers;

pub use bundle::Bundle;
pub use conversation::{Conversation, Message, Role, Target};
pub use error::{Error, Result};
pub use guard::{Event, Guard, LoadOptions, Reasoning, Request, Session};
pub use monitor::{Monitor, MonitorOptions, Pace, Released};
pub use policy::{Action, Category, Policy};
pub use verdict::{Decision, Tier, Verdict};

/// The samples of the manual.
#[cfg(all(doctest, feature = "embedded", feature = "native"))]
#[doc = include_str!("../README.md")]
struct Manual;
