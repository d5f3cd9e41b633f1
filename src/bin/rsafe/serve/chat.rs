//! `POST /v1/chat/completions`: all that goes up is judged before the upstream is asked, its answer before it is told.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rsafe::{Conversation, Decision, Message, Role, Target, Verdict};
use serde_json::{Map, Value};

use super::body::Body;
use super::completion::{self, Completion};
use super::errors::{Problem, Refused};
use super::messages::{self, Turn, as_read};
use super::pool::Ask;
use super::routes::{App, Shared};

/// Fields that hold a number, a mark or nothing, and none of whose values is text.
const PLAIN: [&str; 14] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "store",
    "parallel_tool_calls",
];
/// Fields whose texts are judged.
const JUDGED: [&str; 8] =
    ["tools", "tool_choice", "response_format", "stop", "metadata", "user", "reasoning_effort", "verbosity"];
/// Words of the API itself.
const WORDS: [&str; 19] = [
    "type",
    "function",
    "name",
    "description",
    "parameters",
    "properties",
    "required",
    "strict",
    "json_schema",
    "json_object",
    "schema",
    "object",
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "items",
    "auto",
];

/// Relays a chat to the upstream: a prompt that is flagged never reaches it, an answer that is flagged is withheld.
#[utoipa::path(
    post, path = "/v1/chat/completions", request_body = Value, security(("key" = [])),
    responses(
        (status = 200, description = "The completion; what is withheld ends in `content_filter` and says why under `rsafe`.", body = Value),
        (status = 404, description = "No upstream is set."),
        (status = 502, description = "The upstream failed: `upstream`."),
        Refused,
    ),
)]
pub async fn chat(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let Some(upstream) = &app.upstream else {
        let message = "no upstream is set; start the server with --upstream to relay chats";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    let Asked { messages, beside, model, choices } = Asked::read(&body, &app)?;
    let mut asks = runs(&messages);
    asks.extend(beside.into_iter().map(Conversation::prompt));
    if let Some(verdict) = flagged(&app, asks).await? {
        app.metrics.relayed("prompt", verdict.decision);
        return Ok(Json(completion::refused(&model, &verdict)).into_response());
    }
    let bytes = upstream.chat(&body, &headers).await?;
    let answer = Completion::read(&bytes, choices)?;
    let mut verdicts = Vec::with_capacity(answer.choices.len());
    for choice in &answer.choices {
        let said = choice.texts().into_iter().map(|text| answered(&messages, text)).collect();
        // The caller cannot mend what the upstream said.
        verdicts.push(flagged(&app, said).await.map_err(Problem::unjudged)?);
    }
    for verdict in &verdicts {
        app.metrics.relayed("response", verdict.as_ref().map_or(Decision::Allow, |verdict| verdict.decision));
    }
    Ok(Json(answer.told(&model, &verdicts)).into_response())
}

/// The first verdict that flags. Nobody is there to review, so that counts too, as does what stands for a failure.
async fn flagged(app: &App, mut asks: Vec<Conversation>) -> Result<Option<Verdict>, Problem> {
    while !asks.is_empty() {
        let some = asks.drain(..asks.len().min(app.settings.max_inputs)).map(Ask::own).collect();
        for answer in app.pool.ask(some)? {
            let verdict = answer.verdict().await?;
            if verdict.failure.is_some() || verdict.decision != Decision::Allow {
                return Ok(Some(verdict));
            }
        }
    }
    Ok(None)
}

/// What callers say, who may have made up the answers too: the messages between two answers each for itself and as one,
/// all of them as one, and each answer in the light of what stands before it.
fn runs(messages: &[Message]) -> Vec<Conversation> {
    let mut asks = Vec::new();
    let said = |messages: &[Message]| as_read(messages.iter().map(|message| message.content.clone()));
    for run in messages.split(|message| message.role == Role::Assistant).filter(|run| !run.is_empty()) {
        asks.extend(run.iter().map(|message| Conversation::prompt(message.content.clone())));
        if run.len() > 1 {
            asks.push(Conversation::prompt(said(run)));
        }
    }
    for (at, message) in messages.iter().enumerate() {
        if message.role == Role::Assistant && !message.is_empty() {
            asks.push(answered(&messages[..at], message.content.clone()));
        }
    }
    if messages.iter().any(|message| message.role == Role::Assistant) {
        asks.push(Conversation::prompt(said(messages)));
    }
    asks
}

fn answered(messages: &[Message], text: String) -> Conversation {
    let mut messages = messages.to_vec();
    messages.push(Message::new(Role::Assistant, text));
    Conversation { messages, target: Target::Response }
}

/// A chat as it is judged.
struct Asked {
    messages: Vec<Message>,
    /// The texts beside the conversation, by field.
    beside: Vec<String>,
    model: String,
    choices: usize,
}

impl Asked {
    /// # Errors
    /// `bad_input` for what is no chat, or cannot be judged.
    fn read(body: &Map<String, Value>, app: &App) -> Result<Self, Problem> {
        let (mut turns, mut beside, mut model, mut choices) = (None, Vec::new(), String::new(), 1);
        for (field, value) in body {
            let wrong = |message: &str| Err(Problem::bad_input(message).about(field.clone()));
            match (field.as_str(), value) {
                ("messages", _) => turns = Some(value),
                ("model", Value::String(name)) if is_model(name) => model.clone_from(name),
                ("model", _) => return wrong("model must be the name of a model"),
                (_, Value::Null) => {}
                ("stream", Value::Bool(true)) => {
                    return wrong("answers are not streamed here; leave stream out, or use the worker at the edge");
                }
                ("n", _) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
                    Some(n) if (1..=app.settings.max_choices).contains(&n) => choices = n,
                    _ => return wrong(&format!("n must be a whole number from 1 to {}", app.settings.max_choices)),
                },
                (field, Value::Bool(_) | Value::Number(_)) if PLAIN.contains(&field) => {}
                (field, _) if JUDGED.contains(&field) => {
                    let mut pieces = Vec::new();
                    collect(value, &mut pieces);
                    beside.push(as_read(pieces));
                }
                _ => return wrong("this field is not known here, and would go unjudged; leave it out"),
            }
        }
        let missing = || Problem::bad_input("messages must be an array of at least one message").about("messages");
        let turns = serde_path_to_error::deserialize::<_, Vec<Turn>>(turns.ok_or_else(missing)?).map_err(|error| {
            let place = format!("messages{}", error.path());
            Problem::bad_input(error.into_inner().to_string()).about(place)
        })?;
        let messages = messages::conversation(turns)?;
        if !messages.iter().any(|message| message.role == Role::User) {
            return Err(Problem::bad_input("messages must hold a message of the user").about("messages"));
        }
        beside.retain(|text| !text.trim().is_empty());
        Ok(Self { messages, beside, model, choices })
    }
}

/// Every string at every depth, the names of fields among them, save the API's own words.
fn collect(value: &Value, pieces: &mut Vec<String>) {
    let mut add = |text: &String| {
        if !WORDS.contains(&text.as_str()) {
            pieces.push(text.clone())
        }
    };
    match value {
        Value::String(text) => add(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, pieces)),
        Value::Object(fields) => {
            fields.keys().for_each(&mut add);
            fields.values().for_each(|value| collect(value, pieces));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_model(name: &str) -> bool {
    (1..=96).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/@+-".contains(&byte))
}
