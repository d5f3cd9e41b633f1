//! Between a caller and a model, whatever API they speak: all that goes up is judged before the upstream is asked, its
//! answer before it is told. The promises are those of the worker at the edge.

mod answering;
mod asked;
mod lane;
mod message;
mod notes;
mod shape;
mod stream;
mod text;
mod transcript;
mod whole;

use std::convert::Infallible;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self as streams, Stream};
use rsafe::Target;

use answering::Answering;
pub use asked::Asked;
pub use message::{asks_for_stream, beside, message, pieces_in, text_in};
#[cfg(test)]
pub use shape::texts_of;
pub use shape::{Fields, Frame, Kind, Parts, Read, Said, Shape, Streamed};
use stream::{relay, written};
pub use transcript::Spoken;

use super::app::Shared;
use super::errors::Problem;
use super::events::Events;
use super::judge::Stop;

/// Relays a request to the upstream: one that is flagged never reaches it, of its answer comes what has passed.
///
/// # Errors
/// What is told instead of an answer.
pub async fn exchange<S: Shape>(app: Shared, headers: HeaderMap, body: Fields) -> Result<Response, Problem> {
    let upstream = app.upstream()?;
    let (mut shape, asked) = S::asked(&body, &app.settings)?;
    match asked.judge(&app.judge(Target::Prompt)).await {
        Ok(()) => {}
        Err(Stop::Failed(problem)) => {
            app.metrics.relayed(Target::Prompt, None);
            return Err(problem);
        }
        Err(stop) => {
            app.metrics.relayed(Target::Prompt, stop.decision());
            let note = stop.note(Target::Prompt, 0);
            if !asked.streams {
                return Ok(Json(shape.refusal(note)).into_response());
            }
            let events = written::<S>(&shape.refusal_events(note));
            return Ok(streamed(streams::iter(events.into_iter().map(Ok))));
        }
    }
    // Waiting for a model elsewhere must not keep texts from being judged here.
    let place = app.relayed.clone().try_acquire_owned().map_err(|_| Problem::busy())?;
    let judge = app.judge(Target::Response);
    let answered = upstream.ask(S::PATH, Some(&body), &headers, &judge).await?;
    let answering = Answering { app: app.clone(), judge, messages: asked.messages, shape };
    if !answered.streams() {
        return Ok(Json(answering.judged(answered.whole().await?).await?).into_response());
    }
    let events = Events::of(answered).await?;
    Ok(streamed(relay(answering, events, place)))
}

fn streamed(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    // Proxies must not gather what is sent piece by piece.
    ([("x-accel-buffering", "no")], Sse::new(events)).into_response()
}
