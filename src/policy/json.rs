//! JSON to a located tree. `serde_json` decides what is JSON; a second walk over the accepted text finds the places.

use serde::de::IgnoredAny;

use super::node::{Budget, Entry, Node, Value, check_depth, check_field};
use crate::finding::{Finding, Location, PolicyError};

/// Reads one JSON value.
pub(super) fn parse(text: &str) -> Result<Node, PolicyError> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let at = Location::new(error.line().max(1), error.column().max(1));
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or(&message);
        return Err(PolicyError::of(Finding::error("", "valid JSON", reason).at(at)));
    }
    let mut walk = Walk { text, at: 0, line: 1, column: 1, counted: 0, budget: Budget::new() };
    walk.value(0)
}

/// A cursor over text that is known to be JSON.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// The column of the byte at `counted`; `counted` is never behind the line's start.
    column: usize,
    counted: usize,
    budget: Budget,
}

impl Walk<'_> {
    /// A value inside `depth` collections.
    fn value(&mut self, depth: usize) -> Result<Node, PolicyError> {
        let at = self.next_token();
        let value = match self.peek() {
            Some(b'{') => {
                self.open(depth + 1, at)?;
                self.map(depth + 1)?
            }
            Some(b'[') => {
                self.open(depth + 1, at)?;
                self.list(depth + 1)?
            }
            Some(b'"') => {
                let text = self.string(at)?;
                self.budget.spend(1, text.len(), at)?;
                Value::Scalar { text, plain: false }
            }
            _ => {
                let text = self.word();
                self.budget.spend(1, text.len(), at)?;
                if text == "null" { Value::Null } else { Value::Scalar { text, plain: true } }
            }
        };
        Ok(Node { at, value })
    }

    fn open(&mut self, depth: usize, at: Location) -> Result<(), PolicyError> {
        self.budget.spend(1, 0, at)?;
        check_depth(depth, at)
    }

    fn map(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((at, b'"')) = self.next_item() {
            let key = self.string(at)?;
            check_field(&entries, &key, at)?;
            self.budget.spend(1, key.len(), at)?;
            self.next_token();
            self.at += 1; // the colon
            let value = self.value(depth)?;
            entries.push(Entry { key, at, value });
        }
        self.at += 1;
        Ok(Value::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut items = Vec::new();
        while self.next_item().is_some_and(|(_, byte)| byte != b']') {
            items.push(self.value(depth)?);
        }
        self.at += 1;
        Ok(Value::List(items))
    }

    /// Steps over the bracket or comma that the cursor stands on, to the token behind it; stays on a closing bracket.
    fn next_item(&mut self) -> Option<(Location, u8)> {
        self.next_token();
        if matches!(self.peek(), Some(b'{' | b'[' | b',')) {
            self.at += 1;
        }
        let at = self.next_token();
        self.peek().map(|byte| (at, byte))
    }

    fn next_token(&mut self) -> Location {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                (self.line, self.column, self.counted) = (self.line + 1, 1, self.at);
            }
        }
        self.column += self.text[self.counted..self.at].chars().count();
        self.counted = self.at;
        Location::new(self.line, self.column)
    }

    /// A string's value; the cursor stands on its opening quote. JSON strings do not span lines.
    fn string(&mut self, at: Location) -> Result<String, PolicyError> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        serde_json::from_str(&self.text[start..self.at])
            .map_err(|error| PolicyError::of(Finding::error("", "a valid JSON string", error.to_string()).at(at)))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            self.at += 1;
        }
        self.text[start..self.at].to_owned()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}
