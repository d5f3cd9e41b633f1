//! What a chat asks.

use rsafe::Role;
use serde_json::Value;

use super::state::Chat;
use crate::serve::errors::Problem;
use crate::serve::relay::{Asked, Fields, asks_for_stream, beside, message};
use crate::serve::settings::Settings;

/// # Errors
/// `bad_input` for what is no chat, or cannot be judged.
pub fn read(body: &Fields, settings: &Settings) -> Result<(Chat, Asked), Problem> {
    let messages = match body.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        _ => {
            let message = "messages must be an array of at least one message";
            return Err(Problem::bad_input(message).about("messages"));
        }
    };
    let read = messages.iter().enumerate().map(|(at, fields)| {
        let place = format!("messages[{at}]");
        let expected = "expected an object with a role and content";
        let fields = fields.as_object().ok_or_else(|| Problem::bad_input(expected).about(&place))?;
        message(fields, &place, settings)
    });
    let (messages, spoken): (Vec<_>, Vec<_>) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    if !messages.iter().any(|message| message.role == Role::User) {
        return Err(Problem::bad_input("messages must hold a message of the user").about("messages"));
    }
    let streams = asks_for_stream(body)?;
    let choices = choices(body, settings.max_choices)?;
    let beside = beside(body, &["messages"], settings)?;
    let chat = Chat::new(body.get("model").cloned(), choices, settings.pass_fields.clone());
    Ok((chat, Asked { messages, spoken, beside, streams }))
}

/// How many choices are asked for.
///
/// # Errors
/// `bad_input` for options that would bring back what cannot be judged.
fn choices(body: &Fields, most: usize) -> Result<usize, Problem> {
    let given = |field: &str| body.get(field).filter(|value| !value.is_null());
    let wrong = |message: &str, field: &str| Err(Problem::bad_input(message).about(field));
    if given("audio").is_some() {
        return wrong("audio cannot be judged; ask for text only", "audio");
    }
    let is_text = |kinds: &Value| kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"));
    if given("modalities").is_some_and(|kinds| !is_text(kinds)) {
        return wrong("modalities must be [\"text\"]: nothing else can be judged", "modalities");
    }
    match given("n").map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default()) {
        None => Ok(1),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(_) => wrong(&format!("n must be a whole number from 1 to {most}"), "n"),
    }
}
