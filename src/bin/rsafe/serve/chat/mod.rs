//! `POST /v1/chat/completions`: OpenAI's chats, judged up and down.

mod chunks;
mod completion;
mod request;
mod state;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use state::Chat;

use super::app::Shared;
use super::body::Body;
use super::errors::{Problem, Refused, Unreached};
use super::relay::{Fields, exchange};

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
