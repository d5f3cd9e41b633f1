//! Chat completions and their chunks: what of them is text, and how a withheld choice looks.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::request;
use super::state::{Chat, own_envelope};
use crate::serve::errors::Problem;
use crate::serve::relay::{Asked, Fields, Kind, Parts, Said, Shape};
use crate::serve::settings::Settings;
use crate::serve::walk::{Piece, walk};

impl Shape for Chat {
    const PATH: &'static str = "chat/completions";

    fn asked(body: &Fields, settings: &Settings) -> Result<(Self, Asked), Problem> {
        request::read(body, settings)
    }

    fn refusal(&self, note: Value) -> Fields {
        let mut answer = own_envelope("chat.completion", self.model.as_ref());
        answer.insert("choices".into(), json!([withheld_choice(0)]));
        answer.insert("usage".into(), json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}));
        answer.insert("rsafe".into(), note);
        answer
    }

    fn refusal_events(&mut self, note: Value) -> Vec<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        let mut first = self.envelope.clone();
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
        first.insert("choices".into(), json!([choice]));
        vec![first.into(), withheld_chunk(&self.envelope, 0, note)]
    }

    fn parts(&self, answer: &mut Fields) -> Result<Parts, Problem> {
        let without = || Problem::upstream("the upstream answered without choices");
        let mut beside = answer.clone();
        beside.shift_remove("choices");
        let beside = all_said(pieces_of(&beside, &self.pass)?);
        let choices = answer.get_mut("choices").and_then(Value::as_array_mut).ok_or_else(without)?;
        let parts = choices.iter_mut().map(|choice| {
            let choice = choice.as_object_mut().ok_or_else(without)?;
            let spoken = spoken_in(choice, "message")?;
            with_plain_logprobs(choice, &spoken);
            let mut said = choice.clone();
            said.shift_remove("logprobs");
            Ok(all_said(pieces_of(&said, &self.pass)?))
        });
        Ok(Parts { beside, parts: parts.collect::<Result<_, Problem>>()? })
    }

    fn withhold(&self, answer: &mut Fields, part: usize) {
        let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
        if let Some(choice) = choices.and_then(|choices| choices.get_mut(part)) {
            *choice = withheld_choice(part);
        }
    }

    fn without(&self, answer: &Fields) -> Fields {
        let choices = answer.get("choices").and_then(Value::as_array).map_or(0, Vec::len);
        let mut answer = own_envelope("chat.completion", None);
        answer.insert("choices".into(), (0..choices).map(withheld_choice).collect());
        answer
    }
}

fn unreadable(what: &str) -> Problem {
    Problem::upstream(format!("the upstream answered with {what}"))
}

/// The pieces of something of an upstream's.
///
/// # Errors
/// `upstream`, which names what cannot be judged in words of ours.
pub fn pieces_of(value: &Fields, pass: &HashSet<String>) -> Result<Vec<Piece>, Problem> {
    walk(value, "", pass).map_err(|odd| unreadable(&format!("`{}`, which {}", odd.place, odd.what)))
}

/// All of what pieces say, names of fields first, so that they break up no text.
fn all_said(pieces: Vec<Piece>) -> Vec<Said> {
    let (named, others): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(|piece| piece.named);
    named.into_iter().chain(others).map(said_in).collect()
}

/// What a piece says: a part of a call, or of the text of its place.
pub fn said_in(piece: Piece) -> Said {
    match call_of(&piece).map(str::to_owned) {
        Some(place) => Said { place, kind: Kind::Call, ..piece.into() },
        None => piece.into(),
    }
}

/// The call of a tool that a piece belongs to, where it is its name or what it is called with: those say little by halves.
fn call_of(piece: &Piece) -> Option<&str> {
    let calls = ["tool_calls[].function.", "tool_calls[].custom.", "function_call."];
    let (_, field) = calls.iter().find_map(|call| piece.place.rsplit_once(call))?;
    let known = !piece.named && ["name", "arguments", "input"].contains(&field);
    known.then(|| piece.path.rsplit_once('.').map_or("", |(call, _)| call))
}

/// The message or delta of an upstream's choice.
///
/// # Errors
/// `upstream` where the choice has its text anywhere else: what is not read does not pass.
pub fn spoken_in(choice: &Fields, field: &str) -> Result<Fields, Problem> {
    for other in ["message", "delta", "text"] {
        if other != field && choice.get(other).is_some_and(|value| !value.is_null()) {
            return Err(unreadable(&format!("`{other}` where `{field}` belongs, which cannot be judged")));
        }
    }
    match choice.get(field) {
        None | Some(Value::Null) => Ok(Fields::new()),
        Some(Value::Object(spoken)) => Ok(spoken.clone()),
        Some(_) => Err(unreadable(&format!("a `{field}` that is not an object"))),
    }
}

/// Whether a delta has something besides its role and texts, such as the call of a tool.
pub fn has_more(delta: &Fields) -> bool {
    delta.iter().any(|(field, value)| match value {
        _ if field == "role" => false,
        Value::Null | Value::String(_) => false,
        Value::Array(items) => !items.is_empty() && field != "content",
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    })
}

/// Leaves the probabilities of a choice's tokens where they tell no more than its text: where the tokens are the text, and
/// without the alternatives to them, which nobody judged.
pub fn with_plain_logprobs(choice: &mut Fields, spoken: &Fields) {
    let Some(logprobs) = choice.get("logprobs").filter(|logprobs| !logprobs.is_null()) else { return };
    let of = |field: &str| -> Option<Value> {
        let tokens = logprobs.get(field)?.as_array()?;
        let words: Vec<&str> = tokens.iter().map(|token| token.get("token")?.as_str()).collect::<Option<_>>()?;
        let said = spoken.get(field).and_then(Value::as_str).unwrap_or_default();
        (words.concat() == said).then(|| {
            let told = tokens.iter().zip(words).map(|(token, word)| {
                let logprob = token.get("logprob").filter(|logprob| logprob.is_number());
                json!({"token": word, "logprob": logprob, "bytes": word.as_bytes(), "top_logprobs": []})
            });
            told.collect()
        })
    };
    let (content, refusal) = (of("content"), of("refusal"));
    let told = content.is_some() || refusal.is_some();
    let plain = if told { json!({"content": content, "refusal": refusal}) } else { Value::Null };
    choice.insert("logprobs".into(), plain);
}

/// The choice as it is when withheld, in a completion.
fn withheld_choice(index: usize) -> Value {
    let message = json!({"role": "assistant", "content": "", "refusal": null});
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": "content_filter"})
}

/// The last chunk of a choice that is withheld from here on.
pub fn withheld_chunk(envelope: &Fields, index: usize, rsafe: Value) -> Value {
    let choice = json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": "content_filter"});
    let mut chunk = envelope.clone();
    chunk.insert("choices".into(), json!([choice]));
    chunk.insert("rsafe".into(), rsafe);
    Value::Object(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::relay::texts_of;

    fn texts(value: Value) -> Vec<String> {
        texts_of(&all_said(pieces_of(value.as_object().unwrap(), &HashSet::new()).unwrap()))
    }

    #[test]
    fn a_call_is_judged_as_its_name_and_its_arguments_read_as_json() {
        let call = |name: &str, arguments: &str| json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls = json!({"message": {"content": null, "tool_calls": [call("open", r#"{"a":"\u0064oor"}"#), call("close", "it")]}});
        let found = texts(calls);
        assert_eq!(&found[..2], ["open {\"a\":\"door\"}", "close it\ncloseit"]);
        assert_eq!(found.len(), 3, "and all of it side by side: {found:?}");
    }

    #[test]
    fn what_stands_side_by_side_is_read_together_too() {
        assert_eq!(texts(json!({"content": "one."})), ["one."]);
        assert_eq!(texts(json!({"content": "one.", "refusal": "two."})), ["one.", "two.", "one. two."]);
    }

    #[test]
    fn probabilities_stay_where_their_tokens_are_the_text() {
        let told = |content: &str| {
            let tokens = json!([{"token": "Fine", "logprob": -0.5, "top_logprobs": [{"token": "Bad"}]}]);
            let mut choice = json!({"logprobs": {"content": tokens, "refusal": null}}).as_object().unwrap().clone();
            with_plain_logprobs(&mut choice, json!({"content": content}).as_object().unwrap());
            choice.remove("logprobs").unwrap()
        };
        let plain = json!([{"token": "Fine", "logprob": -0.5, "bytes": [70, 105, 110, 101], "top_logprobs": []}]);
        assert_eq!(told("Fine"), json!({"content": plain, "refusal": null}));
        assert_eq!(told("Other"), Value::Null);
    }
}
