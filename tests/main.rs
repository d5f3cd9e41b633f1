//! Integration tests, one binary.

mod prompt;
mod tokenizer;
