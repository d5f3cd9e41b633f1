//! All integration tests, as one binary.

#[cfg(feature = "cli")]
mod cli;
mod dataset;
#[cfg(feature = "eval")]
mod metrics;
