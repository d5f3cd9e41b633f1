//! What writes an answer behind a prompt, whichever model has read that: the grammar says which tokens may come, the
//! model how likely each is.
//!
//! Models differ in how a prompt is read (`decoder.rs` here, `mini` for rsafe-mini); from there on each is a reader
//! (`reader.rs`) whose tokens are written one answer at a time (`writer.rs`) or, in training, a group of answers at a
//! time.

mod answering;
pub(crate) mod decoder;
pub mod draft;
pub(crate) mod grammars;
pub(crate) mod known;
mod pass;
pub mod reader;
mod repeats;
mod writer;

pub use answering::{Answering, Readout, Steps};
pub(crate) use pass::{PASS, fits, layers_of_a_step, read_numbers};
pub use writer::{Stopped, Writer};
