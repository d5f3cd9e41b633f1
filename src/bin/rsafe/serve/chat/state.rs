//! One chat while it is relayed, and what ours begin with.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::serve::ids::id;
use crate::serve::relay::Fields;
use crate::serve::walk::passes;

/// One chat.
pub struct Chat {
    /// As the caller names it.
    pub model: Option<Value>,
    /// How many choices were asked for.
    pub choices: usize,
    /// What the last chunk that was told began with; until there is one, what one of ours does.
    pub envelope: Fields,
    pub pass: HashSet<String>,
}

impl Chat {
    pub fn new(model: Option<Value>, choices: usize, pass: HashSet<String>) -> Self {
        let envelope = own_envelope("chat.completion.chunk", model.as_ref());
        Self { model, choices, envelope, pass }
    }
}

/// What a completion or chunk of our own begins with.
pub fn own_envelope(object: &str, model: Option<&Value>) -> Fields {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let named = model.and_then(Value::as_str).filter(|name| !name.is_empty() && passes("model", name));
    let fields = [
        ("id", json!(id("chatcmpl-"))),
        ("object", json!(object)),
        ("created", json!(created)),
        ("model", json!(named.unwrap_or("unknown"))),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
