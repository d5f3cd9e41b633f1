//! A streamed answer on its way through: chunks come from the upstream, and leave when their text was released.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use axum::response::sse::Event;
use futures_util::stream::{Stream, unfold};
use rsafe::{Decision, Target};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::choice::{Choice, Reading};
use super::completion::{Fields, pieces_of};
use super::judge::{Judge, Stop};
use crate::serve::errors::{ErrorBody, Problem};
use crate::serve::events::Events;
use crate::serve::routes::Shared;
use crate::serve::upstream::message_in;

const DONE: &str = "[DONE]";

pub struct Relay {
    pub app: Shared,
    pub reading: Reading,
    /// How many choices were asked for.
    pub expected: usize,
    /// What a chunk of ours begins with until the upstream has sent one.
    pub envelope: Fields,
    pub events: Events,
    /// The chat's place.
    pub place: OwnedSemaphorePermit,
}

/// The events to send. Dropping it, as is done when the reader leaves, ends the upstream and the checks.
pub fn relay(relay: Relay) -> impl Stream<Item = Result<Event, Infallible>> {
    let Relay { app, reading, expected, envelope, events, place } = relay;
    let held = Held { app, reading, expected, envelope, choices: BTreeMap::new(), loose: Vec::new() };
    let stage = Stage::Reading(Box::new(events), place);
    unfold((held, stage, VecDeque::new()), |(mut held, mut stage, mut ready)| async move {
        loop {
            if let Some(event) = ready.pop_front() {
                return Some((Ok(event), (held, stage, ready)));
            }
            stage = match stage {
                Stage::Reading(mut events, place) => match held.next(&mut events).await {
                    Ok(true) => Stage::Reading(events, place),
                    Ok(false) => Stage::Ending(None),
                    Err(problem) => Stage::Ending(Some(problem)),
                },
                Stage::Ending(failure) => {
                    // What was said before a failure is judged to its end, too.
                    held.finish().await;
                    ready.extend(held.take().into_iter().map(event));
                    ready.extend(failure.map(|problem| event(ErrorBody::of(problem))));
                    ready.push_back(Event::default().data(DONE));
                    Stage::Done
                }
                Stage::Done => return None,
            };
            ready.extend(held.take().into_iter().map(event));
        }
    })
}

enum Stage {
    Reading(Box<Events>, OwnedSemaphorePermit),
    Ending(Option<Problem>),
    Done,
}

pub fn event(data: impl Serialize) -> Event {
    // Our own values are JSON always; should one ever not be, nothing of it is told.
    Event::default().json_data(data).unwrap_or_else(|_| Event::default().data(DONE))
}

/// The choices of a stream, and the chunks without any. Each choice waits for its own text only; one that is withheld does
/// not end the others.
struct Held {
    app: Shared,
    reading: Reading,
    expected: usize,
    envelope: Fields,
    choices: BTreeMap<usize, Choice>,
    loose: Vec<Value>,
}

impl Held {
    /// Takes the next event; whether there may be more.
    async fn next(&mut self, events: &mut Events) -> Result<bool, Problem> {
        match events.next().await? {
            Some(data) if data.trim() == DONE => Ok(false),
            Some(data) => {
                self.accept(chunk_of(&data, &self.reading.judge).await?).await?;
                Ok(!self.cut_short())
            }
            None if self.over() => Ok(false),
            None => Err(Problem::upstream("the upstream broke off")),
        }
    }

    async fn accept(&mut self, mut chunk: Fields) -> Result<(), Problem> {
        let choices = match chunk.get("choices") {
            Some(Value::Array(choices)) => choices.clone(),
            _ => return Err(without_choices(&chunk)),
        };
        let mut envelope = chunk.clone();
        envelope.shift_remove("choices");
        let beside = pieces_of(&envelope, &self.reading.pass)?;
        match self.reading.notes.read(&self.reading.judge, beside).await {
            Ok(()) => {}
            Err(Stop::Withheld(verdict)) => {
                // What stands beside the choices is everybody's: none goes on.
                for at in 0..self.expected {
                    self.withhold(at, Stop::Withheld(verdict.clone()));
                }
                return Ok(());
            }
            Err(Stop::Failed(problem)) => return Err(problem),
        }
        self.envelope = envelope;
        if choices.is_empty() {
            self.loose.push(Value::Object(std::mem::take(&mut chunk)));
        }
        for choice in choices {
            let Value::Object(choice) = choice else {
                return Err(Problem::upstream("the upstream sent a choice that is not an object"));
            };
            let at = self.place_of(&choice)?;
            let held = self.choices.entry(at).or_insert_with(|| Choice::new(at));
            if !held.over {
                let accepted = held.accept(&mut self.reading, &self.envelope, choice).await;
                self.settle(at, accepted);
            }
        }
        Ok(())
    }

    fn place_of(&self, choice: &Fields) -> Result<usize, Problem> {
        let index = choice.get("index").filter(|index| !index.is_null()).map_or(Some(0), Value::as_u64);
        let at = index.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < self.expected);
        at.ok_or_else(|| {
            Problem::upstream(format!("the upstream sent a choice where {} were asked for", self.expected))
        })
    }

    /// Counts a choice that has come to its end, well or not.
    fn settle(&mut self, at: usize, result: Result<(), Stop>) {
        match result {
            Ok(()) if self.choices[&at].over => {
                self.app.metrics.relayed(Target::Response, Some(Decision::Allow));
            }
            Ok(()) => {}
            Err(stop) => self.withhold(at, stop),
        }
    }

    fn withhold(&mut self, at: usize, stop: Stop) {
        let choice = self.choices.entry(at).or_insert_with(|| Choice::new(at));
        if !choice.over {
            self.app.metrics.relayed(Target::Response, stop.decision());
            choice.withhold(&self.envelope, stop);
        }
    }

    async fn finish(&mut self) {
        let open: Vec<usize> = self.choices.iter().filter(|(_, choice)| !choice.over).map(|(at, _)| *at).collect();
        for at in open {
            let Some(choice) = self.choices.get_mut(&at) else { continue };
            let finished = choice.finish(&self.reading).await;
            self.settle(at, finished);
        }
    }

    /// What may go now. Chunks without a choice, such as the usage, go when nothing waits before them.
    fn take(&mut self) -> Vec<Value> {
        let mut ready: Vec<Value> = self.choices.values_mut().flat_map(Choice::take).collect();
        if self.choices.values().all(Choice::is_empty) {
            ready.append(&mut self.loose);
        }
        ready
    }

    /// Whether every choice has come to its end.
    fn over(&self) -> bool {
        self.choices.len() == self.expected && self.choices.values().all(|choice| choice.over)
    }

    /// Whether nothing that the upstream may still say could be told.
    fn cut_short(&self) -> bool {
        self.over() && self.choices.values().any(|choice| choice.withheld)
    }
}

/// An event that is no chunk of a chat is another API's, and its text nobody here knows how to hold.
fn without_choices(chunk: &Fields) -> Problem {
    let api = match chunk.get("type").and_then(Value::as_str) {
        Some(kind) if kind.starts_with("response.") => " of the Responses API",
        Some(_) => " of another API",
        None => "",
    };
    Problem::upstream(format!("the upstream sent an event{api} without `choices`, which cannot be judged"))
}

async fn chunk_of(data: &str, judge: &Judge) -> Result<Fields, Problem> {
    let unread = |_| Problem::upstream("the upstream sent an event that is not a JSON object");
    let mut chunk: Fields = serde_json::from_str(data).map_err(unread)?;
    let nothing = [Value::Null, json!(false), json!("")];
    if chunk.get("error").is_some_and(|error| !nothing.contains(error)) {
        return Err(Problem::upstream(format!("the upstream failed{}", message_in(&chunk, judge).await)));
    }
    // Random letters that hide a chunk's length: they cannot be told from text, and say nothing.
    chunk.shift_remove("obfuscation");
    Ok(chunk)
}
