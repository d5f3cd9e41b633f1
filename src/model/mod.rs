//! The networks: decoders that users bring, and the slot model that is embedded.

pub mod cache;
pub mod slots;

pub use cache::KvCache;
