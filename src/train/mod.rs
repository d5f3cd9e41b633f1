//! Training on burn autodiff.

pub mod recipe;
