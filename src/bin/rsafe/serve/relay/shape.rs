//! What an API's requests and answers look like to whoever relays them: where their texts lie, the calls of tools and the
//! ends. One type for each API holds what one exchange needs.

use axum::response::sse::Event;
use serde_json::{Map, Value};

use super::asked::Asked;
use crate::serve::errors::Problem;
use crate::serve::judge::Stop;
use crate::serve::settings::Settings;
use crate::serve::walk::{Piece, as_read, ends, grouped, plainly};

pub type Fields = Map<String, Value>;

/// A request, and its answer where that comes whole.
pub trait Shape: Streamed {
    /// Where it is asked, below the upstream's base.
    const PATH: &'static str;

    /// # Errors
    /// `bad_input` for what is no request of the API, or cannot be judged.
    fn asked(body: &Fields, settings: &Settings) -> Result<(Self, Asked), Problem>;

    /// The answer to a request that is withheld, which says why.
    fn refusal(&self, note: Value) -> Fields;

    /// The same in events.
    fn refusal_events(&mut self, note: Value) -> Vec<Value>;

    /// What an answer says. What could tell more than that is taken out of it.
    ///
    /// # Errors
    /// `upstream` for an answer of another shape, and for what cannot be judged.
    fn parts(&self, answer: &mut Fields) -> Result<Parts, Problem>;

    /// The answer without one of its parts, and without any.
    fn withhold(&self, answer: &mut Fields, part: usize);
    fn without(&self, answer: &Fields) -> Fields;
}

/// A whole answer: what stands beside its parts, and each part that is judged for itself.
pub struct Parts {
    pub beside: Vec<Said>,
    pub parts: Vec<Vec<Said>>,
}

/// An answer that is told in events.
pub trait Streamed: Sized + Send + Sync + 'static {
    /// The data of the last event, where the API has one that is no JSON.
    const DONE: Option<&'static str>;
    /// The place of the text that the caller brings again when the chat goes on.
    const CONTENT: &'static str;
    /// Places with growing text in one lane, above which it is given up; twice as many have what is judged whole.
    const MOST: usize;
    /// Whether what was said before a failure is judged to its end and told.
    const TELLS_REST: bool;

    /// How many lanes there are: choices, each of which waits for its own text only.
    fn lanes(&self) -> usize;

    /// # Errors
    /// `upstream` for an event of another shape.
    fn read(&mut self, event: Fields) -> Result<Read, Problem>;

    /// Notes what the caller was given.
    fn sent(&mut self, out: &Value);

    /// The frame with so many bytes less of what it says at a place, where there is such a one.
    fn part(&self, out: &Value, place: &str, missing: usize) -> Option<Value>;

    /// The events that end a lane here, behind those that were sent.
    ///
    /// # Errors
    /// Where the API has no such end, so that all of the answer fails.
    fn ending(&mut self, lane: usize, stop: Stop) -> Result<Vec<Value>, Problem>;

    /// The events that say that the answer failed.
    fn failed(&mut self, problem: Problem) -> Vec<Value>;

    fn event(out: &Value) -> Event;
}

/// What an event holds.
#[derive(Default)]
pub struct Read {
    /// What belongs to no lane, and is judged at once.
    pub beside: Vec<Piece>,
    /// Frames and their lanes. What makes one unreadable ends its lane.
    pub frames: Vec<(usize, Result<Frame, Problem>)>,
    /// An event without a lane goes when nothing waits before it.
    pub loose: Option<Value>,
}

/// An event, or what of it is one lane's.
pub struct Frame {
    pub out: Value,
    pub said: Vec<Said>,
    /// Names of fields, which do not grow.
    pub named: Vec<Piece>,
    /// Whether the texts that it does not go on with are at their end. Else it would wait for what they hold back, and all
    /// behind it. One that goes on all the same is judged from its beginning again.
    pub closes: bool,
    /// Whether the lane ends with it.
    pub last: bool,
}

/// A part of what a model says. Parts of one place are one text, in their order.
#[derive(Debug, Clone)]
pub struct Said {
    pub place: String,
    /// Which item it belongs to, where the place is a list, or which field of a call.
    pub path: String,
    pub text: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text that grows.
    Text,
    /// The call of a tool: it comes in pieces and is judged at its end, since half of a call says little. The path of its
    /// name ends so.
    Call,
    /// Something that comes whole.
    Note,
}

impl From<Piece> for Said {
    fn from(Piece { place, path, text, .. }: Piece) -> Self {
        Self { place, path, text, kind: Kind::Text }
    }
}

/// The texts of a whole answer's part as they are judged: each place for itself, and what stands side by side.
pub fn texts_of(said: &[Said]) -> Vec<String> {
    let plain = |part: &Said| if part.kind == Kind::Call { plainly(&part.text) } else { part.text.clone() };
    let places = grouped(said, |part| part.place.clone());
    let mut texts: Vec<String> = places.iter().map(|parts| as_read(parts.iter().map(plain))).collect();
    if texts.len() > 1 {
        texts.push(as_read(said.iter().map(|part| ends(&part.text))));
    }
    texts
}
