//! `POST /v1/chat/completions`: all that goes up is judged before the upstream is asked, its answer before it is told. The
//! promises are those of the worker at the edge.

mod asked;
mod choice;
mod completion;
mod judge;
mod notes;
mod relay;
mod text;
mod transcript;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use rsafe::{Decision, Message, Target};
use serde_json::{Map, Value, json};

use asked::Asked;
pub use asked::trusted;
use choice::Reading;
use completion::{
    Fields, own_envelope, pieces_of, spoken_in, texts_of, with_plain_logprobs, withheld_choice, withheld_chunk,
};
pub use judge::Judge;
use judge::Stop;
use notes::Notes;
use relay::{Relay, event, relay};

use super::body::Body;
use super::errors::{Problem, Refused, Unreached};
use super::routes::{App, Shared};

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
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let upstream = app.upstream()?;
    let asked = Asked::read(&body, &app.settings)?;
    match asked.judge(&Judge::of_prompt(app.clone())).await {
        Ok(()) => {}
        Err(Stop::Failed(problem)) => {
            app.metrics.relayed(Target::Prompt, None);
            return Err(problem);
        }
        Err(stop) => {
            app.metrics.relayed(Target::Prompt, stop.decision());
            return Ok(withheld_prompt(&body, asked.streams, stop));
        }
    }
    // Waiting for a model elsewhere must not keep texts from being judged here.
    let place = app.relayed.clone().try_acquire_owned().map_err(|_| Problem::busy())?;
    let judge = Judge::of_answer(app.clone());
    let answered = upstream.ask("chat/completions", Some(&body), &headers, &judge).await?;
    let Asked { messages, choices, .. } = asked;
    if !answered.streams() {
        let answer = answered.whole().await?;
        return Ok(Json(judged(&app, &judge, &messages, answer).await?).into_response());
    }
    let envelope = own_envelope("chat.completion.chunk", body.get("model"));
    let reading = Reading { judge, messages, notes: Notes::default(), pass: app.settings.pass_fields.clone() };
    let events = answered.events().await?;
    Ok(streamed(relay(Relay { app, reading, expected: choices, envelope, events, place })))
}

fn streamed(events: impl stream::Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    // Proxies must not gather what is sent piece by piece.
    ([("x-accel-buffering", "no")], Sse::new(events)).into_response()
}

/// Answers like a model that was filtered: clients of OpenAI know that shape.
fn withheld_prompt(body: &Fields, streams: bool, stop: Stop) -> Response {
    let (model, note) = (body.get("model"), stop.note(Target::Prompt, 0));
    if !streams {
        let mut answer = own_envelope("chat.completion", model);
        answer.insert("choices".into(), json!([withheld_choice(0)]));
        answer.insert("usage".into(), json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}));
        answer.insert("rsafe".into(), note);
        return Json(answer).into_response();
    }
    let envelope = own_envelope("chat.completion.chunk", model);
    let delta = json!({"role": "assistant", "content": ""});
    let mut first = envelope.clone();
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
    first.insert("choices".into(), json!([choice]));
    let events = [event(first), event(withheld_chunk(&envelope, 0, note)), Event::default().data("[DONE]")];
    streamed(stream::iter(events.map(Ok)))
}

/// Judges each choice of a completion, and withholds those that do not pass; all of them if it is what stands beside.
async fn judged(app: &Arc<App>, judge: &Judge, messages: &[Message], answer: Fields) -> Result<Fields, Problem> {
    let without = || Problem::upstream("the upstream answered without choices");
    let offered = answer.get("choices").and_then(Value::as_array).cloned().ok_or_else(without)?;
    let pass = &app.settings.pass_fields;
    let mut beside = answer.clone();
    beside.shift_remove("choices");
    if let Some(stop) = stopped(app, judge, &[], &beside, pass).await? {
        let choices: Vec<Value> = (0..offered.len()).map(withheld_choice).collect();
        let mut answer = own_envelope("chat.completion", None);
        answer.insert("choices".into(), choices.into());
        answer.insert("rsafe".into(), stop.note(Target::Response, 0));
        return Ok(answer);
    }
    let (mut answer, mut choices, mut note) = (answer, Vec::with_capacity(offered.len()), None);
    for (at, choice) in offered.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else { return Err(without()) };
        let spoken = spoken_in(&choice, "message")?;
        with_plain_logprobs(&mut choice, &spoken);
        let mut said = choice.clone();
        said.shift_remove("logprobs");
        match stopped(app, judge, messages, &said, pass).await? {
            None => {
                app.metrics.relayed(Target::Response, Some(Decision::Allow));
                choices.push(Value::Object(choice));
            }
            Some(stop) => {
                choices.push(withheld_choice(at));
                note.get_or_insert_with(|| stop.note(Target::Response, at));
            }
        }
    }
    answer.insert("choices".into(), choices.into());
    if let Some(note) = note {
        answer.insert("rsafe".into(), note);
    }
    Ok(answer)
}

/// Why a part of an answer is withheld, if it is.
///
/// # Errors
/// Where it cannot be judged.
async fn stopped(
    app: &App,
    judge: &Judge,
    messages: &[Message],
    said: &Fields,
    pass: &HashSet<String>,
) -> Result<Option<Stop>, Problem> {
    for text in texts_of(&pieces_of(said, pass)?) {
        match judge.answered(messages, text).await {
            Ok(()) => {}
            Err(Stop::Failed(problem)) => {
                app.metrics.relayed(Target::Response, None);
                return Err(problem);
            }
            Err(stop) => {
                app.metrics.relayed(Target::Response, stop.decision());
                return Ok(Some(stop));
            }
        }
    }
    Ok(None)
}
