//! What a self-test found.

use serde::Serialize;

/// How a model did in its bundle's self-test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Tested {
    /// How many numbers were compared.
    pub values: usize,
    /// The largest difference from what the bundle expects, in logits.
    pub difference: f32,
    /// The largest difference that passes.
    pub tolerance: f32,
}
