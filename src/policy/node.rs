//! A policy's source as a tree that remembers where each value stood: what YAML, JSON and Markdown have in common.

use super::limits::{MAX_DEPTH, MAX_FIELDS, MAX_FILE_BYTES, MAX_NODES};
use crate::finding::{Finding, Location, PolicyError, quoted};

/// A value of the source.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Location,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar {
        text: String,
        /// Written without quotes, so that it may stand for a number.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub at: Location,
    pub value: Node,
}

impl Node {
    pub fn scalar(at: Location, text: impl Into<String>, plain: bool) -> Self {
        Self { at, value: Value::Scalar { text: text.into(), plain } }
    }

    /// The kind of value in words, for error messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// What a source may still cost: values and bytes of text after aliases are expanded.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    pub fn new() -> Self {
        Self { nodes: MAX_NODES, bytes: 2 * MAX_FILE_BYTES }
    }

    /// Pays for `nodes` values with `bytes` of text.
    pub fn spend(&mut self, nodes: usize, bytes: usize, at: Location) -> Result<(), PolicyError> {
        let left = (self.nodes.checked_sub(nodes), self.bytes.checked_sub(bytes));
        let (Some(nodes), Some(bytes)) = left else {
            let expected = format!("at most {MAX_NODES} values and {} bytes of text", 2 * MAX_FILE_BYTES);
            let finding = Finding::error("", expected, "more, with aliases expanded").at(at);
            return Err(PolicyError::of(finding.help("write fewer aliases, or a smaller policy")));
        };
        *self = Self { nodes, bytes };
        Ok(())
    }
}

/// Checks that a value may be nested `depth` levels deep.
pub(super) fn check_depth(depth: usize, at: Location) -> Result<(), PolicyError> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    let expected = format!("at most {MAX_DEPTH} levels of nesting");
    Err(PolicyError::of(Finding::error("", expected, "more").at(at)))
}

/// Checks that a mapping with these fields may have one more, `key`.
pub(super) fn check_field(entries: &[Entry], key: &str, at: Location) -> Result<(), PolicyError> {
    if entries.len() >= MAX_FIELDS {
        let expected = format!("at most {MAX_FIELDS} fields in a mapping");
        return Err(PolicyError::of(Finding::error("", expected, "more").at(at)));
    }
    let Some(first) = entries.iter().find(|entry| entry.key == key) else { return Ok(()) };
    let finding = Finding::error("", "each field once", format!("{} again", quoted(key))).at(at);
    Err(PolicyError::of(finding.help(format!("it was first given at {}", first.at))))
}
