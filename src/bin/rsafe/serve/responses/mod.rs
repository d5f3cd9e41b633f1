//! `POST /v1/responses`: OpenAI's Responses, judged up and down as chats are.

mod answer;
mod events;
mod items;
mod request;
mod shown;

use std::collections::{HashMap, HashSet};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use items::Call;
use shown::Shown;

use super::app::Shared;
use super::body::Body;
use super::errors::{Problem, Refused, Unreached};
use super::relay::{Fields, exchange};

/// Relays a request to the upstream: one that is flagged never reaches it, of an answer comes what has passed.
#[utoipa::path(
    post, path = "/v1/responses", request_body = Object, security(("key" = [])),
    responses(
        (status = 200, description = "OpenAI's response, or with `stream` its events; one that is withheld is \
            `incomplete` for the reason `content_filter`, one that failed behind its first event is `failed`, and says why \
            under `rsafe`.",
            content((Object = "application/json"), (String = "text/event-stream"))),
        Refused,
        Unreached,
    ),
)]
pub async fn respond(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<Fields>,
) -> Result<Response, Problem> {
    exchange::<Responses>(app, headers, body).await
}

/// One response.
struct Responses {
    /// What was asked: a response repeats it.
    body: Fields,
    pass: HashSet<String>,
    shown: Shown,
    /// What a stream has said so far, by its place.
    texts: HashMap<String, String>,
    calls: HashMap<String, Call>,
    notes: usize,
}
