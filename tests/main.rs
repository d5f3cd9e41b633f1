//! All integration tests, as one binary.

#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "eval")]
mod dataset;
#[cfg(feature = "eval")]
mod metrics;
mod policy;
