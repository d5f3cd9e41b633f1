//! What the guard decided and why.
