//! What a response is asked for: items, and the instructions before them.

use rsafe::{Message, Role};
use serde_json::{Map, Value, json};

use super::Responses;
use super::shown::Shown;
use crate::serve::errors::Problem;
use crate::serve::relay::{Asked, Fields, Spoken, asks_for_stream, beside, message, pieces_in, text_in};
use crate::serve::settings::Settings;

/// # Errors
/// `bad_input` for what is no such request, or cannot be judged.
pub fn read(body: &Fields, settings: &Settings) -> Result<(Responses, Asked), Problem> {
    refuse_unjudgeable(body)?;
    let given = |field: &str| body.get(field).filter(|value| !value.is_null());
    let said = |role: &str, content: &Value| {
        Map::from_iter([("role".to_owned(), json!(role)), ("content".to_owned(), content.clone())])
    };
    let mut read = Vec::new();
    if let Some(instructions) = given("instructions") {
        read.push(message(&said("system", instructions), "instructions", settings)?);
    }
    match given("input") {
        Some(Value::Array(items)) => {
            for (at, fields) in items.iter().enumerate() {
                let place = format!("input[{at}]");
                let expected = "expected an item, which is an object";
                let fields = fields.as_object().ok_or_else(|| Problem::bad_input(expected).about(&place))?;
                read.push(item(fields, &place, settings)?);
            }
        }
        Some(Value::String(text)) => read.push(message(&said("user", &json!(text)), "input", settings)?),
        Some(_) => return Err(Problem::bad_input("expected a string or an array of items").about("input")),
        None => {}
    }
    let streams = asks_for_stream(body)?;
    let (messages, spoken) = read.into_iter().unzip();
    let beside = beside(body, &["input", "instructions"], settings)?;
    let responses = Responses {
        body: body.clone(),
        pass: settings.pass_fields.clone(),
        shown: Shown::default(),
        texts: Default::default(),
        calls: Default::default(),
        notes: 0,
    };
    Ok((responses, Asked { messages, spoken, beside, streams }))
}

/// Options that would bring back what cannot be judged.
fn refuse_unjudgeable(body: &Fields) -> Result<(), Problem> {
    let wrong = |message: String, field: &str| Err(Problem::bad_input(message).about(field));
    if body.get("background") == Some(&Value::Bool(true)) {
        // Its answer is fetched later, by requests that ask for no text.
        return wrong("background: true cannot be judged, only text; leave it out".into(), "background");
    }
    let asks = |names: &Value| names.as_array().is_some_and(|names| names.iter().any(names_logprobs));
    let nothing = [Value::Null, json!(0), json!(false)];
    let field = match (body.get("include"), body.get("top_logprobs")) {
        (Some(names), _) if asks(names) => "include",
        (_, Some(most)) if !nothing.contains(most) => "top_logprobs",
        _ => return Ok(()),
    };
    wrong(format!("{field} asks for words beside the answer's, which cannot be judged; leave them out"), field)
}

fn names_logprobs(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.contains("logprobs"))
}

/// An item as a model reads it, and all that is said in it.
fn item(item: &Fields, place: &str, settings: &Settings) -> Result<(Message, Spoken), Problem> {
    let kind = match item.get("type") {
        None | Some(Value::Null) => "message",
        Some(kind) => kind.as_str().unwrap_or_default(),
    };
    let text = |field: &str| match item.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string(),
    };
    // What a tool gave is a stranger's, the rest an answer that the caller brings.
    let (role, content) = match kind {
        "message" => return message(item, place, settings),
        _ if kind.ends_with("_output") => {
            let output = item.get("output").filter(|output| !output.is_null());
            let read = output.map(|output| text_in(output, &format!("{place}.output")));
            (Role::Tool, read.transpose()?.unwrap_or_default())
        }
        // What servers of tools say.
        _ if kind.starts_with("mcp_") => (Role::Tool, Value::Object(item.clone()).to_string()),
        _ if kind.ends_with("_call") => {
            let given = if item.contains_key("arguments") { "arguments" } else { "input" };
            (Role::Assistant, format!("{} {}", text("name"), text(given)))
        }
        // They name something that the API has seen, or are for its eyes only.
        "reasoning" | "item_reference" | "compaction" => (Role::Assistant, String::new()),
        _ => {
            let message = format!("{place} ({kind}) cannot be judged, only text; leave it out");
            return Err(Problem::bad_input(message).about(place));
        }
    };
    let pieces = pieces_in(item, place, settings)?;
    Ok((Message::new(role, content), Spoken { role, pieces }))
}
