//! OpenAI's Responses as a test speaks them: what a model answers, and how a client reads it.

use serde_json::{Value, json};

use super::server::Reply;
use super::upstream::{Answer, End, streams_open, words};

/// A stream as a client reads it.
pub struct Told {
    pub events: Vec<Value>,
    /// The text that was told piece by piece.
    pub text: String,
    pub raw: String,
}

impl Told {
    pub fn last(&self) -> &Value {
        self.events.last().unwrap()
    }

    /// That it ended as a response that was filtered, which repeats what was told of it.
    #[track_caller]
    pub fn is_filtered(&self) {
        let last = self.last();
        assert_eq!(last["type"], "response.incomplete", "{}", self.raw);
        is_filtered(&last["response"], "response");
        assert_eq!(self.events[0]["type"], "response.created");
        assert_eq!(text_in(&last["response"]), self.text, "{}", self.raw);
    }

    /// That it failed for this reason.
    #[track_caller]
    pub fn has_failed(&self, code: &str) {
        let last = self.last();
        assert_eq!(last["type"], "response.failed", "{}", self.raw);
        let response = &last["response"];
        assert_eq!((&response["status"], &response["incomplete_details"]), (&json!("failed"), &Value::Null));
        assert_eq!(response["error"]["code"], "server_error");
        assert_eq!(response["rsafe"]["error"]["code"], code, "{}", self.raw);
        assert_eq!(response["rsafe"]["error"]["message"], response["error"]["message"]);
    }
}

#[track_caller]
pub fn is_filtered(response: &Value, target: &str) {
    assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!("incomplete")), "{response}");
    assert_eq!(response["incomplete_details"], json!({"reason": "content_filter"}));
    let note = &response["rsafe"];
    assert_eq!([&note["target"], &note["decision"], &note["rule"]], [target, "block", "house-7"], "{response}");
    assert!(note.get("evidence").is_none() && note.get("reasoning").is_none(), "they quote: {note}");
}

#[track_caller]
pub fn told(reply: Reply) -> Told {
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let mut events = Vec::new();
    for (at, (name, event)) in reply.events().into_iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(at)), "{}", reply.text);
        events.push(event);
    }
    let pieces = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text = pieces.map(|event| event["delta"].as_str().unwrap()).collect();
    Told { events, text, raw: reply.text }
}

pub fn text_in(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter();
    let parts = items.filter_map(|item| item["content"].as_array()).flatten();
    parts.map(|part| part["text"].as_str().unwrap_or_default()).collect()
}

/// A response with these items.
pub fn response(status: &str, output: &[Value]) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "error": null,
        "incomplete_details": null, "instructions": "Be kind.", "metadata": {}, "parallel_tool_calls": true,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "output": output,
    })
}

pub fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

pub fn message(text: &str) -> Value {
    json!({"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part(text)]})
}

pub fn call(name: &str, arguments: &str, status: &str) -> Value {
    json!({"id": "f1", "type": "function_call", "call_id": "t1", "name": name, "arguments": arguments, "status": status})
}

pub fn thought(text: &str) -> Value {
    json!({"id": "r1", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}], "encrypted_content": "c2Vl=="})
}

/// An item of a streamed response as it comes in events, whole at its end.
fn events_of(at: usize, item: &Value) -> Vec<Value> {
    let mut begun = item.clone();
    begun["status"] = "in_progress".into();
    let mut events = Vec::new();
    let mut add = |kind: &str, more: Value| {
        let mut event = json!({"type": format!("response.{kind}"), "output_index": at});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        events.push(event);
    };
    match item["type"].as_str().unwrap() {
        "message" => {
            let text = item["content"][0]["text"].as_str().unwrap();
            begun["content"] = json!([]);
            add("output_item.added", json!({"item": begun}));
            let of = |more: Value| {
                let mut event = json!({"item_id": "m1", "content_index": 0});
                event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                event
            };
            add("content_part.added", of(json!({"part": part("")})));
            words(text)
                .into_iter()
                .for_each(|word| add("output_text.delta", of(json!({"delta": word, "logprobs": []}))));
            add("output_text.done", of(json!({"text": text})));
            add("content_part.done", of(json!({"part": part(text)})));
        }
        "function_call" => {
            let given = item["arguments"].as_str().unwrap();
            begun["arguments"] = "".into();
            add("output_item.added", json!({"item": begun}));
            let pieces = words(given).into_iter();
            pieces.for_each(|piece| add("function_call_arguments.delta", json!({"item_id": "f1", "delta": piece})));
            add("function_call_arguments.done", json!({"item_id": "f1", "arguments": given}));
        }
        "reasoning" => {
            let text = item["summary"][0]["text"].as_str().unwrap();
            begun["summary"] = json!([]);
            add("output_item.added", json!({"item": begun}));
            let pieces = words(text).into_iter();
            pieces.for_each(|word| {
                add("reasoning_summary_text.delta", json!({"item_id": "r1", "summary_index": 0, "delta": word}));
            });
            add("reasoning_summary_text.done", json!({"item_id": "r1", "summary_index": 0, "text": text}));
        }
        _ => add("output_item.added", json!({"item": begun})),
    }
    add("output_item.done", json!({"item": item}));
    events
}

/// A streamed response with these items.
pub fn said(items: &[Value]) -> Vec<Value> {
    let mut events = vec![json!({"type": "response.created", "response": response("in_progress", &[])})];
    events.extend(items.iter().enumerate().flat_map(|(at, item)| events_of(at, item)));
    events.push(json!({"type": "response.completed", "response": response("completed", items)}));
    numbered(events)
}

pub fn numbered(mut events: Vec<Value>) -> Vec<Value> {
    events.iter_mut().zip(0..).for_each(|(event, number)| event["sequence_number"] = json!(number));
    events
}

pub fn sends(events: &[Value], end: End) -> Answer {
    let wire = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).into_bytes();
    Answer { pieces: events.iter().map(wire).collect(), ..streams_open(&[], end) }
}
