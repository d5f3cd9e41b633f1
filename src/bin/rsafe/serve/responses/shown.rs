//! What of a streamed response its reader has seen: its last event repeats it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::serve::relay::Fields;

#[derive(Default)]
pub struct Shown {
    /// The response as it was announced.
    pub response: Option<Fields>,
    /// The number of the event that comes next.
    pub next: u64,
    items: BTreeMap<u64, Fields>,
}

impl Shown {
    /// The items, in their order; those without an end are incomplete.
    pub fn output(&self) -> Vec<Value> {
        let items = self.items.values().cloned().map(|mut item| {
            if item.get("status").is_some_and(|status| status == "in_progress") {
                item.insert("status".into(), "incomplete".into());
            }
            item.into()
        });
        items.collect()
    }

    pub fn add(&mut self, event: &Value) {
        if let Some(number) = event["sequence_number"].as_u64() {
            self.next = number.saturating_add(1);
        }
        if let Some(response) = event["response"].as_object() {
            self.response = Some(response.clone());
        }
        let Some(at) = event["output_index"].as_u64() else { return };
        if let Some(item) = event["item"].as_object() {
            self.items.insert(at, item.clone());
        }
        let part = event["content_index"].as_u64().and_then(|part| usize::try_from(part).ok());
        let Some((item, part)) = self.items.get_mut(&at).zip(part) else { return };
        let Value::Array(parts) = item.entry("content").or_insert_with(|| json!([])) else { return };
        if let Some(whole) = event["part"].as_object().cloned() {
            let size = parts.len();
            match parts.get_mut(part) {
                Some(known) => *known = whole.into(),
                None if part == size => parts.push(whole.into()),
                None => {}
            }
        }
        let field = match event["type"].as_str() {
            Some("response.output_text.delta") => "text",
            Some("response.refusal.delta") => "refusal",
            _ => return,
        };
        let more = event["delta"].as_str().unwrap_or_default();
        if let Some(known) = parts.get_mut(part).and_then(Value::as_object_mut) {
            match known.get_mut(field) {
                Some(Value::String(text)) => text.push_str(more),
                _ => drop(known.insert(field.to_owned(), more.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_repeated_as_far_as_it_came() {
        let at = |kind: &str| json!({"type": format!("response.{kind}"), "output_index": 1, "content_index": 0});
        let with = |mut event: Value, field: &str, value: Value| {
            event[field] = value;
            event
        };
        let mut shown = Shown::default();
        let item = json!({"type": "message", "status": "in_progress", "content": []});
        for event in [
            json!({"type": "response.created", "response": {"id": "r"}, "sequence_number": 4}),
            with(at("output_item.added"), "item", item),
            with(at("content_part.added"), "part", json!({"type": "output_text", "text": ""})),
            with(at("output_text.delta"), "delta", json!("Fl")),
            with(at("output_text.delta"), "delta", json!("our")),
        ] {
            shown.add(&event);
        }
        let content = json!([{"type": "output_text", "text": "Flour"}]);
        assert_eq!(shown.output(), [json!({"type": "message", "status": "incomplete", "content": content})]);
        assert_eq!((shown.next, shown.response.unwrap()["id"].as_str()), (5, Some("r")));
    }
}
