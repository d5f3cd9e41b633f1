//! All integration tests, in one binary.

mod grammar;
mod verdict;
