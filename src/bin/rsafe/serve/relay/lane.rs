//! One lane of a streamed answer, such as a choice: its frames wait here until all of their text has been released.

use std::collections::{HashSet, VecDeque};

use indexmap::IndexMap;
use rsafe::Message;
use serde_json::Value;

use super::shape::{Frame, Streamed};
use super::text::{Held, Need};
use crate::serve::errors::Problem;
use crate::serve::judge::{Judge, Stop};

/// A frame, and how far each text must be released before it may go.
struct Waiting {
    out: Value,
    needs: Vec<(String, Need)>,
    last: bool,
}

#[derive(Default)]
pub struct Lane {
    texts: IndexMap<String, Held>,
    queue: VecDeque<Waiting>,
    /// Whether nothing more is taken: finished, or cut.
    pub over: bool,
    pub is_cut: bool,
}

impl Lane {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes a frame and judges its text.
    ///
    /// # Errors
    /// For what does not pass, or cannot be judged: then the lane is to be cut.
    pub async fn accept<S: Streamed>(
        &mut self,
        judge: &Judge,
        messages: &[Message],
        Frame { out, said, closes, last, .. }: Frame,
    ) -> Result<(), Stop> {
        for part in &said {
            self.texts.entry(part.place.clone()).or_insert_with(|| Held::new(part.kind)).add(part);
        }
        let whole = self.texts.values().filter(|text| text.is_whole()).count();
        if self.texts.len() - whole > S::MOST || whole > 2 * S::MOST {
            let (most, calls) = (S::MOST, 2 * S::MOST);
            let message = format!("the upstream sent texts in more than {most} places, or {calls} calls of tools");
            return Err(Problem::upstream(message).into());
        }
        // What is released stays so.
        let needs = self.texts.iter().map(|(place, text)| (place, text, text.need()));
        let needs = needs.filter(|(_, text, need)| text.missing(need) > 0);
        let needs = needs.map(|(place, _, need)| (place.clone(), need)).collect();
        self.queue.push_back(Waiting { out, needs, last });

        let places: HashSet<&str> = said.iter().map(|part| part.place.as_str()).collect();
        for (place, text) in &mut self.texts {
            // Texts that it does not go on with are at their end: else it would wait for what they hold back, and all behind
            // it. One that goes on all the same is judged from its beginning again.
            let goes_on = places.contains(place.as_str());
            if goes_on || closes {
                text.judge(judge, messages, !goes_on).await?;
            }
        }
        if last { self.finish(judge, messages, false).await } else { Ok(()) }
    }

    /// The end: the rest of the text is judged. Where the answer has `broken` off, half a call stays back.
    ///
    /// # Errors
    /// For what does not pass, or cannot be judged.
    pub async fn finish(&mut self, judge: &Judge, messages: &[Message], broken: bool) -> Result<(), Stop> {
        for text in self.texts.values_mut().filter(|text| !(broken && text.is_call())) {
            text.judge(judge, messages, true).await?;
        }
        self.over = true;
        Ok(())
    }

    /// All that was said at a place.
    pub fn text_at(&self, place: &str) -> Option<&str> {
        self.texts.get(place).and_then(Held::text)
    }

    /// Removes the frames that may go now.
    pub fn take(&mut self) -> Vec<Value> {
        let mut ready = Vec::new();
        while let Some(first) = self.queue.front() {
            if (first.last && !self.over) || first.needs.iter().any(|need| self.missing(need) > 0) {
                break;
            }
            ready.extend(self.queue.pop_front().map(|waiting| waiting.out));
        }
        ready
    }

    /// Ends the lane here: gives what was released, and drops the rest.
    pub fn cut(&mut self, shape: &impl Streamed) -> Vec<Value> {
        let mut ready = self.take();
        ready.extend(self.part(shape));
        self.queue.clear();
        (self.over, self.is_cut) = (true, true);
        ready
    }

    fn missing(&self, (place, need): &(String, Need)) -> usize {
        self.texts.get(place).map_or(usize::MAX, |text| text.missing(need))
    }

    /// The first waiting frame with no more text than was released.
    fn part(&self, shape: &impl Streamed) -> Option<Value> {
        let Waiting { out, needs, .. } = self.queue.front()?;
        // Of a list, no part is one item's.
        needs.iter().filter(|(_, need)| need.is_one()).find_map(|need| {
            let missing = self.missing(need);
            (missing > 0).then(|| shape.part(out, &need.0, missing)).flatten()
        })
    }
}
