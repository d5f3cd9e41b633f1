//! One choice of a streamed answer: its chunks wait here until all of their text has been released.

use std::collections::{HashSet, VecDeque};

use indexmap::IndexMap;
use rsafe::{Message, Target};
use serde_json::{Value, json};

use super::completion::{Fields, call_of, has_more, pieces_of, spoken_in, with_plain_logprobs, withheld_chunk};
use super::judge::{Judge, Stop};
use super::notes::Notes;
use super::text::{Call, Held, Need, Strand};
use crate::serve::errors::Problem;
use crate::serve::walk::Piece;

/// Places with text in one choice, and calls of tools, above which it is given up.
const MOST: usize = 32;
const MOST_CALLS: usize = 64;

/// What the choices of a stream have in common.
pub struct Reading {
    pub judge: Judge,
    /// The conversation that is answered.
    pub messages: Vec<Message>,
    pub notes: Notes,
    pub pass: HashSet<String>,
}

/// A chunk with this one choice, and how far each text must be released before it may go.
struct Waiting {
    chunk: Value,
    needs: Vec<(String, Need)>,
    last: bool,
}

pub struct Choice {
    index: usize,
    texts: IndexMap<String, Held>,
    queue: VecDeque<Waiting>,
    /// What goes out of a choice that was withheld.
    told: Vec<Value>,
    /// Whether nothing more is taken: finished, or withheld.
    pub over: bool,
    pub withheld: bool,
}

impl Choice {
    pub fn new(index: usize) -> Self {
        let (texts, queue, told) = (IndexMap::new(), VecDeque::new(), Vec::new());
        Self { index, texts, queue, told, over: false, withheld: false }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.told.is_empty()
    }

    /// Takes a chunk's choice and judges its text; `envelope` is the rest of the chunk. Why it is withheld from here on, or
    /// nothing.
    ///
    /// # Errors
    /// For what does not pass, or cannot be judged.
    pub async fn accept(&mut self, reading: &mut Reading, envelope: &Fields, mut choice: Fields) -> Result<(), Stop> {
        let delta = spoken_in(&choice, "delta")?;
        with_plain_logprobs(&mut choice, &delta);
        let mut judged = choice.clone();
        judged.shift_remove("logprobs");
        let (named, said): (Vec<Piece>, Vec<Piece>) =
            pieces_of(&judged, &reading.pass)?.into_iter().partition(|piece| piece.named);
        reading.notes.read(&reading.judge, named).await?;

        let last = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        let closes = !said.is_empty() || has_more(&delta);
        let places: HashSet<String> = said.iter().map(|piece| self.add(piece)).collect();
        let (calls, strands) = self.texts.values().partition::<Vec<_>, _>(|text| matches!(text, Held::Call(_)));
        if strands.len() > MOST || calls.len() > MOST_CALLS {
            let message = format!("the upstream sent texts in more than {MOST} places, or {MOST_CALLS} calls of tools");
            return Err(Problem::upstream(message).into());
        }
        let needs = self.texts.iter().map(|(place, text)| (place.clone(), text.need())).collect();
        let mut chunk = envelope.clone();
        chunk.insert("choices".into(), json!([choice]));
        self.queue.push_back(Waiting { chunk: Value::Object(chunk), needs, last });

        let Reading { judge, messages, .. } = reading;
        for (place, text) in &mut self.texts {
            // Texts that it does not go on with are at their end: else it would wait for what they hold back, and all behind
            // it. One that goes on all the same is judged from its beginning again.
            let goes_on = places.contains(place);
            if goes_on || closes {
                text.judge(judge, messages, !goes_on).await?;
            }
        }
        if last { self.finish(reading).await } else { Ok(()) }
    }

    /// Adds a piece to the text of its place, which it names.
    fn add(&mut self, piece: &Piece) -> String {
        let call = call_of(piece);
        let place = call.unwrap_or(&piece.place).to_owned();
        let text = self.texts.entry(place.clone()).or_insert_with(|| match call {
            Some(_) => Held::Call(Call::default()),
            None => Held::Strand(Box::<Strand>::default()),
        });
        text.add(&piece.path, &piece.text);
        place
    }

    /// The end: the rest of the text is judged.
    ///
    /// # Errors
    /// For what does not pass, or cannot be judged.
    pub async fn finish(&mut self, reading: &Reading) -> Result<(), Stop> {
        for text in self.texts.values_mut() {
            text.judge(&reading.judge, &reading.messages, true).await?;
        }
        self.over = true;
        if let Some(content) = self.texts.get("delta.content").and_then(Held::text) {
            reading.judge.remember(&reading.messages, content.to_owned());
        }
        Ok(())
    }

    /// Ends the choice here: what was released goes out, then a last chunk that says why.
    pub fn withhold(&mut self, envelope: &Fields, stop: Stop) {
        self.told = self.take();
        self.told.extend(self.part());
        let mut envelope = envelope.clone();
        envelope.shift_remove("usage");
        self.told.push(withheld_chunk(&envelope, self.index, stop.note(Target::Response, self.index)));
        self.queue.clear();
        (self.over, self.withheld) = (true, true);
    }

    /// The chunks that may go now.
    pub fn take(&mut self) -> Vec<Value> {
        let mut ready = std::mem::take(&mut self.told);
        while let Some(first) = self.queue.front() {
            if (first.last && !self.over) || first.needs.iter().any(|need| self.missing(need) > 0) {
                break;
            }
            ready.extend(self.queue.pop_front().map(|waiting| waiting.chunk));
        }
        ready
    }

    fn missing(&self, (place, need): &(String, Need)) -> usize {
        self.texts.get(place).map_or(usize::MAX, |text| text.missing(need))
    }

    /// The first waiting chunk with no more text than was released.
    fn part(&self) -> Option<Value> {
        let Waiting { chunk, needs, .. } = self.queue.front()?;
        let delta = &chunk["choices"][0]["delta"];
        needs.iter().filter(|(_, need)| need.is_one()).find_map(|need| {
            let missing = self.missing(need);
            // Names of the sender's own share one text, of which no part is one field's.
            let field = need.0.strip_prefix("delta.").filter(|field| missing > 0 && *field != "*")?;
            let text = delta.get(field)?.as_str()?;
            let released = text.get(..text.len().checked_sub(missing)?).filter(|text| !text.is_empty())?;
            let mut told = Fields::new();
            if let Some(role) = delta.get("role").filter(|role| *role == "assistant") {
                told.insert("role".into(), role.clone());
            }
            told.insert(field.to_owned(), released.into());
            let mut chunk = chunk.clone();
            chunk["choices"] = json!([{"index": self.index, "delta": told, "logprobs": null, "finish_reason": null}]);
            Some(chunk)
        })
    }
}
