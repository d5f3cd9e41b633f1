//! Integration tests, one binary: each module holds the promises of one area.

mod bundle;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "eval")]
mod dataset;
mod decoder;
mod grammar;
#[cfg(all(feature = "embedded", feature = "native"))]
mod guard;
mod kernels;
#[cfg(feature = "eval")]
mod metrics;
mod policy;
mod prompt;
mod tokenizer;
#[cfg(feature = "train")]
mod train;
mod verdict;
