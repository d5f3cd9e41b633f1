//! A streamed answer on its way through: events come from the upstream, and leave when their text was released.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use axum::response::sse::Event;
use futures_util::stream::{Stream, unfold};
use rsafe::{Decision, Target};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::answering::Answering;
use super::lane::Lane;
use super::notes::Notes;
use super::shape::{Fields, Frame, Read, Streamed};
use crate::serve::errors::Problem;
use crate::serve::events::Events;
use crate::serve::judge::{Judge, Stop};
use crate::serve::upstream::message_in;

/// The events to send. Dropping it, as is done when the reader leaves, ends the upstream and the checks.
pub fn relay<S: Streamed>(
    answering: Answering<S>,
    events: Events,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let held =
        Held { answering, notes: Notes::default(), lanes: BTreeMap::new(), loose: Vec::new(), ready: VecDeque::new() };
    let stage = Stage::Reading(Box::new(events), place);
    unfold((held, stage), |(mut held, mut stage)| async move {
        loop {
            if let Some(event) = held.ready.pop_front() {
                return Some((Ok(event), (held, stage)));
            }
            stage = match stage {
                Stage::Reading(mut events, place) => match held.next(&mut events).await {
                    Ok(true) => Stage::Reading(events, place),
                    Ok(false) => Stage::Ending(None),
                    Err(problem) => Stage::Ending(Some(problem)),
                },
                Stage::Ending(failure) => {
                    held.end(failure).await;
                    Stage::Done
                }
                Stage::Done => return None,
            };
        }
    })
}

enum Stage {
    Reading(Box<Events>, OwnedSemaphorePermit),
    Ending(Option<Problem>),
    Done,
}

/// The events that say this and no more.
pub fn written<S: Streamed>(outs: &[Value]) -> Vec<Event> {
    outs.iter().map(S::event).chain(S::DONE.map(|done| Event::default().data(done))).collect()
}

/// The lanes of a stream, and the events without one. Each lane waits for its own text only; one that is withheld does not
/// end the others.
struct Held<S> {
    answering: Answering<S>,
    notes: Notes,
    lanes: BTreeMap<usize, Lane>,
    loose: Vec<Value>,
    /// What may go.
    ready: VecDeque<Event>,
}

impl<S: Streamed> Held<S> {
    /// Takes the next event; whether there may be more.
    async fn next(&mut self, events: &mut Events) -> Result<bool, Problem> {
        match events.next().await? {
            Some(data) if S::DONE == Some(data.trim()) => Ok(false),
            Some(data) => {
                let event = event_of(&data, &self.answering.judge).await?;
                let read = self.answering.shape.read(event)?;
                self.accept(read).await?;
                Ok(!self.needs_no_more())
            }
            None if self.over() => Ok(false),
            None => Err(Problem::upstream("the upstream broke off")),
        }
    }

    async fn accept(&mut self, Read { beside, frames, loose }: Read) -> Result<(), Problem> {
        match self.notes.read(&self.answering.judge, beside).await {
            Ok(()) => {}
            Err(Stop::Withheld(verdict)) => {
                // What stands beside the lanes is everybody's: none goes on.
                for at in 0..self.answering.shape.lanes() {
                    self.withhold(at, Stop::Withheld(verdict.clone()))?;
                }
                return Ok(());
            }
            Err(Stop::Failed(problem)) => return Err(problem),
        }
        self.loose.extend(loose);
        for (at, frame) in frames {
            let taken = self.take_frame(at, frame).await;
            self.settle(at, taken)?;
        }
        self.tell_loose();
        Ok(())
    }

    /// Whether the lane has just come to its end.
    async fn take_frame(&mut self, at: usize, frame: Result<Frame, Problem>) -> Result<bool, Stop> {
        let lane = self.lanes.entry(at).or_default();
        if lane.over {
            return Ok(false);
        }
        let Answering { judge, messages, .. } = &self.answering;
        let mut frame = frame?;
        self.notes.read(judge, std::mem::take(&mut frame.named)).await?;
        lane.accept::<S>(judge, messages, frame).await?;
        Ok(lane.over)
    }

    /// Tells what a lane has, and how it has come to its end, well or not.
    fn settle(&mut self, at: usize, result: Result<bool, Stop>) -> Result<(), Problem> {
        match result {
            Ok(ended) => {
                let lane = self.lanes.entry(at).or_default();
                let ready = lane.take();
                if ended {
                    let Answering { app, judge, messages, .. } = &self.answering;
                    app.metrics.relayed(Target::Response, Some(Decision::Allow));
                    if let Some(content) = lane.text_at(S::CONTENT) {
                        judge.remember(messages, content.to_owned());
                    }
                }
                self.tell(ready);
                Ok(())
            }
            Err(stop) => self.withhold(at, stop),
        }
    }

    fn withhold(&mut self, at: usize, stop: Stop) -> Result<(), Problem> {
        let lane = self.lanes.entry(at).or_default();
        if lane.over {
            return Ok(());
        }
        self.answering.app.metrics.relayed(Target::Response, stop.decision());
        let released = lane.cut(&self.answering.shape);
        self.tell(released);
        let ending = self.answering.shape.ending(at, stop)?;
        self.tell(ending);
        Ok(())
    }

    /// The end of the upstream's answer, well or not.
    async fn end(&mut self, failure: Option<Problem>) {
        let failure = match failure {
            Some(problem) if !S::TELLS_REST => Some(problem),
            failure => self.finish(failure.is_some()).await.err().or(failure),
        };
        if let Some(problem) = failure {
            let failed = self.answering.shape.failed(problem);
            self.tell(failed);
        }
        self.ready.extend(written::<S>(&[]));
    }

    async fn finish(&mut self, broken: bool) -> Result<(), Problem> {
        let open: Vec<usize> = self.lanes.iter().filter(|(_, lane)| !lane.over).map(|(at, _)| *at).collect();
        for at in open {
            let Answering { judge, messages, .. } = &self.answering;
            let finished = self.lanes.entry(at).or_default().finish(judge, messages, broken).await;
            self.settle(at, finished.map(|()| true))?;
        }
        self.tell_loose();
        Ok(())
    }

    fn tell(&mut self, outs: Vec<Value>) {
        for out in outs {
            self.answering.shape.sent(&out);
            self.ready.push_back(S::event(&out));
        }
    }

    /// Events without a lane, such as the usage, go when nothing waits before them.
    fn tell_loose(&mut self) {
        if self.lanes.values().all(Lane::is_empty) {
            let loose = std::mem::take(&mut self.loose);
            self.tell(loose);
        }
    }

    /// Whether every lane has come to its end.
    fn over(&self) -> bool {
        self.lanes.len() == self.answering.shape.lanes() && self.lanes.values().all(|lane| lane.over)
    }

    /// Whether nothing that the upstream may still say could be told.
    fn needs_no_more(&self) -> bool {
        self.over() && (S::DONE.is_none() || self.lanes.values().any(|lane| lane.is_cut))
    }
}

async fn event_of(data: &str, judge: &Judge) -> Result<Fields, Problem> {
    let unread = |_| Problem::upstream("the upstream sent an event that is not a JSON object");
    let mut event: Fields = serde_json::from_str(data).map_err(unread)?;
    let nothing = [Value::Null, json!(false), json!("")];
    let told = event.get("error").is_some_and(|error| !nothing.contains(error));
    if told || event.get("type").is_some_and(|kind| kind == "error") {
        let event = if told { event } else { Fields::from_iter([("error".to_owned(), event.into())]) };
        return Err(Problem::upstream(format!("the upstream failed{}", message_in(&event, judge).await)));
    }
    // Random letters that hide an event's length: they cannot be told from text, and say nothing.
    event.shift_remove("obfuscation");
    Ok(event)
}
