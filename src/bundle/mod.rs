//! A model as files: manifest, tokenizer, weights.

mod weights;

pub use weights::Weights;
