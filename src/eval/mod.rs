//! Labelled rows and the measures of a guard on them.

pub mod dataset;
pub mod metrics;
