//! A response that comes whole, and how one looks that is withheld.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::items::{Call, items_in, misshapen, pieces_beside, said_beside};
use super::{Responses, request};
use crate::serve::errors::Problem;
use crate::serve::ids::id;
use crate::serve::relay::{Asked, Fields, Parts, Said, Shape};
use crate::serve::settings::Settings;

impl Shape for Responses {
    const PATH: &'static str = "responses";

    fn asked(body: &Fields, settings: &Settings) -> Result<(Self, Asked), Problem> {
        request::read(body, settings)
    }

    fn refusal(&self, note: Value) -> Fields {
        let mut answer = self.own();
        answer.extend(filtered());
        answer.insert("rsafe".into(), note);
        answer
    }

    fn refusal_events(&mut self, note: Value) -> Vec<Value> {
        self.end(filtered(), note)
    }

    fn parts(&self, answer: &mut Fields) -> Result<Parts, Problem> {
        let beside = pieces_beside(answer, &self.body, "", &self.pass)?;
        let mut said = Vec::new();
        if !answer.contains_key("output") {
            return Err(misshapen("a response without items"));
        }
        for (at, item) in items_in(answer)?.enumerate() {
            let item = item.as_object().ok_or_else(|| misshapen("an item that is not an object"))?;
            let place = format!("output[{at}]");
            said.extend(Call::of(item).into_iter().flat_map(|call| call.said(&place)));
            said.extend(said_beside(item, &place, &self.pass)?);
        }
        Ok(Parts { beside: beside.into_iter().map(Said::from).collect(), parts: vec![said] })
    }

    fn withhold(&self, answer: &mut Fields, _part: usize) {
        answer.extend(filtered());
        answer.insert("output".into(), json!([]));
        answer.insert("output_text".into(), json!(""));
    }

    fn without(&self, _answer: &Fields) -> Fields {
        let mut answer = self.own();
        answer.extend(filtered());
        answer
    }
}

impl Responses {
    /// A response of our own.
    pub fn own(&self) -> Fields {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let model = self.body.get("model").and_then(Value::as_str).unwrap_or_default();
        fields(json!({
            "id": id("resp_"), "object": "response", "created_at": created, "status": "in_progress", "error": null,
            "incomplete_details": null, "instructions": null, "metadata": {}, "model": model, "output": [],
            "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
        }))
    }
}

/// What a response says that was filtered.
pub fn filtered() -> Fields {
    fields(json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}))
}

/// The fields of an object.
pub fn fields(object: Value) -> Fields {
    match object {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
