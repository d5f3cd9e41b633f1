//! The integration tests, one module an area.

#[cfg(feature = "eval")]
mod dataset;
