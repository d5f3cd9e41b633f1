//! Integration tests, one binary, one module an area.

#[cfg(feature = "eval")]
mod dataset;
mod prompt;
mod tokenizer;
mod policy;
//! All integration tests, in one binary.

mod grammar;
mod verdict;
mod decoder;
//! Integration tests, one binary: each module holds the promises of one area.

mod bundle;
mod kernels;
