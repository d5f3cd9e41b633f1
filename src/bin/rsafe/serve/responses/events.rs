//! A response in events that say each text twice: piece by piece, and whole.

use axum::response::sse::Event;
use rsafe::Target;
use serde_json::{Value, json};

use super::Responses;
use super::answer::{fields, filtered};
use super::items::{
    Call, field_given, given_in, items_in, kind_of, misshapen, pieces_beside, said_beside, said_in, text_of,
};
use crate::serve::errors::Problem;
use crate::serve::judge::Stop;
use crate::serve::relay::{Fields, Frame, Kind, Read, Said, Streamed};
use crate::serve::walk::{as_read, side_by_side};

/// Events of what a tool is called with, without their last word.
const CALLS: [&str; 3] =
    ["response.function_call_arguments", "response.mcp_call_arguments", "response.custom_tool_call_input"];
const LAST: [&str; 3] = ["response.completed", "response.incomplete", "response.failed"];

impl Streamed for Responses {
    const DONE: Option<&'static str> = None;
    const CONTENT: &'static str = "output[0].output_text[0]";
    const MOST: usize = 256;
    const TELLS_REST: bool = false;

    fn lanes(&self) -> usize {
        1
    }

    fn read(&mut self, event: Fields) -> Result<Read, Problem> {
        let kind = kind_of(&event).to_owned();
        let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
        if !kind.starts_with("response.") || kind.len() > 96 || !kind.bytes().all(is_known) {
            return Err(misshapen("an event of another API than Responses"));
        }
        let said = self.said(&kind, &event)?;
        for part in said.iter().filter(|part| part.kind != Kind::Call) {
            self.texts.entry(part.place.clone()).or_default().push_str(&part.text);
        }
        // An annotation stands between two pieces of its text, and does not end it.
        let closes = !kind.ends_with(".delta") && !kind.contains(".annotation.");
        let last = LAST.contains(&kind.as_str());
        let frame = Frame { out: event.into(), said, named: Vec::new(), closes, last };
        Ok(Read { frames: vec![(0, Ok(frame))], ..Read::default() })
    }

    fn sent(&mut self, out: &Value) {
        self.shown.add(out);
    }

    fn part(&self, _out: &Value, _place: &str, _missing: usize) -> Option<Value> {
        None
    }

    fn ending(&mut self, lane: usize, stop: Stop) -> Result<Vec<Value>, Problem> {
        match stop {
            Stop::Failed(problem) => Err(problem),
            stop => Ok(self.end(filtered(), stop.note(Target::Response, lane))),
        }
    }

    fn failed(&mut self, problem: Problem) -> Vec<Value> {
        let (code, message) = (problem.code(), json!(problem.told())["message"].clone());
        let error = json!({"code": "server_error", "message": message});
        let failed = json!({"status": "failed", "incomplete_details": null, "error": error});
        self.end(fields(failed), json!({"error": {"code": code, "message": message}}))
    }

    fn event(out: &Value) -> Event {
        let event = Event::default().event(out["type"].as_str().unwrap_or_default());
        // Our own values are JSON always; should one ever not be, nothing of it is told.
        event.json_data(out).unwrap_or_default()
    }
}

impl Responses {
    /// What of an event did not come before. What repeats the request is not the model's.
    fn said(&mut self, kind: &str, event: &Fields) -> Result<Vec<Said>, Problem> {
        let number = |field: &str| event.get(field).and_then(Value::as_u64);
        let at = format!("output[{}]", number("output_index").unwrap_or_default());
        let delta = event.get("delta").and_then(Value::as_str);
        let mut said = Vec::new();
        match kind.strip_prefix("response.").and_then(|rest| rest.strip_suffix(".delta")).zip(delta) {
            Some((_, delta)) if is_of_call(kind) => {
                self.calls.entry(at.clone()).or_default().given.push_str(delta);
                said.extend(Call { name: String::new(), given: delta.to_owned() }.said(&at));
                said.extend(self.unheard(said_in(event, kind, &["delta"], &self.pass)?));
            }
            Some((text, delta)) => {
                let index = number("content_index").or(number("summary_index")).unwrap_or_default();
                let place = format!("{at}.{text}[{index}]");
                said.push(Said { path: place.clone(), place, text: delta.to_owned(), kind: Kind::Text });
                said.extend(self.unheard(said_in(event, kind, &["delta"], &self.pass)?));
            }
            None if is_of_call(kind) => {
                let name = event.get("name").filter(|name| !name.is_null()).map(text_of);
                said.extend(self.news_of_call(&at, name, given_in(event)));
                said.extend(self.unheard(said_in(event, kind, &["name", field_given(event)], &self.pass)?));
            }
            None => {
                if let Some(response) = event.get("response") {
                    let response = response.as_object().ok_or_else(|| misshapen("a response that is none"))?;
                    said.extend(self.beside(response)?);
                    for (at, item) in items_in(response)?.enumerate() {
                        said.extend(self.item(&format!("output[{at}]"), item)?);
                    }
                }
                if let Some(item) = event.get("item") {
                    said.extend(self.item(&at, item)?);
                }
                said.extend(self.unheard(said_in(event, kind, &["response", "item"], &self.pass)?));
            }
        }
        Ok(said)
    }

    fn item(&mut self, at: &str, item: &Value) -> Result<Vec<Said>, Problem> {
        let item = item.as_object().ok_or_else(|| misshapen("an item that is not an object"))?;
        let mut said = Vec::new();
        if let Some(Call { name, given }) = Call::of(item) {
            said.extend(self.news_of_call(at, Some(name), given));
        }
        said.extend(self.unheard(said_beside(item, at, &self.pass)?));
        Ok(said)
    }

    /// What stands beside the items, as one text.
    fn beside(&mut self, response: &Fields) -> Result<Vec<Said>, Problem> {
        let pieces = pieces_beside(response, &self.body, "response", &self.pass)?;
        let text = as_read(side_by_side(&pieces));
        let place = "response".to_owned();
        let said = Said { path: place.clone(), place, text, kind: Kind::Note };
        Ok(self.unheard([said].into_iter().filter(|said| !said.text.is_empty())))
    }

    /// The part of a call that has not come yet; all of it where it is another one.
    fn news_of_call(&mut self, at: &str, name: Option<String>, given: String) -> Vec<Said> {
        let known = self.calls.entry(at.to_owned()).or_default();
        let call = Call { name: name.unwrap_or_else(|| known.name.clone()), given };
        match call.name.strip_prefix(&known.name).zip(call.given.strip_prefix(&known.given)) {
            Some((name, given)) => {
                let more = Call { name: name.to_owned(), given: given.to_owned() };
                *known = call;
                more.said(at)
            }
            None => {
                self.notes += 1;
                call.said(&format!("{at}.again.{}", self.notes))
            }
        }
    }

    /// The texts that have not come yet, each judged for itself.
    fn unheard(&mut self, said: impl IntoIterator<Item = Said>) -> Vec<Said> {
        let news = said.into_iter().filter(|part| !self.texts.values().any(|text| *text == part.text));
        let first = self.notes;
        let news = news.enumerate().map(|(at, part)| {
            let place = format!("{}.{}", part.place, first + at);
            Said { place, kind: Kind::Note, ..part }
        });
        let news: Vec<Said> = news.collect();
        self.notes += news.len();
        news
    }

    /// The events that end the response here, behind those that were sent, with these fields; `rsafe` says why.
    pub fn end(&mut self, end: Fields, rsafe: Value) -> Vec<Value> {
        let mut response = self.own();
        let mut events = Vec::new();
        match self.shown.response.clone() {
            Some(known) => response.extend(known),
            None => events.push(json!({"type": "response.created", "response": response})),
        }
        response.extend(end);
        response.insert("output".into(), self.shown.output().into());
        response.insert("rsafe".into(), rsafe);
        let kind = format!("response.{}", response.get("status").and_then(Value::as_str).unwrap_or_default());
        events.push(json!({"type": kind, "response": response}));
        for (event, number) in events.iter_mut().zip(self.shown.next..) {
            event["sequence_number"] = number.into();
        }
        events
    }
}

fn is_of_call(kind: &str) -> bool {
    CALLS.iter().any(|call| kind.strip_prefix(call).is_some_and(|rest| [".delta", ".done"].contains(&rest)))
}
