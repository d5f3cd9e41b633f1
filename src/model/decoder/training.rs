//! What training does with a decoder that nobody else does: it needs the layers as they are, so it stands behind this
//! door.

mod backward;
mod lora;
mod packed;
mod tensors;

pub use backward::Trace;
pub use lora::{LoraOptions, TARGETS};
pub use packed::Packed;
pub use tensors::Stored;
