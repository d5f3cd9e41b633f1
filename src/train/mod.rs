//! Training on burn autodiff.
