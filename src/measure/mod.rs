//! Measures of scores against what was true. They know neither guards nor rows, so that evaluation and training share them.

pub mod curve;
pub mod metrics;
