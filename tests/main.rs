//! Integration tests, one binary: each module holds the promises of one area.

mod bundle;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "eval")]
mod dataset;
mod decoder;
mod grammar;
mod kernels;
#[cfg(feature = "eval")]
mod metrics;
mod policy;
mod prompt;
mod tokenizer;
mod verdict;
