//! All integration tests, as one binary.

mod bundle;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "eval")]
mod dataset;
mod kernels;
#[cfg(feature = "eval")]
mod metrics;
mod policy;
