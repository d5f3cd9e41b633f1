//! Messages of a request in OpenAI's shape: as a model reads them, and all that is said in them.

use rsafe::{Message, Role};
use serde::Deserialize;
use serde_json::Value;

use super::shape::Fields;
use super::transcript::Spoken;
use crate::serve::errors::Problem;
use crate::serve::messages::Speaker;
use crate::serve::settings::Settings;
use crate::serve::walk::{Piece, Unreadable, as_read, by_field, plainly, side_by_side, walk};

/// A message, and all that is said in it, save by those whom the owner trusts.
pub fn message(message: &Fields, place: &str, settings: &Settings) -> Result<(Message, Spoken), Problem> {
    let role = message.get("role").unwrap_or(&Value::Null);
    let wrong = |error: serde_json::Error| Problem::bad_input(error.to_string()).about(format!("{place}.role"));
    let speaker = Speaker::deserialize(role).map_err(wrong)?;
    let content = match message.get("content") {
        None | Some(Value::Null) if speaker == Speaker::Assistant => {
            message.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        None | Some(Value::Null) => {
            let wrong = "content is missing; only an assistant's message may come without";
            return Err(Problem::bad_input(wrong).about(format!("{place}.content")));
        }
        Some(content) => text_in(content, &format!("{place}.content"))?,
    };
    let role = Role::from(speaker);
    let trusted = settings.trusted_roles.contains(&speaker);
    let pieces = if trusted { Vec::new() } else { pieces_in(message, place, settings)? };
    Ok((Message::new(role, content), Spoken { role, pieces }))
}

/// A text, or text parts as they are read together.
///
/// # Errors
/// `bad_input` for anything else.
pub fn text_in(content: &Value, place: &str) -> Result<String, Problem> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let parts = parts.iter().enumerate().map(|(at, part)| {
                let expected =
                    "expected a text part such as {\"type\": \"text\", \"text\": \"…\"}; nothing else can be judged";
                text_of(part).ok_or_else(|| Problem::bad_input(expected).about(format!("{place}[{at}]")))
            });
            Ok(as_read(parts.collect::<Result<Vec<_>, _>>()?))
        }
        _ => Err(Problem::bad_input("expected a string or an array of text parts").about(place)),
    }
}

/// The text of a part, where it is one.
fn text_of(part: &Value) -> Option<String> {
    let field = match part.get("type")?.as_str()? {
        "text" | "input_text" | "output_text" => "text",
        "refusal" => "refusal",
        _ => return None,
    };
    part.get(field)?.as_str().map(str::to_owned)
}

/// All that is said in a message.
///
/// # Errors
/// `bad_input` for what cannot be judged.
pub fn pieces_in(message: &Fields, place: &str, settings: &Settings) -> Result<Vec<String>, Problem> {
    let mut pieces = walk(message, place, &settings.pass_fields).map_err(unreadable)?;
    pieces.iter_mut().filter(|piece| is_arguments(piece)).for_each(|piece| piece.text = plainly(&piece.text));
    Ok(side_by_side(&pieces))
}

/// Whether it is the arguments of a call, which are JSON as text.
fn is_arguments(piece: &Piece) -> bool {
    piece.place.ends_with(".arguments")
}

/// The texts of the fields of a request that stand beside its conversation, which lies in `said`.
///
/// # Errors
/// `bad_input` for what cannot be judged.
pub fn beside(body: &Fields, said: &[&str], settings: &Settings) -> Result<Vec<Vec<String>>, Problem> {
    let mut beside = body.clone();
    beside.retain(|field, _| !said.contains(&field.as_str()));
    let beside = walk(&beside, "", &settings.pass_fields).map_err(unreadable)?;
    Ok(by_field(&beside).into_iter().map(|pieces| side_by_side(&pieces)).collect())
}

fn unreadable(Unreadable { path, what, .. }: Unreadable) -> Problem {
    Problem::bad_input(format!("{path} {what}; leave it out")).about(path)
}

/// Whether a request asks for a stream.
///
/// # Errors
/// `bad_input` where nobody can say.
pub fn asks_for_stream(body: &Fields) -> Result<bool, Problem> {
    match body.get("stream") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(streams)) => Ok(*streams),
        Some(_) => Err(Problem::bad_input("stream must be true or false").about("stream")),
    }
}
