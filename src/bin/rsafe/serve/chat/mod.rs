//! `POST /v1/chat/completions`: OpenAI's chats, judged up and down.

mod chunks;
mod completion;
mod request;

use std::collections::HashSet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use completion::own_envelope;

use super::body::Body;
use super::errors::{Problem, Refused, Unreached};
use super::relay::{Fields, exchange};
use super::routes::Shared;

/// Relays a chat to the upstream: a prompt that is flagged never reaches it, of an answer comes what has passed.
#[utoipa::path(
    post, path = "/v1/chat/completions", request_body = Object, security(("key" = [])),
    responses(
        (status = 200, description = "OpenAI's completion, or with `stream` its chunks; what is withheld ends with \
            `finish_reason: content_filter` and says why under `rsafe`.",
            content((Object = "application/json"), (String = "text/event-stream"))),
        Refused,
        Unreached,
    ),
)]
pub async fn chat(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<Fields>,
) -> Result<Response, Problem> {
    exchange::<Chat>(app, headers, body).await
}

/// One chat.
struct Chat {
    /// As the caller names it.
    model: Option<Value>,
    /// How many choices were asked for.
    choices: usize,
    /// What the last chunk that was told began with; until there is one, what one of ours does.
    envelope: Fields,
    pass: HashSet<String>,
}

impl Chat {
    fn new(model: Option<Value>, choices: usize, pass: HashSet<String>) -> Self {
        let envelope = own_envelope("chat.completion.chunk", model.as_ref());
        Self { model, choices, envelope, pass }
    }
}
