//! A chat's completion in chunks, each with a piece of one choice or of several.

use axum::response::sse::Event;
use rsafe::Target;
use serde_json::{Value, json};

use super::completion::{has_more, pieces_of, said_in, spoken_in, with_plain_logprobs, withheld_chunk};
use super::state::Chat;
use crate::serve::errors::{ErrorBody, Problem};
use crate::serve::judge::Stop;
use crate::serve::relay::{Fields, Frame, Read, Streamed};
use crate::serve::walk::Piece;

impl Streamed for Chat {
    const DONE: Option<&'static str> = Some("[DONE]");
    const CONTENT: &'static str = "delta.content";
    const MOST: usize = 32;
    const TELLS_REST: bool = true;

    fn lanes(&self) -> usize {
        self.choices
    }

    fn read(&mut self, chunk: Fields) -> Result<Read, Problem> {
        let Some(Value::Array(choices)) = chunk.get("choices") else { return Err(without_choices(&chunk)) };
        let mut envelope = chunk.clone();
        envelope.shift_remove("choices");
        let beside = pieces_of(&envelope, &self.pass)?;
        let mut frames = Vec::with_capacity(choices.len());
        for choice in choices {
            let Value::Object(choice) = choice else {
                return Err(Problem::upstream("the upstream sent a choice that is not an object"));
            };
            frames.push((self.lane_of(choice)?, self.frame(&envelope, choice.clone())));
        }
        let loose = choices.is_empty().then(|| chunk.clone().into());
        Ok(Read { beside, frames, loose })
    }

    fn sent(&mut self, out: &Value) {
        if let Some(chunk) = out.as_object().filter(|chunk| chunk.contains_key("choices")) {
            self.envelope = chunk.clone();
            self.envelope.retain(|field, _| !["choices", "usage", "rsafe"].contains(&field.as_str()));
        }
    }

    fn part(&self, out: &Value, place: &str, missing: usize) -> Option<Value> {
        let choice = &out["choices"][0];
        let delta = &choice["delta"];
        // Names of the sender's own share one text, of which no part is one field's.
        let field = place.strip_prefix("delta.").filter(|field| *field != "*")?;
        let text = delta.get(field)?.as_str()?;
        let released = text.get(..text.len().checked_sub(missing)?).filter(|text| !text.is_empty())?;
        let mut told = Fields::new();
        if let Some(role) = delta.get("role").filter(|role| *role == "assistant") {
            told.insert("role".into(), role.clone());
        }
        told.insert(field.to_owned(), released.into());
        let mut chunk = out.clone();
        let index = choice.get("index").unwrap_or(&json!(0)).clone();
        chunk["choices"] = json!([{"index": index, "delta": told, "logprobs": null, "finish_reason": null}]);
        Some(chunk)
    }

    fn ending(&mut self, lane: usize, stop: Stop) -> Result<Vec<Value>, Problem> {
        Ok(vec![withheld_chunk(&self.envelope, lane, stop.note(Target::Response, lane))])
    }

    fn failed(&mut self, problem: Problem) -> Vec<Value> {
        vec![json!(ErrorBody::of(problem))]
    }

    fn event(out: &Value) -> Event {
        // Our own values are JSON always; should one ever not be, nothing of it is told.
        Event::default().json_data(out).unwrap_or_default()
    }
}

impl Chat {
    fn lane_of(&self, choice: &Fields) -> Result<usize, Problem> {
        let index = choice.get("index").filter(|index| !index.is_null()).map_or(Some(0), Value::as_u64);
        let at = index.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < self.choices);
        at.ok_or_else(|| Problem::upstream(format!("the upstream sent a choice where {} were asked for", self.choices)))
    }

    /// A chunk with this one choice; `envelope` is the rest of it.
    fn frame(&self, envelope: &Fields, mut choice: Fields) -> Result<Frame, Problem> {
        let delta = spoken_in(&choice, "delta")?;
        with_plain_logprobs(&mut choice, &delta);
        let mut judged = choice.clone();
        judged.shift_remove("logprobs");
        let (named, said): (Vec<Piece>, Vec<Piece>) =
            pieces_of(&judged, &self.pass)?.into_iter().partition(|piece| piece.named);
        let closes = !said.is_empty() || has_more(&delta);
        let last = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        let mut out = envelope.clone();
        out.insert("choices".into(), json!([choice]));
        Ok(Frame { out: out.into(), said: said.into_iter().map(said_in).collect(), named, closes, last })
    }
}

/// An event that is no chunk of a chat is another API's, and its text nobody here knows how to hold.
fn without_choices(chunk: &Fields) -> Problem {
    let api = match chunk.get("type").and_then(Value::as_str) {
        Some(kind) if kind.starts_with("response.") => " of the Responses API",
        Some(_) => " of another API",
        None => "",
    };
    Problem::upstream(format!("the upstream sent an event{api} without `choices`, which cannot be judged"))
}
