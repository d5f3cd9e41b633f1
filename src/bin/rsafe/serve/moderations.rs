//! `POST /v1/moderations`: texts in, OpenAI's results out, with our decision beside them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use rsafe::Conversation;
use rsafe::verdict::render::Moderated;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::Shared;
use super::body::Body;
use super::errors::{Problem, Refused};
use super::ids::id;
use super::messages::{Part, Text};
use super::pool::Ask;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModerationRequest {
    input: Input,
    /// Taken for clients that send it; the server has one model.
    #[expect(dead_code, reason = "clients send it along")]
    model: Option<String>,
}

/// A string, strings, or the text parts of one input.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string, an array of strings, or an array of text parts")]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Parts(Vec<Part>),
}

/// Results in the order of the inputs.
#[derive(Serialize, ToSchema)]
pub struct Moderation<'v> {
    id: String,
    model: &'v str,
    results: Vec<Moderated<'v>>,
}

/// Judges texts as prompts.
#[utoipa::path(
    post, path = "/v1/moderations", request_body = ModerationRequest, security(("key" = [])),
    responses(
        (status = 200, description = "The verdicts, in the order of the texts.", body = Moderation),
        Refused,
    ),
)]
pub async fn moderations(
    State(app): State<Shared>,
    Body(request): Body<ModerationRequest>,
) -> Result<Response, Problem> {
    let texts = request.input.texts(app.settings.max_inputs)?;
    let asks = texts.into_iter().map(|text| Ask::own(Conversation::prompt(text)));
    let answers = app.pool.ask(asks.collect())?;
    let mut verdicts = Vec::with_capacity(answers.len());
    for answer in answers {
        verdicts.push(answer.verdict().await?);
    }
    let results = verdicts.iter().map(Moderated::of).collect();
    Ok(Json(Moderation { id: id("modr-"), model: &app.model, results }).into_response())
}

impl Input {
    fn texts(self, most: usize) -> Result<Vec<String>, Problem> {
        let texts = match self {
            Self::Text(text) => vec![text],
            Self::Texts(texts) => texts,
            Self::Parts(parts) => vec![Text::Parts(parts).read()],
        };
        match texts.len() {
            0 => Err(Problem::bad_input("input must hold at least one text").about("input")),
            found if found > most => {
                let message = format!("input has {found} entries; at most {most} are judged at once");
                Err(Problem::bad_input(message).about("input"))
            }
            _ => Ok(texts),
        }
    }
}
