//! The networks: decoders that users bring, and the slot model that is embedded.

pub mod attention;
pub mod cache;
pub mod config;
pub mod decoder;
pub mod rope;

pub use cache::{CacheShape, KvCache};
pub use config::{Architecture, DecoderConfig};
pub use decoder::Decoder;
