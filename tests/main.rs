//! Integration tests, one binary: each module holds the promises of one area.

mod bundle;
mod kernels;
