//! `POST /v1/check`: a conversation in, our verdict out, whole or with its reasoning as it is written.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use rsafe::verdict::shape;
use rsafe::{Conversation, Message, Policy, Reasoning, Role, Target, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::app::Shared;
use super::body::Body;
use super::errors::{Problem, Refused};
use super::messages::{self, Text, Turn};
use super::pool::{Answer, Ask, Said, Under};
use super::settings::Settings;

/// What is to be judged: `messages`, or a `prompt` and perhaps its `response`. Any other field is refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    messages: Option<Vec<Turn>>,
    prompt: Option<Text>,
    response: Option<Text>,
    /// The side that is judged; without it the one that spoke last.
    target: Option<Target>,
    policy: Option<PolicySource>,
    reasoning: Option<Reasoning>,
    /// From 0 (flags least) to 1 (flags most).
    strictness: Option<f32>,
    /// Whether the answer comes as events: `reasoning`, then `verdict` or `error`, and at the end `done`.
    stream: Option<bool>,
    /// Taken for clients that send it; the server has one model.
    #[expect(dead_code, reason = "clients send it along")]
    model: Option<String>,
}

/// The name of a built-in policy, or where the server allows it the text of a policy or the policy as an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected the name of a built-in policy, or a policy as text or object")]
enum PolicySource {
    Text(String),
    Object(Map<String, Value>),
}

/// Judges a conversation.
#[utoipa::path(
    post, path = "/v1/check", request_body = CheckRequest, security(("key" = [])),
    responses(
        (status = 200, description = "The verdict, or with `stream` the events.",
            content((shape::Verdict = "application/json"), (String = "text/event-stream"))),
        Refused,
    ),
)]
pub async fn check(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(request): Body<CheckRequest>,
) -> Result<Response, Problem> {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let streams = request.stream.unwrap_or(accepts.contains("text/event-stream"));
    let ask = request.ask(&app.settings)?;
    let conversation = ask.conversation.clone();
    let answer = app.pool.ask(vec![ask])?.remove(0);
    if streams {
        return Ok(Sse::new(events(answer, conversation)).into_response());
    }
    let verdict = answer.verdict().await?;
    Ok(Json(shown(&verdict, &conversation)).into_response())
}

fn shown<'v>(verdict: &'v Verdict, conversation: &Conversation) -> shape::Verdict<'v> {
    let texts: Vec<&str> = conversation.messages.iter().map(|message| message.content.as_str()).collect();
    shape::Verdict::of(verdict, &texts)
}

/// The stream of a check. Dropping it, as is done when the caller leaves, ends the check.
fn events(answer: Answer, conversation: Arc<Conversation>) -> impl Stream<Item = Result<Event, Infallible>> {
    enum Stage {
        Hearing(Answer),
        Done,
    }
    unfold(Some(Stage::Hearing(answer)), move |stage| {
        let conversation = conversation.clone();
        async move {
            let (event, next) = match stage? {
                Stage::Hearing(mut answer) => match answer.next().await {
                    Said::Reasoning(text) => (event("reasoning", json!({"text": text})), Stage::Hearing(answer)),
                    Said::Verdict(verdict) => (event("verdict", shown(&verdict, &conversation)), Stage::Done),
                    Said::Failed(problem) => (event("error", problem.told()), Stage::Done),
                    Said::Grown(_) => (event("error", Problem::internal().told()), Stage::Done),
                },
                Stage::Done => return Some((Ok(event("done", json!({}))), None)),
            };
            Some((Ok(event), Some(next)))
        }
    })
}

fn event(name: &str, data: impl Serialize) -> Event {
    let event = Event::default().event(name);
    // Our own values are JSON always; should one ever not be, the event has no verdict in it.
    event.json_data(data).unwrap_or_else(|_| Event::default().event("error").data("{}"))
}

impl CheckRequest {
    fn ask(self, settings: &Settings) -> Result<Ask, Problem> {
        if self.strictness.is_some_and(|strictness| !(0.0..=1.0).contains(&strictness)) {
            return Err(Problem::bad_input("strictness must be a number from 0 to 1").about("strictness"));
        }
        let under = self.policy.map_or(Ok(Under::Own), |policy| policy.under(settings))?;
        let mut conversation = Conversation::of(said(self.messages, self.prompt, self.response)?);
        conversation.target = self.target.unwrap_or(conversation.target);
        conversation.validate()?;
        let (reasoning, strictness) = (self.reasoning, self.strictness);
        Ok(Ask { conversation: Arc::new(conversation), under, reasoning, strictness })
    }
}

fn said(messages: Option<Vec<Turn>>, prompt: Option<Text>, response: Option<Text>) -> Result<Vec<Message>, Problem> {
    match (messages, prompt, response) {
        (Some(turns), None, None) => messages::conversation(turns),
        (None, Some(prompt), response) => {
            let answer = response.map(|text| Message::new(Role::Assistant, text.read()));
            Ok([Message::new(Role::User, prompt.read())].into_iter().chain(answer).collect())
        }
        (Some(_), _, _) => Err(Problem::bad_input("send messages, or prompt and response, not both")),
        (None, None, _) => Err(Problem::bad_input("send messages, or a prompt, or a prompt and its response")),
    }
}

impl PolicySource {
    /// Built-in policies cost no more than the owner's and hold no rules; others only where the owner lets callers bring them.
    fn under(self, settings: &Settings) -> Result<Under, Problem> {
        let names = Policy::builtin_names();
        if let Self::Text(text) = &self
            && let Some(&name) = names.iter().find(|name| *name == text)
        {
            return Ok(Under::Builtin(name));
        }
        match self {
            Self::Text(text) if settings.allow_policies => Ok(Under::Text(text)),
            Self::Object(object) if settings.allow_policies => Ok(Under::Json(Value::Object(object).to_string())),
            Self::Text(_) | Self::Object(_) => {
                let names = names.join(", ");
                let message = format!(
                    "policy must be a built-in one here ({names}) or left out; the owner of this server can start it \
                     with --allow-policies"
                );
                Err(Problem::new(StatusCode::FORBIDDEN, "policy_not_allowed", message).about("policy"))
            }
        }
    }
}
