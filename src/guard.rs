//! The guard: load, check, stream.
