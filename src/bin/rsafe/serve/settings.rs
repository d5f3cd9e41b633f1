//! What holds for each request: settings that were read and checked.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

use super::messages::Speaker;

/// SHA-256 of a key.
pub type Key = [u8; 32];

/// What holds for each request.
pub struct Settings {
    pub keys: Vec<Key>,
    pub max_queued: usize,
    pub max_inputs: usize,
    pub max_body_bytes: usize,
    pub max_choices: usize,
    pub max_chats: usize,
    pub max_remembered: usize,
    pub trusted_roles: HashSet<Speaker>,
    pub pass_fields: HashSet<String>,
    pub check: Duration,
    pub drain: Duration,
    pub allow_policies: bool,
    pub allow_origin: Option<HeaderValue>,
}

pub fn digest(key: &str) -> Key {
    Sha256::digest(key).into()
}
